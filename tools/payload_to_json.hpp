// Writes a payload as JSON, by its schema.
#pragma once

#include <string>

#include "base/bytes.hpp"
#include "bus/result.hpp"
#include "tools/payload_schema.hpp"

namespace bus::tools {

// `payload` is verified and aligned to 8. Errors: event_too_large, if the text grows beyond json_bytes_max: a small
// payload may refer to one long string many times.
Result<std::string> payload_to_json(const PayloadSchema& schema, Bytes payload);

// Appends `text` as a JSON string. Bytes that are no UTF-8 become U+FFFD, so that what is written is JSON.
void append_json_string(std::string& out, std::string_view text);

}  // namespace bus::tools
