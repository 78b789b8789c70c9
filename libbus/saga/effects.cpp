#include "libbus/saga/effects.hpp"

#include <algorithm>

namespace bus::saga {

namespace {

using ::suoke::saga::StepCommandT;

class Effects {
 public:
  Effects(const Definition& definition, const State& saga, WallTime now) : definition_(definition), saga_(saga), now_(now) {}

  std::vector<NewEvent> of(const std::vector<Fact>& facts) {
    for (const Fact& fact : facts) {
      events_.push_back(event_of(fact, saga_.definition, saga_.hash, now_));
      std::visit([this](const auto& one) { follow(one); }, fact);
    }
    return std::move(events_);
  }

 private:
  template <typename T>
  void follow(const T&) {}
  void follow(const StepStartedT& fact) {
    const Step* step = definition_.find(fact.step_id);
    if (step->kind() == Step::Kind::remote) command(step->topic(), fact.step_id, fact.attempt, false);
  }
  void follow(const StepCompensationStartedT& fact) {
    const Step* step = definition_.find(fact.step_id);
    if (step->compensation().kind == Compensation::Kind::remote) command(step->compensation().topic, fact.step_id, fact.attempt, true);
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

  void command(const std::string& topic, const std::string& step, std::uint32_t attempt, bool compensation) {
    StepCommandT command;
    command.saga_id = saga_.saga_id;
    command.step_id = step;
    command.attempt = attempt;
    command.compensation = compensation;
    command.idempotency_key = idempotency_key(saga_.saga_id, step, compensation);
    command.definition = saga_.definition;
    command.definition_hash = saga_.hash;
    command.reply_topic = "saga." + saga_.definition + ".step_reply";
    const auto deadline = deadline_of(saga_, step);
    command.deadline = deadline ? nanoseconds(*deadline) : 0;
    command.input = to_wire(saga_.input);
    for (const auto& [name, state] : saga_.steps) add_result(command, name, state.result);
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
    if (wire == nullptr) return;
    auto& result = command.results.emplace_back(std::make_unique<::suoke::saga::NamedValueT>());
    result->name = name;
    result->value = std::move(wire);
  }

  const Definition& definition_;
  const State& saga_;
  WallTime now_;
  std::vector<NewEvent> events_;
};

}  // namespace

std::vector<NewEvent> effects(const Definition& definition, const State& state, const std::vector<Fact>& facts, WallTime now) {
  return Effects(definition, state, now).of(facts);
}

std::string idempotency_key(std::string_view saga_id, std::string_view step, bool compensation) {
  return std::string(saga_id) + ":" + std::string(step) + (compensation ? ":undo" : "");
}

std::optional<WallTime> deadline_of(const State& state, std::string_view step) {
  std::optional<WallTime> earliest;
  for (const auto& timer : state.timers) {
    const bool is_of_attempt = timer.step == step && (timer.kind == TimerKind::attempt || timer.kind == TimerKind::step) && state.is_wanted(timer);
    if (is_of_attempt && (!earliest || timer.due < *earliest)) earliest = timer.due;
  }
  return earliest;
}

}  // namespace bus::saga
