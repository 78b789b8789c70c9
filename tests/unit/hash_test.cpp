// Goal: the hashes that are part of the disk format never change, and notice what they are there to notice.
// Method: known values of XXH3, single flipped bits, and chains of swapped, lost and moved events.
#include <gtest/gtest.h>

#include "base/hash.hpp"

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace bus {
namespace {

TEST(Hash, ChecksumIsXxh3With64Bits) {
  EXPECT_EQ(checksum({}), 0x2d06800538d394c2u);  // of nothing, as published with XXH3
  EXPECT_NE(checksum({}), checksum({}, 1));
}

TEST(Hash, ChecksumNoticesEveryFlippedBit) {
  std::string text(64, 'x');
  const auto sum = checksum(bytes_of(text));
  for (std::size_t bit = 0; bit < text.size() * 8; ++bit) {
    text[bit / 8] = static_cast<char>(text[bit / 8] ^ (1 << bit % 8));
    EXPECT_NE(checksum(bytes_of(text)), sum) << bit;
    text[bit / 8] = static_cast<char>(text[bit / 8] ^ (1 << bit % 8));
  }
}

TEST(Hash, KeysOfDifferentSecretsAreUnrelated) {
  const auto one = hash128(bytes_of("user-1"), 1), two = hash128(bytes_of("user-1"), 2);
  EXPECT_NE(one.high, two.high);
  EXPECT_NE(one.low, two.low);
  EXPECT_EQ(one, hash128(bytes_of("user-1"), 1));
}

TEST(Hash, ChainDependsOnOrderAndPosition) {
  const auto chain = chain_fold(chain_fold(0, 1, 10), 2, 20);
  EXPECT_NE(chain, chain_fold(chain_fold(0, 1, 20), 2, 10));  // swapped
  EXPECT_NE(chain, chain_fold(0, 2, 20));                     // the first one lost
  EXPECT_NE(chain, chain_fold(chain_fold(0, 2, 10), 3, 20));  // moved
  EXPECT_NE(chain, chain_fold(chain_fold(1, 1, 10), 2, 20));  // another history before
}

// What an older processor computes, and what is on disk, is the same: long inputs take wide registers where there are any.
TEST(Checksum, IsTheSameWithWideRegistersAndWithout) {
  Buffer bytes(5000);
  for (std::size_t at = 0; at < bytes.size(); ++at) bytes[at] = static_cast<std::uint8_t>(at * 2654435761u >> 13);
  for (std::size_t size = 0; size <= bytes.size(); size += size < 1200 ? 1 : 97) {
    for (const std::uint64_t seed : {std::uint64_t{0}, std::uint64_t{0x9e3779b97f4a7c15u}}) {
      ASSERT_EQ(checksum(Bytes(bytes).first(size), seed), XXH3_64bits_withSeed(bytes.data(), size, seed)) << size;
    }
  }
}

}  // namespace
}  // namespace bus
