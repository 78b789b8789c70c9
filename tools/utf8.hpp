// Tells UTF-8 from other bytes.
#pragma once

#include <cstddef>
#include <string_view>

namespace bus::tools {

// Length of the well-formed sequence that `text` begins with; 0 if it does not begin with one. `text` is not empty.
std::size_t utf8_sequence_bytes(std::string_view text);

bool is_utf8(std::string_view text);

}  // namespace bus::tools
