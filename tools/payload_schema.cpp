#include "tools/payload_schema.hpp"

#include <algorithm>

namespace bus::tools {

namespace {

ValueType value_type(const reflection::Type& type) {
  return {type.base_type(), type.element(), type.index(), type.fixed_length()};
}

SchemaField schema_field(const reflection::Field& field) {
  SchemaField out;
  out.name = field.name()->str();
  out.label = '"' + out.name + "\":";
  out.type = value_type(*field.type());
  out.offset = field.offset();
  out.optional = field.optional() && is_scalar(out.type.kind);
  out.required = field.required();
  out.default_integer = field.default_integer();
  out.default_real = field.default_real();
  return out;
}

SchemaObject schema_object(const reflection::Object& object) {
  SchemaObject out;
  out.name = object.name()->str();
  out.is_struct = object.is_struct();
  out.bytes = static_cast<std::size_t>(object.bytesize());
  out.align = static_cast<std::size_t>(object.minalign());
  for (const auto* field : *object.fields()) out.fields.push_back(schema_field(*field));
  // Reflection sorts by name; offsets rise with the ids.
  std::sort(out.fields.begin(), out.fields.end(), [](const auto& a, const auto& b) { return a.offset < b.offset; });
  return out;
}

SchemaEnum schema_enum(const reflection::Enum& enumeration) {
  SchemaEnum out;
  out.name = enumeration.name()->str();
  for (const auto* value : *enumeration.values()) {
    SchemaEnum::Entry entry{value->value(), value->name()->str(), {}};
    if (value->union_type() != nullptr) entry.member = value_type(*value->union_type());
    out.entries.push_back(std::move(entry));
  }
  std::sort(out.entries.begin(), out.entries.end(), [](const auto& a, const auto& b) { return a.value < b.value; });
  return out;
}

bool is_reflection_schema(Bytes bytes) {
  flatbuffers::Verifier verifier(bytes.data(), bytes.size());
  return reflection::VerifySchemaBuffer(verifier);
}

Error bad_schema(const std::string& why) { return {Code::bad_format, "schema: " + why}; }

}  // namespace

const SchemaField* SchemaObject::find(std::string_view field) const {
  const auto at = std::find_if(fields.begin(), fields.end(), [&](const auto& each) { return each.name == field; });
  return at == fields.end() ? nullptr : &*at;
}

const SchemaEnum::Entry* SchemaEnum::find(std::int64_t value) const {
  const auto at = std::lower_bound(entries.begin(), entries.end(), value,
                                   [](const Entry& entry, std::int64_t wanted) { return entry.value < wanted; });
  return at == entries.end() || at->value != value ? nullptr : &*at;
}

const SchemaEnum::Entry* SchemaEnum::find(std::string_view entry) const {
  const auto at = std::find_if(entries.begin(), entries.end(), [&](const auto& each) { return each.name == entry; });
  return at == entries.end() ? nullptr : &*at;
}

Result<PayloadSchema> PayloadSchema::open(Bytes bfbs, std::string_view type) {
  const Buffer aligned(bfbs.begin(), bfbs.end());
  if (!is_reflection_schema(aligned)) return bad_schema("this is no .bfbs file; make one with flatc -b --schema");
  PayloadSchema schema;
  if (auto read = schema.read(*reflection::GetSchema(aligned.data()), type); !read) return read.error();
  return schema;
}

Result<void> PayloadSchema::read(const reflection::Schema& reflected, std::string_view type) {
  for (const auto* object : *reflected.objects()) objects_.push_back(schema_object(*object));
  for (const auto* enumeration : *reflected.enums()) enums_.push_back(schema_enum(*enumeration));
  std::string tables;
  bool found = false;
  for (std::size_t i = 0; i < objects_.size(); ++i) {
    if (auto checked = check(objects_[i]); !checked) return checked;
    if (objects_[i].is_struct) continue;
    tables += (tables.empty() ? "" : ", ") + objects_[i].name;
    if (objects_[i].name == type) root_ = i, found = true;
  }
  if (found) return {};
  return Error{Code::unknown_type, "the schema has no table '" + std::string(type) + "'; it has " + tables};
}

// Reflection data is verified as a FlatBuffer only; what its numbers point to is checked here, once.
Result<void> PayloadSchema::check(const SchemaObject& object) const {
  for (const auto& field : object.fields) {
    const auto where = object.name + "." + field.name;
    const auto kind = field.type.kind == Kind::Vector || field.type.kind == Kind::Array ? field.type.element : field.type.kind;
    const auto index = static_cast<std::size_t>(field.type.index);
    if (field.type.kind == Kind::Vector && (kind == Kind::Union || kind == Kind::UType)) {
      return bad_schema(where + " is a vector of unions, which cannot be verified; wrap the union in a table");
    }
    if (kind == Kind::Obj && index >= objects_.size()) return bad_schema(where + " names a table that is not there");
    if (kind == Kind::Union && (field.type.index < 0 || field.offset < 6)) return bad_schema(where + " is a union without a type field");
    if (kind != Kind::Obj && field.type.index >= 0 && index >= enums_.size()) {
      return bad_schema(where + " names an enum that is not there");
    }
    if (object.is_struct && field.offset + inline_bytes(field.type) > object.bytes) return bad_schema(where + " ends outside its struct");
  }
  return {};
}

const SchemaEnum* PayloadSchema::enumeration(const ValueType& type) const {
  return type.kind == Kind::Obj || type.index < 0 ? nullptr : &enums_[static_cast<std::size_t>(type.index)];
}

std::size_t PayloadSchema::inline_bytes(const ValueType& type) const {
  if (type.kind == Kind::Array) return type.length * inline_bytes(type.of_element());
  if (type.kind == Kind::Obj) return object(type).bytes;
  return flatbuffers::GetTypeSize(type.kind);
}

}  // namespace bus::tools
