// TrustedClock is the wall clock, as far as it may be believed where a wrong one would do harm for good: one that jumps ahead would
// make every event old. It follows the wall clock up to a day beyond what has passed since the start, and twice as fast as time
// passes where that is further ahead. Owned by the core; one thread.
#pragma once

#include <algorithm>

#include "base/limits.hpp"
#include "bus/types.hpp"

namespace bus::broker {

class TrustedClock {
 public:
  // `known`: a time that was right, such as that of the last commit before the start.
  void start(WallTime known, SteadyTime now) {
    known_ = known;
    since_ = now;
  }
  WallTime at(Now now) const { return std::min<WallTime>(now.wall, known_ + 2 * (now.steady - since_) + limits::retention_clock_trust); }

 private:
  WallTime known_;
  SteadyTime since_;
};

}  // namespace bus::broker
