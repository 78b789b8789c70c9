#include "broker/core/schema_compatibility.hpp"

#include <algorithm>
#include <array>
#include <set>

#include "base/limits.hpp"

namespace bus::broker {

namespace {

constexpr std::array<std::string_view, 7> mode_names = {
    "none", "backward", "forward", "full", "backward_transitive", "forward_transitive", "full_transitive"};

struct RuleText {
  Rule rule;
  std::string_view name;
  std::string_view remedy;
};

constexpr std::string_view new_field = "leave it as it is, mark it (deprecated), and add a new field with the next free id";

constexpr std::array<RuleText, rule_count> rule_texts = {{
    {Rule::root_table_changed, "root_table_changed", "keep the table under its full name; what is another event is a type of its own"},
    {Rule::file_identifier_changed, "file_identifier_changed", "keep file_identifier as it was"},
    {Rule::type_renamed, "type_renamed", "keep the name of the type"},
    {Rule::field_added, "field_added", "add it with the next free id, not required"},
    {Rule::field_removed, "field_removed", "keep the field and mark it (deprecated)"},
    {Rule::field_renamed, "field_renamed", "keep the name; for another one, mark the field (deprecated) and add a new field with the next free id"},
    {Rule::field_type_changed, "field_type_changed", new_field},
    {Rule::id_changed, "id_changed", "give every field the id it had, and new fields the next free ids"},
    {Rule::slot_reused, "slot_reused", "give the field the next free id, and keep the one that had this id, marked (deprecated)"},
    {Rule::default_changed, "default_changed", "keep the default; writers that want another value set it"},
    {Rule::optional_changed, "optional_changed", new_field},
    {Rule::required_added, "required_added", "leave the field optional, and let readers treat its absence"},
    {Rule::required_removed, "required_removed", "keep the field (required), and write an empty value"},
    {Rule::deprecated_field, "deprecated_field", "keep writing the field as long as readers require it"},
    {Rule::deprecation_removed, "deprecation_removed", "leave the field (deprecated), and add a new field with the next free id"},
    {Rule::key_changed, "key_changed", "keep the (key); for another order, add a new table and a new vector of it"},
    {Rule::hash_changed, "hash_changed", "keep the hash, or write the number"},
    {Rule::nested_flatbuffer_changed, "nested_flatbuffer_changed", new_field},
    {Rule::flexbuffer_changed, "flexbuffer_changed", new_field},
    {Rule::vector_alignment_changed, "vector_alignment_changed", "keep force_align, or add a new field with the next free id"},
    {Rule::struct_changed, "struct_changed", "leave the struct as it is; add a new struct, and a new field of it with the next free id"},
    {Rule::struct_alignment_changed, "struct_alignment_changed", "keep force_align; add a new struct, and a new field of it with the next free id"},
    {Rule::enum_type_changed, "enum_type_changed", "keep the width; add a new enum, and a new field of it with the next free id"},
    {Rule::enum_value_added, "enum_value_added", "give every reader the new schema before anybody writes the value"},
    {Rule::enum_value_removed, "enum_value_removed", "keep the value, and let nobody write it"},
    {Rule::enum_value_renamed, "enum_value_renamed", "keep the name; for another meaning, add a value with the next free number"},
    {Rule::enum_value_renumbered, "enum_value_renumbered", "give every value the number it had, and new values the next free numbers"},
    {Rule::bit_flags_changed, "bit_flags_changed", "keep bit_flags as it was"},
    {Rule::union_member_added, "union_member_added", "give every reader the new schema before anybody writes the member, or add a new field with the next free id"},
    {Rule::union_member_removed, "union_member_removed", "keep the member, and let nobody write it"},
    {Rule::union_member_renamed, "union_member_renamed", "keep the member's name; an alias does: Name: new.Type"},
    {Rule::union_member_renumbered, "union_member_renumbered", "keep the order of the members, and add new ones at the end"},
    {Rule::union_member_type_changed, "union_member_type_changed", "leave the member as it is, and add a new one at the end"},
}};

constexpr bool rules_are_in_order() {
  for (std::size_t at = 0; at < rule_count; ++at) {
    if (static_cast<std::size_t>(rule_texts[at].rule) != at) return false;
  }
  return true;
}
static_assert(rules_are_in_order());

bool is_transitive(Compatibility mode) { return mode >= Compatibility::backward_transitive; }

bool protects_backward(Compatibility mode) {
  return mode != Compatibility::none && mode != Compatibility::forward && mode != Compatibility::forward_transitive;
}

bool protects_forward(Compatibility mode) {
  return mode != Compatibility::none && mode != Compatibility::backward && mode != Compatibility::backward_transitive;
}

}  // namespace

std::string_view name_of(Compatibility mode) { return mode_names[static_cast<std::size_t>(mode)]; }

std::optional<Compatibility> compatibility_named(std::string_view text) {
  const auto at = std::find(mode_names.begin(), mode_names.end(), text);
  if (at == mode_names.end()) return std::nullopt;
  return static_cast<Compatibility>(at - mode_names.begin());
}

std::string_view name_of(Rule rule) { return rule_texts[static_cast<std::size_t>(rule)].name; }

std::string_view remedy_of(Rule rule) { return rule_texts[static_cast<std::size_t>(rule)].remedy; }

std::string_view name_of(Harm harm) {
  constexpr std::array<std::string_view, 4> names = {"none", "names", "later", "data"};
  return names[static_cast<std::size_t>(harm)];
}

bool breaks(const SchemaChange& change, Compatibility mode) {
  return (protects_backward(mode) && change.harms.backward != Harm::none) || (protects_forward(mode) && change.harms.forward != Harm::none);
}

// The last version first: it is the one an author knows, and what breaks it is told of it.
Result<std::vector<Breach>> check_compatibility(std::span<const reflection::Schema* const> versions, const reflection::Schema& next,
                                                std::string_view root, Compatibility mode, std::size_t& left) {
  std::vector<Breach> breaches;
  std::set<SchemaChange> told;
  if (mode == Compatibility::none) return breaches;
  const std::size_t first = is_transitive(mode) || versions.empty() ? 0 : versions.size() - 1;
  for (std::size_t at = versions.size(); at-- > first && breaches.size() < limits::schema_changes_max;) {
    auto changes = harmful_changes(*versions[at], next, root, left);
    if (!changes) return changes.error();
    for (SchemaChange& change : *changes) {
      if (breaks(change, mode) && told.insert(change).second) breaches.push_back({at, std::move(change)});
    }
  }
  return breaches;
}

}  // namespace bus::broker
