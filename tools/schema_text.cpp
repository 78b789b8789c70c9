#include "tools/schema_text.hpp"

#include <flatbuffers/reflection.h>

#include <algorithm>
#include <vector>

namespace bus::tools {

namespace {

using reflection::BaseType;

using Doc = const flatbuffers::Vector<flatbuffers::Offset<flatbuffers::String>>*;

std::string text_of_doc(Doc doc) {
  std::string text;
  if (doc == nullptr) return text;
  for (const auto* line : *doc) text += (text.empty() ? "" : " ") + line->str().substr(std::min<std::size_t>(line->str().find_first_not_of(' '), line->size()));
  return text;
}

bool is_real(BaseType type) { return type == BaseType::Float || type == BaseType::Double; }

std::string scalar_name(BaseType type) {
  static const char* const names[] = {"none", "utype", "bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64",
                                      "float32", "float64", "string"};
  const auto at = static_cast<std::size_t>(type);
  return at < std::size(names) ? names[at] : "?";
}

// SchemaView walks what a root table contains.
class SchemaView {
 public:
  SchemaView(const reflection::Schema& schema, const reflection::Object& root) : schema_(schema) { visit(root); }

  const std::vector<const reflection::Object*>& objects() const { return objects_; }
  const std::vector<const reflection::Enum*>& enums() const { return enums_; }

  // In the order of their ids; the type field of a union belongs to the union.
  static std::vector<const reflection::Field*> fields(const reflection::Object& object) {
    std::vector<const reflection::Field*> all;
    for (const auto* field : *object.fields()) {
      if (field->type()->base_type() != BaseType::UType) all.push_back(field);
    }
    std::sort(all.begin(), all.end(), [](const auto* a, const auto* b) { return a->id() < b->id(); });
    return all;
  }

  std::string type_name(const reflection::Type& type) const {
    if (type.base_type() == BaseType::Vector) return "[" + named(type.element(), type.index()) + "]";
    if (type.base_type() == BaseType::Array) return "[" + named(type.element(), type.index()) + ":" + std::to_string(type.fixed_length()) + "]";
    return named(type.base_type(), type.index());
  }

  // Nothing where the default is no value, or zero.
  Json default_of(const reflection::Field& field) const {
    const auto& type = *field.type();
    if (field.optional() || type.base_type() > BaseType::Double) return {};
    if (is_real(type.base_type())) return field.default_real() == 0 ? Json() : Json(field.default_real());
    const auto value = field.default_integer();
    if (type.index() < 0) return value == 0 ? Json() : type.base_type() == BaseType::Bool ? Json(true) : Json(value);
    for (const auto* entry : *schema_.enums()->Get(static_cast<unsigned>(type.index()))->values()) {
      if (entry->value() == value && value != 0) return entry->name()->str();
    }
    return {};
  }

 private:
  std::string named(BaseType type, int index) const {
    if (type == BaseType::Obj) return schema_.objects()->Get(static_cast<unsigned>(index))->name()->str();
    return index >= 0 ? schema_.enums()->Get(static_cast<unsigned>(index))->name()->str() : scalar_name(type);
  }

  void visit(const reflection::Object& object) {
    if (std::find(objects_.begin(), objects_.end(), &object) != objects_.end()) return;
    objects_.push_back(&object);
    for (const auto* field : fields(object)) {
      const auto& type = *field->type();
      const bool is_list = type.base_type() == BaseType::Vector || type.base_type() == BaseType::Array;
      visit(is_list ? type.element() : type.base_type(), type.index());
    }
  }

  void visit(BaseType type, int index) {
    if (index < 0) return;
    const auto at = static_cast<unsigned>(index);
    if (type == BaseType::Obj) return visit(*schema_.objects()->Get(at));
    const auto* one = schema_.enums()->Get(at);
    if (std::find(enums_.begin(), enums_.end(), one) != enums_.end()) return;
    enums_.push_back(one);
    if (type != BaseType::Union) return;
    for (const auto* entry : *one->values()) visit(entry->union_type()->base_type(), entry->union_type()->index());
  }

  const reflection::Schema& schema_;
  std::vector<const reflection::Object*> objects_;
  std::vector<const reflection::Enum*> enums_;
};

Result<SchemaView> open(Bytes bfbs, std::string_view type) {
  flatbuffers::Verifier verifier(bfbs.data(), bfbs.size());
  if (!reflection::VerifySchemaBuffer(verifier)) return Error{Code::bad_format, "the broker's schema is damaged"};
  const auto* schema = reflection::GetSchema(bfbs.data());
  const auto* root = schema->objects()->LookupByKey(std::string(type).c_str());
  if (root == nullptr) return Error{Code::unknown_type, "the schema has no type '" + std::string(type) + "'"};
  return SchemaView(*schema, *root);
}

std::string field_text(const SchemaView& view, const reflection::Field& field) {
  auto text = "  " + field.name()->str() + ": " + view.type_name(*field.type());
  if (const auto value = view.default_of(field); !value.is_null()) text += " = " + (value.is_string() ? value.get<std::string>() : dump(value));
  if (field.optional() && field.type()->base_type() <= BaseType::Double) text += " = null";
  if (field.required()) text += " (required)";
  text += ";";
  const auto doc = text_of_doc(field.documentation());
  if (doc.empty()) return text + "\n";
  return text + std::string(text.size() < 38 ? 38 - text.size() : 1, ' ') + "// " + doc + "\n";
}

std::string doc_text(Doc doc) {
  const auto text = text_of_doc(doc);
  return text.empty() ? "" : "// " + text + "\n";
}

Json field_json(const SchemaView& view, const reflection::Field& field) {
  Json json = {{"name", field.name()->str()}, {"type", view.type_name(*field.type())}};
  if (auto value = view.default_of(field); !value.is_null()) json["default"] = std::move(value);
  if (field.required()) json["required"] = true;
  if (field.optional() && field.type()->base_type() <= BaseType::Double) json["optional"] = true;
  if (auto doc = text_of_doc(field.documentation()); !doc.empty()) json["doc"] = std::move(doc);
  return json;
}

}  // namespace

Result<std::string> schema_text(Bytes bfbs, std::string_view type) {
  const auto view = open(bfbs, type);
  if (!view) return view.error();
  std::string text;
  for (const auto* object : view->objects()) {
    text += (text.empty() ? "" : "\n") + doc_text(object->documentation()) + (object->is_struct() ? "struct " : "table ") + object->name()->str() + " {\n";
    for (const auto* field : SchemaView::fields(*object)) text += field_text(*view, *field);
    text += "}\n";
  }
  for (const auto* one : view->enums()) {
    text += "\n" + doc_text(one->documentation()) + (one->is_union() ? "union " : "enum ") + one->name()->str() + " {\n";
    for (const auto* entry : *one->values()) text += "  " + entry->name()->str() + " = " + std::to_string(entry->value()) + "\n";
    text += "}\n";
  }
  return text;
}

Result<Json> schema_json(Bytes bfbs, std::string_view type) {
  const auto view = open(bfbs, type);
  if (!view) return view.error();
  Json json = {{"tables", Json::object()}, {"enums", Json::object()}};
  for (const auto* object : view->objects()) {
    auto& fields = json["tables"][object->name()->str()] = Json::array();
    for (const auto* field : SchemaView::fields(*object)) fields.push_back(field_json(*view, *field));
  }
  for (const auto* one : view->enums()) {
    auto& values = json["enums"][one->name()->str()] = Json::object();
    for (const auto* entry : *one->values()) values[entry->name()->str()] = entry->value();
  }
  return json;
}

}  // namespace bus::tools
