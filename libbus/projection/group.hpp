// Group is the events since the last checkpoint, folded into one transaction of the state's file, and kept until it has committed: if
// the file's map is full it grows, and they are folded again. Owned and used by the projection's thread.
#pragma once

#include <vector>

#include "bus/projection.hpp"
#include "libbus/projection/state_file.hpp"

namespace bus {

// What the calls of the fold for one event do.
struct Projection::State::Impl {
  projection::Rows rows;
  std::size_t changes = 0, change_bytes = 0;
  Error failure = {};                    // the first one; after it nothing is done any more

  void change(std::size_t bytes);
  void fail(const Result<void>& done) {
    if (!done && failure.code == Code::ok) failure = done.error();
  }
  bool failed() const { return failure.code != Code::ok; }
};

namespace projection {

class Group {
 public:
  Group(StateFile& file, const Projection::Fold& fold) : file_(file), fold_(fold) {}

  // After an error nothing of the group is left in the state. fold_failed, or what State ran into; the detail has the position.
  Result<void> fold(Event event);
  // Writes the state, and that it is that of `position`; the group is empty then. After an error it is over.
  Result<void> commit(Position position);
  bool is_empty() const { return events_.empty(); }
  Position position() const { return events_.back().position(); }  // of the last event; not if it is empty
  // It holds as much as it may, or has been open for as long as it may.
  bool is_due(SteadyTime now) const;
  SteadyTime due() const { return due_; }

 private:
  Result<void> begin();
  Result<void> apply(const Event& event);
  Result<void> apply_again();
  Result<void> give_up(Result<void> why);

  StateFile& file_;
  const Projection::Fold& fold_;
  std::vector<Event> events_;
  std::size_t bytes_ = 0, changes_ = 0, change_bytes_ = 0;
  SteadyTime due_;
};

}  // namespace projection
}  // namespace bus
