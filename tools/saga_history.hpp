// The timeline of a saga, for `saga history`.
#pragma once

#include <map>
#include <optional>
#include <string>

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
  std::string took(const std::string& type, const std::string& attempt_of, WallTime time);

  std::optional<WallTime> started_at_;
  std::map<std::string, WallTime> began_;  // of attempts that have not ended: by step, or its undoing
};

}  // namespace bus::tools
