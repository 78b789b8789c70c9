#include "libbus/saga/state.hpp"

#include <algorithm>

namespace bus::saga {

namespace {

bool is_undoing(StepStatus status) {
  return status == StepStatus::compensating || status == StepStatus::compensation_retrying || status == StepStatus::compensation_parked;
}
bool is_under_way(StepStatus status) { return status == StepStatus::running || status == StepStatus::retrying || status == StepStatus::parked; }

struct Apply {
  State& saga;
  WallTime time;

  StepState& step(const std::string& name) { return saga.steps[name]; }

  void end_attempt(StepState& step, StepStatus status) {
    step.status = status;
    step.is_open = step.is_due = false;
    step.outcome.reset();
    step.changed_at = time;
  }
  void begin_attempt(StepState& step, StepStatus status, std::uint32_t attempt) {
    end_attempt(step, status);
    step.is_open = true;
    step.attempt = attempt;
    if (attempt > 1) return;
    step.failures = 0;
    if (status == StepStatus::running) step.started_at = time;
  }
  void fail_attempt(StepState& step, StepStatus status, const std::string& code, const std::string& error) {
    step.is_uncertain = step.is_uncertain || (step.is_open && !is_undoing(step.status) && (!step.outcome || code == timeout_code));
    step.failures += step.is_open;
    end_attempt(step, status);
    step.code = code;
    step.error = error;
  }
  void end(Status status) {
    saga.status = status;
    saga.ended_at = time;
    saga.timers.clear();
  }

  // ---- what was decided

  void operator()(const SagaStartedT& fact) {
    if (saga.status != Status::none) return;
    saga.saga_id = fact.saga_id;
    saga.definition = fact.name;
    saga.hash = fact.definition_hash;
    saga.user_id = fact.user_id;
    saga.input = value_of(fact.input);
    saga.status = Status::running;
    saga.started_at = time;
  }
  void operator()(const StepStartedT& fact) { begin_attempt(step(fact.step_id), StepStatus::running, fact.attempt); }
  void operator()(const StepAttemptFailedT& fact) {
    fail_attempt(step(fact.step_id), fact.compensation ? StepStatus::compensation_retrying : StepStatus::retrying, fact.code, fact.error);
  }
  void operator()(const StepCompletedT& fact) {
    StepState& one = step(fact.step_id);
    end_attempt(one, StepStatus::completed);
    one.result = fact.value ? value_of(fact.value) : Value{"", {}, fact.result};
    saga.completed.push_back(fact.step_id);
  }
  void operator()(const StepFailedT& fact) {
    StepState& one = step(fact.step_id);
    one.is_open ? fail_attempt(one, StepStatus::failed, fact.code, fact.error) : end_attempt(one, StepStatus::failed);
    one.code = fact.code;
    one.error = fact.error;
    one.is_uncertain = one.is_uncertain || fact.uncertain;
    if (saga.error.empty()) saga.error = fact.step_id + ": " + fact.error;
    saga.is_failing = true;
  }
  void operator()(const CompensationStartedT&) { saga.status = Status::compensating; }
  void operator()(const StepCompensationStartedT& fact) { begin_attempt(step(fact.step_id), StepStatus::compensating, fact.attempt); }
  void operator()(const StepCompensatedT& fact) { end_attempt(step(fact.step_id), StepStatus::compensated); }
  void operator()(const StepCompensationFailedT& fact) {
    StepState& one = step(fact.step_id);
    fail_attempt(one, StepStatus::compensation_failed, one.outcome ? one.outcome->code : one.code, fact.error);
  }
  void operator()(const CompensationCompletedT&) { saga.is_compensated = true; }
  void operator()(const SagaCompletedT&) {
    end(Status::completed);
    saga.error.clear();
  }
  void operator()(const SagaFailedT& fact) {
    end(fact.outcome == ::suoke::saga::Outcome::compensation_failed ? Status::compensation_failed : Status::compensated);
    saga.error = fact.error;
  }
  void operator()(const SagaTimerSetT& fact) {
    saga.timers.push_back({fact.kind, fact.step_id, fact.attempt, fact.compensation, wall_time(fact.due_at)});
    if (fact.kind == TimerKind::saga) saga.is_timed = true;
    if (fact.kind == TimerKind::step) step(fact.step_id).timed_from = fact.attempt;
  }
  void operator()(const SagaParkedT& fact) {
    fail_attempt(step(fact.step_id), fact.compensation ? StepStatus::compensation_parked : StepStatus::parked, fact.code, fact.error);
  }

  // ---- what came

  void operator()(const SagaTimerT& fact) {
    const Timer timer{fact.kind, fact.step_id, fact.attempt, fact.compensation, {}};
    std::erase_if(saga.timers, [&](const Timer& one) { return one.is_same(timer); });
    if (!saga.is_wanted(timer)) return;
    switch (fact.kind) {
      case TimerKind::retry: step(fact.step_id).is_due = true; break;
      case TimerKind::attempt: step(fact.step_id).outcome = Outcome{true, timeout_code, "it has taken too long", {}}; break;
      case TimerKind::step: step(fact.step_id).timed_out = true; break;
      case TimerKind::saga:
        saga.has_timed_out = true;
        if (saga.error.empty()) saga.error = "it has taken too long";
        break;
      default: break;
    }
  }
  void operator()(const StepReplyT& fact) {
    const auto known = saga.steps.find(fact.step_id);
    if (known == saga.steps.end()) return void(++saga.late_replies);
    StepState& one = known->second;
    const bool is_of_phase = fact.compensation ? is_undoing(one.status) : is_under_way(one.status);
    const bool is_of_attempt = one.is_open && fact.attempt == one.attempt;
    // An attempt that had taken too long, or failed where it was done twice, has succeeded after all.
    const bool mends = !fact.failed && fact.attempt > 0 && fact.attempt <= one.attempt;
    const bool is_known = one.outcome && (fact.failed || !one.outcome->failed);
    if (!is_of_phase || is_known || !(is_of_attempt || mends)) {
      ++saga.late_replies;
      if (!fact.failed && !fact.compensation && one.status == StepStatus::failed) one.is_uncertain = true;
      return;
    }
    if (!is_of_attempt) ++saga.late_replies;
    one.outcome = Outcome{fact.failed, fact.code, fact.error, fact.compensation ? Value() : value_of(fact.value)};
    if (fact.failed || saga.value_bytes() <= values_bytes_max) return;
    one.outcome = Outcome{true, too_large_code, "its result is too large: values of a saga have " + std::to_string(values_bytes_max) + " bytes together", {}};
  }
  // One that has no room stays on record alone. Control refuses it.
  void operator()(const SagaSignalledT& fact) {
    auto value = value_of(fact.value);
    if (saga.has_room(value)) saga.signals.insert_or_assign(fact.signal, std::move(value));
  }

  // ---- what people ask for

  void operator()(const SagaPausedT&) { saga.is_paused = true; }
  void operator()(const SagaResumedT&) { saga.is_paused = false; }
  void operator()(const SagaCancelRequestedT& fact) {
    if (saga.status != Status::running) return;
    saga.is_cancelled = true;
    if (saga.error.empty()) saga.error = "cancelled: " + fact.reason;
  }
  void operator()(const StepRetryRequestedT& fact) {
    const auto known = saga.steps.find(fact.step_id);
    if (known == saga.steps.end()) return;
    StepState& one = known->second;
    if (one.status != StepStatus::parked && one.status != StepStatus::compensation_parked) return;
    one.status = one.status == StepStatus::parked ? StepStatus::retrying : StepStatus::compensation_retrying;
    one.is_due = true;
    one.changed_at = time;
    // It has all its retries and its time again.
    one.failures = 0;
    one.timed_out = saga.has_timed_out = false;
    one.timed_from = 0;
  }
  void operator()(const StepSkippedT& fact) {
    const auto known = saga.steps.find(fact.step_id);
    if (known == saga.steps.end() || known->second.outcome) return;
    StepState& one = known->second;
    if (is_undoing(one.status)) return end_attempt(one, StepStatus::compensated);
    if (!is_under_way(one.status)) return;
    one.is_uncertain = one.is_uncertain || one.is_open;
    end_attempt(one, StepStatus::skipped);
    if (auto value = value_of(fact.value); saga.has_room(value)) one.result = std::move(value);
    saga.completed.push_back(fact.step_id);
  }
  void operator()(const CompensationRequestedT& fact) {
    if (saga.status != Status::running || !saga.is_parked()) return;
    saga.is_failing = saga.is_forced = true;
    saga.error = "undone on request: " + fact.reason;
  }
};

}  // namespace

bool State::is_parked() const {
  return std::any_of(steps.begin(), steps.end(), [](const auto& one) {
    return one.second.status == StepStatus::parked || one.second.status == StepStatus::compensation_parked;
  });
}

bool State::is_wanted(const Timer& timer) const {
  if (timer.kind == TimerKind::saga) return status == Status::running;
  const auto* one = find(timer.step);
  if (one == nullptr || has_ended()) return false;
  switch (timer.kind) {
    case TimerKind::retry:
      return timer.attempt == one->attempt + 1 && one->status == (timer.compensation ? StepStatus::compensation_retrying : StepStatus::retrying);
    case TimerKind::attempt:
      return timer.attempt == one->attempt && one->is_open && !one->outcome && timer.compensation == is_undoing(one->status);
    case TimerKind::step: return timer.attempt == one->timed_from && is_under_way(one->status) && one->status != StepStatus::parked;
    default: return false;
  }
}

const StepState* State::find(std::string_view step) const {
  const auto it = steps.find(step);
  return it == steps.end() ? nullptr : &it->second;
}

std::size_t bytes_of_value(const Value& value) { return value.type.size() + value.bytes.size() + value.text.size(); }

std::size_t State::value_bytes() const {
  std::size_t bytes = bytes_of_value(input);
  for (const auto& [name, value] : signals) bytes += bytes_of_value(value);
  for (const auto& [name, step] : steps) bytes += bytes_of_value(step.result) + (step.outcome ? bytes_of_value(step.outcome->value) : 0);
  return bytes;
}

bool State::has_room(const Value& value) const { return value_bytes() + bytes_of_value(value) <= values_bytes_max; }

void State::apply(const Fact& fact, WallTime time) {
  if (has_ended()) {
    late_replies += std::holds_alternative<StepReplyT>(fact);
    return;
  }
  std::visit(Apply{*this, time}, fact);
}

}  // namespace bus::saga
