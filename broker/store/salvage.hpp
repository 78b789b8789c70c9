// Rebuilds a log from the raw bytes of a broken one, in a directory of its own; the broken one is only read. What LMDB's trees still
// lead to is taken from there, and of the rest what verifies by itself: records anywhere in the file, and rows of the small tables.
// Positions that are not found stay absent, and the new log knows them as lost; nothing is numbered anew.
#pragma once

#include <filesystem>
#include <functional>

#include "broker/store/meta.hpp"

namespace bus::store {

// What an event says of itself: its number's names, where their tables are lost.
struct EventNames {
  std::string topic, type;
};

struct SalvageOptions {
  std::filesystem::path from;         // a data directory that no broker serves, or a data file
  std::filesystem::path to;           // absent or empty
  std::function<EventNames(Bytes body)> names_of;
  std::function<void(std::uint64_t done, std::uint64_t total)> progress;  // in bytes
  std::size_t lost_ranges_max = store::lost_ranges_max;
  WallTime now{};                     // for the history of the new log
};

struct SalvageReport {
  std::uint64_t records = 0, events = 0;
  Position last = Position::none;     // the head of the new log
  std::uint64_t chain = 0;
  std::vector<LostRange> lost;
  std::vector<std::string> faults;    // of the old file, as the walk through its pages has found them
  std::vector<std::string> notes;     // what besides events is lost, was made up, or is not certain
};

// Takes both locks. Errors: not_found, locked, bad_format (`to` is not empty; no identity of a log is left; too many ranges are lost),
// log_full, disk_error.
Result<SalvageReport> salvage(const SalvageOptions& options);

}  // namespace bus::store
