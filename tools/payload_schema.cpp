#include "tools/payload_schema.hpp"

#include <algorithm>

#include "base/limits.hpp"

namespace bus::tools {

namespace {

constexpr std::size_t struct_bytes_max = 0xffff;  // an offset in one has 16 bits

// Read as a number: as a Kind one beyond the last must not even be looked at. MaxBaseType is none of them.
Kind kind_in(const reflection::Type& type, flatbuffers::voffset_t field) {
  const auto value = reinterpret_cast<const flatbuffers::Table&>(type).GetField<std::int8_t>(field, 0);
  return value >= Kind::None && value < Kind::MaxBaseType ? static_cast<Kind>(value) : Kind::MaxBaseType;
}

ValueType value_type(const reflection::Type& type) {
  return {kind_in(type, reflection::Type::VT_BASE_TYPE), kind_in(type, reflection::Type::VT_ELEMENT), type.index(), type.fixed_length()};
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
  for (const auto& object : objects_) {
    if (auto checked = check(object); !checked) return checked;
  }
  std::string tables;
  std::vector<std::size_t> depths(objects_.size());
  bool found = false;
  for (std::size_t i = 0; i < objects_.size(); ++i) {
    if (objects_[i].is_struct && !is_within(i, limits::struct_depth_max, depths)) return bad_schema("structs lie in " + objects_[i].name + " too deep, or in themselves");
    if (objects_[i].is_struct) continue;
    tables += (tables.empty() ? "" : ", ") + objects_[i].name;
    if (objects_[i].name == type) root_ = i, found = true;
  }
  auto verifier = wire::PayloadVerifier::compile(reflected);
  if (!verifier) return bad_schema(verifier.error().detail);
  verifier_ = std::move(*verifier);
  if (found) return {};
  return Error{Code::unknown_type, "the schema has no table '" + std::string(type) + "'; it has " + tables};
}

// Reflection data is verified as a FlatBuffer only; what its numbers point to is checked here, once.
Result<void> PayloadSchema::check(const SchemaObject& object) const {
  if (object.is_struct && (object.bytes == 0 || object.bytes > struct_bytes_max)) return bad_schema(object.name + " is a struct of no or too many bytes");
  for (const auto& field : object.fields) {
    const auto where = object.name + "." + field.name;
    if (auto good = object.is_struct ? check_inside(object, field) : check_table_field(field); !good) return bad_schema(where + " " + good.error().detail);
  }
  return {};
}

// Of a field, or of the member of a union. The details are for a sentence that begins with its name.
Result<void> PayloadSchema::check_value(const ValueType& type) const {
  const bool is_vector = type.kind == Kind::Vector;
  const auto kind = is_vector || type.kind == Kind::Array ? type.element : type.kind;
  if (is_vector && (kind == Kind::Union || kind == Kind::UType)) return Error{Code::bad_format, "is a vector of unions, which cannot be verified; wrap the union in a table"};
  const bool is_known = is_scalar(kind) || kind == Kind::String || kind == Kind::Obj || kind == Kind::Union;
  if (!is_known) return Error{Code::bad_format, "is of an unknown kind"};
  if (kind == Kind::Obj && !is_object(type)) return Error{Code::bad_format, "names a table that is not there"};
  if (kind != Kind::Obj && type.index >= 0 && static_cast<std::size_t>(type.index) >= enums_.size()) return Error{Code::bad_format, "names an enum that is not there"};
  return {};
}

Result<void> PayloadSchema::check_table_field(const SchemaField& field) const {
  if (field.offset < 4 || field.offset % 2 != 0) return Error{Code::bad_format, "has no place in its table"};
  if (field.type.kind == Kind::Array) return Error{Code::bad_format, "is an array, which only a struct may have"};
  if (auto good = check_value(field.type); !good || field.type.kind != Kind::Union) return good;
  if (field.type.index < 0 || field.offset < 6) return Error{Code::bad_format, "is a union without a type field"};
  for (const auto& entry : enumeration(field.type)->entries) {
    const auto& member = entry.member;
    const bool is_sound = member.kind == Kind::None || member.kind == Kind::String || (member.kind == Kind::Obj && is_object(member));
    if (!is_sound) return Error{Code::bad_format, "is a union whose member " + entry.name + " is no table, struct or string"};
  }
  return {};
}

// What a struct has lies in it, and what lies elsewhere, a string or a table, it cannot have.
Result<void> PayloadSchema::check_inside(const SchemaObject& object, const SchemaField& field) const {
  if (auto good = check_value(field.type); !good) return good;
  const auto type = field.type.kind == Kind::Array ? field.type.of_element() : field.type;
  const bool lies_here = is_scalar(type.kind) || (type.kind == Kind::Obj && this->object(type).is_struct);
  if (!lies_here) return Error{Code::bad_format, "cannot be in a struct"};
  const auto bytes = inline_bytes(field.type);
  if (bytes == 0 || field.offset + bytes > object.bytes) return Error{Code::bad_format, "ends outside its struct"};
  return {};
}

// Structs in structs: one that lies in itself is never deep enough.
bool PayloadSchema::is_within(std::size_t index, std::size_t most, std::vector<std::size_t>& depths) const {
  if (depths[index] != 0) return depths[index] <= most;
  if (most == 0) return false;
  std::size_t deepest = 0;
  for (const auto& field : objects_[index].fields) {
    if (field.type.kind != Kind::Obj && field.type.element != Kind::Obj) continue;
    const auto inner = static_cast<std::size_t>(field.type.index);
    if (!is_within(inner, most - 1, depths)) return false;
    deepest = std::max(deepest, depths[inner]);
  }
  depths[index] = deepest + 1;
  return true;
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
