// Events as NDJSON: one line, always all fields, in the order of bus-cli(1); and back.
#pragma once

#include <string>
#include <string_view>

#include "bus/event.hpp"
#include "bus/result.hpp"

namespace bus::tools {

// `payload` is the payload as JSON. Texts that are absent are null; the source of an event without one is its
// publisher. In a group also `group` and `attempt`.
std::string event_to_json(const Event& event, std::string_view payload);

// The same for people: position, time, topic, key, type, payload.
std::string event_to_text(const Event& event, std::string_view payload);

// What the log that has the event says of it, and a publisher cannot: position, version, committed_at, publisher, sequence, group, attempt.
bool is_of_the_log(std::string_view field);

struct EventText {
  NewEvent event;        // without payload
  std::string payload;   // as JSON
};
// Reads what event_to_json() wrote. What is of the log is passed over; topic, type and payload are needed.
// Errors: bad_event, naming the field.
Result<EventText> event_from_json(std::string_view line);

}  // namespace bus::tools
