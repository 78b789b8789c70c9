// Structs stand in their table or vector as they are, without a word about themselves: every reader has to have the same one.
#include "broker/core/schema_diff.hpp"

namespace bus::broker {

namespace {

std::string bytes(std::int64_t count) { return std::to_string(count) + " bytes"; }

}  // namespace

void SchemaDiff::compare_structs(const Objects& pair) {
  const auto name = pair.before->name()->str();
  if (const auto why = layout_change(pair); !why.empty()) {
    return add(Rule::struct_changed, name, "", {Harm::data, Harm::data}, "the layout of " + in_quotes(name) + " changes: " + why);
  }
  const int was = pair.before->minalign(), is = pair.after->minalign();
  if (was != is) {
    // What is aligned to more is aligned to less, too.
    const Harms harms{is > was ? Harm::data : Harm::none, was > is ? Harm::data : Harm::none};
    add(Rule::struct_alignment_changed, name, "", harms, in_quotes(name) + " was aligned to " + bytes(was) + " and is to " + bytes(is));
  }
  const Table before(*pair.before), after(*pair.after);
  for (const auto& [slot, field] : before.by_slot) {
    const Fields fields{field, after.at(slot)};
    compare_field_names(name, fields);
    compare_field_types(name, fields);
  }
}

std::string SchemaDiff::layout_change(const Objects& pair) const {
  if (pair.before->bytesize() != pair.after->bytesize()) {
    return "it had " + bytes(pair.before->bytesize()) + " and has " + bytes(pair.after->bytesize());
  }
  const Table before(*pair.before), after(*pair.after);
  for (const auto& [slot, field] : before.by_slot) {
    const auto* other = after.at(slot);
    if (other == nullptr || other->offset() != field->offset()) return "no field is where " + in_quotes(field->name()->string_view()) + " was";
    if (auto why = layout_change({field, other}, after); !why.empty()) return why;
  }
  return before.by_slot.size() == after.by_slot.size() ? "" : "it has more fields";
}

std::string SchemaDiff::layout_change(const Fields& pair, const Table& after) const {
  const auto name = pair.before->name()->str();
  const auto* same = after.named(name);
  if (same != nullptr && same->offset() != pair.before->offset()) return in_quotes(name) + " has moved";
  const TypeOf was{before_, *pair.before->type()}, is{after_, *pair.after->type()};
  if (harms_between(was, is) != Harms{Harm::data, Harm::data}) return "";
  return in_quotes(name) + " was " + was.text() + " and is " + is.text();
}

}  // namespace bus::broker
