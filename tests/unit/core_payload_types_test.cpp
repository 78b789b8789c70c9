// Goal: a payload is taken only if it verifies as its type, built in or loaded; schemas that cannot be verified safely are
// refused by name.
// Method: good, cut off and corrupted payloads; schemas made by flatc.
#include <gtest/gtest.h>

#include <random>

#include "broker/core/builtin_types.hpp"
#include "broker/core/payload_types.hpp"
#include "test_schemas.hpp"
#include "tests/support/events.hpp"
#include "tests/support/schemas.hpp"

namespace bus::broker {
namespace {

Code code_of(const Result<void>& result) { return result.error().code; }

// test.Reading with one sample, built by field numbers: the schema has no generated code.
Buffer reading(bool with_device = true) {
  flatbuffers::FlatBufferBuilder builder;
  const auto unit = builder.CreateString("mmHg");
  auto start = builder.StartTable();
  builder.AddElement<double>(4, 120.5, 0);
  builder.AddOffset(6, unit);
  const flatbuffers::Offset<flatbuffers::Table> sample(builder.EndTable(start));
  const auto samples = builder.CreateVector(&sample, 1);
  const auto device = builder.CreateString("cuff");
  start = builder.StartTable();
  if (with_device) builder.AddOffset(4, device);
  builder.AddOffset(6, samples);
  builder.Finish(flatbuffers::Offset<flatbuffers::Table>(builder.EndTable(start)));
  return Buffer(builder.GetBufferPointer(), builder.GetBufferPointer() + builder.GetSize());
}

TEST(PayloadTypes, KnowTheBuiltInOnes) {
  const PayloadTypes types;
  for (const auto& builtin : builtin_types()) {
    ASSERT_NE(types.find(builtin.name), nullptr) << builtin.name;
    EXPECT_TRUE(types.find(builtin.name)->builtin());
    EXPECT_EQ(code_of(types.verify(builtin.name, Buffer(64, 0xff))), Code::bad_payload);
  }
}

TEST(PayloadTypes, VerifyBuiltInPayloads) {
  const PayloadTypes types;
  const auto good = test::notification();
  EXPECT_EQ(code_of(types.verify(test::notification_type, good)), Code::ok);
  EXPECT_EQ(code_of(types.verify("suoke.realtime.SyncRequest", good)), Code::bad_payload) << "another type";
  EXPECT_EQ(code_of(types.verify("suoke.Unknown", good)), Code::unknown_type);
  EXPECT_EQ(code_of(types.verify(test::notification_type, {})), Code::bad_payload);
}

TEST(PayloadTypes, VerifyPayloadsOfAnyAlignment) {
  const PayloadTypes types;
  const auto good = test::notification();
  Buffer shifted(good.size() + 8);
  for (std::size_t shift = 0; shift < 8; ++shift) {
    std::copy(good.begin(), good.end(), shifted.begin() + static_cast<std::ptrdiff_t>(shift));
    EXPECT_EQ(code_of(types.verify(test::notification_type, Bytes(shifted).subspan(shift, good.size()))), Code::ok);
  }
}

TEST(PayloadTypes, VerifyLoadedOnesByReflection) {
  PayloadTypes types;
  ASSERT_TRUE(types.add(std::string(embedded::telemetry), "telemetry.bfbs").ok());
  EXPECT_EQ(types.find("test.Reading")->file, "telemetry.bfbs");
  EXPECT_EQ(types.find("test.Sample"), nullptr) << "only ever inside of another table";
  EXPECT_EQ(code_of(types.verify("test.Reading", reading())), Code::ok);
  EXPECT_EQ(code_of(types.verify("test.Reading", reading(false))), Code::bad_payload) << "a required field is missing";
}

TEST(PayloadTypes, SurviveCorruptPayloads) {
  PayloadTypes types;
  ASSERT_TRUE(types.add(std::string(embedded::telemetry), "telemetry.bfbs").ok());
  std::mt19937_64 random(7);
  const Buffer good = reading();
  constexpr std::size_t padding = 7;  // at most, at the end: nothing is missed without it
  for (std::size_t size = 0; size < good.size() - padding; ++size) {
    const Buffer cut(good.begin(), good.begin() + static_cast<std::ptrdiff_t>(size));
    EXPECT_EQ(code_of(types.verify("test.Reading", cut)), Code::bad_payload) << size;
  }
  for (int round = 0; round < 5'000; ++round) {
    Buffer bytes = good;
    bytes[random() % bytes.size()] ^= static_cast<std::uint8_t>(1 + random() % 255);
    (void)types.verify("test.Reading", bytes);  // either way, nothing outside of it is read
  }
}

TEST(PayloadTypes, VerifyStringsAndStructsInUnions) {
  test::SchemaText schema("struct S { i:int; } union U { A, text: string, S } table A { s:string (required); } table T { u:U; } root_type T;");
  PayloadTypes types;
  ASSERT_TRUE(types.add(std::string(text_of(schema.bfbs())), "T.bfbs").ok());
  for (const std::string json : {R"({"u_type": "A", "u": {"s": "x"}})", R"({"u_type": "text", "u": "x"})", R"({"u_type": "S", "u": {"i": 1}})"}) {
    ASSERT_TRUE(schema.parser().ParseJson(json.c_str())) << schema.parser().error_;
    const auto& builder = schema.parser().builder_;
    EXPECT_EQ(code_of(types.verify("T", Bytes(builder.GetBufferPointer(), builder.GetSize()))), Code::ok) << json;
  }
}

TEST(PayloadTypes, RefuseWhatIsThereAlready) {
  PayloadTypes types;
  ASSERT_TRUE(types.add(std::string(embedded::telemetry), "one.bfbs").ok());
  const auto again = types.add(std::string(embedded::telemetry), "two.bfbs");
  EXPECT_EQ(code_of(again), Code::conflict);
  EXPECT_NE(again.error().detail.find("one.bfbs"), std::string::npos);
  EXPECT_EQ(code_of(types.add(text_of(types.find(test::notification_type)->bfbs()), "mine.bfbs")), Code::conflict);
}

TEST(PayloadTypes, RefuseVectorsOfUnionsAndNestedBuffers) {
  PayloadTypes types;
  const auto vector = types.add(std::string(embedded::union_vector), "many.bfbs");
  EXPECT_EQ(code_of(vector), Code::bad_format);
  EXPECT_NE(vector.error().detail.find("test.Many.items"), std::string::npos) << vector.error().detail;
  const auto nested = types.add(std::string(embedded::nested), "outer.bfbs");
  EXPECT_EQ(code_of(nested), Code::bad_format);
  EXPECT_NE(nested.error().detail.find("test.Outer.inner"), std::string::npos) << nested.error().detail;
}

TEST(PayloadTypes, RefuseWhatIsNoSchema) {
  PayloadTypes types;
  const std::string good(embedded::telemetry);
  const auto half = good.substr(0, good.size() / 2);
  for (const auto& bytes : {std::string(), std::string("table X {}"), std::string(64, '\xee'), half}) {
    const auto added = types.add(bytes, "x.bfbs");
    EXPECT_EQ(code_of(added), Code::bad_format);
    EXPECT_NE(added.error().detail.find("x.bfbs"), std::string::npos);
  }
}

}  // namespace
}  // namespace bus::broker
