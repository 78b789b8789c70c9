#include "broker/core/payload_types.hpp"

#include <flatbuffers/reflection.h>

#include <algorithm>
#include <set>

#include "base/limits.hpp"
#include "broker/core/builtin_types.hpp"

namespace bus::broker {

namespace {

using Object = reflection::Object;

flatbuffers::Verifier::Options tight() {
  flatbuffers::Verifier::Options options;
  options.max_depth = limits::verifier_depth_max;
  options.max_tables = limits::verifier_tables_max;
  return options;
}

Buffer aligned_copy(Bytes bytes) { return Buffer(bytes.begin(), bytes.end()); }

// The parts of a schema that the reflection verifier of FlatBuffers 2.0.8 does not check safely.
Result<void> check_schema(const reflection::Schema& schema, const std::string& file) {
  const auto refuse = [&](const Object* object, const reflection::Field* field, const char* what) {
    return Error{Code::bad_format, file + ": field " + object->name()->str() + "." + field->name()->str() + " is " + what +
                                       ", which cannot be verified safely; change the schema"};
  };
  for (const Object* object : *schema.objects()) {
    for (const reflection::Field* field : *object->fields()) {
      const auto* type = field->type();
      if (type->base_type() == reflection::Vector && (type->element() == reflection::Union || type->element() == reflection::UType)) {
        return refuse(object, field, "a vector of unions");
      }
      const auto* attributes = field->attributes();
      if (attributes != nullptr && attributes->LookupByKey("nested_flatbuffer") != nullptr) {
        return refuse(object, field, "a nested_flatbuffer");
      }
    }
  }
  return {};
}

// The indexes of objects that some table of the schema contains.
std::set<int> contained(const reflection::Schema& schema) {
  std::set<int> inside;
  for (const Object* object : *schema.objects()) {
    for (const reflection::Field* field : *object->fields()) {
      const auto* type = field->type();
      const bool table = type->base_type() == reflection::Obj || type->element() == reflection::Obj;
      if (table && schema.objects()->Get(static_cast<flatbuffers::uoffset_t>(type->index())) != object) inside.insert(type->index());
      if (type->base_type() != reflection::Union) continue;
      for (const auto* value : *schema.enums()->Get(static_cast<flatbuffers::uoffset_t>(type->index()))->values()) {
        if (value->union_type() != nullptr && value->union_type()->base_type() == reflection::Obj) {
          inside.insert(value->union_type()->index());
        }
      }
    }
  }
  return inside;
}

// The tables of a schema that are event types: the root table, and those that no other table contains.
std::vector<const Object*> event_types(const reflection::Schema& schema) {
  const auto inside = contained(schema);
  std::vector<const Object*> types;
  for (flatbuffers::uoffset_t at = 0; at < schema.objects()->size(); ++at) {
    const Object* object = schema.objects()->Get(at);
    const bool top = !inside.contains(static_cast<int>(at)) || object == schema.root_table();
    if (!object->is_struct() && top) types.push_back(object);
  }
  return types;
}

Result<const reflection::Schema*> parse(const std::string& bfbs, const std::string& file) {
  const auto* bytes = reinterpret_cast<const std::uint8_t*>(bfbs.data());
  flatbuffers::Verifier verifier(bytes, bfbs.size(), flatbuffers::Verifier::Options{});
  if (bfbs.size() < 16 || !reflection::SchemaBufferHasIdentifier(bytes) || !reflection::VerifySchemaBuffer(verifier)) {
    return Error{Code::bad_format, file + " is not a binary FlatBuffers schema; make one with: flatc -b --schema FILE.fbs"};
  }
  return reflection::GetSchema(bytes);
}

bool has_required(const reflection::Schema& schema, const Object& object, const flatbuffers::Table& table);

// The tables that a field which is there leads to.
bool has_required_inside(const reflection::Schema& schema, const Object& parent, const reflection::Field& field,
                         const flatbuffers::Table& table) {
  const auto base = field.type()->base_type();
  if (base == reflection::Union) {
    const auto kind = table.GetField<std::uint8_t>(static_cast<flatbuffers::voffset_t>(field.offset() - 2), 0);
    if (kind == 0) return true;
    const Object& object = flatbuffers::GetUnionType(schema, parent, field, table);
    return object.is_struct() || has_required(schema, object, *flatbuffers::GetFieldT(table, field));
  }
  const bool vector = base == reflection::Vector && field.type()->element() == reflection::Obj;
  if (base != reflection::Obj && !vector) return true;
  const Object& object = *schema.objects()->Get(static_cast<flatbuffers::uoffset_t>(field.type()->index()));
  if (object.is_struct()) return true;
  if (!vector) return has_required(schema, object, *flatbuffers::GetFieldT(table, field));
  const auto* items = flatbuffers::GetFieldV<flatbuffers::Offset<flatbuffers::Table>>(table, field);
  return std::all_of(items->begin(), items->end(), [&](const auto* item) { return has_required(schema, object, *item); });
}

// The reflection verifier of FlatBuffers 2.0.8 does not see that a required string, vector or union is missing, which
// generated code then takes for granted. For tables that it has verified.
bool has_required(const reflection::Schema& schema, const Object& object, const flatbuffers::Table& table) {
  return std::all_of(object.fields()->begin(), object.fields()->end(), [&](const reflection::Field* field) {
    if (!table.CheckField(field->offset())) return !field->required();
    return has_required_inside(schema, object, *field, table);
  });
}

bool verify_compiled(bool (*verify)(flatbuffers::Verifier&), Bytes payload) {
  flatbuffers::Verifier verifier(payload.data(), payload.size(), tight());
  return verify(verifier);
}

}  // namespace

PayloadTypes::PayloadTypes() {
  for (const BuiltinType& builtin : builtin_types()) {
    const auto verify = builtin.verify;
    Type type;
    type.verify = [verify](Bytes payload) { return verify_compiled(verify, payload); };
    type.bfbs = std::string(builtin.bfbs);
    type.builtin = true;
    types_.emplace(builtin.name, std::move(type));
  }
}

Result<void> PayloadTypes::add(std::string bfbs, const std::string& file) {
  const auto schema = parse(bfbs, file);
  if (!schema) return schema.error();
  if (auto good = check_schema(**schema, file); !good) return good;
  const auto types = event_types(**schema);
  for (const Object* object : types) {
    if (const Type* known = find(object->name()->string_view())) {
      return Error{Code::conflict, file + ": type " + object->name()->str() + " is there already, " +
                                       (known->builtin ? std::string("built in") : "from " + known->file)};
    }
  }
  for (const Object* object : types) {
    Type type;
    type.bfbs = bfbs;
    type.file = file;
    // The schema's own copy, shared with the closure: the verifier walks it for every event.
    auto owned = std::make_shared<const Buffer>(aligned_copy(bytes_of(bfbs)));
    const auto* root = reflection::GetSchema(owned->data())->objects()->LookupByKey(object->name()->c_str());
    type.verify = [owned, root](Bytes payload) {
      const auto& its_schema = *reflection::GetSchema(owned->data());
      return flatbuffers::Verify(its_schema, *root, payload.data(), payload.size(), limits::verifier_depth_max,
                                 limits::verifier_tables_max) &&
             has_required(its_schema, *root, *flatbuffers::GetAnyRoot(payload.data()));
    };
    types_.emplace(object->name()->str(), std::move(type));
  }
  return {};
}

const PayloadTypes::Type* PayloadTypes::find(std::string_view name) const {
  const auto it = types_.find(name);
  return it == types_.end() ? nullptr : &it->second;
}

Result<void> PayloadTypes::verify(std::string_view name, Bytes payload) const {
  const Type* type = find(name);
  if (type == nullptr) {
    return Error{Code::unknown_type, "no schema of type '" + std::string(name.substr(0, 128)) + "' is loaded"};
  }
  Buffer copy;
  if (reinterpret_cast<std::uintptr_t>(payload.data()) % 8 != 0) {
    copy = aligned_copy(payload);
    payload = copy;
  }
  if (payload.size() >= 8 && type->verify(payload)) return {};
  return Error{Code::bad_payload, "the payload does not verify as " + std::string(name)};
}

}  // namespace bus::broker
