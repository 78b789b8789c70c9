// Goal: every rule is found, says which readers it breaks, and how the change is made legally; docs/SCHEMAS.md says the same.
// Method: one pair of small schemas for each way in which a rule breaks something or nothing, compared in both directions; the
// table of the document is read.
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <map>
#include <set>
#include <sstream>

#include "broker/core/schema_compatibility.hpp"
#include "schema_cases.hpp"
#include "tests/support/schemas.hpp"

namespace bus::broker {
namespace {

using test::schema_cases;
using test::SchemaCase;
using test::SchemaText;

std::vector<SchemaChange> diff(const SchemaText& before, const SchemaText& after) {
  auto changes = diff_schemas(*before, *after, "T");
  EXPECT_TRUE(changes.ok());
  return *changes;
}

std::vector<SchemaChange> diff(const std::string& before, const std::string& after) { return diff(SchemaText(before), SchemaText(after)); }

std::string told(const std::vector<SchemaChange>& changes) {
  std::string text;
  for (const auto& change : changes) {
    text += std::string(name_of(change.rule)) + " " + change.type + "." + change.member + " " + std::string(name_of(change.harms.backward)) + "/" +
            std::string(name_of(change.harms.forward)) + ": " + change.what + "\n";
  }
  return text;
}

bool is_of(const SchemaChange& change, const SchemaCase& wanted) {
  return change.rule == wanted.rule && change.harms == wanted.harms && change.type == wanted.type && change.member == wanted.member;
}

// Changes that cannot come alone: what moves makes room, or takes it.
bool comes_alone(Rule rule) {
  return rule != Rule::id_changed && rule != Rule::slot_reused && rule != Rule::union_member_renumbered;
}

TEST(SchemaRules, FindEachChangeAlone) {
  for (const auto& wanted : schema_cases()) {
    SCOPED_TRACE(wanted.before + "  ->  " + wanted.after);
    const auto changes = diff(wanted.before, wanted.after);
    const auto found = std::count_if(changes.begin(), changes.end(), [&](const auto& change) { return is_of(change, wanted); });
    EXPECT_EQ(found, 1) << "wanted: " << name_of(wanted.rule) << "\n" << told(changes);
    EXPECT_TRUE(changes.size() == 1 || !comes_alone(wanted.rule)) << told(changes);
  }
}

TEST(SchemaRules, SaySoInWordsAndHowToDoItLegally) {
  for (const auto& wanted : schema_cases()) {
    for (const auto& change : diff(wanted.before, wanted.after)) {
      EXPECT_FALSE(change.what.empty());
      EXPECT_EQ(change.remedy.empty(), change.harms == Harms{}) << name_of(change.rule);
      EXPECT_NE(change.what.find(change.member.empty() ? "'" : change.member), std::string::npos) << change.what;
    }
  }
}

TEST(SchemaRules, FindNothingInASchemaAgainstItself) {
  for (const auto& each : schema_cases()) {
    if (each.rule == Rule::root_table_changed) continue;
    EXPECT_EQ(told(diff(each.before, each.before)), "");
    EXPECT_EQ(told(diff(each.after, each.after)), "");
  }
}

// What the old readers meet going one way, the new ones meet going back. Harm::later is about the next version, not this pair.
TEST(SchemaRules, SayTheSameOfAChangeAndOfItsReverse) {
  const auto worst = [](const std::vector<SchemaChange>& changes, Harm Harms::*direction) {
    Harm harm = Harm::none;
    for (const auto& change : changes) {
      if (change.harms.*direction != Harm::later) harm = std::max(harm, change.harms.*direction);
    }
    return harm;
  };
  for (const auto& each : schema_cases()) {
    SCOPED_TRACE(each.before + "  ->  " + each.after);
    const auto there = diff(each.before, each.after), back = diff(each.after, each.before);
    EXPECT_EQ(worst(there, &Harms::backward), worst(back, &Harms::forward)) << told(there) << told(back);
    EXPECT_EQ(worst(there, &Harms::forward), worst(back, &Harms::backward)) << told(there) << told(back);
  }
}

TEST(SchemaRules, HaveEachACase) {
  std::set<Rule> covered;
  for (const auto& each : schema_cases()) covered.insert(each.rule);
  EXPECT_EQ(covered.size(), rule_count);
}

TEST(SchemaRules, TellOfARequiredFieldThatComesOrGoes) {
  EXPECT_EQ(told(diff("table T { x:int; } root_type T;", "table T { x:int; y:string (required); } root_type T;")),
            "field_added T.y none/none: the new field 'y' has id 1 and type string\n"
            "required_added T.y data/none: 'y' is new and required, and old data lacks it\n");
  EXPECT_EQ(told(diff("table T { x:int; y:string (required); } root_type T;", "table T { x:int; } root_type T;")),
            "field_removed T.y later/later: 'y' is gone, and its id 1 is free for a field of another meaning\n"
            "required_removed T.y none/data: 'y' is gone, and old readers require it\n");
}

TEST(SchemaRules, SeeTheHiddenTypeFieldOfAUnionAsASlot) {
  const std::string types = "table A { i:int; } union U { A } ";
  EXPECT_EQ(told(diff(types + "table T { x:U; } root_type T;", "table T { y:ubyte; } root_type T;")),
            "field_removed T.x later/later: 'x' is gone, and its id 1 is free for a field of another meaning\n"
            "slot_reused T.y data/data: the new field 'y' has id 0, which 'x_type' had\n");
  EXPECT_EQ(told(diff("table T { y:ubyte; } root_type T;", types + "table T { x:U; } root_type T;")),
            "field_removed T.y later/later: 'y' is gone, and its id 0 is free for a field of another meaning\n"
            "slot_reused T.x data/data: the new field 'x' has id 0, which 'y' had\n");
}

TEST(SchemaRules, TakeADeprecatedFieldsNewNameForNothing) {
  const auto changes = diff("table T { x:int; } root_type T;", "table T { old_x:int (deprecated); } root_type T;");
  EXPECT_EQ(told(changes), "field_renamed T.x none/none: 'x' is called 'old_x'\ndeprecated_field T.x none/none: 'x' is deprecated\n");
}

// The attribute says less than the layout: a rounded default, or the same default in other words, is the same one.
TEST(SchemaRules, CompareDefaultsAsTheirReadersReadThem) {
  EXPECT_EQ(told(diff("table T { x:float = 0.1; } root_type T;", "table T { x:float = 0.100000001; } root_type T;")), "");
  EXPECT_EQ(told(diff("table T { x:double = nan; } root_type T;", "table T { x:double = nan; } root_type T;")), "");
  const std::string color = "enum E:ubyte { a, b } ";
  EXPECT_EQ(told(diff(color + "table T { x:E = b; } root_type T;", color + "table T { x:E = 1; } root_type T;")), "");
}

TEST(SchemaRules, LookIntoStructsOfStructsAndTheirArrays) {
  const auto of = [](const std::string& leaf) {
    return "struct L { " + leaf + " } struct M { l:[L:2]; } struct S { m:M; } table T { x:[S]; } root_type T;";
  };
  EXPECT_EQ(told(diff(of("a:int;"), of("a:float;"))), "struct_changed L. data/data: the layout of 'L' changes: 'a' was int and is float\n");
}

TEST(SchemaRules, LookIntoNestedBuffersOfAnyNamespace) {
  const auto of = [](const std::string& type) {
    return "namespace a; table I { i:" + type + "; } namespace a.b; table T { x:[ubyte] (nested_flatbuffer: \"a.I\"); } root_type T;";
  };
  const SchemaText before(of("int")), after(of("long"));
  const auto changes = *diff_schemas(*before, *after, "a.b.T");
  EXPECT_EQ(told(changes), "field_type_changed a.I.i data/data: the type of 'i' was int and is long\n");
}

// Some payloads survive these: a struct alone in its table that grows at its end, a field where padding was, an enum that only
// gets wider. No author should have to know which, and one vector of them is enough.
TEST(SchemaRules, RefuseAlsoWhatSomePayloadsSurvive) {
  const auto of = [](const std::string& type) { return type + " table T { x:S; } root_type T;"; };
  for (const std::string after : {"struct S { a:ushort; b:ubyte; c:ubyte; }", "struct S { a:ushort; b:ubyte; c:uint; }"}) {
    const auto changes = diff(of("struct S { a:ushort; b:ubyte; }"), of(after));
    EXPECT_EQ(told(changes).substr(0, 28), "struct_changed S. data/data:");
  }
  EXPECT_EQ(told(diff(of("enum S:ubyte { a }"), of("enum S:ushort { a }"))),
            "enum_type_changed S. data/data: the numbers of 'S' were ubyte and are ushort\n");
}

struct Row {
  Harms harms;
  std::string remedy;
};

// | `rule` | example | backward | forward | how |
std::multimap<std::string, Row> documented() {
  const std::map<std::string, Harm> harms = {{"", Harm::none}, {"names", Harm::names}, {"later", Harm::later}, {"data", Harm::data}};
  std::ifstream file(BUS_SOURCE_DIR "/docs/SCHEMAS.md");
  std::multimap<std::string, Row> rows;
  for (std::string line; std::getline(file, line);) {
    if (!line.starts_with("| `")) continue;
    std::vector<std::string> cells;
    std::istringstream text(line.substr(1));
    for (std::string cell; std::getline(text, cell, '|');) {
      const auto first = cell.find_first_not_of(' ');
      cells.push_back(first == std::string::npos ? "" : cell.substr(first, cell.find_last_not_of(' ') - first + 1));
    }
    if (cells.size() < 5 || !harms.contains(cells[2])) continue;
    rows.insert({cells[0].substr(1, cells[0].size() - 2), {{harms.at(cells[2]), harms.at(cells[3])}, cells[4]}});
  }
  return rows;
}

TEST(SchemaRules, AreDocumentedWithTheSameHarmsAndRemedies) {
  std::set<std::string> wanted, found;
  const auto key = [](std::string_view rule, const Harms& harms) {
    return std::string(rule) + " " + std::string(name_of(harms.backward)) + "/" + std::string(name_of(harms.forward));
  };
  for (const auto& each : schema_cases()) wanted.insert(key(name_of(each.rule), each.harms));
  std::map<std::string, Rule> rules;
  for (std::size_t at = 0; at < rule_count; ++at) rules.emplace(name_of(static_cast<Rule>(at)), static_cast<Rule>(at));
  for (const auto& [rule, row] : documented()) {
    EXPECT_TRUE(found.insert(key(rule, row.harms)).second) << "twice: " << key(rule, row.harms);
    ASSERT_TRUE(rules.contains(rule)) << rule;
    EXPECT_EQ(row.remedy, row.harms == Harms{} ? "" : remedy_of(rules[rule])) << rule;
  }
  EXPECT_EQ(found, wanted);
}

}  // namespace
}  // namespace bus::broker
