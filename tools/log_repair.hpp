// Mends a log in place; works on the store, as offline verifying does.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "bus/types.hpp"
#include "tools/log_verify.hpp"

namespace bus::tools {

struct RepairedPlace {
  Position first = Position::none, last = Position::none;
  std::uint64_t kept = 0;             // events
  std::vector<std::pair<Position, Position>> lost;  // first and last
  std::vector<std::string> topics;    // of those that are lost, as far as they are known
  std::string what;
  std::string file;                   // in the directory aside; empty: none
};

struct Repaired {
  Position last = Position::none;     // the head
  std::vector<RepairedPlace> places;
  std::vector<std::string> notes;
  std::vector<LogFault> left;         // faults that repair cannot mend
};

struct RepairPlan {
  std::filesystem::path dir, aside;
  bool dry_run = false;
};

// Throws Failed: not_found, locked, bad_format, damaged (salvage is for that), log_full, disk_error.
Repaired repair(const RepairPlan& plan);

}  // namespace bus::tools
