// What a verb's end means to scripts, as an exit code. The table is part of the contract of bus-cli(1).
#pragma once

#include "bus/result.hpp"

namespace bus::tools {

enum class Exit : int {
  ok = 0,
  failed = 1,
  usage = 2,
  partial = 3,      // some of it was done, some was refused
  not_found = 4,
  conflict = 5,
  denied = 6,
  unavailable = 7,  // no broker, no answer in time, busy, full, locked
  signal = 128      // plus the signal's number: 130 for SIGINT
};

Exit exit_for(Code code);

constexpr int status(Exit exit) { return static_cast<int>(exit); }

}  // namespace bus::tools
