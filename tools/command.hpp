// Runs a command of the user's with a text on its standard input.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "bus/result.hpp"
#include "bus/types.hpp"

namespace bus::tools {

// Runs `command` by /bin/sh and waits for its end; calls `still_running` every `interval` meanwhile. Returns its exit
// code, 128 and more for a signal. Errors: disk_error, if it cannot be started.
Result<int> run_command(const std::string& command, std::string_view input, Duration interval,
                        const std::function<void()>& still_running);

}  // namespace bus::tools
