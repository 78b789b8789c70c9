#include "tools/event_json.hpp"

#include <algorithm>
#include <array>

#include "tools/output.hpp"
#include "tools/payload_to_json.hpp"
#include "tools/position.hpp"

namespace bus::tools {

namespace {

// JsonLine builds one object; the names are known to need no escapes.
class JsonLine {
 public:
  JsonLine& raw(std::string_view name, std::string_view value) {
    text_ += text_.empty() ? "{\"" : ",\"";
    text_.append(name).append("\":").append(value);
    return *this;
  }
  JsonLine& number(std::string_view name, std::uint64_t value) { return raw(name, std::to_string(value)); }
  JsonLine& text(std::string_view name, std::string_view value) {
    raw(name, "");
    append_json_string(text_, value);
    return *this;
  }
  JsonLine& optional(std::string_view name, std::string_view value) { return value.empty() ? raw(name, "null") : text(name, value); }
  std::string take() { return std::move(text_) + "}"; }

 private:
  std::string text_;
};

std::string attributes_of(const Event& event) {
  std::string text = "{";
  for (const auto& [name, value] : event.attributes()) {
    if (text.size() > 1) text += ',';
    append_json_string(text, name);
    text += ':';
    append_json_string(text, value);
  }
  return text + "}";
}

Error bad(const std::string& why) { return {Code::bad_event, why}; }

struct TextField {
  const char* name;
  std::string NewEvent::*member;
};
constexpr std::array text_fields = {
    TextField{"id", &NewEvent::id},
    TextField{"topic", &NewEvent::topic},
    TextField{"type", &NewEvent::type},
    TextField{"source", &NewEvent::source},
    TextField{"key", &NewEvent::key},
    TextField{"subject", &NewEvent::subject},
    TextField{"dataschema", &NewEvent::dataschema},
    TextField{"correlation_id", &NewEvent::correlation_id},
    TextField{"causation_id", &NewEvent::causation_id},
    TextField{"traceparent", &NewEvent::traceparent},
};
constexpr std::array<std::string_view, 7> of_the_log = {"position", "version", "committed_at", "publisher", "sequence", "group", "attempt"};

// What a field of the line sets in the event; null leaves it as it is.
struct TimeField {
  const char* name;
  std::optional<WallTime> NewEvent::*member;
};
constexpr std::array time_fields = {
    TimeField{"time", &NewEvent::time},
    TimeField{"deliver_at", &NewEvent::deliver_at},
    TimeField{"expires_at", &NewEvent::expires_at},
};

Result<void> read_time(const TimeField& field, const Json& value, NewEvent& event) {
  const std::string name(field.name);
  if (!value.is_string()) return bad("'" + name + "' must be a string");
  const auto& text = value.get_ref<const std::string&>();
  const auto time = parse_time(text, {});
  if (!time || text.starts_with('-')) return bad("'" + name + "' must be as in 2024-06-13T08:05:00Z, not '" + text + "'");
  event.*field.member = *time;
  return {};
}

Result<void> read_priority(const Json& value, NewEvent& event) {
  for (const auto priority : wire::EnumValuesPriority()) {
    if (value == wire::EnumNamePriority(priority)) return event.priority = priority, Result<void>();
  }
  return bad("'priority' must be low, medium or high, not " + dump(value));
}

Result<void> read_attributes(const Json& value, NewEvent& event) {
  if (!value.is_object()) return bad("'attributes' must be an object");
  for (const auto& [name, text] : value.items()) {
    if (!text.is_string()) return bad("the attribute '" + name + "' must be a string");
    event.attributes.emplace_back(name, text.get<std::string>());
  }
  return {};
}

Result<void> read_field(const std::string& name, const Json& value, EventText& out) {
  if (is_of_the_log(name) || value.is_null()) return {};
  if (name == "payload") return out.payload = dump(value), Result<void>();
  if (name == "priority") return read_priority(value, out.event);
  if (name == "attributes") return read_attributes(value, out.event);
  for (const auto& field : time_fields) {
    if (name == field.name) return read_time(field, value, out.event);
  }
  for (const auto& field : text_fields) {
    if (name != field.name) continue;
    if (!value.is_string()) return bad("'" + name + "' must be a string");
    out.event.*field.member = value.get<std::string>();
    return {};
  }
  return bad("an event has no field '" + name + "'");
}

}  // namespace

bool is_of_the_log(std::string_view field) { return std::find(of_the_log.begin(), of_the_log.end(), field) != of_the_log.end(); }

std::string event_to_json(const Event& event, std::string_view payload) {
  JsonLine line;
  line.number("position", number(event.position()))
      .text("id", event.id())
      .text("topic", event.topic())
      .text("type", event.type())
      .text("source", event.source().empty() ? event.publisher() : event.source())
      .optional("key", event.key())
      .number("version", event.version())
      .text("time", show_time(event.time()))
      .text("committed_at", show_time(event.committed_at()))
      .text("priority", wire::EnumNamePriority(event.priority()))
      .text("publisher", event.publisher())
      .number("sequence", event.sequence())
      .optional("correlation_id", event.correlation_id())
      .optional("causation_id", event.causation_id())
      .optional("traceparent", event.traceparent())
      .optional("subject", event.subject())
      .optional("dataschema", event.dataschema())
      .raw("attributes", attributes_of(event))
      .raw("payload", payload);
  if (event.deliver_at()) line.text("deliver_at", show_time(*event.deliver_at()));
  if (event.expires_at()) line.text("expires_at", show_time(*event.expires_at()));
  if (!event.group().empty()) line.text("group", event.group()).number("attempt", event.attempt());
  return line.take();
}

std::string event_to_text(const Event& event, std::string_view payload) {
  const auto type = event.type();
  std::vector<std::string> cells = {std::to_string(number(event.position())), show_time(event.time()), std::string(event.topic()),
                                    event.key().empty() ? "-" : printable(event.key()),
                                    std::string(type.substr(type.rfind('.') + 1)), std::string(payload)};
  if (event.attempt() > 1) cells.push_back("attempt " + std::to_string(event.attempt()));
  return columns(cells);
}

Result<EventText> event_from_json(std::string_view line) try {
  const auto json = Json::parse(line);
  if (!json.is_object()) return bad("an event is a JSON object");
  EventText out;
  for (const auto& [name, value] : json.items()) {
    if (auto read = read_field(name, value, out); !read) return read.error();
  }
  if (out.event.topic.empty()) return bad("'topic' is missing");
  if (out.event.type.empty()) return bad("'type' is missing");
  if (out.payload.empty()) return bad("'payload' is missing");
  return out;
} catch (const Json::exception& error) {
  return bad(error.what());
}

}  // namespace bus::tools
