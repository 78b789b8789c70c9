// Goal: the rules are true of payloads. What is called harmless in a direction verifies and keeps every common value and its
// name; what harms names keeps every value; what harms data is refused, or read as something else.
// Method: random payloads (the seed is printed) written with one schema of each pair, verified as the broker does and read with
// the other, by reflection. Rules that no such payload can show have a test of their own below.
#include <gtest/gtest.h>

#include <algorithm>
#include <iostream>
#include <set>

#include "broker/core/payload_types.hpp"
#include "schema_cases.hpp"
#include "tests/support/payload_reading.hpp"
#include "tests/support/random_payload.hpp"
#include "tests/support/schemas.hpp"

namespace bus::broker {
namespace {

using test::PayloadReader;
using test::RandomPayload;
using test::Reading;
using test::schema_cases;
using test::SchemaCase;
using test::SchemaText;

constexpr int payloads_per_pair = 200;

std::uint64_t seed() {
  static const std::uint64_t chosen = [] {
    const char* given = std::getenv("BUS_TEST_SEED");
    const std::uint64_t value = given != nullptr ? std::stoull(given) : std::random_device{}();
    std::cout << "seed " << value << " (BUS_TEST_SEED)" << std::endl;
    return value;
  }();
  return chosen;
}

const reflection::Object* root_of(const SchemaText& schema) {
  for (const auto* object : *(*schema).objects()) {
    if (object->name()->string_view() == "T" && !object->is_struct()) return object;
  }
  return nullptr;
}

Buffer write(SchemaText& schema, std::mt19937_64& random) {
  const auto json = RandomPayload(*schema, random).table(*root_of(schema));
  EXPECT_TRUE(schema.parser().ParseJson(json.c_str())) << schema.parser().error_ << json;
  const auto& builder = schema.parser().builder_;
  return copy_of(Bytes(builder.GetBufferPointer(), builder.GetSize()));
}

// One side that takes payloads in: as the broker verifies them, and by the identifier, as generated code does.
class Receiver {
 public:
  explicit Receiver(const SchemaText& schema) : schema_(schema) {
    EXPECT_TRUE(types_.add(std::string(text_of(schema.bfbs())), "T.bfbs").ok());
  }
  bool takes(const Buffer& payload) const {
    const auto* identifier = (*schema_).file_ident();
    const bool known = identifier == nullptr || identifier->size() == 0 || flatbuffers::BufferHasIdentifier(payload.data(), identifier->c_str());
    return known && types_.verify("T", payload).ok();
  }

 private:
  const SchemaText& schema_;
  PayloadTypes types_;
};

// The number of a name in an enum; none if it does not have it.
std::optional<std::int64_t> number_of(const reflection::Enum* names, const std::string& name) {
  if (names == nullptr) return std::nullopt;
  for (const auto* value : *names->values()) {
    if (value->name()->str() == name) return value->value();
  }
  return std::nullopt;
}

// What becomes of the values that both sides know of.
Harm harm_between(const Reading& written, const Reading& read) {
  std::map<std::string, std::string> by_name;
  for (const auto& [slots, value] : read) by_name.emplace(value.names, value.bytes);
  Harm harm = Harm::none;
  for (const auto& [slots, value] : written) {
    if (const auto same = by_name.find(value.names); same != by_name.end() && same->second != value.bytes) return Harm::data;
    const auto found = read.find(slots);
    if (found == read.end()) continue;
    if (found->second.bytes != value.bytes) return Harm::data;
    if (value.enumeration != nullptr && found->second.text != value.text && number_of(found->second.enumeration, value.text)) return Harm::data;
    if (found->second.names != value.names || found->second.text != value.text) harm = Harm::names;
  }
  return harm;
}

struct Outcome {
  int refused = 0;
  int misread = 0;
  int misnamed = 0;
  Harm harm() const { return refused + misread > 0 ? Harm::data : misnamed > 0 ? Harm::names : Harm::none; }
};

Outcome exchange(SchemaText& writer, const SchemaText& reader, std::uint64_t salt) {
  Outcome outcome;
  if (root_of(writer) == nullptr) return {1, 0, 0};
  std::mt19937_64 random(seed() + salt);
  const Receiver receiver(reader);
  for (int round = 0; round < payloads_per_pair; ++round) {
    const auto payload = write(writer, random);
    if (!receiver.takes(payload)) {
      ++outcome.refused;
      continue;
    }
    const auto written = PayloadReader(*writer).read(*root_of(writer), payload.data());
    const auto harm = harm_between(written, PayloadReader(*reader).read(*root_of(reader), payload.data()));
    outcome.misread += harm == Harm::data;
    outcome.misnamed += harm == Harm::names;
  }
  return outcome;
}

// What no random payload shows.
bool is_shown_elsewhere(const SchemaCase& each) {
  const bool by_attribute = each.rule == Rule::key_changed || each.rule == Rule::hash_changed || each.rule == Rule::nested_flatbuffer_changed ||
                            each.rule == Rule::flexbuffer_changed || each.rule == Rule::vector_alignment_changed || each.rule == Rule::bit_flags_changed;
  const bool default_text = each.rule == Rule::default_changed && each.after.find('"') != std::string::npos;  // not in a reflection schema
  const bool undeprecated = each.rule == Rule::deprecation_removed || each.rule == Rule::deprecated_field;
  return by_attribute || default_text || (undeprecated && each.harms != Harms{});  // the JSON parser demands the field
}

// Harm::later is about a next version, not about payloads of these two.
Harm worst(const std::vector<SchemaChange>& changes, Harm Harms::*direction) {
  Harm harm = Harm::none;
  for (const auto& change : changes) {
    if (change.harms.*direction != Harm::later) harm = std::max(harm, change.harms.*direction);
  }
  return harm;
}

// Every harm that the comparison promises shows, and none that it does not.
void expect_true_of_payloads(const std::string& before, const std::string& after, std::uint64_t salt) {
  SCOPED_TRACE(before + "  ->  " + after);
  SchemaText old_schema(before), new_schema(after);
  const auto changes = *diff_schemas(*old_schema, *new_schema, "T");
  const auto forth = exchange(old_schema, new_schema, salt), back = exchange(new_schema, old_schema, salt);
  EXPECT_EQ(name_of(forth.harm()), name_of(worst(changes, &Harms::backward))) << forth.refused << " refused, " << forth.misread << " misread";
  EXPECT_EQ(name_of(back.harm()), name_of(worst(changes, &Harms::forward))) << back.refused << " refused, " << back.misread << " misread";
}

TEST(SchemaPayloads, ProveEveryRuleInBothDirections) {
  std::uint64_t salt = 0;
  int proved = 0;
  for (const auto& each : schema_cases()) {
    if (is_shown_elsewhere(each)) continue;
    expect_true_of_payloads(each.before, each.after, ++salt);
    ++proved;
  }
  EXPECT_GE(proved, 55);
}

// A schema with something of everything, and changes to it by name, so that they can be combined.
struct Edit {
  const char* from;
  const char* to;
};

const std::string rich = R"(
enum Unit:ubyte { none, bpm, kg }
enum Level:short { low = -1, middle = 0, high = 7 }
union Choice { Leaf, Branch, Text: string, Box }
struct Point { x:float; y:double; kind:ubyte; }
struct Box { corners:[Point:2]; tag:ushort; }
table Leaf { id:int (id: 0); label:string (id: 1); unit:Unit = bpm (id: 2); level:Level (id: 3); }
table Branch { leaves:[Leaf] (id: 0); up:Branch (id: 1); box:Box (id: 2); choice:Choice (id: 4); }
table T { branch:Branch (id: 0); points:[Point] (id: 1); choice:Choice (id: 3); name:string (required, id: 4); ratio:double = 0.5 (id: 5);
  maybe:long = null (id: 6); flags:[bool] (id: 7); texts:[string] (id: 8); levels:[Level] (id: 9); big:ulong (id: 10); on:bool = true (id: 11); }
root_type T;)";

constexpr Edit edits[] = {
    {"{ none, bpm, kg }", "{ none, bpm, kg, lb }"},
    {"{ none, bpm, kg }", "{ none, bpm, kilograms }"},
    {"{ none, bpm, kg }", "{ none, kg, bpm }"},
    {"high = 7", "high = 8"},
    {"Level:short", "Level:int"},
    {"kind:ubyte; }", "kind:byte; }"},
    {"kind:ubyte; }", "kind:ubyte; more:double; }"},
    {"level:Level (id: 3);", "level:Level (id: 3); extra:[Leaf] (id: 4);"},
    {"level:Level (id: 3);", "level:Level = high (id: 3);"},
    {"label:string (id: 1);", "label:string (id: 1, required);"},
    {"label:string (id: 1);", "label:string (id: 1, deprecated);"},
    {"label:string (id: 1);", "title:string (id: 1);"},
    {"label:string (id: 1);", "label:[ubyte] (id: 1);"},
    {"= bpm (id: 2)", "= none (id: 2)"},
    {"id:int (id: 0)", "id:long (id: 0)"},
    {"id:int (id: 0)", "id:int = null (id: 0)"},
    {"up:Branch (id: 1);", "up:Leaf (id: 1);"},
    {"Text: string, Box }", "Text: string, Box, Again: Leaf }"},
    {"Text: string, Box }", "Text: string }"},
    {"{ Leaf, Branch, Text", "{ Branch, Leaf, Text"},
    {"name:string (required,", "name:string ("},
    {"ratio:double = 0.5", "ratio:float = 0.5"},
    {"flags:[bool]", "flags:[ubyte]"},
    {"texts:[string]", "texts:[Leaf]"},
    {"big:ulong (id: 10)", "big:long (id: 10)"},
    {"on:bool = true (id: 11);", "on:bool = true (id: 11); next:Branch (id: 12);"},
    {"on:bool = true (id: 11); }", "}"},
};

std::string edited(std::string text, const Edit& edit) {
  const auto at = text.find(edit.from);
  const bool is_done = std::string_view(edit.to).find(edit.from) != std::string::npos && text.find(edit.to) != std::string::npos;
  return at == std::string::npos || is_done ? text : text.replace(at, std::string(edit.from).size(), edit.to);
}

TEST(SchemaPayloads, ProveEveryEditOfARichSchema) {
  std::uint64_t salt = 1'000;
  for (const auto& edit : edits) {
    ASSERT_NE(edited(rich, edit), rich) << edit.from;
    expect_true_of_payloads(rich, edited(rich, edit), ++salt);
  }
}

// In combination an edit may hide another: nobody writes a field that is deprecated. But no payload fares worse than promised.
TEST(SchemaPayloads, FareNoWorseThanPromisedWithSeveralEdits) {
  std::mt19937_64 random(seed());
  for (int round = 0; round < 60; ++round) {
    auto before = rich, after = rich;
    for (int at = 0; at < 3; ++at) {
      before = edited(before, edits[random() % std::size(edits)]);
      after = edited(after, edits[random() % std::size(edits)]);
    }
    SCOPED_TRACE(before + "  ->  " + after);
    SchemaText old_schema(before), new_schema(after);
    const auto changes = *diff_schemas(*old_schema, *new_schema, "T");
    EXPECT_LE(exchange(old_schema, new_schema, random()).harm(), worst(changes, &Harms::backward));
    EXPECT_LE(exchange(new_schema, old_schema, random()).harm(), worst(changes, &Harms::forward));
  }
}

TEST(SchemaPayloads, ProveAllHarmlessEditsAtOnce) {
  for (const auto direction : {&Harms::backward, &Harms::forward}) {
    auto after = rich;
    int applied = 0;
    for (const auto& edit : edits) {
      const auto next = edited(after, edit);
      SchemaText old_schema(rich), new_schema(next);
      if (next == after || worst(*diff_schemas(*old_schema, *new_schema, "T"), direction) != Harm::none) continue;
      after = next;
      ++applied;
    }
    EXPECT_GE(applied, 4);
    SchemaText old_schema(rich), new_schema(after);
    const bool forth = direction == &Harms::backward;
    const auto outcome = forth ? exchange(old_schema, new_schema, 2) : exchange(new_schema, old_schema, 3);
    EXPECT_EQ(outcome.harm(), Harm::none) << after;
  }
}

// Not by a payload alone: the version after next.
TEST(SchemaPayloads, ShowWhatARemovedFieldDoesLater) {
  SchemaText first("table T { a:int; x:uint; } root_type T;"), reused("table T { a:int; y:uint; } root_type T;");
  const auto outcome = exchange(first, reused, 1);
  EXPECT_EQ(outcome.refused + outcome.misread, 0) << "nothing can tell";
  EXPECT_GT(outcome.misnamed, 0) << "the old x is read as y";
}

// Generated verifiers let an unknown member pass; the broker's does not. What a union harms is said for the broker.
TEST(SchemaPayloads, AreRefusedWithAnUnknownMemberOfAUnion) {
  SchemaText one("table A { i:int; } table B { j:int; } union U { A } table T { x:U (required); } root_type T;");
  SchemaText two("table A { i:int; } table B { j:int; } union U { A, B } table T { x:U (required); } root_type T;");
  ASSERT_TRUE(two.parser().ParseJson(R"({"x_type": "B", "x": {"j": 1}})")) << two.parser().error_;
  const auto& builder = two.parser().builder_;
  const auto payload = copy_of(Bytes(builder.GetBufferPointer(), builder.GetSize()));
  EXPECT_TRUE(Receiver(two).takes(payload));
  EXPECT_FALSE(Receiver(one).takes(payload));
}

std::vector<int> keys_of(SchemaText& schema, const reflection::Schema& reader) {
  EXPECT_TRUE(schema.parser().ParseJson(R"({"x": [{"a": 3, "b": 1}, {"a": 1, "b": 2}, {"a": 2, "b": 3}]})")) << schema.parser().error_;
  const auto reading = PayloadReader(reader).read(*root_of(schema), schema.parser().builder_.GetBufferPointer());
  std::vector<int> keys;
  for (const auto& [slots, value] : reading) {
    if (value.names.ends_with(".a.")) keys.push_back(std::stoi(value.bytes));
  }
  return keys;
}

TEST(SchemaPayloads, AreSortedByTheKeyOfTheirWriterOnly) {
  SchemaText without("table K { a:int; b:int; } table T { x:[K]; } root_type T;");
  SchemaText by_a("table K { a:int (key); b:int; } table T { x:[K]; } root_type T;");
  SchemaText by_b("table K { a:int; b:int (key); } table T { x:[K]; } root_type T;");
  const auto searchable = [](const std::vector<int>& keys) { return std::is_sorted(keys.begin(), keys.end()); };
  EXPECT_TRUE(searchable(keys_of(by_a, *by_a)));
  EXPECT_FALSE(searchable(keys_of(without, *without))) << "a reader that has the key finds nothing in it";
  EXPECT_FALSE(searchable(keys_of(by_b, *by_b)));
}

TEST(SchemaPayloads, AreHashedFromTheirNamesByTheSchema) {
  const std::string json = R"({"x": "somebody"})";
  const auto value = [&](const std::string& attribute) {
    SchemaText schema("table T { x:uint" + attribute + "; } root_type T;");
    if (!schema.parser().ParseJson(json.c_str())) return std::string("refused");
    return PayloadReader(*schema).read(*root_of(schema), schema.parser().builder_.GetBufferPointer()).at("4/").bytes;
  };
  EXPECT_EQ(value(""), "refused");
  EXPECT_NE(value(" (hash: \"fnv1_32\")"), value(" (hash: \"fnv1a_32\")"));
}

// The broker takes no nested buffers; a verifier that knows of one looks into it, and bytes that are none do not pass.
TEST(SchemaPayloads, AreNotNestedBuffersByChance) {
  SchemaText schema("table I { i:string; } table T { x:[ubyte]; } root_type T;");
  ASSERT_TRUE(schema.parser().ParseJson(R"({"x": [255, 255, 255, 255, 1, 2, 3, 4]})"));
  const auto* table = flatbuffers::GetAnyRoot(schema.parser().builder_.GetBufferPointer());
  const auto& bytes = *table->GetPointer<const flatbuffers::Vector<std::uint8_t>*>(4);
  const auto* inner = (*schema).objects()->LookupByKey("I");
  EXPECT_FALSE(flatbuffers::Verify(*schema, *inner, bytes.data(), bytes.size()));
}

TEST(SchemaPayloads, ShowSeveralFlagsByNameOnlyWithBitFlags) {
  const auto text = [](const std::string& declared) {
    SchemaText schema("enum E:ubyte " + declared + " table T { x:E = a; } root_type T;");
    EXPECT_TRUE(schema.parser().ParseJson(R"({"x": 3})")) << schema.parser().error_;
    std::string json;
    EXPECT_TRUE(flatbuffers::GenerateText(schema.parser(), schema.parser().builder_.GetBufferPointer(), &json));
    return json;
  };
  EXPECT_NE(text("(bit_flags) { a, b }").find("a b"), std::string::npos);
  EXPECT_EQ(text("{ a = 1, b = 2 }").find("a b"), std::string::npos);
}

}  // namespace
}  // namespace bus::broker
