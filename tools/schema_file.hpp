// A schema of a file, in the binary form that the broker takes.
#pragma once

#include <string>
#include <vector>

#include "bus/result.hpp"

namespace bus::tools {

// Of a `.fbs` file, compiled with what it includes, or of a `.bfbs` file, as it is. Errors: bad_format (the detail has file, line and
// reason), not_found (it cannot be read).
Result<std::vector<std::uint8_t>> read_schema(const std::string& path);

}  // namespace bus::tools
