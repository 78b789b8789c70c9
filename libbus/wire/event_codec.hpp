// Events as bytes: size-prefixed FlatBuffers, padded to 8, one after the other in a body frame.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.hpp"
#include "bus/event_generated.h"
#include "bus/result.hpp"

namespace bus::wire {

// Walks the events of a body frame without looking into them.
class EventCursor {
 public:
  explicit EventCursor(Bytes body) : rest_(body) {}
  bool done() const { return rest_.empty(); }
  // The next event, 4-byte size and padding included (a size of 0: a skipped sequence, 8 bytes).
  // Error malformed: the size runs past the frame, or the padding does.
  Result<Bytes> next() {
    if (rest_.size() < 8) return Error{Code::malformed, "the body ends within an event's size"};
    const auto size = std::size_t{load<std::uint32_t>(rest_.data())};
    const auto padded = size == 0 ? 8 : round_up(size + 4, 8);
    if (padded > rest_.size()) return Error{Code::malformed, "an event's size runs past the end of the body"};
    const Bytes event = rest_.first(padded);
    rest_ = rest_.subspan(padded);
    return event;
  }

 private:
  Bytes rest_;
};

// The FlatBuffer inside one such span; `event` must be aligned to 8.
// Errors: bad_event, bad_topic, bad_key, event_too_large: the envelope rules of schemas/event.fbs.
// The payload is not looked at.
Result<const Event*> check_event(Bytes event);

// The envelope of an event that check_event() has accepted before, such as one from the log.
inline const Event* trusted_event(Bytes event) { return flatbuffers::GetSizePrefixedRoot<Event>(event.data()); }

// A topic: tokens of letters, digits, '-' and '_' (and any UTF-8 byte >= 0x80), joined by dots; 1 to 255 bytes.
Result<void> check_topic(std::string_view topic);

// A topic pattern: as a topic, but a token may be `*` (one token), and the last one `>` (one or more).
Result<void> check_pattern(std::string_view pattern);

// Does the (checked) pattern match the (checked) topic?
bool pattern_matches(std::string_view pattern, std::string_view topic);

// Publisher and group names: 1 to max bytes of UTF-8, without spaces and control characters.
bool valid_name(std::string_view name, std::size_t bytes_max);

}  // namespace bus::wire
