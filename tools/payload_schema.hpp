// PayloadSchema is one payload type and all that it contains, taken from a reflection schema and arranged for
// going through values fast: fields by id, their JSON labels ready, enum values sorted. Immutable.
#pragma once

#include <flatbuffers/reflection.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/bytes.hpp"
#include "bus/result.hpp"
#include "wire/payload_verifier.hpp"

namespace bus::tools {

using Kind = reflection::BaseType;

// What a value is. `index` names the object of Kind::Obj, and the enum of integers that have one and of unions.
struct ValueType {
  Kind kind = Kind::None;
  Kind element = Kind::None;            // of vectors and arrays
  int index = -1;
  std::size_t length = 0;               // of arrays

  ValueType of_element() const { return {element, Kind::None, index, 0}; }
};

struct SchemaField {
  std::string name;
  std::string label;                    // "name": as it stands in JSON
  ValueType type;
  std::uint16_t offset = 0;             // in the vtable of a table, in the bytes of a struct
  bool optional = false;                // a scalar that may be absent
  bool required = false;
  std::int64_t default_integer = 0;
  double default_real = 0;
};

struct SchemaObject {
  std::string name;
  bool is_struct = false;
  std::size_t bytes = 0;                // of structs
  std::size_t align = 0;
  std::vector<SchemaField> fields;      // by id

  const SchemaField* find(std::string_view field) const;
};

struct SchemaEnum {
  struct Entry {
    std::int64_t value = 0;
    std::string name;
    ValueType member;                   // of unions
  };
  std::string name;
  std::vector<Entry> entries;           // by value

  const Entry* find(std::int64_t value) const;
  const Entry* find(std::string_view entry) const;
};

class PayloadSchema {
 public:
  // `type` is the full name of a table. Errors: bad_format (not a reflection schema, or one with vectors of
  // unions, which are not verified), unknown_type (the detail names the tables there are).
  static Result<PayloadSchema> open(Bytes bfbs, std::string_view type);

  const SchemaObject& root() const { return objects_[root_]; }
  const SchemaObject& object(const ValueType& type) const { return objects_[static_cast<std::size_t>(type.index)]; }
  // Whether `payload`, aligned to 8, is sound. Members of a union that the schema does not know were not looked at then, and must
  // not be.
  bool verify(Bytes payload) const { return verifier_->verify(root_, payload, wire::PayloadVerifier::Members::any); }
  // Null for values that have no enum.
  const SchemaEnum* enumeration(const ValueType& type) const;
  // Bytes that a scalar or a struct takes where it stands.
  std::size_t inline_bytes(const ValueType& type) const;

 private:
  Result<void> read(const reflection::Schema& reflected, std::string_view type);
  Result<void> check(const SchemaObject& object) const;
  Result<void> check_value(const ValueType& type) const;
  Result<void> check_table_field(const SchemaField& field) const;
  Result<void> check_inside(const SchemaObject& object, const SchemaField& field) const;
  bool is_within(std::size_t index, std::size_t most, std::vector<std::size_t>& depths) const;
  bool is_object(const ValueType& type) const { return type.index >= 0 && static_cast<std::size_t>(type.index) < objects_.size(); }

  std::vector<SchemaObject> objects_;   // as in the reflection schema
  std::vector<SchemaEnum> enums_;
  std::size_t root_ = 0;
  std::optional<wire::PayloadVerifier> verifier_;
};

// Calls visit(T{}) with the C++ type of a scalar kind.
template <typename Visit>
decltype(auto) visit_scalar(Kind kind, Visit visit) {
  switch (kind) {
    case Kind::Byte: return visit(std::int8_t{});
    case Kind::Short: return visit(std::int16_t{});
    case Kind::UShort: return visit(std::uint16_t{});
    case Kind::Int: return visit(std::int32_t{});
    case Kind::UInt: return visit(std::uint32_t{});
    case Kind::Long: return visit(std::int64_t{});
    case Kind::ULong: return visit(std::uint64_t{});
    case Kind::Float: return visit(float{});
    case Kind::Double: return visit(double{});
    default: return visit(std::uint8_t{});  // UByte, UType, and Bool, which is stored as one
  }
}

inline bool is_scalar(Kind kind) { return kind >= Kind::UType && kind <= Kind::Double; }

}  // namespace bus::tools
