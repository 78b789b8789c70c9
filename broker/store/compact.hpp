// A compacted copy of a log: the same rows, without the pages that are free. It is made while a broker runs or not, and takes the place of
// the log at the next start, with all that the log has come to have, and lost, since.
//
//   <dir>/log.compact.new/   being written; a left-over is removed
//   <dir>/log.compact/       whole, and with a file `copy` in it; without one it is the log that has been replaced
//   <dir>/log.compact.lock   held by who works on one of them
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>

#include "broker/store/compact_merge.hpp"
#include "bus/result.hpp"

namespace bus::store {

struct CompactProgress {
  std::uint64_t done = 0, most = 0;   // bytes: written, and of the log as it is
};

struct Compacted {
  std::uint64_t log_bytes = 0;        // used by the log
  std::uint64_t bytes = 0;            // of the copy
};

// Copies what is committed now. Until it is done, pages that become free are not used again. Takes the place of an earlier copy.
// Errors: not_found, locked (another does it), log_full (and nothing is left behind), bad_format, damaged, disk_error.
Result<Compacted> write_compacted(const std::filesystem::path& dir, const std::function<void(CompactProgress)>& progress);

// Removes the copy, and what is left of one that was broken off. False: there is none. Errors: locked, disk_error.
Result<bool> discard_compacted(const std::filesystem::path& dir);

struct SwappedIn {
  std::uint64_t old_bytes = 0, bytes = 0;
  std::uint64_t rows = 0;             // that had changed since the copy was made
  // After a crash either may be the log: it must not be opened, or what is committed then may be gone.
  std::optional<Error> unsynced;
  std::optional<Error> left;          // why the log that was replaced could not be removed; it is tried again at the next start
};

// Makes the copy the same as the log, row for row, and then exchanges them in one step. Nothing: there is no whole copy. Called before
// the log is opened; takes its lock meanwhile. After an error the log is as it was, and may be opened; the copy waits for the next time.
// Errors: locked; bad_format; damaged, the copy is, or the log where it differs from it; log_full; disk_error.
Result<std::optional<SwappedIn>> swap_in_compacted(const std::filesystem::path& dir, std::size_t map_bytes, const MergeProgress& progress = {});

}  // namespace bus::store
