// The envelope of an event, verified and as views: what the broker reads of each event that is published.
#pragma once

#include <string_view>

#include "base/bytes.hpp"
#include "bus/event_generated.h"
#include "bus/result.hpp"

namespace bus::wire {

// Views into the event.
struct Envelope {
  std::string_view topic, type, key;
  bool has_key = false;
  Priority priority = Priority::medium;
  std::int64_t deliver_at = 0, expires_at = 0;
  Bytes payload;
};

// Verifies one span of an EventCursor, which must be aligned to 8, and fills in a new `envelope`. The topic's own rule is
// for the caller, who may know the topic; the payload is not looked at. Errors as of check_event().
Result<void> read_envelope(Bytes event, Envelope& envelope);

// The short way that read_envelope() tries first. True: check_event() finds no fault but perhaps in the topic. False means
// nothing.
// For tests of just that.
bool read_plain_envelope(Bytes event, Envelope& envelope);

}  // namespace bus::wire
