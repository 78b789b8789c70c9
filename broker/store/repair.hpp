// Mends a log in place whose trees are whole, but of which records are damaged or missing: what is intact of them stays, and the log
// knows the rest as lost. Before a record is changed its bytes are kept aside.
#pragma once

#include <filesystem>
#include <functional>

#include "broker/store/meta.hpp"

namespace bus::store {

struct RepairOptions {
  std::filesystem::path dir;          // a data directory that no broker serves
  std::filesystem::path aside;        // gets a file for each damaged record, and the reports; made if it is absent
  bool dry_run = false;               // find and tell, write nothing
  std::function<void(Position done, Position last)> progress;
  std::size_t lost_ranges_max = store::lost_ranges_max;
};

// One record that is damaged, or several that are missing.
struct Damage {
  Position first = Position::none, last = Position::none;
  std::uint64_t kept = 0;             // events that are intact
  std::vector<LostRange> lost;        // all others
  std::vector<std::string> topics;    // of those that are lost, as far as they are known
  std::string what;
  std::string file;                   // its bytes, in `aside`; empty: it is missing, or nothing is written
};

struct RepairReport {
  Position last = Position::none;     // the head
  std::vector<Damage> damages;
  std::vector<std::string> notes;     // what besides these events is lost
  std::vector<Fault> left;            // what is wrong with the log and cannot be mended here
};

// Takes the lock. One transaction for each record, so that it may be broken off at any time; the next run goes on, and one after that
// finds nothing.
// Errors: not_found, locked, bad_format, damaged (the pages are broken: salvage is for that), log_full, disk_error.
Result<RepairReport> repair(const RepairOptions& options);

}  // namespace bus::store
