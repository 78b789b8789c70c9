#include "tools/export_lines.hpp"

#include <memory>
#include <optional>

#include "tools/as_published.hpp"
#include "tools/base64.hpp"
#include "tools/event_json.hpp"
#include "tools/position.hpp"

namespace bus::tools {

namespace {

constexpr int export_format = 1;
// Beyond it a line leaves out what is there for reading: with an event of 1 MiB in base64 it stays below LineReader::line_bytes_max.
constexpr std::size_t readable_bytes_max = 8u << 20;

Error bad_line(const std::string& why) { return {Code::bad_format, why}; }

Json time_text(std::int64_t time) { return time == 0 ? Json() : Json(show_time(wall_time(time))); }

// The buffer of `base64` if an event is in it, and can be read without fear.
Result<Event> event_in(const std::string& base64, std::string_view publisher) {
  const auto bytes = from_base64(base64);
  if (!bytes) return Error{Code::bad_event, "'bytes' is not base64"};
  // Aligned as the verifier and the payload's readers want it.
  auto words = std::make_shared<std::vector<std::uint64_t>>(bytes->size() / 8 + 1);
  auto* const data = reinterpret_cast<std::uint8_t*>(words->data());
  std::copy(bytes->begin(), bytes->end(), data);
  // Behind the size and what it says there is padding.
  const auto size = bytes->size() < 4 ? 0 : flatbuffers::ReadScalar<std::uint32_t>(data);
  if (size == 0 || size > bytes->size() - 4) return Error{Code::bad_event, "'bytes' is no event"};
  flatbuffers::Verifier verifier(data, std::size_t{size} + 4);
  if (!verifier.VerifySizePrefixedBuffer<wire::Event>(nullptr)) return Error{Code::bad_event, "'bytes' is no event"};
  Event::Place place;
  place.publisher = publisher;
  return Event(place, std::move(words), {data, bytes->size()});
}

// Whoever changes a field must not be told that it was imported.
Result<void> compare(const Json& line, const Event& event, const PayloadJson* schema) {
  const auto payload = schema != nullptr ? schema->decode(event.payload()) : Error{Code::unknown_type, ""};
  if (!payload && payload.error().code == Code::bad_payload) return payload.error();
  const auto shown = Json::parse(event_to_json(event, payload ? *payload : "null"));
  for (const auto& [name, value] : line.items()) {
    if (name == "bytes" || is_of_the_log(name) || (name == "payload" && (value.is_null() || !payload))) continue;
    // Without regard to the order of names, which programs change.
    if (shown.contains(name) && nlohmann::json(shown[name]) == nlohmann::json(value)) continue;
    return Error{Code::bad_event, "'" + name + "' is not what 'bytes' has: take 'bytes' out of a line that was changed"};
  }
  return {};
}

const std::string& text_at(const Json& object, const char* name) { return object.at(name).get_ref<const std::string&>(); }

ExportedSchema schema_of(const Json& object) {
  ExportedSchema schema;
  for (const auto& [type, version] : object.at("types").items()) schema.types[type] = version.get<std::uint32_t>();
  const auto& added_at = object.at("added_at");
  if (!added_at.is_null()) schema.added_at = nanoseconds(parse_time(text_at(object, "added_at"), {}).value());
  schema.bfbs = from_base64(text_at(object, "bfbs")).value();
  return schema;
}

// What `read` makes of the object that stands at `name`.
template <typename Read>
auto read_at(const Json& line, const char* name, Read read) -> Result<std::optional<decltype(read(line))>> try {
  if (!line.contains(name)) return std::optional<decltype(read(line))>();
  return std::optional(read(line.at(name)));
} catch (const std::exception& error) {  // of nlohmann, or a bad time or base64
  return bad_line("'" + std::string(name) + "': " + error.what());
}

}  // namespace

std::string export_head(const ExportHead& head) {
  return dump({{"export", {{"format", export_format}, {"log_id", head.log_id}, {"busd", head.busd}, {"exported_at", show_time(head.exported_at)}}}});
}

std::string export_line(const ExportedSchema& schema) {
  return dump({{"schema", {{"types", schema.types}, {"added_at", time_text(schema.added_at)}, {"bfbs", to_base64(schema.bfbs)}}}});
}

std::string export_line(const ExportedType& type) {
  return dump({{"schema_type", {{"type", type.name}, {"compatibility", type.compatibility}, {"deprecated", type.deprecated}}}});
}

std::string export_line(const ExportEnd& end) {
  return dump({{"end", {{"events", end.events}, {"schemas", end.schemas}, {"hash", end.hash}}}});
}

std::string export_line(const Event& event, std::string_view payload) {
  auto line = event_to_json(event, payload.size() > readable_bytes_max ? "null" : payload);
  if (line.size() > readable_bytes_max) line = dump({{"position", number(event.position())}, {"topic", event.topic()}, {"type", event.type()}, {"publisher", event.publisher()}});
  line.back() = ',';
  return line + "\"bytes\":\"" + to_base64(event.bytes()) + "\"}";
}

Result<Json> parsed_line(const std::string& text) {
  bool is_deep = false;
  const auto look = [&](int depth, Json::parse_event_t, Json&) { return !(is_deep = is_deep || depth > json_depth_max + 2); };
  auto json = Json::parse(text, look, false);
  if (is_deep) return bad_line("it is nested more than " + std::to_string(json_depth_max) + " deep");
  return json.is_object() ? Result<Json>(std::move(json)) : bad_line("it is no JSON object");
}

Result<bool> is_export_head(const Json& line) {
  const auto format = read_at(line, "export", [](const Json& object) { return object.at("format").get<int>(); });
  if (!format) return format.error();
  if (*format && **format != export_format) {
    return bad_line("an export of format " + std::to_string(**format) + ": this bus-cli reads format " + std::to_string(export_format) + ", a newer one is needed");
  }
  return format->has_value();
}

Result<std::optional<ExportedSchema>> exported_schema(const Json& line) { return read_at(line, "schema", schema_of); }

Result<std::optional<ExportedType>> exported_type(const Json& line) {
  return read_at(line, "schema_type", [](const Json& object) {
    return ExportedType{text_at(object, "type"), text_at(object, "compatibility"), text_at(object, "deprecated")};
  });
}

Result<std::optional<ExportEnd>> export_end(const Json& line) {
  return read_at(line, "end", [](const Json& object) {
    return ExportEnd{object.at("events").get<std::uint64_t>(), object.at("schemas").get<std::uint64_t>(), text_at(object, "hash")};
  });
}

Result<NewEvent> exported_event(const Json& line, const PayloadJson* schema) try {
  if (line.contains("bytes")) {
    const std::string publisher = line.contains("publisher") ? text_at(line, "publisher") : "";
    const auto event = event_in(text_at(line, "bytes"), publisher);
    if (!event) return event.error();
    if (const auto same = compare(line, *event, schema); !same) return same.error();
    return as_published(*event);
  }
  auto read = event_from_json(dump(line));
  if (!read) return read.error();
  if (schema == nullptr) return Error{Code::unknown_type, "nothing says what a " + read->event.type + " is"};
  auto payload = schema->encode(read->payload);
  if (!payload) return payload.error();
  read->event.payload = std::move(*payload);
  return std::move(read->event);
} catch (const Json::exception& error) {  // of text_at()
  return Error{Code::bad_event, error.what()};
}

}  // namespace bus::tools
