// The file in which bus-cli keeps the rows of sagas between its runs: one for each log.
#pragma once

#include <functional>
#include <string>

#include "bus/projection.hpp"
#include "tools/cli.hpp"

namespace bus::tools {

// Opens `file`, or the one of this log below $XDG_CACHE_HOME/bus or ~/.cache/bus; folds what is new in the log, with progress at a terminal;
// calls `look` with the rows as of then; and closes it. One that another version of the fold has made is removed, and made anew. While another
// bus-cli has it open, it waits for as long as for the broker, and says so after a second. Throws Failed: locked, naming who has it; timed_out, if
// the log cannot be read on; what opening a projection says.
void with_saga_index(const Globals& globals, Client& client, const std::string& file, const std::function<void(const Projection::Snapshot&)>& look);

}  // namespace bus::tools
