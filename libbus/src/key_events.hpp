// The answer to a KeyRead, as events.
#pragma once

#include <vector>

#include "bus/event.hpp"

namespace bus {

// They share `body`. Error malformed: it does not fit the header.
Result<std::vector<Event>> events_of(const wire::KeyReadReplyT& reply, std::vector<std::uint8_t> body);
Error unexpected_answer();

}  // namespace bus
