#include "tools/saga_values.hpp"

#include <fstream>
#include <iterator>

#include "tools/cli.hpp"

namespace bus::tools {

namespace {

std::string text_or_file(const std::string& text) {
  if (!text.starts_with('@')) return text;
  std::ifstream file(text.substr(1), std::ios::binary);
  std::string read{std::istreambuf_iterator<char>(file), {}};
  if (!file) fail(Code::not_found, text.substr(1) + ": cannot be read");
  return read;
}

}  // namespace

saga::Value saga_value(Schemas& schemas, const std::string& text, const std::string& type) {
  if (text.empty()) return {};
  if (type.empty()) return {"", {}, text_or_file(text)};
  const auto full = schemas.full_name(type).value();
  return {full, schemas.of(full).value().encode(text_or_file(text)).value(), ""};
}

Json saga_value_json(Schemas& schemas, const saga::Value& value) {
  if (value.type.empty()) return value.text.empty() ? Json() : Json(value.text);
  Json json = {{"type", value.type}, {"value", Json()}, {"text", value.text.empty() ? Json() : Json(value.text)}};
  const auto schema = schemas.of(value.type);
  if (!schema) return json;  // of a type that is not known any more
  const auto decoded = schema->decode(value.bytes);
  if (decoded) json["value"] = Json::parse(*decoded);
  return json;
}

}  // namespace bus::tools
