// An event of the log as what was published.
#pragma once

#include "bus/event.hpp"

namespace bus::tools {

// Published again it is the same event: with its id, and its publisher as its source if it had none.
NewEvent as_published(const Event& event);

}  // namespace bus::tools
