// Rebuilds a log from the raw bytes of a broken one; works on the store, as offline verifying does.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "bus/types.hpp"
#include "tools/log_verify.hpp"

namespace bus::tools {

struct Salvaged {
  std::uint64_t records = 0, events = 0;
  LogHead head;
  std::vector<std::pair<Position, Position>> lost;  // first and last
  std::vector<std::string> faults, notes;
};

// Throws Failed: not_found, locked, bad_format, log_full, disk_error.
Salvaged salvage(const std::filesystem::path& from, const std::filesystem::path& to);

}  // namespace bus::tools
