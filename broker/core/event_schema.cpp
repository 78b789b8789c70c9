#include "broker/core/event_schema.hpp"

#include <flatbuffers/reflection.h>

#include <algorithm>
#include <set>

#include "base/limits.hpp"

namespace bus::broker {

namespace {

using Object = reflection::Object;

// ---- what a schema says of itself. FlatBuffers follows its numbers without a look at them, so they are looked at here.

// Read as numbers: as a BaseType a value beyond the last one must not even be looked at.
bool is_known(const reflection::Type& type) {
  const auto& table = reinterpret_cast<const flatbuffers::Table&>(type);
  const auto known = [&](auto field) {
    const auto value = table.GetField<std::int8_t>(field, 0);
    return value >= reflection::None && value <= reflection::Array;
  };
  return known(reflection::Type::VT_BASE_TYPE) && known(reflection::Type::VT_ELEMENT);
}

bool is_object(const reflection::Schema& schema, int index) {
  return index >= 0 && static_cast<flatbuffers::uoffset_t>(index) < schema.objects()->size();
}

// The members of a union are found by their place, so that they have to be 0, 1, 2, …
bool is_union(const reflection::Schema& schema, int index) {
  if (index < 0 || static_cast<flatbuffers::uoffset_t>(index) >= schema.enums()->size()) return false;
  std::int64_t next = 0;
  for (const auto* value : *schema.enums()->Get(static_cast<flatbuffers::uoffset_t>(index))->values()) {
    const auto* type = value->union_type();
    if (value->value() != next++ || type == nullptr || !is_known(*type)) return false;
    const bool is_none = type->base_type() == reflection::None || type->base_type() == reflection::String;
    if (!is_none && (type->base_type() != reflection::Obj || !is_object(schema, type->index()))) return false;
  }
  return true;
}

// What check_schema() refuses by name is sound.
bool is_sound_element(const reflection::Schema& schema, const reflection::Type& type) {
  const auto element = type.element();
  if (element == reflection::Obj) return is_object(schema, type.index());
  return (element > reflection::None && element <= reflection::String) || element == reflection::Union;
}

bool is_sound(const reflection::Schema& schema, const reflection::Type& type, bool in_struct) {
  if (!is_known(type)) return false;
  switch (type.base_type()) {
    case reflection::Vector: return is_sound_element(schema, type);
    case reflection::Array: return in_struct && is_sound_element(schema, type);
    case reflection::Obj: return is_object(schema, type.index());
    case reflection::Union: return type.element() == reflection::None && is_union(schema, type.index());
    default:
      return type.base_type() > reflection::None && type.base_type() <= reflection::String && type.element() == reflection::None;
  }
}

// The type of what lies in a struct, once or several times.
reflection::BaseType inline_type(const reflection::Type& type) { return type.base_type() == reflection::Array ? type.element() : type.base_type(); }

// A struct is read by the places of its fields, so each has to lie inside; what is elsewhere, a string or a table, cannot be in one.
bool lies_inside(const reflection::Schema& schema, const Object& object, const reflection::Field& field) {
  const auto& type = *field.type();
  const auto base = inline_type(type);
  std::uint64_t bytes = flatbuffers::GetTypeSize(base);
  if (base == reflection::Obj) {
    const Object& inner = *schema.objects()->Get(static_cast<flatbuffers::uoffset_t>(type.index()));
    if (!inner.is_struct() || inner.bytesize() <= 0) return false;
    bytes = static_cast<std::uint64_t>(inner.bytesize());
  } else if (base < reflection::UType || base > reflection::Double) {
    return false;
  }
  if (type.base_type() == reflection::Array) bytes *= type.fixed_length();
  return bytes > 0 && field.offset() + bytes <= static_cast<std::uint64_t>(object.bytesize());
}

bool is_sound(const reflection::Schema& schema, const Object& object) {
  if (object.is_struct() && (object.bytesize() <= 0 || object.bytesize() > 0xffff)) return false;
  return std::all_of(object.fields()->begin(), object.fields()->end(), [&](const reflection::Field* field) {
    if (!is_sound(schema, *field->type(), object.is_struct())) return false;
    if (object.is_struct()) return lies_inside(schema, object, *field);
    return field->offset() >= 4 && field->offset() % 2 == 0;  // in the vtable, behind its two sizes
  });
}

// How deep structs lie in each other; one that lies in itself is never deep enough.
class StructDepths {
 public:
  explicit StructDepths(const reflection::Schema& schema) : schema_(schema), depths_(schema.objects()->size()) {}

  // False: deeper than so many. The structs are sound.
  bool within(flatbuffers::uoffset_t index, std::size_t most) {
    if (depths_[index] != 0) return depths_[index] <= most;
    if (most == 0) return false;
    std::size_t deepest = 0;
    for (const reflection::Field* field : *schema_.objects()->Get(index)->fields()) {
      if (inline_type(*field->type()) != reflection::Obj) continue;
      const auto inner = static_cast<flatbuffers::uoffset_t>(field->type()->index());
      if (!within(inner, most - 1)) return false;
      deepest = std::max(deepest, depths_[inner]);
    }
    depths_[index] = deepest + 1;
    return true;
  }

 private:
  const reflection::Schema& schema_;
  std::vector<std::size_t> depths_;      // 0: not known yet
};

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
std::vector<EventSchema::EventType> types_of(const reflection::Schema& schema) {
  const auto inside = contained(schema);
  std::vector<EventSchema::EventType> types;
  for (flatbuffers::uoffset_t at = 0; at < schema.objects()->size(); ++at) {
    const Object* object = schema.objects()->Get(at);
    const bool top = !inside.contains(static_cast<int>(at)) || object == schema.root_table();
    if (!object->is_struct() && top) types.push_back({object->name()->string_view(), at});
  }
  return types;
}

bool is_name(const flatbuffers::String* name) { return name != nullptr && name->size() >= 1 && name->size() <= limits::text_bytes_max; }

// Names become keys, texts and answers; the verifier lets any number of places share one that is as long as the file.
bool has_sound_names(const reflection::Schema& schema) {
  std::set<std::string_view> types;
  for (const Object* object : *schema.objects()) {
    if (!is_name(object->name()) || !types.insert(object->name()->string_view()).second) return false;
    for (const auto* field : *object->fields()) {
      if (!is_name(field->name())) return false;
    }
  }
  for (const auto* one : *schema.enums()) {
    if (!is_name(one->name())) return false;
    for (const auto* value : *one->values()) {
      if (!is_name(value->name())) return false;
    }
  }
  return true;
}

// Whichever field leads to it: two versions of it are compared all the same.
bool is_sound(const reflection::Schema& schema, const reflection::Enum& one) {
  if (one.is_union()) {
    for (flatbuffers::uoffset_t at = 0; at < schema.enums()->size(); ++at) {
      if (schema.enums()->Get(at) == &one) return is_union(schema, static_cast<int>(at));
    }
  }
  return std::all_of(one.values()->begin(), one.values()->end(), [](const auto* value) {
    return value->union_type() == nullptr || value->union_type()->base_type() == reflection::None;
  });
}

Result<const reflection::Schema*> parse(const Buffer& bfbs, const std::string& file) {
  flatbuffers::Verifier verifier(bfbs.data(), bfbs.size(), flatbuffers::Verifier::Options{});
  if (bfbs.size() < 16 || !reflection::SchemaBufferHasIdentifier(bfbs.data()) || !reflection::VerifySchemaBuffer(verifier)) {
    return Error{Code::bad_format, file + " is not a binary FlatBuffers schema; make one with: flatc -b --schema FILE.fbs"};
  }
  const auto* schema = reflection::GetSchema(bfbs.data());
  if (!has_sound_names(*schema)) {
    return Error{Code::bad_format, file + ": a name in it is empty, there twice, or longer than " + std::to_string(limits::text_bytes_max) + " bytes"};
  }
  for (const auto* one : *schema->enums()) {
    if (!is_sound(*schema, *one)) return Error{Code::bad_format, file + ": " + one->name()->str() + " is not as flatc writes it; the file is damaged"};
  }
  for (const Object* object : *schema->objects()) {
    if (is_sound(*schema, *object)) continue;
    return Error{Code::bad_format, file + ": " + object->name()->str() + " is not as flatc writes it; the file is damaged"};
  }
  StructDepths depths(*schema);
  for (flatbuffers::uoffset_t at = 0; at < schema->objects()->size(); ++at) {
    const Object& object = *schema->objects()->Get(at);
    if (!object.is_struct() || depths.within(at, limits::struct_depth_max)) continue;
    return Error{Code::bad_format, file + ": structs lie in struct " + object.name()->str() + " more than " + std::to_string(limits::struct_depth_max) + " deep; change the schema"};
  }
  return schema;
}

}  // namespace

Result<std::shared_ptr<const EventSchema>> EventSchema::open(Bytes bfbs, const std::string& file) {
  auto made = std::shared_ptr<EventSchema>(new EventSchema(copy_of(bfbs)));
  const auto schema = parse(made->bytes_, file);
  if (!schema) return schema.error();
  if (auto good = check_schema(**schema, file); !good) return good.error();
  auto verifier = wire::PayloadVerifier::compile(**schema);
  if (!verifier) return Error{verifier.error().code, file + ": " + verifier.error().detail + "; the file is damaged"};
  made->schema_ = *schema;
  made->event_types_ = types_of(**schema);
  made->verifier_ = std::move(*verifier);
  return std::shared_ptr<const EventSchema>(std::move(made));
}

const EventSchema::EventType* EventSchema::event_type(std::string_view name) const {
  const auto it = std::find_if(event_types_.begin(), event_types_.end(), [&](const EventType& type) { return type.name == name; });
  return it == event_types_.end() ? nullptr : &*it;
}

}  // namespace bus::broker
