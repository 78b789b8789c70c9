// GroupReplay gives the events of a range of the log to a group again, though it has settled them.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "bus/client.hpp"

namespace bus::tools {

struct GroupReplayOptions {
  std::string group;
  std::uint64_t count = 0;               // end after so many events of the range; 0: all
  bool dry_run = false;
  Duration patience;                     // while as much is open in the group as may be, before it is given up
};

// What a filter leaves open the group's own says: others it does not get.
Filter narrowed(Filter filter, const wire::FilterT& group);

class GroupReplay {
 public:
  struct Summary {
    std::uint64_t events = 0;            // of the range
    Position first = Position::none, last = Position::none;
    std::uint64_t given = 0;
    std::map<Code, std::uint64_t> refused;  // how many, by why
    Position left = Position::none;      // from here on nothing was given, though it was not read to its end
    Error trouble;                       // why
  };

  // `client` lives longer.
  GroupReplay(GroupReplayOptions options, Client& client) : options_(std::move(options)), client_(client) {}

  // Reads the range once. Returns early if interrupted, or once the group takes no more, or the log cannot be read further.
  Summary run(const ReplayOptions& range);

 private:
  void give();
  std::vector<std::uint64_t> ask_once();
  bool is_over() const;

  GroupReplayOptions options_;
  Client& client_;
  std::vector<std::uint64_t> batch_;     // read, and not asked for yet
  Summary summary_;
};

}  // namespace bus::tools
