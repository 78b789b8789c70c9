// What follows from the state of a saga. One rule after the other; each gives one fact, which apply() takes, so that it holds no more.
#include <algorithm>

#include "base/bytes.hpp"
#include "base/hash.hpp"
#include "libbus/saga/state.hpp"

namespace bus::saga {

namespace {

using Decision = std::optional<Fact>;

class Decider {
 public:
  Decider(const Definition& definition, const State& saga, WallTime now) : definition_(definition), saga_(saga), now_(now) {}

  Decision next() const {
    if (saga_.status == Status::none || saga_.has_ended()) return {};
    for (const Step& step : definition_.steps()) {
      if (auto fact = judge(step)) return fact;
    }
    if (auto fact = set_timers()) return fact;
    if (saga_.is_paused) return {};
    for (const Step& step : definition_.steps()) {
      if (auto fact = try_again(step)) return fact;
    }
    if (saga_.status == Status::compensating) return undo();
    return is_turning_back() ? turn_back() : go_forward();
  }

 private:
  const StepState& state(const Step& step) const {
    static const StepState pending;
    const auto* known = saga_.find(step.name());
    return known != nullptr ? *known : pending;
  }
  template <typename T>
  T of_step(const Step& step) const {
    T fact;
    fact.saga_id = saga_.saga_id;
    fact.step_id = fact.step_name = step.name();
    return fact;
  }
  static bool is_done(const StepState& one) { return one.status == StepStatus::completed || one.status == StepStatus::skipped; }
  static bool is_undoing(const StepState& one) {
    return one.status == StepStatus::compensating || one.status == StepStatus::compensation_retrying || one.status == StepStatus::compensation_parked;
  }
  bool is_past_pivot() const {
    return std::any_of(definition_.steps().begin(), definition_.steps().end(), [&](const Step& step) { return step.is_pivot() && is_done(state(step)); });
  }
  bool is_turning_back() const {
    return saga_.is_forced || saga_.is_failing || (!is_past_pivot() && (saga_.is_cancelled || saga_.has_timed_out));
  }
  // Clocks of different machines may differ.
  std::int64_t since(WallTime began) const { return std::max<std::int64_t>((now_ - began).count(), 0); }
  std::uint64_t salt(const Step& step) const { return checksum(bytes_of(saga_.saga_id + ":" + step.name())); }

  // ---- what came of attempts

  Decision judge(const Step& step) const {
    const StepState& one = state(step);
    if (one.status == StepStatus::running && step.kind() == Step::Kind::signal) {
      const auto signal = saga_.signals.find(step.signal());
      if (signal != saga_.signals.end()) return completed(step, signal->second);
    }
    const bool is_for_another = step.kind() == Step::Kind::signal && one.outcome && !one.outcome->failed && !is_undoing(one);
    if (!one.outcome || is_for_another) return {};
    const Outcome outcome = checked(step, *one.outcome, is_undoing(one));
    if (is_undoing(one)) return outcome.failed ? undo_failed(step, outcome) : Decision(compensated(step));
    return outcome.failed ? failed(step, outcome) : Decision(completed(step, outcome.value));
  }
  // A result of another type than the definition says is a failure.
  static Outcome checked(const Step& step, const Outcome& outcome, bool is_undo) {
    const std::string& type = outcome.value.type;
    if (outcome.failed || is_undo || step.result().empty() || type == step.result()) return outcome;
    return {true, bad_result_code, "the result is " + (type.empty() ? std::string("of no type") : "a " + type) + ", and the definition says " + step.result(), {}};
  }

  Fact completed(const Step& step, const Value& value) const {
    auto fact = of_step<StepCompletedT>(step);
    fact.duration_ns = since(state(step).started_at);
    fact.attempt = state(step).attempt;
    if (value.type.empty()) fact.result = value.text;
    else fact.value = to_wire(value);
    return fact;
  }
  Fact compensated(const Step& step) const { return of_step<StepCompensatedT>(step); }

  Decision failed(const Step& step, const Outcome& outcome) const {
    const StepState& one = state(step);
    const bool may_try = !is_turning_back() && !one.timed_out && !has_effect(outcome.code);
    if (may_try && step.retry().delay(one.failures + 1, outcome.code, salt(step))) return attempt_failed(step, outcome, false);
    // Where nobody knows whether the pivot is done there may be no way back.
    const bool may_be_past = step.is_pivot() && (one.is_uncertain || outcome.code == timeout_code || has_effect(outcome.code));
    if ((is_past_pivot() || may_be_past) && !is_turning_back()) return parked(step, false, outcome.code, outcome.error);
    return step_failed(step, outcome.code, outcome.error, one.failures + 1);
  }
  Decision undo_failed(const Step& step, const Outcome& outcome) const {
    const StepState& one = state(step);
    if (step.compensation().retry.delay(one.failures + 1, outcome.code, salt(step))) return attempt_failed(step, outcome, true);
    if (step.compensation().on_failure == Compensation::OnFailure::park) return parked(step, true, outcome.code, outcome.error);
    auto fact = of_step<StepCompensationFailedT>(step);
    fact.error = outcome.error;
    return fact;
  }
  Fact attempt_failed(const Step& step, const Outcome& outcome, bool compensation) const {
    auto fact = of_step<StepAttemptFailedT>(step);
    fact.attempt = state(step).attempt;
    fact.compensation = compensation;
    fact.code = outcome.code;
    fact.error = outcome.error;
    return fact;
  }
  Fact step_failed(const Step& step, const std::string& code, const std::string& error, std::uint32_t failures) const {
    const StepState& one = state(step);
    auto fact = of_step<StepFailedT>(step);
    fact.attempt = one.attempt;
    fact.code = code;
    fact.error = error;
    fact.retry_count = failures;
    fact.uncertain = one.is_uncertain || has_effect(code) || (one.is_open && (!one.outcome || code == timeout_code));
    return fact;
  }
  Fact parked(const Step& step, bool compensation, const std::string& code, const std::string& error) const {
    auto fact = of_step<SagaParkedT>(step);
    fact.compensation = compensation;
    fact.code = code;
    fact.error = error;
    fact.attempt = state(step).attempt;
    return fact;
  }

  // ---- time

  Decision set_timers() const {
    if (saga_.status == Status::running && !saga_.is_timed && definition_.timeout()) return timer({TimerKind::saga, "", 0, false, saga_.started_at + *definition_.timeout()});
    for (const Step& step : definition_.steps()) {
      const StepState& one = state(step);
      const bool is_working = one.status == StepStatus::running || one.status == StepStatus::compensating;
      if (one.is_open && is_working && step.attempt_timeout()) {
        const Timer wanted{TimerKind::attempt, step.name(), one.attempt, is_undoing(one), one.changed_at + *step.attempt_timeout()};
        if (!is_set(wanted)) return timer(wanted);
      }
      if (one.status == StepStatus::running && step.timeout() && one.timed_from == 0) return timer({TimerKind::step, step.name(), one.attempt, false, one.changed_at + *step.timeout()});
      const bool is_waiting = one.status == StepStatus::retrying || one.status == StepStatus::compensation_retrying;
      if (!is_waiting || one.is_due || (one.status == StepStatus::retrying && is_turning_back())) continue;
      const auto delay = delay_of(step);
      const Timer wanted{TimerKind::retry, step.name(), one.attempt + 1, is_undoing(one), one.changed_at + delay};
      if (delay > Duration(0) && !is_set(wanted)) return timer(wanted);
    }
    return {};
  }
  Duration delay_of(const Step& step) const {
    const StepState& one = state(step);
    const auto& policy = is_undoing(one) ? step.compensation().retry : step.retry();
    return policy.delay(one.failures, one.code, salt(step)).value_or(Duration(0));
  }
  bool is_set(const Timer& wanted) const {
    return std::any_of(saga_.timers.begin(), saga_.timers.end(), [&](const Timer& one) { return one.is_same(wanted); });
  }
  Fact timer(const Timer& timer) const {
    SagaTimerSetT fact;
    fact.saga_id = saga_.saga_id;
    fact.kind = timer.kind;
    fact.step_id = timer.step;
    fact.attempt = timer.attempt;
    fact.compensation = timer.compensation;
    fact.due_at = nanoseconds(std::max(timer.due, now_));
    return fact;
  }

  // ---- what begins

  Decision try_again(const Step& step) const {
    const StepState& one = state(step);
    const bool undoes = one.status == StepStatus::compensation_retrying;
    if (!undoes && (one.status != StepStatus::retrying || is_turning_back() || one.timed_out)) return {};
    if (!one.is_due && delay_of(step) > Duration(0)) return {};
    return undoes ? begin_undo(step, one.attempt + 1) : begin(step, one.attempt + 1);
  }
  Fact begin(const Step& step, std::uint32_t attempt) const {
    auto fact = of_step<StepStartedT>(step);
    fact.attempt = attempt;
    return fact;
  }
  Fact begin_undo(const Step& step, std::uint32_t attempt) const {
    auto fact = of_step<StepCompensationStartedT>(step);
    fact.attempt = attempt;
    return fact;
  }

  Decision go_forward() const {
    for (std::size_t stage = 0; stage < definition_.stages(); ++stage) {
      bool is_whole = true;
      for (std::size_t at = 0; at < definition_.steps().size(); ++at) {
        if (definition_.stage_of(at) != stage) continue;
        const Step& step = definition_.steps()[at];
        const StepState& one = state(step);
        if (one.status == StepStatus::pending) return begin(step, 1);
        // Waiting for a signal, or for the next attempt, it has no outcome of its own.
        const bool may_end = !is_done(one) && one.status != StepStatus::parked;
        if (one.timed_out && may_end) return give_up(step, "all attempts together have taken too long");
        if (saga_.has_timed_out && may_end) return give_up(step, "the saga has taken too long");  // past the pivot
        is_whole = is_whole && is_done(one);
      }
      if (!is_whole) return {};
    }
    SagaCompletedT fact;
    fact.saga_id = saga_.saga_id;
    fact.duration_ns = since(saga_.started_at);
    fact.outcome = ::suoke::saga::Outcome::completed;
    return fact;
  }
  // After the pivot there is no way back.
  Decision give_up(const Step& step, const std::string& error) const {
    const bool may_be_past = step.is_pivot() && state(step).is_open;
    if ((!is_past_pivot() && !may_be_past) || saga_.is_forced) return step_failed(step, timeout_code, error, state(step).failures + state(step).is_open);
    return parked(step, false, timeout_code, error);
  }

  // What waits is given up at once; what is at work ends first, unless time is over.
  Decision turn_back() const {
    bool is_at_work = false;
    for (const Step& step : definition_.steps()) {
      const StepState& one = state(step);
      const bool waits = one.status == StepStatus::retrying || one.status == StepStatus::parked || (one.status == StepStatus::running && step.kind() == Step::Kind::signal);
      const bool is_over = one.status == StepStatus::running && (saga_.has_timed_out || one.timed_out);
      if (waits || is_over) return step_failed(step, is_over ? timeout_code : one.code, why(one), one.failures + (is_over && one.is_open));
      is_at_work = is_at_work || one.status == StepStatus::running;
    }
    if (is_at_work) return {};
    CompensationStartedT fact;
    fact.saga_id = saga_.saga_id;
    fact.cause = saga_.error;
    const auto& steps = definition_.steps();
    fact.steps_to_compensate = static_cast<std::uint32_t>(std::count_if(steps.begin(), steps.end(), [&](const Step& step) { return wants_undo(step); }));
    return fact;
  }
  std::string why(const StepState& one) const {
    if (one.status == StepStatus::retrying || one.status == StepStatus::parked) return one.error;
    if (saga_.has_timed_out) return "the saga has taken too long";
    if (one.timed_out) return "all attempts together have taken too long";
    return saga_.is_cancelled ? "the saga was cancelled" : "another step has failed";
  }

  // ---- undoing

  // Also what failed, if nobody knows whether it had its effect.
  bool wants_undo(const Step& step) const {
    const StepState& one = state(step);
    return is_done(one) || (one.status == StepStatus::failed && one.is_uncertain && step.kind() != Step::Kind::signal);
  }
  static bool is_undone(const StepState& one) { return one.status == StepStatus::compensated || one.status == StepStatus::compensation_failed; }

  // In the reverse order of their stages; those of one stage, or where it is asked for all, at once.
  Decision undo() const {
    const auto& steps = definition_.steps();
    std::size_t failed = 0;
    for (std::size_t stage = definition_.stages(); stage-- > 0;) {
      bool is_whole = true;
      for (std::size_t at = steps.size(); at-- > 0;) {
        if (definition_.stage_of(at) != stage) continue;
        const StepState& one = state(steps[at]);
        if (wants_undo(steps[at])) return steps[at].compensation().kind == Compensation::Kind::local || steps[at].compensation().kind == Compensation::Kind::remote
                                        ? Decision(begin_undo(steps[at], 1)) : Decision(compensated(steps[at]));
        is_whole = is_whole && !is_undoing(one);
        failed += one.status == StepStatus::compensation_failed;
      }
      if (!is_whole && !definition_.compensates_in_parallel()) return {};
    }
    if (std::any_of(steps.begin(), steps.end(), [&](const Step& step) { return is_undoing(state(step)); })) return {};
    if (saga_.is_compensated) return saga_failed(failed);
    CompensationCompletedT fact;
    fact.saga_id = saga_.saga_id;
    fact.steps_failed = static_cast<std::uint32_t>(failed);
    return fact;
  }
  Fact saga_failed(std::size_t failed) const {
    SagaFailedT fact;
    fact.saga_id = saga_.saga_id;
    fact.duration_ns = since(saga_.started_at);
    fact.outcome = failed > 0 ? ::suoke::saga::Outcome::compensation_failed : ::suoke::saga::Outcome::compensated;
    fact.error = saga_.error;
    return fact;
  }

  const Definition& definition_;
  const State& saga_;
  WallTime now_;
};

}  // namespace

std::optional<Fact> decide(const Definition& definition, const State& state, WallTime now) { return Decider(definition, state, now).next(); }

std::vector<Fact> advance(const Definition& definition, State& state, WallTime now) {
  std::vector<Fact> facts;
  while (auto fact = decide(definition, state, now)) {
    state.apply(*fact, now);
    facts.push_back(std::move(*fact));
  }
  return facts;
}

}  // namespace bus::saga
