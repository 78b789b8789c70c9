#include "libbus/saga/effects.hpp"

#include <algorithm>

namespace bus::saga {

namespace {

using ::suoke::saga::StepCommandT;

class Effects {
 public:
  Effects(std::vector<NewEvent>& events, const Definition& definition, const State& saga, WallTime now)
      : events_(events), definition_(definition), saga_(saga), now_(now) {}

  void add(const Fact& fact) {
    events_.push_back(event_of(fact, saga_.definition, saga_.hash, now_));
    std::visit([this](const auto& one) { follow(one); }, fact);
  }

 private:
  template <typename T>
  void follow(const T&) {}
  void follow(const StepStartedT& fact) {
    const Step* step = definition_.find(fact.step_id);
    if (step->kind() == Step::Kind::remote) command(step->topic(), *step, fact.attempt, false);
  }
  void follow(const StepCompensationStartedT& fact) {
    const Step* step = definition_.find(fact.step_id);
    if (step->compensation().kind == Compensation::Kind::remote) command(step->compensation().topic, *step, fact.attempt, true);
  }
  void follow(const SagaTimerSetT& fact) {
    SagaTimerT timer;
    timer.saga_id = fact.saga_id;
    timer.kind = fact.kind;
    timer.step_id = fact.step_id;
    timer.attempt = fact.attempt;
    timer.compensation = fact.compensation;
    auto event = event_of(Fact(std::move(timer)), saga_.definition, saga_.hash, wall_time(fact.due_at));
    event.deliver_at = wall_time(fact.due_at);
    events_.push_back(std::move(event));
  }

  void command(const std::string& topic, const Step& step, std::uint32_t attempt, bool compensation) {
    StepCommandT command;
    command.saga_id = saga_.saga_id;
    command.step_id = step.name();
    command.attempt = attempt;
    command.compensation = compensation;
    command.idempotency_key = idempotency_key(saga_.saga_id, step.name(), compensation);
    command.definition = saga_.definition;
    command.definition_hash = saga_.hash;
    command.reply_topic = "saga." + saga_.definition + ".step_reply";
    const auto deadline = deadline_of(saga_, step);
    command.deadline = deadline ? nanoseconds(*deadline) : 0;
    command.input = to_wire(saga_.input);
    for (const auto& name : saga_.completed) add_result(command, name, saga_.find(name)->result);
    for (const auto& [name, value] : saga_.signals) add_result(command, name, value);
    NewEvent event;
    event.topic = topic;
    event.key = event.correlation_id = saga_.saga_id;
    event.time = now_;
    set_payload(event, command);
    events_.push_back(std::move(event));
  }
  static void add_result(StepCommandT& command, const std::string& name, const Value& value) {
    auto wire = to_wire(value);
    auto& result = command.results.emplace_back(std::make_unique<::suoke::saga::NamedValueT>());
    result->name = name;
    result->value = wire ? std::move(wire) : std::make_unique<::suoke::saga::ValueT>();
  }

  std::vector<NewEvent>& events_;
  const Definition& definition_;
  const State& saga_;
  WallTime now_;
};

}  // namespace

void add_effects(std::vector<NewEvent>& events, const Definition& definition, const State& state, const Fact& fact, WallTime now) {
  Effects(events, definition, state, now).add(fact);
}

std::string idempotency_key(std::string_view saga_id, std::string_view step, bool compensation) {
  return std::string(saga_id) + ":" + std::string(step) + (compensation ? ":undo" : "");
}

// The timers of an attempt are set behind it in the log.
std::optional<WallTime> deadline_of(const State& state, const Step& step) {
  const auto* one = state.find(step.name());
  if (one == nullptr || !one->is_open) return std::nullopt;
  std::optional<WallTime> deadline;
  const auto not_after = [&](WallTime time) { deadline = std::min(deadline.value_or(time), time); };
  if (step.attempt_timeout()) not_after(one->changed_at + *step.attempt_timeout());
  if (!step.timeout() || one->status != StepStatus::running) return deadline;
  const auto is_of_step = [&](const Timer& timer) { return timer.kind == TimerKind::step && timer.step == step.name() && state.is_wanted(timer); };
  const auto timer = std::find_if(state.timers.begin(), state.timers.end(), is_of_step);
  not_after(timer == state.timers.end() ? one->changed_at + *step.timeout() : timer->due);
  return deadline;
}

}  // namespace bus::saga
