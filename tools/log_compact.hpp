// Writes a compacted copy of a log beside it, while a broker runs or not; works on the store's files.
#pragma once

#include <cstdint>
#include <filesystem>

namespace bus::tools {

struct CompactedLog {
  std::uint64_t log_bytes = 0, bytes = 0;  // of the log, and of the copy
};

// Throws Failed: not_found, locked, log_full, bad_format, damaged, disk_error.
CompactedLog compact(const std::filesystem::path& dir);
// False: there was none.
bool discard_compacted(const std::filesystem::path& dir);

}  // namespace bus::tools
