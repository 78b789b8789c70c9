#include "broker/core/schema_types.hpp"

namespace bus::broker {

namespace {

using reflection::BaseType;

bool is_list(BaseType base) { return base == reflection::Vector || base == reflection::Array; }

// What stands in a vector or array, or the type itself.
BaseType innermost(const reflection::Type& type) { return is_list(type.base_type()) ? type.element() : type.base_type(); }

bool is_scalar_base(BaseType base) { return base >= reflection::UType && base <= reflection::Double; }
bool is_byte(BaseType base) { return base == reflection::Byte || base == reflection::UByte; }

template <typename T>
const T* entry(const flatbuffers::Vector<flatbuffers::Offset<T>>* entries, int index) {
  if (index < 0 || static_cast<flatbuffers::uoffset_t>(index) >= entries->size()) return nullptr;
  return entries->Get(static_cast<flatbuffers::uoffset_t>(index));
}

// Of one width only bool and the bytes share values: 0 and 1. Every other pair reads some value as another one.
Harms scalar_harms(BaseType before, BaseType after) {
  if (before == after) return {};
  if (before == reflection::Bool && is_byte(after)) return {Harm::names, Harm::data};
  if (is_byte(before) && after == reflection::Bool) return {Harm::data, Harm::names};
  return of_data;
}

bool is_text(const reflection::Type& type) { return type.base_type() == reflection::String; }
bool is_bytes(const TypeOf& of) {
  return of.type.base_type() == reflection::Vector && of.type.element() == reflection::UByte && of.enumeration() == nullptr;
}

}  // namespace

std::string base_text(BaseType base) {
  std::string text = reflection::EnumNameBaseType(base);
  for (char& letter : text) letter = static_cast<char>(letter | 0x20);
  return text;
}

const reflection::Object* TypeOf::object() const {
  return innermost(type) == reflection::Obj ? entry(schema.objects(), type.index()) : nullptr;
}

const reflection::Enum* TypeOf::enumeration() const {
  return innermost(type) == reflection::Obj ? nullptr : entry(schema.enums(), type.index());
}

bool TypeOf::is_scalar() const { return is_scalar_base(type.base_type()); }

bool TypeOf::is_union() const { return innermost(type) == reflection::Union; }

std::string TypeOf::text() const {
  std::string text = base_text(innermost(type));
  if (const auto* target = object()) text = target->name()->str();
  if (const auto* target = enumeration()) text = target->name()->str();
  if (type.base_type() == reflection::Array) text += ":" + std::to_string(type.fixed_length());
  return is_list(type.base_type()) ? "[" + text + "]" : text;
}

int slot_of(const reflection::Field& field) { return (field.offset() - 4) / 2; }

bool is_union_type(const reflection::Field& field) { return innermost(*field.type()) == reflection::UType; }

const char* attribute_of(const reflection::Field& field, const char* name) {
  const auto* found = field.attributes() != nullptr ? field.attributes()->LookupByKey(name) : nullptr;
  if (found == nullptr) return nullptr;
  return found->value() != nullptr ? found->value()->c_str() : "";
}

bool has_bit_flags(const reflection::Enum& enumeration) {
  return enumeration.attributes() != nullptr && enumeration.attributes()->LookupByKey("bit_flags") != nullptr;
}

Harms harms_between(const TypeOf& before, const TypeOf& after) {
  // A string is bytes and a zero after them: bytes are no string, but a string is bytes.
  if (is_text(before.type) && is_bytes(after)) return {Harm::names, Harm::data};
  if (is_bytes(before) && is_text(after.type)) return {Harm::data, Harm::names};
  const bool scalar = before.is_scalar() && after.is_scalar();
  if (!scalar && before.type.base_type() != after.type.base_type()) return of_data;
  if (before.type.fixed_length() != after.type.fixed_length()) return of_data;
  const auto was = innermost(before.type), is = innermost(after.type);
  if (is_scalar_base(was) && is_scalar_base(is)) {
    const bool named = before.enumeration() != nullptr, stays_named = after.enumeration() != nullptr;
    if (named && stays_named) return {};
    if (was == is && named != stays_named) return {Harm::names, Harm::names};
    return scalar_harms(was, is);
  }
  if (was != is) return of_data;
  if (was == reflection::Obj && before.object()->is_struct() != after.object()->is_struct()) return of_data;
  return {};
}

}  // namespace bus::broker
