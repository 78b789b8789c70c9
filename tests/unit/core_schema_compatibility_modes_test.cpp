// Goal: each mode protects the readers it names, against the versions it names; comparing ends, and is bounded.
// Method: histories of small schemas; tables that contain each other; more work than the limit; the schemas of the project.
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <sstream>

#include "base/limits.hpp"
#include "broker/core/builtin_types.hpp"
#include "broker/core/schema_compatibility.hpp"
#include "tests/support/schemas.hpp"

namespace bus::broker {
namespace {

using test::SchemaText;
using enum Compatibility;

constexpr Compatibility all_modes[] = {none, backward, forward, full, backward_transitive, forward_transitive, full_transitive};

std::vector<Breach> check(const std::vector<std::string>& history, const std::string& next, Compatibility mode) {
  std::vector<SchemaText> versions;
  std::vector<const reflection::Schema*> pointers;
  for (const auto& text : history) versions.emplace_back(text);
  for (const auto& version : versions) pointers.push_back(version.get());
  const SchemaText newest(next);
  std::size_t left = limits::schema_comparisons_max;
  auto breaches = check_compatibility(pointers, *newest, "T", mode, left);
  EXPECT_TRUE(breaches.ok());
  return *breaches;
}

bool passes(const std::vector<std::string>& history, const std::string& next, Compatibility mode) { return check(history, next, mode).empty(); }

std::string table(const std::string& fields) { return "table T { " + fields + " } root_type T;"; }

TEST(CompatibilityModes, HaveNamesBothWays) {
  for (const auto mode : all_modes) EXPECT_EQ(compatibility_named(name_of(mode)), mode);
  EXPECT_EQ(name_of(full_transitive), "full_transitive");
  EXPECT_EQ(compatibility_named("Backward"), std::nullopt);
  EXPECT_EQ(compatibility_named(""), std::nullopt);
}

TEST(CompatibilityModes, ProtectTheReadersTheyName) {
  const auto plain = table("x:string;"), demanding = table("x:string (required);");
  for (const auto mode : all_modes) {
    const bool to_new = mode != none && mode != forward && mode != forward_transitive;
    const bool to_old = mode != none && mode != backward && mode != backward_transitive;
    EXPECT_EQ(passes({plain}, demanding, mode), !to_new) << name_of(mode);
    EXPECT_EQ(passes({demanding}, plain, mode), !to_old) << name_of(mode);
    EXPECT_TRUE(passes({plain}, plain, mode)) << name_of(mode);
    EXPECT_TRUE(passes({}, plain, mode)) << name_of(mode);
  }
}

TEST(CompatibilityModes, LookAtTheLastVersionOnlyUnlessTransitive) {
  const auto required = table("x:string (required);"), optional = table("x:string;");
  // Backward: required, then optional, is fine each time; required again is not, to the one before it.
  EXPECT_FALSE(passes({required, optional}, required, backward));
  EXPECT_FALSE(passes({required, optional}, required, backward_transitive));
  EXPECT_TRUE(passes({optional, required}, required, backward));
  EXPECT_FALSE(passes({optional, required}, required, backward_transitive));
  EXPECT_TRUE(passes({required, optional}, optional, forward));
  EXPECT_FALSE(passes({required, optional}, optional, forward_transitive));
  EXPECT_TRUE(passes({optional, required}, required, full));
  EXPECT_FALSE(passes({optional, required}, required, full_transitive));
  EXPECT_TRUE(passes({optional, required}, optional, none));
}

TEST(CompatibilityModes, NameTheLatestVersionThatAChangeBreaksOnce) {
  const auto was = table("x:int;"), is = table("x:long;");
  const auto same = check({was, was, was}, is, full_transitive);
  ASSERT_EQ(same.size(), 1u);
  EXPECT_EQ(same[0].version, 2u);
  EXPECT_EQ(same[0].change.rule, Rule::field_type_changed);
  const auto various = check({table("x:short;"), was}, is, backward_transitive);
  ASSERT_EQ(various.size(), 2u) << "two versions, broken in two ways";
  EXPECT_EQ(various[0].version, 1u);
  EXPECT_EQ(various[1].version, 0u);
  EXPECT_TRUE(passes({was, is}, is, backward));
  EXPECT_EQ(check({was, is}, is, backward_transitive).at(0).version, 0u);
}

// Why a field must not go without a trace: each step looks well, and version 3 reads the x of version 1 as its y.
TEST(CompatibilityModes, RefuseAFieldThatGoesSinceItsSlotCouldComeBack) {
  const auto first = table("a:int; x:int;"), without = table("a:int;"), reused = table("a:int; y:int;");
  EXPECT_TRUE(passes({first, without}, reused, backward)) << "not seen any more from the last version alone";
  EXPECT_FALSE(passes({first, without}, reused, backward_transitive));
  EXPECT_FALSE(passes({first}, without, backward));
  EXPECT_FALSE(passes({first}, without, forward));
  EXPECT_TRUE(passes({first}, table("a:int; x:int (deprecated);"), full));
}

TEST(CompatibilityModes, GiveHarmlessChangesInTheDiffOnly) {
  const auto before = table("a:int;"), after = table("a:int (deprecated); b:string;");
  const SchemaText old_schema(before), new_schema(after);
  const auto changes = *diff_schemas(*old_schema, *new_schema, "T");
  ASSERT_EQ(changes.size(), 2u);
  EXPECT_EQ(changes[0].rule, Rule::deprecated_field);
  EXPECT_EQ(changes[1].rule, Rule::field_added);
  EXPECT_TRUE(passes({before}, after, full_transitive));
}

TEST(CompatibilityModes, EndWhereTablesContainEachOther) {
  const auto of = [](const std::string& leaf) {
    return "union U { T, A } table T { a:A; t:[T]; } table A { t:T; u:U; l:" + leaf + "; } root_type T;";
  };
  EXPECT_TRUE(passes({of("int")}, of("int"), full));
  EXPECT_EQ(check({of("int")}, of("long"), full).size(), 1u);
}

TEST(CompatibilityModes, ReportASharedTableOnce) {
  const auto of = [](const std::string& leaf) {
    return "union U { L, A } table L { x:" + leaf + "; } table A { l:L; } table B { l:[L]; } table T { a:A; b:B; l:L; u:U; } root_type T;";
  };
  EXPECT_EQ(check({of("int")}, of("uint"), full).size(), 1u);
}

TEST(CompatibilityModes, DoNotLookAtWhatTheRootDoesNotLeadTo) {
  const auto of = [](const std::string& other) { return "enum E:ubyte { a } table X { " + other + " } table T { x:int; } root_type T;"; };
  EXPECT_TRUE(passes({of("a:int;")}, of("a:string; e:E;"), full));
  EXPECT_TRUE(passes({of("a:int;")}, table("x:int;"), full));
}

TEST(CompatibilityModes, KnowTheTableAndNotOnlyTheRootOfTheFile) {
  const auto of = [](const std::string& type) { return "table X { x:" + type + "; } table T { x:int; } root_type T;"; };
  const SchemaText before(of("int")), after(of("long"));
  EXPECT_EQ(diff_schemas(*before, *after, "X")->size(), 1u);
  EXPECT_EQ(diff_schemas(*before, *after, "T")->size(), 0u);
  EXPECT_EQ(diff_schemas(*before, *after, "Nothing")->at(0).rule, Rule::root_table_changed);
}

// A chain far deeper than the stack is.
TEST(CompatibilityModes, FollowLongChains) {
  const auto of = [](const std::string& leaf) {
    std::string text;
    for (int at = 0; at < 5'000; ++at) text += "table N" + std::to_string(at) + " { n:N" + std::to_string(at + 1) + "; }\n";
    return text + "table N5000 { x:" + leaf + "; } table T { n:N0; } root_type T;";
  };
  const auto breaches = check({of("int")}, of("long"), backward);
  ASSERT_EQ(breaches.size(), 1u);
  EXPECT_EQ(breaches[0].change.type, "N5000");
}

std::string enum_of(std::size_t values) {
  std::string text = "enum E:uint { ";
  for (std::size_t at = 0; at < values; ++at) text += "v" + std::to_string(at) + ", ";
  return text + "} table T { x:E; } root_type T;";
}

TEST(CompatibilityModes, CompareAsMuchAsTheLimitAndNoMore) {
  // The field on both sides, the values on both sides, and one for each of the two pairs of types.
  constexpr std::size_t values = (limits::schema_comparisons_max - 4) / 2;
  static_assert(2 * values + 4 == limits::schema_comparisons_max);
  const SchemaText limit(enum_of(values)), beyond(enum_of(values + 1));
  EXPECT_TRUE(diff_schemas(*limit, *limit, "T").ok());
  const auto refused = diff_schemas(*limit, *beyond, "T");
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, Code::bad_format);
  EXPECT_NE(refused.error().detail.find("of T"), std::string::npos);
}

// Rings of n and m tables have n × m pairs where n and m have no common factor.
std::string ring(int count) {
  std::string text;
  for (int at = 0; at < count; ++at) text += "table R" + std::to_string(at) + " { n:R" + std::to_string((at + 1) % count) + "; }\n";
  return text + "table T { n:R0; } root_type T;";
}

TEST(CompatibilityModes, BoundTheWorkOfRings) {
  constexpr int pairs = static_cast<int>(limits::schema_comparisons_max / 3);  // one has a field on each side, and counts 3
  static_assert(pairs > 293 * 295 && pairs < 295 * 297);
  const SchemaText small(ring(293)), middle(ring(295)), large(ring(297));
  EXPECT_TRUE(diff_schemas(*small, *middle, "T").ok());
  EXPECT_FALSE(diff_schemas(*middle, *large, "T").ok());
  const reflection::Schema* versions[] = {middle.get()};
  std::size_t left = limits::schema_comparisons_max;
  EXPECT_TRUE(check_compatibility(versions, *large, "T", none, left).ok());
  EXPECT_EQ(left, limits::schema_comparisons_max);
  EXPECT_FALSE(check_compatibility(versions, *large, "T", full, left).ok());
  EXPECT_EQ(left, 0u);
}

// As many versions as fit; the mode that looks at the last one only is the way out.
TEST(CompatibilityModes, BoundTheWorkOfAllVersionsTogether) {
  const SchemaText old_version(ring(239)), next(ring(241));
  const auto wants_less = [&](std::size_t versions, Compatibility mode) {
    const std::vector<const reflection::Schema*> all(versions, old_version.get());
    std::size_t left = limits::schema_comparisons_max;
    const auto breaches = check_compatibility(all, *next, "T", mode, left);
    return breaches ? "" : breaches.error().detail;
  };
  EXPECT_EQ(wants_less(1, full_transitive), "");
  EXPECT_NE(wants_less(2, full_transitive).find("not transitive"), std::string::npos);
  EXPECT_EQ(wants_less(2, full), "");
}

// Of each version all fields break in a way of their own.
TEST(CompatibilityModes, LookNoFurtherThanToAsManyBreachesAsAreTold) {
  static_assert(limits::schema_changes_max > 200 && limits::schema_changes_max < 400);
  const auto of = [](const std::string& type) {
    std::string fields;
    for (int at = 0; at < 200; ++at) fields += "f" + std::to_string(at) + ":" + type + ";";
    return table(fields);
  };
  const auto breaches = check({of("byte"), of("short"), of("int"), of("float")}, of("long"), full_transitive);
  EXPECT_EQ(breaches.size(), 400u);
  EXPECT_EQ(breaches.back().version, 2u);
}

TEST(CompatibilityModes, WorkWithoutBuiltInAttributes) {
  const std::string text = "enum E:ubyte (bit_flags) { a, b } table T { x:E; y:[ubyte] (nested_flatbuffer: \"T\"); } root_type T;";
  const SchemaText without(text, false), same(text, false);
  EXPECT_TRUE(diff_schemas(*without, *same, "T")->empty());
}

TEST(CompatibilityModes, FindNoChangeInTheProjectsSchemas) {
  for (const auto& type : builtin_types()) {
    const Buffer bfbs = copy_of(bytes_of(type.bfbs));
    const auto& schema = *reflection::GetSchema(bfbs.data());
    const auto changes = diff_schemas(schema, schema, type.name);
    ASSERT_TRUE(changes.ok());
    EXPECT_TRUE(changes->empty()) << type.name << ": " << changes->at(0).what;
  }
}

std::string text_of_file(const std::string& name) {
  std::ifstream file(BUS_SOURCE_DIR "/schemas/" + name);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

TEST(CompatibilityModes, FindAChangeInTheProjectsSchemas) {
  const auto text = text_of_file("suoke_health.fbs");
  auto changed = text;
  const std::string value = "heart_rate = 2,";
  ASSERT_NE(changed.find(value), std::string::npos);
  changed.erase(changed.find(value), value.size());
  const SchemaText before(text), after(changed);
  const auto changes = *diff_schemas(*before, *after, "suoke.health.HealthDataUpdate");
  ASSERT_EQ(changes.size(), 1u);
  EXPECT_EQ(changes[0].rule, Rule::enum_value_removed);
  EXPECT_EQ(changes[0].type, "suoke.health.DataType");
  EXPECT_EQ(changes[0].member, "heart_rate");
}

}  // namespace
}  // namespace bus::broker
