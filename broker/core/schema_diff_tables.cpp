// Tables: fields are paired by name, and by slot where a name is gone.
#include <algorithm>
#include <bit>
#include <charconv>
#include <cstdlib>

#include "broker/core/schema_diff.hpp"

namespace bus::broker {

namespace {

using reflection::Field;
using reflection::Object;

// An attribute that readers rely on: data without it breaks those that have it, and another value both.
constexpr Harms harms_of_promise(bool was, bool is, Harm harm) {
  return {is ? harm : Harm::none, was ? harm : Harm::none};
}

// A float as its bits, so that nan is itself; a float32 is rounded as its readers round it.
std::uint64_t real_default(const Field& field) {
  if (field.type()->base_type() == reflection::Float) return std::bit_cast<std::uint32_t>(static_cast<float>(field.default_real()));
  return std::bit_cast<std::uint64_t>(field.default_real());
}

std::string real_text(double value) {
  char digits[32];  // the shortest form that reads back as the same number
  return {digits, std::to_chars(digits, digits + sizeof digits, value).ptr};
}

std::string default_text(const Field& field) {
  const auto base = field.type()->base_type();
  if (field.optional()) return "null";
  if (base == reflection::Float || base == reflection::Double) return real_text(field.default_real());
  if (base == reflection::Bool) return field.default_integer() != 0 ? "true" : "false";
  if (base == reflection::String || base == reflection::Vector) return "a value";
  return std::to_string(field.default_integer());
}

bool same_default(const Field& before, const Field& after) {
  const auto base = before.type()->base_type();
  if (base == reflection::Float || base == reflection::Double) return real_default(before) == real_default(after);
  return before.default_integer() == after.default_integer();
}

// Strings and vectors may have one, too; what it is, is not in the schema.
bool has_default_text(const Field& field) {
  const auto base = field.type()->base_type();
  return (base == reflection::String || base == reflection::Vector) && !field.optional() && !field.required();
}

const Field* key_of(const Object& object) {
  for (const auto* field : *object.fields()) {
    if (field->key()) return field;
  }
  return nullptr;
}

std::string changed(std::string_view name, std::string_view what, std::string_view was, std::string_view is) {
  return std::string(what) + " of " + in_quotes(name) + " was " + std::string(was) + " and is " + std::string(is);
}

// The table that an attribute names, as seen from the namespace of the table that has it: the innermost first.
const Object* nested_table(const reflection::Schema& schema, const Object& from, std::string_view name) {
  std::string space = from.name()->str();
  while (true) {
    const auto dot = space.rfind('.');
    space.resize(dot == std::string::npos ? 0 : dot);
    const auto full = space.empty() ? std::string(name) : space + "." + std::string(name);
    for (const auto* object : *schema.objects()) {
      if (object->name()->string_view() == full) return object;
    }
    if (space.empty()) return nullptr;
  }
}

}  // namespace

SchemaDiff::Table::Table(const Object& object) {
  for (const auto* field : *object.fields()) {
    by_slot.add(object.is_struct() ? field->offset() : slot_of(*field), field);
    if (object.is_struct() || !is_union_type(*field)) by_name.add(field->name()->string_view(), field);
  }
  by_slot.sort();
  by_name.sort();
}

void SchemaDiff::compare_objects(const Objects& pair) {
  work_ += pair.before->fields()->size() + pair.after->fields()->size() + 1;
  const auto was = pair.before->name()->str(), is = pair.after->name()->str();
  if (was != is) add(Rule::type_renamed, was, "", {}, in_quotes(was) + " is called " + in_quotes(is));
  if (pair.before->is_struct() != pair.after->is_struct()) return;  // told of the fields that lead here
  if (pair.before->is_struct()) {
    compare_structs(pair);
  } else {
    compare_tables(pair);
  }
  compare_keys(pair);
}

void SchemaDiff::compare_tables(const Objects& pair) {
  const Table before(*pair.before), after(*pair.after);
  const auto table = pair.before->name()->str();
  std::vector<const Field*> paired;
  for (const auto& [slot, field] : before.by_slot) {
    if (is_union_type(*field)) continue;
    const Field* other = counterpart(*field, before, after);
    if (other == nullptr) {
      removed(table, *field);
      continue;
    }
    paired.push_back(other);
    compare_fields(table, {field, other});
    if (slot_of(*other) == slot) compare_attributes(table, pair, {field, other});
  }
  std::sort(paired.begin(), paired.end());
  for (const auto& [slot, field] : after.by_slot) {
    if (!is_union_type(*field) && !std::binary_search(paired.begin(), paired.end(), field)) added(table, *field, before);
  }
}

// By name; if the name is gone, what stands in the same slot under a name that is new.
const Field* SchemaDiff::counterpart(const Field& field, const Table& before, const Table& after) const {
  if (const auto* same = after.named(field.name()->string_view())) return same;
  const auto* there = after.at(slot_of(field));
  if (there == nullptr || is_union_type(*there) || before.named(there->name()->string_view()) != nullptr) return nullptr;
  return there;
}

void SchemaDiff::compare_fields(const std::string& table, const Fields& pair) {
  const int was = slot_of(*pair.before), is = slot_of(*pair.after);
  if (was != is) {
    const auto name = pair.before->name()->str();
    return add(Rule::id_changed, table, name, of_data, changed(name, "the id", std::to_string(was), std::to_string(is)));
  }
  compare_field_names(table, pair);
  compare_field_types(table, pair);
  compare_defaults(table, pair);
  compare_presence(table, pair);
  compare_deprecation(table, pair);
}

void SchemaDiff::compare_field_names(const std::string& table, const Fields& pair) {
  const auto was = pair.before->name()->str(), is = pair.after->name()->str();
  if (was == is) return;
  // Nobody writes or reads a deprecated field by its name any more.
  const Harms harms = pair.after->deprecated() ? Harms{} : of_names;
  add(Rule::field_renamed, table, was, harms, in_quotes(was) + " is called " + in_quotes(is));
}

void SchemaDiff::compare_field_types(const std::string& table, const Fields& pair) {
  const TypeOf was{before_, *pair.before->type()}, is{after_, *pair.after->type()};
  const auto harms = harms_between(was, is);
  const auto name = pair.before->name()->str();
  if (harms != Harms{}) add(Rule::field_type_changed, table, name, harms, changed(name, "the type", was.text(), is.text()));
  enter_types(was, is);
}

void SchemaDiff::compare_defaults(const std::string& table, const Fields& pair) {
  const auto& [before, after] = pair;
  const auto name = before->name()->str();
  const auto text = [&] { return changed(name, "the default", default_text(*before), default_text(*after)); };
  if (has_default_text(*before) != has_default_text(*after)) {
    const auto shown = [](const Field& field) { return has_default_text(field) ? "a value" : "none"; };
    return add(Rule::default_changed, table, name, of_data, changed(name, "the default", shown(*before), shown(*after)));
  }
  if (!TypeOf{before_, *before->type()}.is_scalar() || before->type()->base_type() != after->type()->base_type()) return;
  if (before->optional() != after->optional()) {
    add(Rule::optional_changed, table, name, of_data, text() + ": an absent value is read as another one");
  } else if (!same_default(*before, *after)) {
    add(Rule::default_changed, table, name, of_data, text() + ": an absent value is read as another one");
  }
}

void SchemaDiff::compare_presence(const std::string& table, const Fields& pair) {
  const auto name = pair.before->name()->str();
  const bool was = pair.before->required(), is = pair.after->required();
  if (!was && is) add(Rule::required_added, table, name, {Harm::data, Harm::none}, in_quotes(name) + " is required, and old data may lack it");
  if (was && !is) add(Rule::required_removed, table, name, {Harm::none, Harm::data}, in_quotes(name) + " is no longer required, and old readers refuse data without it");
}

// Generated code cannot write a deprecated field; a reader that requires it refuses the data. Where (required) comes or goes
// at the same time, that is told already.
void SchemaDiff::compare_deprecation(const std::string& table, const Fields& pair) {
  const auto name = pair.before->name()->str();
  const bool was = pair.before->deprecated(), is = pair.after->deprecated();
  if (was == is) return;
  const bool missed = pair.before->required() && pair.after->required();
  const Harm harm = missed ? Harm::data : Harm::none;
  if (is) {
    const std::string why = missed ? ", and old readers require it" : "";
    add(Rule::deprecated_field, table, name, {Harm::none, harm}, in_quotes(name) + " is deprecated" + why);
  } else {
    const std::string why = missed ? ", and required, which old data may lack" : "";
    add(Rule::deprecation_removed, table, name, {harm, Harm::none}, in_quotes(name) + " is no longer deprecated" + why);
  }
}

void SchemaDiff::compare_attributes(const std::string& table, const Objects& pair, const Fields& fields) {
  struct Attribute {
    const char* name;
    Rule rule;
    Harm harm;
  };
  constexpr Attribute attributes[] = {{"hash", Rule::hash_changed, Harm::names},
                                      {"nested_flatbuffer", Rule::nested_flatbuffer_changed, Harm::data},
                                      {"flexbuffer", Rule::flexbuffer_changed, Harm::data},
                                      {"force_align", Rule::vector_alignment_changed, Harm::data}};
  const auto name = fields.before->name()->str();
  for (const Attribute& attribute : attributes) {
    const char* was = attribute_of(*fields.before, attribute.name);
    const char* is = attribute_of(*fields.after, attribute.name);
    const auto shown = [](const char* value) { return value == nullptr ? std::string_view("none") : *value == 0 ? "set" : value; };
    if (shown(was) == shown(is)) continue;
    Harms harms = harms_of_promise(was != nullptr, is != nullptr, attribute.harm);
    if (attribute.rule == Rule::hash_changed) std::swap(harms.backward, harms.forward);  // who has it takes more, not less
    if (attribute.rule == Rule::vector_alignment_changed) {  // what is aligned to more is aligned to less, too
      const bool more = std::atoi(is == nullptr ? "0" : is) > std::atoi(was == nullptr ? "0" : was);
      harms = harms_of_promise(!more, more, attribute.harm);
    }
    add(attribute.rule, table, name, harms, changed(name, attribute.name, shown(was), shown(is)));
  }
  enter_nested(pair, fields);
}

// A buffer within the buffer is read as its table, as if the table were there.
void SchemaDiff::enter_nested(const Objects& pair, const Fields& fields) {
  const char* was = attribute_of(*fields.before, "nested_flatbuffer");
  const char* is = attribute_of(*fields.after, "nested_flatbuffer");
  if (was == nullptr || is == nullptr) return;
  const Objects nested{nested_table(before_, *pair.before, was), nested_table(after_, *pair.after, is)};
  if (nested.before != nullptr && nested.after != nullptr) enter_object(nested);
}

// A vector is sorted by its elements' key when it is written, and searched as if it were when it is read.
void SchemaDiff::compare_keys(const Objects& pair) {
  const Field* was = key_of(*pair.before);
  const Field* is = key_of(*pair.after);
  if (was == nullptr && is == nullptr) return;
  if (was != nullptr && is != nullptr && was->offset() == is->offset()) return;
  const auto shown = [](const Field* field) { return field == nullptr ? std::string("none") : in_quotes(field->name()->string_view()); };
  add(Rule::key_changed, pair.before->name()->str(), (was != nullptr ? was : is)->name()->str(),
      harms_of_promise(was != nullptr, is != nullptr, Harm::data),
      "the key was " + shown(was) + " and is " + shown(is) + ": vectors are sorted by one and searched by the other");
}

void SchemaDiff::removed(const std::string& table, const Field& field) {
  const auto name = field.name()->str();
  add(Rule::field_removed, table, name, {Harm::later, Harm::later},
      in_quotes(name) + " is gone, and its id " + std::to_string(slot_of(field)) + " is free for a field of another meaning");
  if (!field.required()) return;
  add(Rule::required_removed, table, name, {Harm::none, Harm::data}, in_quotes(name) + " is gone, and old readers require it");
}

void SchemaDiff::added(const std::string& table, const Field& field, const Table& before) {
  const auto name = field.name()->str();
  const int slot = slot_of(field);
  const TypeOf type{after_, *field.type()};
  const auto* held = before.at(slot);
  if (held == nullptr && type.is_union()) held = before.at(slot - 1);
  if (held != nullptr) {
    add(Rule::slot_reused, table, name, of_data,
        "the new field " + in_quotes(name) + " has id " + std::to_string(slot_of(*held)) + ", which " + in_quotes(held->name()->string_view()) + " had");
  } else {
    add(Rule::field_added, table, name, {}, "the new field " + in_quotes(name) + " has id " + std::to_string(slot) + " and type " + type.text());
  }
  if (!field.required()) return;
  add(Rule::required_added, table, name, {Harm::data, Harm::none}, in_quotes(name) + " is new and required, and old data lacks it");
}

}  // namespace bus::broker
