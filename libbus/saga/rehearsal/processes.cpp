#include "libbus/saga/rehearsal/processes.hpp"

#include <algorithm>
#include <stdexcept>

#include "libbus/saga/command.hpp"
#include "libbus/saga/registration.hpp"
#include "libbus/src/key_events.hpp"

namespace bus::saga {

namespace {

constexpr Duration extend_every = std::chrono::seconds(5);
constexpr std::size_t cached_bytes = 8 << 20;

const Script* script_of(const Scripts& scripts, const std::string& step, bool is_undo) {
  const auto it = scripts.find({step, is_undo});
  return it == scripts.end() ? nullptr : &it->second;
}

Done outcome_of(const Played& played) { return played.kind == Played::Kind::fails ? Done(played.failed) : Done(played.value); }

// The definition, with what the scripts say in the place of functions.
Definition scripted(const Definition& definition, const Scripts& scripts) {
  const auto action_of = [&scripts](const std::string& step, bool is_undo, const Action& action) -> Action {
    return [&scripts, step, is_undo, action](const Context& context) -> Done {
      const Script* script = script_of(scripts, step, is_undo);
      if (script == nullptr) return action(context);
      if (script->effect) script->effect(context);
      return outcome_of(script->of(context.attempt()));
    };
  };
  Definition copy(definition.name());
  copy.input(definition.input_type());
  if (definition.timeout()) copy.timeout(*definition.timeout());
  if (definition.compensates_in_parallel()) copy.compensate_in_parallel();
  for (std::size_t stage = 0, at = 0; stage < definition.stages(); ++stage) {
    std::vector<Step> steps;
    for (; at < definition.steps().size() && definition.stage_of(at) == stage; ++at) {
      Step step = definition.steps()[at];
      if (step.kind() == Step::Kind::local) step.run(action_of(step.name(), false, step.action()));
      if (step.compensation().kind == Compensation::Kind::local) step.compensate(action_of(step.name(), true, step.compensation().action));
      steps.push_back(std::move(step));
    }
    copy.parallel(std::move(steps));
  }
  return copy;
}

}  // namespace

// ---- bus

Result<Client::Answer> StageBus::request(wire::AskUnion ask) {
  // It may outlive this call, where the process dies in it.
  auto answer = std::make_shared<std::optional<Result<Client::Answer>>>();
  party_.request(std::move(ask), [answer](Result<Client::Answer> told) { *answer = std::move(told); });
  stage_.await([&] { return answer->has_value(); });
  return std::move(**answer);
}

Result<void> StageBus::fold_key(const std::string& key, std::uint64_t from, const std::function<void(const Event&)>& fold) {
  while (true) {
    wire::KeyReadT read;
    read.key = key;
    read.from = from;
    wire::AskUnion ask;
    ask.Set(std::move(read));
    auto answer = request(std::move(ask));
    if (!answer && answer.error().code == Code::disconnected) continue;
    if (!answer) return answer.error();
    const auto* reply = answer->reply->answer.AsKeyReadReply();
    if (reply == nullptr) return unexpected_answer();
    const auto events = events_of(*reply, std::move(answer->body));
    if (!events) return events.error();
    for (const Event& event : *events) fold(event);
    if (reply->more == 0) return {};
    from = reply->more;
  }
}

Result<std::vector<Receipt>> StageBus::transact(const Event* event, const FollowUp& what) {
  auto receipts = std::make_shared<std::optional<Result<std::vector<Receipt>>>>();
  const std::vector<Condition> conditions(what.condition ? 1 : 0, what.condition.value_or(Condition()));
  Party::Acks acks;
  if (what.settles && event != nullptr) acks = {subscribed_, event};
  party_.transact({what.events, conditions, {}}, what.cancels, acks, stage_.now(), [receipts](Result<std::vector<Receipt>> told) { *receipts = std::move(told); });
  stage_.await([&] { return receipts->has_value(); });
  return std::move(**receipts);
}

// ---- attempts under way

bool UnderWay::tell_one(SteadyTime now) {
  const auto it = std::find_if(all_.begin(), all_.end(), [&](const One& one) { return one.ends_at && *one.ends_at <= now; });
  if (it == all_.end()) return false;
  const One one = std::move(*it);
  all_.erase(it);
  one.tell(one.event);
  return true;
}

bool UnderWay::renew(const Event& event) {
  const auto it = std::find_if(all_.begin(), all_.end(), [&](const One& one) { return one.event.position() == event.position(); });
  if (it != all_.end()) it->event = event;
  return it != all_.end();
}

void UnderWay::extend(Party& party, Party::Subscribed subscribed, SteadyTime now) {
  for (One& one : all_) {
    if (one.extend_at > now) continue;
    one.extend_at = now + extend_every;
    party.settle(subscribed, one.event, wire::Verdict::extend);
  }
}

SteadyTime UnderWay::due() const {
  SteadyTime due = SteadyTime::max();
  for (const One& one : all_) due = std::min({due, one.extend_at, one.ends_at.value_or(SteadyTime::max())});
  return due;
}

// ---- worker

WorkerProcess::WorkerProcess(Stage& stage, std::string name, const Definition& definition, const Scripts& scripts)
    : stage_(stage), scripts_(scripts), party_(stage.broker(), std::move(name), stage.now()), runner_(scripted(definition, scripts), cached_bytes),
      decisions_(party_.subscribe(decisions_group(definition))), actions_(party_.subscribe(actions_group(definition))) {}

bool WorkerProcess::act() {
  const auto now = stage_.now().steady;
  under_way_.extend(party_, actions_, now);
  if (under_way_.tell_one(now)) return true;
  if (const auto event = party_.next(decisions_)) return decide_on(*event), true;
  if (const auto event = party_.next(actions_)) return act_on(*event), true;
  return false;
}

void WorkerProcess::decide_on(const Event& event) {
  StageBus bus(stage_, party_, decisions_);
  if (!runner_.decide_on(event, bus)) bus.give_back(event);
}

void WorkerProcess::act_on(const Event& event) {
  if (under_way_.renew(event)) return;
  StageBus bus(stage_, party_, actions_);
  const auto begun = runner_.begin(event, bus);
  if (!begun) return bus.give_back(event);
  if (!*begun) return;
  const auto& attempt = **begun;
  const Script* script = script_of(scripts_, attempt.step->name(), attempt.is_undo);
  const Played* played = script == nullptr ? nullptr : &script->of(attempt.number);
  const auto now = stage_.now().steady;
  if (played != nullptr && played->kind == Played::Kind::hangs) return under_way_.add({event, std::nullopt, {}, now + extend_every});
  stage_.moment();
  const Done outcome = Runner::run(attempt);
  stage_.moment();
  const auto tell = [this, attempt, outcome](const Event& delivered) {
    StageBus reply_bus(stage_, party_, actions_);
    if (!runner_.reply(delivered, attempt, outcome, reply_bus)) reply_bus.give_back(delivered);
  };
  if (played == nullptr || played->takes <= Duration(0)) return tell(event);
  under_way_.add({event, now + played->takes, tell, now + extend_every});
}

// ---- service

ServiceProcess::ServiceProcess(Stage& stage, const std::string& topic, const Scripts& scripts, const Action& action)
    : stage_(stage), scripts_(scripts), action_(action), party_(stage.broker(), "service." + topic, stage.now()) {
  auto filter = std::make_unique<wire::FilterT>();
  filter->patterns = {topic};
  commands_ = party_.subscribe("service." + topic, std::move(filter), std::make_unique<wire::GroupSettingsT>(service_settings()));
}

bool ServiceProcess::act() {
  const auto now = stage_.now().steady;
  under_way_.extend(party_, commands_, now);
  if (under_way_.tell_one(now)) return true;
  const auto event = party_.next(commands_);
  if (event) act_on(*event);
  return event.has_value();
}

void ServiceProcess::act_on(const Event& event) {
  if (under_way_.renew(event)) return;
  auto command = std::make_shared<StepCommandT>();
  event.as<::suoke::saga::StepCommand>().value()->UnPackTo(command.get());
  const Script* script = script_of(scripts_, command->step_id, command->compensation);
  const Played* played = script == nullptr ? nullptr : &script->of(command->attempt);
  const auto now = stage_.now().steady;
  if (const auto late = too_late(*command, stage_.now().wall)) return tell_of(event, *command, *late);
  const bool hangs = played == nullptr ? !action_ : played->kind == Played::Kind::hangs;
  if (hangs) return under_way_.add({event, std::nullopt, {}, now + extend_every});
  stage_.moment();
  const CommandContext context(*command);
  if (played != nullptr && script->effect) script->effect(context);
  const Done outcome = played == nullptr ? run_action(action_, context) : outcome_of(*played);
  stage_.moment();
  if (played == nullptr || played->takes <= Duration(0)) return tell_of(event, *command, outcome);
  const auto tell = [this, command, outcome](const Event& delivered) { tell_of(delivered, *command, outcome); };
  under_way_.add({event, now + played->takes, tell, now + extend_every});
}

void ServiceProcess::tell_of(const Event& event, const StepCommandT& command, const Done& outcome) {
  StageBus bus(stage_, party_, commands_);
  FollowUp what;
  what.events.push_back(answer_to(command, outcome, event.id(), stage_.now().wall));
  if (!bus.transact(event, what)) bus.give_back(event);
}

}  // namespace bus::saga
