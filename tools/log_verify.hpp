// Verifies a log slice by slice: through the broker, or, while none runs, by opening its directory. The second is the
// only place where a tool uses the store.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "bus/client.hpp"

namespace bus::tools {

struct LogFault {
  Position position = Position::none;   // none: not in a record
  std::string what;
};

struct LogSlice {
  Position next = Position::none;       // none: the end was reached
  std::uint64_t chain = 0;              // at the end: that of the head
  std::uint64_t records = 0, events = 0;
  Position last = Position::none;       // the head
  std::vector<LogFault> faults;
  std::vector<std::pair<Position, Position>> lost;  // known to be gone, first and last: those that begin in it
  std::uint64_t removed = 0;            // of the events, by retention
  Position trimmed_to = Position::none; // at the end: records up to here are gone, by retention
};

// Where a log stands, or stood: the chain says which events lie up to the position.
struct LogHead {
  Position position = Position::none;
  std::uint64_t chain = 0;
};
// POSITION:CHAIN, the chain in 16 hexadecimal digits. Errors: bad_argument, naming the grammar.
Result<LogHead> parse_head(std::string_view text);
std::string show_head(const LogHead& head);
std::string show_chain(std::uint64_t chain);

// All that verifying has found, slice after slice.
struct LogFindings {
  std::uint64_t records = 0, events = 0;
  LogHead head;
  std::vector<LogFault> faults;
  std::vector<std::pair<Position, Position>> lost;
  std::uint64_t removed = 0;
  Position trimmed_to = Position::none;
};

// Verifies about 50 ms worth of log from a position on; the chain is that of the slice before.
using SliceVerifier = std::function<LogSlice(Position from, std::uint64_t chain)>;

// From the start to the head.
LogFindings verify_all(const SliceVerifier& verify);
// Empty: the log that `verify` reads holds the events of `head` and goes on from them, as far as `findings` are without faults. Else why
// it does not.
std::string why_not_from(const LogHead& head, const LogFindings& findings, const SliceVerifier& verify);

// Both throw Failed: what the broker answers; not_found, locked, damaged, bad_format.
SliceVerifier verify_online(Client& client);
SliceVerifier verify_offline(const std::filesystem::path& dir);

}  // namespace bus::tools
