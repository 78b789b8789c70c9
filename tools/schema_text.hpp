// Shows a reflection schema to people, as a .fbs file would have it, and to programs, as JSON.
#pragma once

#include <string>
#include <string_view>

#include "base/bytes.hpp"
#include "bus/result.hpp"
#include "tools/output.hpp"

namespace bus::tools {

// The type and all that it contains, the type first. Errors: bad_format, unknown_type.
Result<std::string> schema_text(Bytes bfbs, std::string_view type);

// {"tables": {NAME: [{"name", "type", "default"?, "required"?, "optional"?, "doc"?}]}, "enums": {NAME: {VALUE: number}}}
Result<Json> schema_json(Bytes bfbs, std::string_view type);

}  // namespace bus::tools
