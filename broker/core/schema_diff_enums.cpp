// Enums and unions: values and members are paired by name, and by number where a name is gone.
#include <algorithm>

#include "broker/core/schema_diff.hpp"

namespace bus::broker {

namespace {

using reflection::Enum;
using reflection::EnumVal;


// What happens to enum values and to union members. No verifier looks at the numbers of enums: they come through, and only
// their names are missed. A union's number says what its bytes are: the broker refuses one that it does not know.
struct Kind {
  std::string_view noun;
  Rule added, removed, renamed, renumbered;
  Harm unknown;  // to who reads a number that its schema does not have
};
constexpr Kind of_enum{"the value", Rule::enum_value_added, Rule::enum_value_removed, Rule::enum_value_renamed,
                       Rule::enum_value_renumbered, Harm::names};
constexpr Kind of_union{"the member", Rule::union_member_added, Rule::union_member_removed, Rule::union_member_renamed,
                        Rule::union_member_renumbered, Harm::data};

struct Values {
  explicit Values(const Enum& enumeration) {
    for (const auto* value : *enumeration.values()) {
      by_name.add(value->name()->string_view(), value);
      by_number.add(value->value(), value);
    }
    by_name.sort();
    by_number.sort();
  }
  // By name; if the name is gone, what has the same number under a name that is new.
  const EnumVal* counterpart(const EnumVal& value, const Values& before) const {
    if (const auto* same = by_name.find(value.name()->string_view())) return same;
    const auto* there = by_number.find(value.value());
    return there == nullptr || before.by_name.find(there->name()->string_view()) != nullptr ? nullptr : there;
  }

  SortedIndex<std::string_view, EnumVal> by_name;
  SortedIndex<std::int64_t, EnumVal> by_number;
};

std::string shown(const EnumVal& value) { return in_quotes(value.name()->string_view()) + " (" + std::to_string(value.value()) + ")"; }

}  // namespace

void SchemaDiff::compare_enums(const Enums& pair) {
  const auto was = pair.before->name()->str(), is = pair.after->name()->str();
  if (was != is) add(Rule::type_renamed, was, "", {}, in_quotes(was) + " is called " + in_quotes(is));
  if (pair.before->is_union() != pair.after->is_union()) return;  // told of the fields that lead here
  work_ += pair.before->values()->size() + pair.after->values()->size() + 1;
  if (!pair.before->is_union()) compare_numbers(pair);
  compare_values(pair);
}

void SchemaDiff::compare_numbers(const Enums& pair) {
  const auto name = pair.before->name()->str();
  const auto was = pair.before->underlying_type()->base_type(), is = pair.after->underlying_type()->base_type();
  if (was != is) {
    add(Rule::enum_type_changed, name, "", of_data,
        "the numbers of " + in_quotes(name) + " were " + base_text(was) + " and are " + base_text(is));
  }
  const bool were_flags = has_bit_flags(*pair.before), are_flags = has_bit_flags(*pair.after);
  if (were_flags == are_flags) return;
  add(Rule::bit_flags_changed, name, "", of_names,
      in_quotes(name) + (are_flags ? " has" : " no longer has") + " bit_flags: several of its names stand for one number, or do not");
}

void SchemaDiff::compare_values(const Enums& pair) {
  const Kind& kind = pair.before->is_union() ? of_union : of_enum;
  const auto name = pair.before->name()->str();
  const Values before(*pair.before), after(*pair.after);
  std::vector<const EnumVal*> paired;
  for (const auto& [number, value] : before.by_number) {
    if (const auto* other = after.counterpart(*value, before)) {
      paired.push_back(other);
      compare_value(name, {value, other}, pair.before->is_union());
    } else {
      add(kind.removed, name, value->name()->str(), {kind.unknown, Harm::none}, std::string(kind.noun) + " " + shown(*value) + " is gone, and old data may hold it");
    }
  }
  std::sort(paired.begin(), paired.end());
  for (const auto& [number, value] : after.by_number) {
    if (std::binary_search(paired.begin(), paired.end(), value)) continue;
    add(kind.added, name, value->name()->str(), {Harm::none, kind.unknown}, std::string(kind.noun) + " " + shown(*value) + " is new, and unknown to old readers");
  }
}

void SchemaDiff::compare_value(const std::string& name, const Pair<EnumVal>& pair, bool in_union) {
  const Kind& kind = in_union ? of_union : of_enum;
  const auto member = pair.before->name()->str();
  const std::string what = std::string(kind.noun) + " " + shown(*pair.before) + " is " + shown(*pair.after) + " now";
  if (pair.before->value() != pair.after->value()) return add(kind.renumbered, name, member, of_data, what);
  if (member != pair.after->name()->string_view()) add(kind.renamed, name, member, of_names, what);
  if (in_union) compare_members(name, pair);
}

void SchemaDiff::compare_members(const std::string& name, const Pair<EnumVal>& pair) {
  if (pair.before->union_type() == nullptr || pair.after->union_type() == nullptr) return;
  const TypeOf was{before_, *pair.before->union_type()}, is{after_, *pair.after->union_type()};
  const auto harms = harms_between(was, is);
  const auto member = pair.before->name()->str();
  if (harms != Harms{}) {
    add(Rule::union_member_type_changed, name, member, harms, "the member " + shown(*pair.before) + " was " + was.text() + " and is " + is.text());
  }
  enter_types(was, is);
}

}  // namespace bus::broker
