// Player is one saga whose actions do what a script says, on a clock that stands still but for what they take: the state, the decisions, and
// every fact in the order of the log. No broker.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "libbus/saga/state.hpp"

namespace bus::saga::test {

struct Recorded {
  Fact fact;
  WallTime time;
};

class Player {
 public:
  // What an attempt comes to. `undo`: at the compensation.
  using Script = std::function<Outcome(const std::string& step, std::uint32_t attempt, bool undo)>;
  Duration action_takes = 500ms;

  Player(Definition definition, Script script) : definition_(std::move(definition)), script_(std::move(script)) { definition_.check().value(); }

  const State& state() const { return state_; }
  const std::vector<Recorded>& log() const { return log_; }
  WallTime now() const { return now_; }

  void start(const Value& input = {}) {
    SagaStartedT started;
    started.saga_id = definition_.name() + "/1";
    started.name = definition_.name();
    started.definition_hash = definition_.hash();
    started.steps_count = static_cast<std::uint32_t>(definition_.steps().size());
    started.input = to_wire(input);
    take(std::move(started));
  }
  // Comes to the saga from outside.
  void take(Fact fact) {
    record(std::move(fact));
    for (auto& one : advance(definition_, state_, now_)) log_.push_back({std::move(one), now_});
  }
  // The next attempt that is open ends, or time passes until a timer is due. False: neither is there.
  bool step() {
    for (const Step& step : definition_.steps()) {
      const auto* one = state_.find(step.name());
      if (one == nullptr || !one->is_open || one->outcome || (step.kind() == Step::Kind::signal && !is_undo(*one))) continue;
      if (hangs.contains(step.name())) continue;
      reply(step.name(), *one);
      return true;
    }
    return next_timer();
  }
  void run() {
    for (int turn = 0; turn < 10'000 && !state_.has_ended() && step(); ++turn) {}
  }
  bool next_timer() {
    const Timer* next = nullptr;
    for (const auto& timer : state_.timers) {
      if (state_.is_wanted(timer) && (next == nullptr || timer.due < next->due)) next = &timer;
    }
    if (next == nullptr) return false;
    now_ = std::max(now_, next->due);
    fire(*next);
    return true;
  }
  void fire(const Timer& timer) {
    SagaTimerT due;
    due.saga_id = state_.saga_id;
    due.kind = timer.kind;
    due.step_id = timer.step;
    due.attempt = timer.attempt;
    due.compensation = timer.compensation;
    take(std::move(due));
  }
  void pass(Duration time) { now_ += time; }

  std::set<std::string> hangs;             // steps whose attempts do not end

 private:
  static bool is_undo(const StepState& one) { return one.status == StepStatus::compensating; }
  void record(Fact fact) {
    state_.apply(fact, now_);
    log_.push_back({std::move(fact), now_});
  }
  void reply(const std::string& step, const StepState& one) {
    const bool undo = is_undo(one);
    const Outcome outcome = script_(step, one.attempt, undo);
    now_ += action_takes;
    StepReplyT reply;
    reply.saga_id = state_.saga_id;
    reply.step_id = step;
    reply.attempt = one.attempt;
    reply.compensation = undo;
    reply.failed = outcome.failed;
    reply.code = outcome.code;
    reply.error = outcome.error;
    reply.value = to_wire(outcome.value);
    take(std::move(reply));
  }

  Definition definition_;
  Script script_;
  State state_;
  std::vector<Recorded> log_;
  WallTime now_ = wall_time(1'800'000'000'000'000'000);
};

}  // namespace bus::saga::test
