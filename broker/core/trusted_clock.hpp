// TrustedClock is the wall clock, as far as it may be believed where a wrong one would do harm for good: one that jumps ahead would
// make every event old. It is at most a day beyond a time that follows the wall clock no faster than twice as fast as time passes. Owned by
// the core; one thread.
#pragma once

#include <algorithm>

#include "base/limits.hpp"
#include "bus/types.hpp"

namespace bus::broker {

class TrustedClock {
 public:
  // `known`: a time that was right, such as that of the last commit before the start.
  void start(WallTime known, SteadyTime now) {
    followed_ = known;
    last_ = now;
  }
  // To be called often: what passes between two calls counts twice.
  void pass(Now now) {
    // Never back: one moment in which the clock stood at 1970 would count for years.
    followed_ = std::max(followed_, std::min<WallTime>(now.wall, followed_ + 2 * (now.steady - last_)));
    last_ = now.steady;
  }
  WallTime at(Now now) const { return std::min<WallTime>(now.wall, followed_ + limits::retention_clock_trust); }

 private:
  WallTime followed_;
  SteadyTime last_;
};

}  // namespace bus::broker
