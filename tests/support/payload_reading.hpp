// What a reader with some schema gets out of a payload: every value, under the slots that lead to it and under the names.
#pragma once

#include <flatbuffers/reflection.h>

#include <map>
#include <string>

namespace bus::test {

struct ReadValue {
  std::string names;   // the path in names, as in JSON
  std::string bytes;   // the value: a number, true and false as 1 and 0
  std::string text;    // as JSON shows it
  const reflection::Enum* enumeration = nullptr;
};

// By slots: "0/2/1" is field 1 of element 2 of field 0.
using Reading = std::map<std::string, ReadValue>;

// For payloads that verify by the schema. Absent scalars read as their default, an optional one as null.
class PayloadReader {
 public:
  explicit PayloadReader(const reflection::Schema& schema) : schema_(schema) {}

  Reading read(const reflection::Object& root, const std::uint8_t* payload) {
    table(root, *flatbuffers::GetAnyRoot(payload), "", "");
    return std::move(reading_);
  }

 private:
  using Type = reflection::Type;

  void table(const reflection::Object& object, const flatbuffers::Table& table, const std::string& slots, const std::string& names) {
    for (const auto* field : *object.fields()) {
      const auto slot = slots + std::to_string(field->offset()) + "/", name = names + field->name()->str() + ".";
      const auto base = field->type()->base_type();
      const auto* at = table.GetAddressOf(field->offset());
      if (at == nullptr) {
        absent(*field, slot, name);
      } else if (base == reflection::Union) {
        const auto kind = table.GetField<std::uint8_t>(static_cast<flatbuffers::voffset_t>(field->offset() - 2), 0);
        if (kind != 0) member(enumeration(field->type()->index())->values()->LookupByKey(kind), follow(at), slot, name);
      } else {
        value(base, *field->type(), at, slot, name);
      }
    }
  }

  void absent(const reflection::Field& field, const std::string& slot, const std::string& name) {
    const auto base = field.type()->base_type();
    if (base > reflection::Double || field.optional()) return put(slot, name, "absent", "null");
    if (base == reflection::Float || base == reflection::Double) return number(std::to_string(field.default_real()), base, -1, slot, name);
    number(std::to_string(field.default_integer()), base, field.type()->index(), slot, name);
  }

  void member(const reflection::EnumVal* chosen, const std::uint8_t* at, const std::string& slot, const std::string& name) {
    const auto base = chosen->union_type()->base_type();
    if (base == reflection::String) return string(at, slot, name);
    const auto& object = *schema_.objects()->Get(static_cast<flatbuffers::uoffset_t>(chosen->union_type()->index()));
    if (object.is_struct()) return structure(object, at, slot, name);
    table(object, *reinterpret_cast<const flatbuffers::Table*>(at), slot, name);
  }

  void value(reflection::BaseType base, const Type& type, const std::uint8_t* at, const std::string& slot, const std::string& name) {
    if (base == reflection::String) return string(follow(at), slot, name);
    if (base == reflection::Vector) return vector(type, follow(at), slot, name);
    if (base == reflection::Array) return elements(type, at, type.fixed_length(), slot, name);
    if (base == reflection::Obj) {
      const auto& object = *schema_.objects()->Get(static_cast<flatbuffers::uoffset_t>(type.index()));
      put(slot, name, object.is_struct() ? "struct" : "table", "object");
      if (object.is_struct()) return structure(object, at, slot, name);
      return table(object, *reinterpret_cast<const flatbuffers::Table*>(follow(at)), slot, name);
    }
    const bool real = base == reflection::Float || base == reflection::Double;
    const auto integer = flatbuffers::GetAnyValueI(base, at);
    const auto whole = base == reflection::ULong ? std::to_string(static_cast<std::uint64_t>(integer)) : std::to_string(integer);
    number(real ? std::to_string(flatbuffers::GetAnyValueF(base, at)) : whole, base, type.index(), slot, name);
  }

  void structure(const reflection::Object& object, const std::uint8_t* at, const std::string& slot, const std::string& name) {
    for (const auto* field : *object.fields()) {
      value(field->type()->base_type(), *field->type(), at + field->offset(), slot + std::to_string(field->offset()) + "/",
            name + field->name()->str() + ".");
    }
  }

  void vector(const Type& type, const std::uint8_t* at, const std::string& slot, const std::string& name) {
    const auto size = flatbuffers::ReadScalar<flatbuffers::uoffset_t>(at);
    elements(type, at + sizeof size, size, slot, name);
  }

  void elements(const Type& type, const std::uint8_t* at, std::size_t count, const std::string& slot, const std::string& name) {
    put(slot, name, std::to_string(count) + " elements", "list");
    std::size_t step = flatbuffers::GetTypeSize(type.element());
    if (type.element() == reflection::Obj) {
      const auto& object = *schema_.objects()->Get(static_cast<flatbuffers::uoffset_t>(type.index()));
      if (object.is_struct()) step = static_cast<std::size_t>(object.bytesize());
    }
    for (std::size_t i = 0; i < count; ++i) {
      value(type.element(), type, at + i * step, slot + std::to_string(i) + "/", name + std::to_string(i) + ".");
    }
  }

  // The bytes of a string are those of a vector.
  void string(const std::uint8_t* at, const std::string& slot, const std::string& name) {
    const auto& text = *reinterpret_cast<const flatbuffers::String*>(at);
    put(slot, name, std::to_string(text.size()) + " elements", "text");
    for (flatbuffers::uoffset_t i = 0; i < text.size(); ++i) {
      put(slot + std::to_string(i) + "/", name + std::to_string(i) + ".", std::to_string(text.Get(i)), std::string(1, static_cast<char>(text.Get(i))));
    }
  }

  void number(std::string digits, reflection::BaseType base, int index, const std::string& slot, const std::string& name) {
    const auto* names = enumeration(index);
    if (base == reflection::Bool) digits = digits == "0" ? "0" : "1";  // as generated code reads it
    std::string text = base == reflection::Bool ? (digits == "0" ? "false" : "true") : digits;
    if (names != nullptr) {
      if (const auto* value = names->values()->LookupByKey(std::stoll(digits))) text = value->name()->str();
    }
    put(slot, name, std::move(digits), std::move(text), names);
  }

  const reflection::Enum* enumeration(int index) const {
    if (index < 0) return nullptr;
    return schema_.enums()->Get(static_cast<flatbuffers::uoffset_t>(index));
  }

  static const std::uint8_t* follow(const std::uint8_t* at) { return at + flatbuffers::ReadScalar<flatbuffers::uoffset_t>(at); }

  void put(const std::string& slot, const std::string& name, std::string bytes, std::string text, const reflection::Enum* names = nullptr) {
    reading_[slot] = {name, std::move(bytes), std::move(text), names};
  }

  const reflection::Schema& schema_;
  Reading reading_;
};

}  // namespace bus::test
