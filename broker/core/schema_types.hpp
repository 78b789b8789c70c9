// What one value's type in a reflection schema is, and what becomes of a value that is written as one type and read as
// another. Pure functions; the types that a table, struct, enum or union leads to are SchemaDiff's matter.
#pragma once

#include <flatbuffers/reflection.h>

#include <string>

#include "broker/core/schema_compatibility.hpp"

namespace bus::broker {

// A type, and the schema that its numbers are of.
struct TypeOf {
  const reflection::Schema& schema;
  const reflection::Type& type;

  // The table or struct that it is, or is a vector or array of; null if it is none.
  const reflection::Object* object() const;
  // The enum or union that it is, or is a vector or array of; null if it is none.
  const reflection::Enum* enumeration() const;
  bool is_scalar() const;  // enums included
  bool is_union() const;   // or a vector of them
  // As in a schema: "[suoke.health.Sample]".
  std::string text() const;
};

// A scalar's name in a schema: "ubyte".
std::string base_text(reflection::BaseType base);
// The number of what identifies a field of a table in its bytes: its id.
int slot_of(const reflection::Field& field);
// The field that says which member a union holds; flatc adds it, in the slot before the union's.
bool is_union_type(const reflection::Field& field);
// The value of an attribute; null if the field, table or enum has none of that name.
const char* attribute_of(const reflection::Field& field, const char* name);
bool has_bit_flags(const reflection::Enum& enumeration);

// What happens to a value between the two types themselves. Two enums, tables, structs or unions do no harm here: what is
// in them is compared on its own, once for all places that lead to it.
Harms harms_between(const TypeOf& before, const TypeOf& after);

}  // namespace bus::broker
