// Goal: a schema that no compiler writes, and by which a payload would be read outside its bytes or without end, is refused: by the broker
// when it is registered, and by the tools whoever gives it to them.
// Method: schemas made by hand, each with one thing wrong; both have to say so, and both take the sound ones.
#include <flatbuffers/reflection.h>
#include <gtest/gtest.h>

#include <functional>
#include <optional>

#include "base/limits.hpp"
#include "broker/core/event_schema.hpp"
#include "tools/payload_json.hpp"
#include "tools/payload_schema.hpp"

namespace bus::tools {
namespace {

using reflection::BaseType;
using Builder = flatbuffers::FlatBufferBuilder;

struct CraftedField {
  BaseType base = reflection::Int;
  BaseType element = reflection::None;
  int index = -1;
  std::uint16_t length = 0;
  std::uint16_t offset = 0;
};

struct CraftedObject {
  std::vector<CraftedField> fields = {{}};
  int bytes = 4;
  bool is_struct = true;
};

flatbuffers::Offset<reflection::Object> build(Builder& builder, const std::string& name, const CraftedObject& object) {
  std::vector<flatbuffers::Offset<reflection::Field>> fields;
  for (std::size_t at = 0; at < object.fields.size(); ++at) {
    const CraftedField& field = object.fields[at];
    const auto type = reflection::CreateType(builder, field.base, field.element, field.index, field.length);
    fields.push_back(reflection::CreateField(builder, builder.CreateString("f" + std::to_string(at)), type, static_cast<std::uint16_t>(at), field.offset));
  }
  return reflection::CreateObject(builder, builder.CreateString(name), builder.CreateVector(fields), object.is_struct, 1, object.bytes);
}

// Objects are S0, S1, …, and table T, which is an event type with a field for each, or with `fields`.
Buffer schema_of(const std::vector<CraftedObject>& objects, std::vector<CraftedField> fields = {}) {
  Builder builder;
  std::vector<flatbuffers::Offset<reflection::Object>> built;
  for (std::size_t at = 0; at < objects.size(); ++at) built.push_back(build(builder, "S" + std::to_string(at), objects[at]));
  const bool has_fields = !fields.empty();
  for (std::size_t at = 0; at < objects.size() && !has_fields; ++at) {
    fields.push_back({.base = reflection::Obj, .index = static_cast<int>(at), .offset = static_cast<std::uint16_t>(4 + 2 * at)});
  }
  built.push_back(build(builder, "T", {.fields = fields, .bytes = 0, .is_struct = false}));
  const auto all = builder.CreateVector(built);
  const auto enums = builder.CreateVector(std::vector<flatbuffers::Offset<reflection::Enum>>());
  builder.Finish(reflection::CreateSchema(builder, all, enums, 0, 0, built.back()), reflection::SchemaIdentifier());
  return copy_of({builder.GetBufferPointer(), builder.GetSize()});
}

void expect_both(const Buffer& schema, Code code, const std::string& what) {
  const auto broker = broker::EventSchema::open(schema, "crafted");
  const auto tools = PayloadSchema::open(schema, "T");
  EXPECT_EQ(broker ? Code::ok : broker.error().code, code) << what;
  EXPECT_EQ(tools ? Code::ok : tools.error().code, code) << what;
}

constexpr CraftedField an_int(std::uint16_t offset) { return {.offset = offset}; }
constexpr CraftedField inner(int index, std::uint16_t offset = 0) { return {.base = reflection::Obj, .index = index, .offset = offset}; }
constexpr CraftedField array(BaseType element, std::uint16_t length, int index = -1) { return {.base = reflection::Array, .element = element, .index = index, .length = length}; }

TEST(CraftedSchema, FieldsOfAStructLieInside) {
  const auto one = [](const CraftedField& field, int bytes = 8) { return schema_of({{.fields = {field}, .bytes = bytes}}); };
  expect_both(one(an_int(4)), Code::ok, "at the end");
  expect_both(one(an_int(5)), Code::bad_format, "beyond the end");
  expect_both(one(an_int(0xffff)), Code::bad_format, "far beyond the end");
  expect_both(one(array(reflection::Short, 4)), Code::ok, "an array of all bytes");
  expect_both(one(array(reflection::Short, 5)), Code::bad_format, "an array of more");
  expect_both(one(array(reflection::Short, 0)), Code::bad_format, "an array of nothing");
  expect_both(one(an_int(0), 0), Code::bad_format, "no bytes");
  expect_both(one(an_int(0), -1), Code::bad_format, "fewer than none");
  expect_both(one(an_int(0), 0x10000), Code::bad_format, "more than an offset has");
  expect_both(schema_of({{.fields = {an_int(0), an_int(2)}, .bytes = 8}}), Code::ok, "they may share bytes");
}

TEST(CraftedSchema, StructsInAStructLieInside) {
  const CraftedObject eight{.fields = {an_int(4)}, .bytes = 8};
  expect_both(schema_of({eight, {.fields = {inner(0, 8)}, .bytes = 16}}), Code::ok, "at the end");
  expect_both(schema_of({eight, {.fields = {inner(0, 9)}, .bytes = 16}}), Code::bad_format, "beyond the end");
  expect_both(schema_of({eight, {.fields = {array(reflection::Obj, 2, 0)}, .bytes = 16}}), Code::ok, "two of them");
  expect_both(schema_of({eight, {.fields = {array(reflection::Obj, 3, 0)}, .bytes = 16}}), Code::bad_format, "three of them");
  // Their sum, in 64 bits, is small.
  expect_both(schema_of({{.fields = {an_int(60'000)}, .bytes = -1}, {.fields = {inner(0, 4)}, .bytes = 8}}), Code::bad_format, "of fewer bytes than none");
}

TEST(CraftedSchema, AStructHasNothingThatLiesElsewhere) {
  const auto one = [](const CraftedField& field) { return schema_of({{.fields = {field}, .bytes = 8}}); };
  expect_both(one({.base = reflection::String}), Code::bad_format, "a string");
  expect_both(one({.base = reflection::Vector, .element = reflection::Int}), Code::bad_format, "a vector");
  expect_both(one(array(reflection::String, 1)), Code::bad_format, "an array of strings");
  expect_both(one(array(reflection::Vector, 1)), Code::bad_format, "an array of vectors");
  expect_both(one(inner(1)), Code::bad_format, "the table");
  expect_both(one(inner(2)), Code::bad_format, "what is not there");
}

TEST(CraftedSchema, StructsLieSoDeepInEachOtherAndNotInThemselves) {
  const auto nested = [](std::size_t depth) {
    std::vector<CraftedObject> structs{{}};
    for (int at = 1; at < static_cast<int>(depth); ++at) structs.push_back({.fields = {inner(at - 1)}});
    return schema_of(structs);
  };
  expect_both(nested(limits::struct_depth_max), Code::ok, "as deep as they may");
  expect_both(nested(limits::struct_depth_max + 1), Code::bad_format, "deeper");
  expect_both(schema_of({{.fields = {inner(0)}}}), Code::bad_format, "in itself");
  expect_both(schema_of({{.fields = {inner(1)}}, {.fields = {inner(0)}}}), Code::bad_format, "in each other");
  expect_both(schema_of({{.fields = {array(reflection::Obj, 1, 0)}}}), Code::bad_format, "as an array of itself");
}

TEST(CraftedSchema, FieldsOfATableHaveAPlaceAndAKind) {
  const auto one = [](const CraftedField& field) { return schema_of({}, {field}); };
  expect_both(one(an_int(4)), Code::ok, "the first place");
  expect_both(one(an_int(0)), Code::bad_format, "where the vtable has its sizes");
  expect_both(one(an_int(5)), Code::bad_format, "between two places");
  const auto of = [](BaseType base, BaseType element = reflection::None, int index = -1) { return CraftedField{.base = base, .element = element, .index = index, .offset = 4}; };
  expect_both(one(of(reflection::None)), Code::bad_format, "of no kind");
  expect_both(one(of(reflection::MaxBaseType)), Code::bad_format, "of a kind that is not known");
  expect_both(one(of(reflection::Array, reflection::Int)), Code::bad_format, "an array");
  expect_both(one(of(reflection::Vector, reflection::Vector)), Code::bad_format, "a vector of vectors");
  expect_both(one(of(reflection::Vector, reflection::None)), Code::bad_format, "a vector of nothing");
  expect_both(one(of(reflection::Obj, reflection::None, -2)), Code::bad_format, "a table that is not there");
  expect_both(one(of(reflection::Union, reflection::None, 0)), Code::bad_format, "a union that is not there");
}

// Sixteen fields of a struct share the bytes of another, and so on: its text would have more than 10^18 bytes.
TEST(CraftedSchema, FieldsThatShareTheirBytesDoNotMakeATextWithoutEnd) {
  std::vector<CraftedObject> structs{{}};
  for (int at = 1; at < 16; ++at) structs.push_back({.fields = std::vector<CraftedField>(16, inner(at - 1))});
  const auto json = PayloadJson::open(schema_of(structs, {{.base = reflection::Obj, .index = 15, .offset = 4}}), "T");
  ASSERT_TRUE(json.ok()) << json.error().detail;
  Builder builder;
  const auto begun = builder.StartTable();
  builder.AddStruct(4, &begun);
  builder.Finish(flatbuffers::Offset<void>(builder.EndTable(begun)));
  const auto text = json->decode({builder.GetBufferPointer(), builder.GetSize()});
  ASSERT_FALSE(text.ok());
  EXPECT_EQ(text.error().code, Code::event_too_large);
}

}  // namespace
}  // namespace bus::tools
