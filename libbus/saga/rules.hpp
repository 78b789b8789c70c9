// Rules say what may be done with a saga by hand, as of what is seen of it, and what it waits for. Pure.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "libbus/saga/state.hpp"

namespace bus::saga {

using ::suoke::saga::SagaDefinedT;
using ::suoke::saga::StepDefinedT;

// An instance as of one version of its key.
struct Seen {
  State state;
  std::uint64_t version = 0;
  WallTime since;                        // its status, and whether it is paused, parked or cancelled, has been what it is
  std::shared_ptr<const SagaDefinedT> definition;  // null: it is not in the log any more
};

enum class Verb : std::uint8_t { pause, resume, cancel, compensate, retry_step, skip_step, signal };

std::string_view word(Status status);
std::string_view word(StepStatus status);

class Rules {
 public:
  // `seen` has to outlive it.
  explicit Rules(const Seen& seen) : seen_(seen), saga_(seen.state) {}

  // `name`: of the step or signal. Errors: conflict, if it makes no sense now; not_found, if there is no such step or signal.
  Result<void> check(Verb verb, const std::string& name) const;
  // All that check() lets pass, as bus-cli calls it.
  std::vector<std::string> fitting() const;
  // In words for people, to stand behind "waits for": all of it; and what a step waits for, empty: nothing.
  std::vector<std::string> waits_for() const;
  std::string waits_for(const std::string& step) const;
  // What asked for its end came too late: its pivot has succeeded.
  bool only_goes_forward() const { return !is_turning_back() && !pivot_passed().empty(); }
  // In the order of the definition; where that is not known, of their names.
  std::vector<std::string> step_names() const;
  // Null: it is not known.
  const StepDefinedT* step(const std::string& name) const;
  const StepDefinedT* step_of_signal(const std::string& signal) const;

 private:
  Result<void> check_step(Verb verb, const std::string& name) const;
  Result<void> check_signal(const std::string& name) const;
  std::string why_not(Verb verb) const;
  std::string why_not_skipped(const StepState& step) const;
  const StepState& state_of(const std::string& name) const;
  std::string pivot_passed() const;
  bool is_turning_back() const;
  bool is_given_up(const StepState& step, const StepDefinedT* defined) const;
  Error conflict(const std::string& why) const;

  const Seen& seen_;
  const State& saga_;
};

}  // namespace bus::saga
