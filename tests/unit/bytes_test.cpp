// Goal: what Writer wrote Reader reads back, and damaged input never reads past its end.
// Method: round trips, and every proper prefix of what was written.
#include <gtest/gtest.h>

#include "base/bytes.hpp"

namespace bus {
namespace {

std::string sample() {
  Writer writer;
  writer.put(std::uint8_t{0xab}).put(std::uint16_t{0x1234}).put(std::int64_t{-2}).put_string("text").put_string("");
  return writer.take();
}

TEST(Bytes, ReaderReadsWhatWriterWrote) {
  const std::string bytes = sample();
  Reader reader(bytes);
  EXPECT_EQ(reader.get<std::uint8_t>(), 0xab);
  EXPECT_EQ(reader.get<std::uint16_t>(), 0x1234);
  EXPECT_EQ(reader.get<std::int64_t>(), -2);
  EXPECT_EQ(reader.get_string(), "text");
  EXPECT_EQ(reader.get_string(), "");
  EXPECT_TRUE(reader.done());
}

TEST(Bytes, NumbersAreLittleEndian) {
  EXPECT_EQ(Writer().put(std::uint32_t{0x01020304}).take(), std::string("\x04\x03\x02\x01", 4));
}

TEST(Bytes, ReaderFailsForGoodAtTheEnd) {
  const std::string bytes = sample();
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    Reader reader(std::string_view(bytes).substr(0, size));
    reader.get<std::uint8_t>();
    reader.get<std::uint16_t>();
    reader.get<std::int64_t>();
    reader.get_string();
    reader.get_string();
    EXPECT_FALSE(reader.ok()) << size;
    EXPECT_FALSE(reader.done()) << size;
    EXPECT_EQ(reader.get<std::uint64_t>(), 0u) << size;
  }
}

TEST(Bytes, ReaderRefusesAStringLongerThanItsInput) {
  const std::string bytes = Writer().put(std::uint32_t{0xffffffff}).put_string("rest").take();
  Reader reader(bytes);
  EXPECT_EQ(reader.get_string(), "");
  EXPECT_FALSE(reader.ok());
}

TEST(Bytes, TrailingBytesAreNotDone) {
  Reader reader("ab");
  reader.get<std::uint8_t>();
  EXPECT_TRUE(reader.ok());
  EXPECT_FALSE(reader.done());
}

TEST(Bytes, BuffersAreAlignedForFlatBuffers) {
  for (std::size_t size = 1; size < 100; ++size) {
    const Buffer buffer(size);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(buffer.data()) % 16, 0u);
  }
}

TEST(Bytes, RoundUpGoesToTheNextMultiple) {
  EXPECT_EQ(round_up(0, 8), 0u);
  EXPECT_EQ(round_up(1, 8), 8u);
  EXPECT_EQ(round_up(8, 8), 8u);
  EXPECT_EQ(round_up(9, 8), 16u);
}

}  // namespace
}  // namespace bus
