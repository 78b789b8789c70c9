// Goal: JSON becomes a payload and a payload JSON without loss, and whatever does not fit is refused with the place
// and the reason.
// Method: a schema that uses every kind of field, texts at and beyond each limit, and the JSON parser of flatbuffers
// as a second opinion: where both accept a text, their payloads read the same.
#include "tools/payload_json.hpp"

#include <flatbuffers/idl.h>
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <memory>

#include "base/limits.hpp"
#include "tests/support/file_text.hpp"

namespace bus::tools {
namespace {

constexpr const char* everything = R"(
namespace test;
enum Color : ubyte { red = 1, blue = 5 }
enum Wide : ulong { none = 0, top = 18446744073709551615 }
struct Point { x: float; grid: [short:3]; flag: bool; at: long; }
struct Pair { a: Point; b: ubyte; }
table Leaf { name: string (required); number: double; }
table Other { count: int = 7; }
union Choice { Leaf, Point, text: string, Other }
table All {
  i8: byte; u8: ubyte; i16: short; u16: ushort; i32: int; u32: uint; i64: long; u64: ulong;
  real: double; single: float; yes: bool = true; color: Color = red; wide: Wide;
  maybe: double = null; maybe_int: long = null; maybe_color: Color = null; maybe_bool: bool = null;
  text: string; bytes: [ubyte]; flags: [bool]; colors: [Color]; reals: [double]; texts: [string];
  point: Point; pair: Pair; pairs: [Pair]; leaf: Leaf; leaves: [Leaf]; choice: Choice; next: All; numbers: [long];
}
table Unrelated { only: int; }
root_type Unrelated;
)";

std::string bfbs_of(const std::string& schema) {
  flatbuffers::IDLOptions options;
  options.lang_to_generate = flatbuffers::IDLOptions::kCpp;  // others have no unions of structs and strings
  flatbuffers::Parser parser(options);
  EXPECT_TRUE(parser.Parse(schema.c_str())) << parser.error_;
  parser.Serialize();
  return {reinterpret_cast<const char*>(parser.builder_.GetBufferPointer()), parser.builder_.GetSize()};
}

PayloadJson codec(const char* type = "test.All") { return PayloadJson::open(bytes_of(bfbs_of(everything)), type).value(); }

// What the text reads as after a way there and back.
std::string round(const PayloadJson& json, std::string_view text) {
  const auto payload = json.encode(text);
  if (!payload) return "refused: " + payload.error().detail;
  return json.decode(*payload).value();
}

std::string refusal(std::string_view text, const char* type = "test.All") {
  const auto payload = codec(type).encode(text);
  return payload ? "accepted" : describe(payload.error());
}

void expect_refusal(std::string_view text, std::string_view part) {
  const auto why = refusal(text);
  EXPECT_NE(why.find(part), std::string::npos) << text << "\n  gave: " << why << "\n  without: " << part;
}

TEST(PayloadJson, WritesDefaultsAndLeavesOutWhatIsAbsent) {
  EXPECT_EQ(round(codec(), "{}"),
            R"({"i8":0,"u8":0,"i16":0,"u16":0,"i32":0,"u32":0,"i64":0,"u64":0,"real":0,"single":0,"yes":true,)"
            R"("color":"red","wide":"none","choice_type":"NONE"})");
  EXPECT_EQ(round(codec("test.Other"), "{}"), R"({"count":7})");
}

TEST(PayloadJson, ReadsItsOwnTextBackToTheSameText) {
  const auto json = codec();
  const std::string text =
      R"({"i8":-128,"u8":255,"i16":-32768,"u16":65535,"i32":-2147483648,"u32":4294967295,)"
      R"("i64":-9223372036854775808,"u64":18446744073709551615,"real":52.5999984741211,"single":0.1,"yes":false,)"
      R"("color":"blue","wide":"top","maybe":0,"maybe_int":0,"maybe_color":"red","maybe_bool":false,"text":"","bytes":[0,255],"flags":[true,false],)"
      R"("colors":["red","blue",9],"reals":[1e-15,1e+300,"nan","inf","-inf",-0.0],"texts":["","b"],)"
      R"("point":{"x":1.5,"grid":[1,-2,3],"flag":true,"at":7},)"
      R"("pair":{"a":{"x":1.5,"grid":[1,-2,3],"flag":true,"at":7},"b":9},)"
      R"("pairs":[{"a":{"x":1,"grid":[0,0,0],"flag":false,"at":-1},"b":1},{"a":{"x":2,"grid":[0,0,1],"flag":true,"at":-2},"b":2}],)"
      R"("leaf":{"name":"l","number":0},"leaves":[],"choice_type":"Leaf","choice":{"name":"c","number":1},)"
      R"("next":{"i8":0,"u8":0,"i16":0,"u16":0,"i32":0,"u32":0,"i64":0,"u64":0,"real":0,"single":0,"yes":true,)"
      R"("color":"red","wide":"none","choice_type":"NONE"},"numbers":[9007199254740993]})";
  EXPECT_EQ(round(json, text), text);
}

TEST(PayloadJson, ReadsUnionsOfEachKind) {
  const auto json = codec();
  for (const char* part : {R"("choice_type":"Leaf","choice":{"name":"c","number":1})", R"("choice_type":"text","choice":"中")",
                           R"("choice_type":"Point","choice":{"x":1,"grid":[1,2,3],"flag":true,"at":1})",
                           R"("choice_type":"Other","choice":{"count":7})"}) {
    EXPECT_NE(round(json, "{" + std::string(part) + "}").find(part), std::string::npos) << part;
  }
  expect_refusal(R"({"choice":{"name":"c"}})", "choice: which one? say so in choice_type");
  expect_refusal(R"({"choice_type":"Leaf"})", "choice: absent, but choice_type says what it is");
  expect_refusal(R"({"choice_type":9,"choice":{}})", "choice: no member 9 in test.Choice");
}

TEST(PayloadJson, KeepsTextOfEveryScript) {
  const auto json = codec();
  const std::string text = "舌淡红 é \xF0\x9F\x98\x80 \\\" \\\\ \\n \\u0000 \\u001f";
  EXPECT_NE(round(json, "{\"text\":\"" + text + "\"}").find("\"text\":\"" + text + "\""), std::string::npos);
  EXPECT_NE(round(json, R"({"text":"\ud83d\ude00\u4e2d\/"})").find("\xF0\x9F\x98\x80中/"), std::string::npos);
}

TEST(PayloadJson, WritesBytesThatAreNoUtf8AsReplacement) {
  flatbuffers::FlatBufferBuilder builder;
  const auto name = builder.CreateString("a\xFF\xC0\xAF\xED\xA0\x80\xE4\xB8");
  const auto start = builder.StartTable();
  builder.AddOffset(4, name);
  builder.Finish(flatbuffers::Offset<void>(builder.EndTable(start)));
  const auto text = codec("test.Leaf").decode({builder.GetBufferPointer(), builder.GetSize()}).value();
  EXPECT_EQ(text.find("{\"name\":\"a\uFFFD\uFFFD\uFFFD\uFFFD"), 0u) << text;
  EXPECT_TRUE(codec("test.Leaf").encode(text).ok());
  expect_refusal("{\"text\":\"\xFF\"}", "not JSON");
}

TEST(PayloadJson, TakesAbsentAndNullAlikeAndZeroAsPresent) {
  const auto json = codec();
  EXPECT_EQ(round(json, R"({"maybe":null,"text":null,"leaf":null,"i8":null})"), round(json, "{}"));
  EXPECT_NE(round(json, R"({"maybe":0})").find(R"("maybe":0,)"), std::string::npos);
}

TEST(PayloadJson, RefusesUnknownFieldsByPath) {
  expect_refusal(R"({"leaf":{"name":"a","nmuber":1}})",
                 "bad_payload: leaf.nmuber: no such field in test.Leaf; it has name, number");
  expect_refusal(R"({"leaves":[{"name":"a"},{"name":"b","":1}]})", "leaves[1].''");
  expect_refusal(R"({"pair":{"a":{"x":1,"z":2}}})", "pair.a.z: no such field in test.Point");
}

TEST(PayloadJson, RefusesWhatDoesNotFitByPath) {
  expect_refusal(R"({"leaf":{}})", "leaf.name: required, but absent");
  expect_refusal(R"({"leaf":{"name":null}})", "leaf.name: required, but absent");
  expect_refusal(R"({"leaf":[]})", "leaf: an object (test.Leaf) is wanted, here is []");
  expect_refusal(R"({"leaves":{}})", "leaves: an array is wanted");
  expect_refusal(R"({"leaves":[null]})", "leaves[0]: an object");
  expect_refusal(R"({"texts":["a",1]})", "texts[1]: a string is wanted, here is 1");
  expect_refusal(R"({"real":"12"})", "real: a number is wanted, here is \"12\"");
  expect_refusal(R"({"single":1e39})", "single: a number that fits 32 bits");
  expect_refusal(R"({"yes":1})", "yes: true or false is wanted");
  expect_refusal(R"({"i32":1.5})", "i32: an integer is wanted, here is 1.5");
  expect_refusal(R"({"color":"green"})", "color: no \"green\" in test.Color; it has red, blue");
  expect_refusal(R"({"color":"red blue"})", "color: no \"red blue\"");
  expect_refusal(R"({"point":{"x":1,"grid":[1,2],"flag":true,"at":1}})", "point.grid: an array of 3 is wanted");
  expect_refusal(R"({"point":{"x":1}})", "point.grid: absent; a struct needs all of its fields");
  expect_refusal("[]", "the document: an object (test.All) is wanted");
}

TEST(PayloadJson, TakesIntegersToTheirLimitsAndNotBeyond) {
  EXPECT_EQ(refusal(R"({"i8":127,"u8":0,"color":255,"i64":"9223372036854775807","u64":"18446744073709551615"})"), "accepted");
  expect_refusal(R"({"i8":128})", "i8: an integer from -128 to 127 is wanted, here is 128");
  expect_refusal(R"({"i8":-129})", "i8: an integer from");
  expect_refusal(R"({"u8":-1})", "u8: an integer from 0 to 255");
  expect_refusal(R"({"color":256})", "color: an integer from 0 to 255");
  expect_refusal(R"({"i64":9223372036854775808})", "i64: an integer from -9223372036854775808");
  expect_refusal(R"({"u64":18446744073709551616})", "u64: an integer is wanted");
  expect_refusal(R"({"i64":"9223372036854775808"})", "i64: an integer is wanted");
  expect_refusal(R"({"i32":"5"})", "i32: an integer is wanted");
}

TEST(PayloadJson, RefusesWhatIsNoJsonByLineAndColumn) {
  expect_refusal("{\"i8\":1,\n\"u8\":}", "not JSON: parse error at line 2, column 6");
  expect_refusal("", "line 1, column 1");
  for (const char* text : {"{\"i8\":1} {}", "{\"i8\":1,}", "{i8:1}", "{\"i8\":01}", "{\"i8\":+1}", "{\"i8\":1 /**/}", "{\"real\":nan}",
                           "{\"real\":1e400}", "{\"real\":sin(1)}", "{\"text\":'a'}", "{\"text\":\"\\x41\"}", "{\"text\":\"\\ud800\"}"}) {
    expect_refusal(text, "not JSON");
  }
  expect_refusal(std::string_view("{}\0{}", 5), "not JSON");
}

TEST(PayloadJson, RefusesANameThatOccursTwice) {
  expect_refusal(R"({"i8":1,"i8":2})", "'i8' occurs twice");
  EXPECT_EQ(refusal(R"({"leaves":[{"name":"a"},{"name":"a"}],"leaf":{"name":"a"}})"), "accepted");
}

std::string nested(std::size_t tables) {
  std::string text = "{}";
  for (std::size_t i = 1; i < tables; ++i) text = "{\"next\":" + text + "}";
  return text;
}

TEST(PayloadJson, TakesAsManyLevelsAsTheBrokerAndNotOneMore) {
  const auto payload = codec().encode(nested(limits::verifier_depth_max));
  ASSERT_TRUE(payload.ok()) << payload.error().detail;
  EXPECT_TRUE(codec().decode(*payload).ok());
  expect_refusal(nested(limits::verifier_depth_max + 1), "more than 16 tables deep");
  expect_refusal("{\"texts\":" + std::string(100'000, '[') + "}", "nested deeper than 64 levels");
}

TEST(PayloadJson, TakesAsManyTablesAsTheBrokerAndNotOneMore) {
  const auto with_leaves = [](std::size_t count) {
    std::string text = "{\"leaves\":[{\"name\":\"a\"}";
    for (std::size_t i = 1; i < count; ++i) text += ",{\"name\":\"a\"}";
    return text + "]}";
  };
  EXPECT_EQ(refusal(with_leaves(limits::verifier_tables_max - 1)), "accepted");
  expect_refusal(with_leaves(limits::verifier_tables_max), "more than 1024 tables");
}

TEST(PayloadJson, TakesPayloadsUpToOneEventAndNotBeyond) {
  const auto of_size = [](std::size_t size) { return "{\"text\":\"" + std::string(size, 'x') + "\"}"; };
  EXPECT_EQ(refusal(of_size(limits::event_bytes_max - 64)), "accepted");
  EXPECT_EQ(refusal(of_size(limits::event_bytes_max)).find("event_too_large"), 0u);
  EXPECT_EQ(refusal(std::string(json_bytes_max + 1, ' ')).find("event_too_large"), 0u);
}

TEST(PayloadJson, RefusesToUnfoldAPayloadThatRefersToOneTextManyTimes) {
  flatbuffers::FlatBufferBuilder builder;
  const std::vector<flatbuffers::Offset<flatbuffers::String>> texts(1000, builder.CreateString(std::string(100'000, 'x')));
  const auto vector = builder.CreateVector(texts);
  const auto start = builder.StartTable();
  builder.AddOffset(4 + 2 * 22, vector);  // texts
  builder.Finish(flatbuffers::Offset<void>(builder.EndTable(start)));
  const auto text = codec().decode({builder.GetBufferPointer(), builder.GetSize()});
  ASSERT_FALSE(text.ok());
  EXPECT_EQ(text.error().code, Code::event_too_large);
}

TEST(PayloadJson, ReadsPayloadsAtAnyAddress) {
  const auto json = codec();
  const auto payload = json.encode(R"({"real":2.5,"text":"a"})").value();
  std::vector<std::uint8_t> shifted(payload.size() + 8);
  for (std::size_t shift = 0; shift < 8; ++shift) {
    std::copy(payload.begin(), payload.end(), shifted.begin() + static_cast<std::ptrdiff_t>(shift));
    EXPECT_EQ(json.decode({shifted.data() + shift, payload.size()}).value(), json.decode(payload).value());
  }
}

// Bytes on the heap without a byte to spare, so that a sanitizer sees every read beyond them.
std::unique_ptr<std::uint8_t[]> exactly(const std::vector<std::uint8_t>& bytes, std::size_t size) {
  auto copy = std::make_unique<std::uint8_t[]>(size);
  std::copy_n(bytes.begin(), size, copy.get());
  return copy;
}

const std::string full_text =
    R"({"text":"abc","leaf":{"name":"n"},"i64":5,"reals":[1,2],"texts":["a","b"],"leaves":[{"name":"x"}],)"
    R"("pairs":[{"a":{"x":1,"grid":[0,0,0],"flag":false,"at":-1},"b":1}],"choice_type":"Leaf","choice":{"name":"c"}})";

TEST(PayloadJson, RefusesPayloadsThatAreCutShort) {
  const auto json = codec();
  const auto payload = json.encode(full_text).value();
  ASSERT_TRUE(json.decode(payload).ok());
  for (std::size_t size = 0; size < 64; ++size) EXPECT_FALSE(json.decode({exactly(payload, size).get(), size}).ok()) << size;
  for (std::size_t size = 64; size < payload.size(); ++size) {
    const auto cut = exactly(payload, size);
    const auto text = json.decode({cut.get(), size});
    EXPECT_TRUE(text.ok() || text.error().code == Code::bad_payload) << size;
  }
}

TEST(PayloadJson, StaysWithinPayloadsThatAreDamaged) {
  const auto json = codec();
  const auto payload = json.encode(full_text).value();
  std::size_t refused = 0;
  for (std::size_t bit = 0; bit < 8 * payload.size(); ++bit) {
    auto damaged = exactly(payload, payload.size());
    damaged[bit / 8] = static_cast<std::uint8_t>(damaged[bit / 8] ^ (1u << bit % 8));
    const auto text = json.decode({damaged.get(), payload.size()});
    EXPECT_TRUE(text.ok() || text.error().code == Code::bad_payload) << bit;
    refused += text.ok() ? 0 : 1;
  }
  EXPECT_GT(refused, payload.size());  // an eighth of all damage at the least
}

TEST(PayloadJson, RefusesAPayloadWhoseTablesShareOneLongVector) {
  flatbuffers::FlatBufferBuilder builder;
  const std::vector<flatbuffers::Offset<flatbuffers::String>> texts(20'000, builder.CreateString("x"));
  const auto vector = builder.CreateVector(texts);
  flatbuffers::Offset<void> table;
  for (int depth = 0; depth < 14; ++depth) {
    const auto start = builder.StartTable();
    builder.AddOffset(4 + 2 * 22, vector);  // texts
    builder.AddOffset(4 + 2 * 30, table);   // next
    table = builder.EndTable(start);
  }
  builder.Finish(table);
  EXPECT_FALSE(codec().decode({builder.GetBufferPointer(), builder.GetSize()}).ok());
}

TEST(PayloadJson, GoesOnAfterARefusal) {
  const auto json = codec();
  const auto before = round(json, R"({"leaf":{"name":"a"}})");
  EXPECT_FALSE(json.encode(R"({"leaves":[{"name":"x"},{"name":5}]})").ok());
  EXPECT_EQ(round(json, R"({"leaf":{"name":"a"}})"), before);
}

TEST(PayloadJson, RefusesSchemasItCannotUse) {
  const auto code_of = [](const std::string& bfbs, const char* type) {
    const auto json = PayloadJson::open(bytes_of(bfbs), type);
    return json ? Code::ok : json.error().code;
  };
  const auto bfbs = bfbs_of(everything);
  EXPECT_EQ(code_of("not a schema at all", "test.All"), Code::bad_format);
  EXPECT_EQ(code_of(bfbs.substr(0, bfbs.size() / 2), "test.All"), Code::bad_format);
  EXPECT_EQ(code_of(bfbs, "test.None"), Code::unknown_type);
  EXPECT_EQ(code_of(bfbs, "test.Point"), Code::unknown_type);  // a struct is no root
  EXPECT_EQ(code_of(bfbs, "All"), Code::unknown_type);
  EXPECT_EQ(code_of(bfbs_of("table A { x: int; } union U { A } table B { us: [U]; } root_type B;"), "B"), Code::bad_format);
}

// ---- the platform's own types

const std::filesystem::path source = BUS_SOURCE_DIR;

// The schema and the full name of the table that an example is named after.
struct Home {
  std::string schema;
  std::string type;
};

Home home_of(const std::string& table) {
  for (const auto* family : {"saga", "health", "diagnosis", "realtime"}) {
    const auto schema = test::file_text(source / "schemas" / ("suoke_" + std::string(family) + ".fbs"));
    if (schema.find("table " + table + " {") != std::string::npos) return {schema, "suoke." + std::string(family) + "." + table};
  }
  ADD_FAILURE() << "no schema has " << table;
  return {};
}

TEST(PayloadExamples, ReadTheSameThroughTheParserOfFlatbuffers) {
  std::size_t count = 0;
  for (const auto& entry : std::filesystem::directory_iterator(source / "examples/payloads")) {
    const auto home = home_of(entry.path().stem().string());
    const auto text = test::file_text(entry.path());
    const auto json = PayloadJson::open(bytes_of(bfbs_of(home.schema)), home.type).value();
    flatbuffers::Parser parser;
    ASSERT_TRUE(parser.Parse(home.schema.c_str()) && parser.SetRootType(home.type.c_str())) << parser.error_;
    ASSERT_TRUE(parser.ParseJson(text.c_str())) << entry.path() << parser.error_;
    const auto ours = json.encode(text);
    ASSERT_TRUE(ours.ok()) << entry.path() << describe(ours.error());
    const auto decoded = json.decode(*ours).value();
    EXPECT_EQ(decoded, json.decode({parser.builder_.GetBufferPointer(), parser.builder_.GetSize()}).value());
    EXPECT_EQ(round(json, decoded), decoded);
    EXPECT_EQ(ours->size(), parser.builder_.GetSize()) << entry.path();
    ++count;
  }
  EXPECT_EQ(count, 14u);
}

}  // namespace
}  // namespace bus::tools
