// Builds a payload from JSON, by its schema.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "bus/result.hpp"
#include "tools/payload_schema.hpp"

namespace bus::tools {

// `json` is one strict JSON object (RFC 8259, UTF-8). Errors: bad_payload, with the line and column of a fault of
// syntax, or the path of a field that does not fit the schema and what would; event_too_large.
Result<std::vector<std::uint8_t>> json_to_payload(const PayloadSchema& schema, std::string_view json);

}  // namespace bus::tools
