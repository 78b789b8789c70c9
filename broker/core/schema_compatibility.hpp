// Whether a new version of a FlatBuffers schema can take the place of older ones: the changes between two versions, which
// readers each of them breaks, and how it is made legally. Pure functions over reflection schemas (.bfbs); any thread.
//
// Trusts its schemas: the caller has verified the buffer and the numbers in it, as PayloadTypes::add() does.
//
// What the bytes of a table know of a schema are the slots of its fields (their ids), the width of scalars, the layout of
// structs and the numbers of enum values and union members. Names are in none of them, but JSON, which every tool reads and
// writes, has nothing else. So a change can harm the bytes or the names, and both count.
//
// Not in a .bfbs, and so not seen: the text of a default string, defaults of ulong above 2^63 - 1, and, unless flatc was told
// --bfbs-builtins, the attributes hash, nested_flatbuffer, flexbuffer, bit_flags and force_align of a vector.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "bus/result.hpp"

namespace reflection {
struct Schema;
}

namespace bus::broker {

// Which readers a new version must not break. Backward: those with the new schema read data written with the old one.
// Forward: those with the old schema read data written with the new one. Full: both. Transitive: against every earlier
// version, not only the last.
enum class Compatibility : std::uint8_t { none, backward, forward, full, backward_transitive, forward_transitive, full_transitive };

// "backward_transitive", and back; nothing for a text that names no mode.
std::string_view name_of(Compatibility mode);
std::optional<Compatibility> compatibility_named(std::string_view text);

// What changed. docs/SCHEMAS.md has an example of each.
enum class Rule : std::uint8_t {
  root_table_changed,
  file_identifier_changed,
  type_renamed,
  field_added,
  field_removed,
  field_renamed,
  field_type_changed,
  id_changed,
  slot_reused,
  default_changed,
  optional_changed,
  required_added,
  required_removed,
  deprecated_field,
  deprecation_removed,
  key_changed,
  hash_changed,
  nested_flatbuffer_changed,
  flexbuffer_changed,
  vector_alignment_changed,
  struct_changed,
  struct_alignment_changed,
  enum_type_changed,
  enum_value_added,
  enum_value_removed,
  enum_value_renamed,
  enum_value_renumbered,
  bit_flags_changed,
  union_member_added,
  union_member_removed,
  union_member_renamed,
  union_member_renumbered,
  union_member_type_changed
};
inline constexpr std::size_t rule_count = static_cast<std::size_t>(Rule::union_member_type_changed) + 1;

std::string_view name_of(Rule rule);
// How to do legally what breaks this rule.
std::string_view remedy_of(Rule rule);

// What a change does to readers in one direction; the greater, the worse. All but none break it.
enum class Harm : std::uint8_t {
  none,
  names,  // every value comes through, but not under the name that is looked for: JSON
  later,  // these two versions read each other well, but a next one may read one field as another, and no check would see it
  data    // payloads are refused, or read as something else than was written
};

std::string_view name_of(Harm harm);

struct Harms {
  Harm backward = Harm::none;
  Harm forward = Harm::none;
  auto operator<=>(const Harms&) const = default;
};
inline constexpr Harms of_data{Harm::data, Harm::data};
inline constexpr Harms of_names{Harm::names, Harm::names};

struct SchemaChange {
  Rule rule;
  std::string type;    // full name of the table, struct, enum or union, as it was before
  std::string member;  // field, value or union member, as it was before if it was there; empty: the type as a whole
  Harms harms;
  std::string what;    // a sentence for people
  std::string remedy;  // and how to do it legally; empty for what breaks nothing
  auto operator<=>(const SchemaChange&) const = default;
};

// True if the change breaks a direction that the mode protects.
bool breaks(const SchemaChange& change, Compatibility mode);

// Everything that changed in table `root` (its full name) and in all that it leads to, harmless changes included: the root's
// first, in the order of their slots, then those of the types it leads to, each pair of types once.
// Error bad_format: more fields and values would have to be compared than are left; `left` is less by those that were.
Result<std::vector<SchemaChange>> diff_schemas(const reflection::Schema& before, const reflection::Schema& after, std::string_view root, std::size_t& left);
// Without those that break nobody.
Result<std::vector<SchemaChange>> harmful_changes(const reflection::Schema& before, const reflection::Schema& after, std::string_view root, std::size_t& left);
// Of limits::schema_comparisons_max.
Result<std::vector<SchemaChange>> diff_schemas(const reflection::Schema& before, const reflection::Schema& after, std::string_view root);

struct Breach {
  std::size_t version;  // the latest of the old versions that it breaks, as an index
  SchemaChange change;
};

// What in `next` breaks the mode; empty if nothing does, or if there is no old version. `versions` are the old ones, oldest
// first. A change that breaks several of them in the same way is told once; earlier versions are not looked at once there are
// limits::schema_changes_max. Errors and `left` as of diff_schemas().
Result<std::vector<Breach>> check_compatibility(std::span<const reflection::Schema* const> versions, const reflection::Schema& next,
                                                std::string_view root, Compatibility mode, std::size_t& left);

}  // namespace bus::broker
