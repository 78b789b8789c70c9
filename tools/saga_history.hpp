// The timeline of a saga, for `saga history`.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <utility>

#include "bus/event.hpp"
#include "tools/output.hpp"

namespace bus::tools {

// Takes the events of one saga's key, in the order of their versions.
class SagaTimeline {
 public:
  // One line of it: {version, position, time, since_start, event, step, attempt, what, took, reason, by, causation_id, payload}. `payload` is
  // the event's as JSON.
  Json line(const Event& event, Json payload);

 private:
  // `of`: the step, or its undoing. `attempt` 0: the event names none.
  std::string took(const std::string& type, const std::string& of, std::uint64_t attempt, WallTime time);

  std::optional<WallTime> started_at_;
  std::map<std::pair<std::string, std::uint64_t>, WallTime> began_;  // of attempts that have not ended: by step, or its undoing, and number
};

}  // namespace bus::tools
