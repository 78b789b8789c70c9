// Bytes as text: RFC 4648, section 4, with padding.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.hpp"

namespace bus::tools {

std::string to_base64(Bytes bytes);
// Nothing if it is not base64 from its first to its last letter.
std::optional<std::vector<std::uint8_t>> from_base64(std::string_view text);

}  // namespace bus::tools
