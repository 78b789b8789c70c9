// Turns what a service publishes into the bytes that are stored: one size-prefixed Event.
#pragma once

#include "base/bytes.hpp"
#include "bus/event.hpp"

namespace bus {

// The event as bytes, padded to a multiple of 8; they live until the thread's next call. `now` is its time, and the
// time in its id, where the event has none of its own. Error event_too_large. Thread-safe.
Result<Bytes> encode_event(const NewEvent& event, WallTime now);

}  // namespace bus
