// Pace measures how fast a projection catches up, for Projection::Progress. Owned by its thread.
#pragma once

#include <algorithm>
#include <chrono>

#include "bus/projection.hpp"

namespace bus::projection {

class Pace {
 public:
  Pace(Position from, bool rebuilding, SteadyTime now) : from_(from), begun_(now), next_(now) {
    progress_.position = from;
    progress_.rebuilding = rebuilding;
  }

  void folded(Position position) {
    ++progress_.events;
    progress_.position = position;
  }
  bool is_due(SteadyTime now) const { return now >= next_; }
  // What is to be told now; `head` as far as it is known.
  const Projection::Progress& tell(Position head, SteadyTime now) {
    next_ = now + std::chrono::seconds(1);
    progress_.head = std::max(head, progress_.position);
    const double seconds = std::chrono::duration<double>(now - begun_).count();
    if (seconds < 0.5) return progress_;   // too little to tell a rate by
    progress_.events_per_second = static_cast<double>(progress_.events) / seconds;
    const double passed = static_cast<double>(progress_.position - from_) / seconds;
    if (passed > 0) progress_.left = std::chrono::duration_cast<Duration>(std::chrono::duration<double>(static_cast<double>(progress_.head - progress_.position) / passed));
    return progress_;
  }
  const Projection::Progress& tell_done(Position head, SteadyTime now) {
    progress_.position = head;
    progress_.done = true;
    tell(head, now);
    const double seconds = std::chrono::duration<double>(now - begun_).count();
    if (seconds > 0) progress_.events_per_second = static_cast<double>(progress_.events) / seconds;
    progress_.left = Duration(0);
    return progress_;
  }

 private:
  Position from_;
  SteadyTime begun_;
  SteadyTime next_;
  Projection::Progress progress_;
};

}  // namespace bus::projection
