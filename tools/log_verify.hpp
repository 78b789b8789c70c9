// Verifies a log slice by slice: through the broker, or, while none runs, by opening its directory. The second is the
// only place where a tool uses the store.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "bus/client.hpp"

namespace bus::tools {

struct LogFault {
  Position position = Position::none;   // none: not in a record
  std::string what;
};

struct LogSlice {
  Position next = Position::none;       // none: the end was reached
  std::uint64_t chain = 0;
  std::uint64_t records = 0, events = 0;
  Position last = Position::none;       // the head
  std::vector<LogFault> faults;
};

// Verifies about 50 ms worth of log from a position on; the chain is that of the slice before.
using SliceVerifier = std::function<LogSlice(Position from, std::uint64_t chain)>;

// Both throw Failed: what the broker answers; not_found, locked, damaged, bad_format.
SliceVerifier verify_online(Client& client);
SliceVerifier verify_offline(const std::filesystem::path& dir);

}  // namespace bus::tools
