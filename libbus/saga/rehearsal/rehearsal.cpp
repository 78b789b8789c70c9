#include "bus/saga_rehearsal.hpp"

#include <array>
#include <cstdio>
#include <set>
#include <stdexcept>

#include "libbus/saga/facts.hpp"
#include "libbus/saga/registration.hpp"
#include "libbus/saga/rehearsal/processes.hpp"
#include "libbus/saga/rules.hpp"

namespace bus::saga {

struct Rehearsal::Impl {
  Impl(Definition saga, const RehearsalOptions& options) : definition((saga.check().value(), std::move(saga))), hash(definition.hash()), stage(options) {
    if (options.workers == 0) throw std::invalid_argument("a rehearsal has one worker at least");
    for (unsigned at = 1; at <= options.workers; ++at) {
      stage.add([this, name = "worker-" + std::to_string(at)] { return std::make_unique<WorkerProcess>(stage, name, definition, scripts); });
    }
    person = stage.add([this] { return std::make_unique<PersonProcess>(stage); });
    make_group(decisions_group_of(definition));
    make_group(actions_group_of(definition));
    for (const Step& step : definition.steps()) {
      if (step.kind() == Step::Kind::remote) add_service(step.topic());
      if (step.compensation().kind == Compensation::Kind::remote) add_service(step.compensation().topic);
    }
  }

  StageBus bus() { return StageBus(stage, stage.process(person).party()); }
  std::string id_of(const std::string& business_id) const { return definition.name() + "/" + business_id; }

  void make_group(wire::GroupCreateT create) {
    while (true) {
      wire::AskUnion ask;
      ask.Set(wire::GroupCreateT(create));
      const auto made = bus().request(std::move(ask));
      if (made || made.error().code == Code::group_exists) return;
      if (made.error().code != Code::disconnected) throw std::runtime_error(describe(made.error()));
    }
  }
  void add_service(const std::string& topic) {
    if (!services.emplace(topic, Action()).second) return;
    stage.add([this, topic] { return std::make_unique<ServiceProcess>(stage, topic, scripts, services.at(topic)); });
  }

  // Errors: those of a transaction.
  Result<void> publish(Fact fact, std::optional<Condition> condition = {}) {
    stage.await([&] { return stage.process(person).party().is_ready(); });
    FollowUp what;
    what.condition = std::move(condition);
    what.events.push_back(event_of(fact, definition.name(), hash, stage.now().wall));
    const auto stored = bus().transact(nullptr, what);
    return stored ? Result<void>() : stored.error();
  }
  template <typename T>
  T request(const std::string& business_id, const std::string& reason) {
    T fact;
    fact.saga_id = id_of(business_id);
    fact.reason = reason;
    fact.by = "rehearsal";
    return fact;
  }
  // What a person asks for: it has to make sense, as for Control.
  template <typename T>
  void change(Verb verb, const std::string& name, T fact) {
    Seen seen;
    seen.state = state(fact.saga_id);
    if (seen.state.status == Status::none) throw std::invalid_argument("there is no saga '" + fact.saga_id + "'");
    seen.definition = std::make_shared<SagaDefinedT>(description_of(definition));
    if (const auto fits = Rules(seen).check(verb, name); !fits) throw std::invalid_argument(fits.error().detail);
    publish(std::move(fact)).value();
  }
  const std::string& known(const std::string& step) const {
    if (definition.find(step) == nullptr) throw std::invalid_argument("saga '" + definition.name() + "' has no step '" + step + "'");
    return step;
  }

  std::vector<Event> events(const std::string& saga_id) {
    std::vector<Event> all;
    bus().fold_key(saga_id, 1, [&](const Event& event) { all.push_back(event); }).value();
    return all;
  }
  State state(const std::string& saga_id) {
    State state;
    for (const Event& event : events(saga_id)) {
      if (const auto fact = fact_of(event.type(), event.payload())) state.apply(*fact, event.time());
    }
    return state;
  }
  bool never_ends(const Step& step, const StepState& one) const;
  bool rests(const State& state) const;
  void run(std::optional<SteadyTime> until);

  const Definition definition;
  const std::string hash;
  Scripts scripts;
  std::map<std::string, Action> services;
  std::set<std::string> instances;
  Stage stage;
  std::size_t person = 0;
};

// An attempt of which no reply comes.
bool Rehearsal::Impl::never_ends(const Step& step, const StepState& one) const {
  const bool is_undo = one.status == StepStatus::compensating;
  const auto script = scripts.find({step.name(), is_undo});
  if (script != scripts.end()) return script->second.of(one.attempt).kind == Played::Kind::hangs;
  if (!is_undo && step.kind() == Step::Kind::signal) return true;
  const auto& compensation = step.compensation();
  const bool is_remote = is_undo ? compensation.kind == Compensation::Kind::remote : step.kind() == Step::Kind::remote;
  return is_remote && !services.at(is_undo ? compensation.topic : step.topic());
}

// Nothing happens to it but what run_for(), or somebody, brings.
bool Rehearsal::Impl::rests(const State& state) const {
  if (state.has_ended()) return true;
  if (state.status == Status::none || decide(definition, state, stage.now().wall)) return false;
  for (const Timer& timer : state.timers) {
    if (state.is_wanted(timer)) return false;
  }
  for (const Step& step : definition.steps()) {
    const auto* one = state.find(step.name());
    if (one != nullptr && one->is_open && !never_ends(step, *one)) return false;
  }
  return true;
}

void Rehearsal::Impl::run(std::optional<SteadyTime> until) {
  constexpr int passes_max = 1'000'000;
  for (int passes = 0;; ++passes) {
    if (passes == passes_max) throw std::logic_error("the rehearsal does not end");
    stage.act();
    if (until ? stage.now().steady >= *until : std::all_of(instances.begin(), instances.end(), [this](const auto& id) { return rests(state(id)); })) return;
    stage.pass(until.value_or(SteadyTime::max()));
  }
}

Rehearsal::Rehearsal(Definition definition, RehearsalOptions options) : impl_(std::make_unique<Impl>(std::move(definition), options)) {}
Rehearsal::Rehearsal(Rehearsal&&) noexcept = default;
Rehearsal& Rehearsal::operator=(Rehearsal&&) noexcept = default;
Rehearsal::~Rehearsal() = default;

// ---- scripts

namespace {

Script script_with(std::vector<Played> attempts, Rehearsal::Effect effect) {
  if (attempts.empty()) throw std::invalid_argument("a script says what one attempt at least comes to");
  return {std::move(attempts), std::move(effect)};
}

}  // namespace

Rehearsal& Rehearsal::script(const std::string& step, std::vector<Played> attempts, Effect effect) {
  impl_->scripts.insert_or_assign({impl_->known(step), false}, script_with(std::move(attempts), std::move(effect)));
  return *this;
}
Rehearsal& Rehearsal::script_undo(const std::string& step, std::vector<Played> attempts, Effect effect) {
  impl_->scripts.insert_or_assign({impl_->known(step), true}, script_with(std::move(attempts), std::move(effect)));
  return *this;
}
Rehearsal& Rehearsal::serve(const std::string& topic, Action action) {
  const auto service = impl_->services.find(topic);
  if (service == impl_->services.end()) throw std::invalid_argument("no step of saga '" + impl_->definition.name() + "' sends commands to '" + topic + "'");
  service->second = std::move(action);
  return *this;
}

// ---- what happens

bool Rehearsal::start(const std::string& business_id, const Value& input, const std::string& user_id) {
  const auto& definition = impl_->definition;
  if (!definition.input_type().empty() && input.type != definition.input_type()) throw std::invalid_argument("the input of saga '" + definition.name() + "' is a " + definition.input_type());
  SagaStartedT started;
  started.saga_id = impl_->id_of(business_id);
  started.name = definition.name();
  started.steps_count = static_cast<std::uint32_t>(definition.steps().size());
  started.definition_hash = impl_->hash;
  started.user_id = user_id;
  started.input = to_wire(input);
  const auto id = started.saga_id;
  const auto stored = impl_->publish(std::move(started), Condition::absent(id));
  if (!stored && stored.error().code != Code::conflict) stored.value();
  impl_->instances.insert(id);
  return stored.ok();
}

void Rehearsal::signal(const std::string& business_id, const std::string& signal, const Value& value) {
  auto fact = impl_->request<SagaSignalledT>(business_id, "");
  fact.signal = signal;
  fact.value = to_wire(value);
  impl_->change(Verb::signal, signal, std::move(fact));
}
void Rehearsal::pause(const std::string& business_id, const std::string& reason) { impl_->change(Verb::pause, "", impl_->request<SagaPausedT>(business_id, reason)); }
void Rehearsal::resume(const std::string& business_id, const std::string& reason) { impl_->change(Verb::resume, "", impl_->request<SagaResumedT>(business_id, reason)); }
void Rehearsal::cancel(const std::string& business_id, const std::string& reason) { impl_->change(Verb::cancel, "", impl_->request<SagaCancelRequestedT>(business_id, reason)); }
void Rehearsal::compensate(const std::string& business_id, const std::string& reason) { impl_->change(Verb::compensate, "", impl_->request<CompensationRequestedT>(business_id, reason)); }
void Rehearsal::retry_step(const std::string& business_id, const std::string& step, const std::string& reason) {
  auto fact = impl_->request<StepRetryRequestedT>(business_id, reason);
  fact.step_id = step;
  impl_->change(Verb::retry_step, step, std::move(fact));
}
void Rehearsal::skip_step(const std::string& business_id, const std::string& step, const std::string& reason, const Value& value) {
  auto fact = impl_->request<StepSkippedT>(business_id, reason);
  fact.step_id = step;
  fact.value = to_wire(value);
  impl_->change(Verb::skip_step, step, std::move(fact));
}

void Rehearsal::run() { impl_->run({}); }
void Rehearsal::run_for(Duration time) { impl_->run(impl_->stage.now().steady + time); }

// ---- what came of it

WallTime Rehearsal::now() const { return impl_->stage.now().wall; }

std::string Rehearsal::status(const std::string& business_id) {
  const State state = impl_->state(impl_->id_of(business_id));
  switch (state.status) {
    case Status::none: return "unknown";
    case Status::completed: return "completed";
    case Status::compensated: return "compensated";
    case Status::compensation_failed: return "compensation_failed";
    default: break;
  }
  if (state.is_paused) return "paused";
  if (state.is_parked()) return "parked";
  return state.status == Status::running ? "running" : "compensating";
}

std::vector<Event> Rehearsal::events(const std::string& business_id) { return impl_->events(impl_->id_of(business_id)); }

std::string Rehearsal::history(const std::string& business_id) {
  std::string text;
  const auto all = events(business_id);
  for (const Event& event : all) {
    const auto fact = fact_of(event.type(), event.payload());
    if (!fact) continue;
    const std::chrono::duration<double> since = event.time() - all.front().time();
    std::array<char, 32> time{};
    std::snprintf(time.data(), time.size(), "%+10.3fs  ", since.count());
    text += time.data();
    text += fact_name(*fact);
    std::visit([&](const auto& one) {
      if constexpr (requires { one.step_id; }) text += one.step_id.empty() ? "" : " " + one.step_id;
      if constexpr (requires { one.signal; }) text += " " + one.signal;
      if constexpr (requires { one.kind; }) text += std::string(" ") + ::suoke::saga::EnumNameTimerKind(one.kind);
      if constexpr (requires { one.attempt; }) text += one.attempt == 0 ? "" : " attempt " + std::to_string(one.attempt);
      if constexpr (requires { one.compensation; }) text += one.compensation ? " undo" : "";
      if constexpr (requires { one.failed; }) text += one.failed ? " failed" : "";
      if constexpr (requires { one.code; }) text += one.code.empty() ? "" : " " + one.code;
      if constexpr (requires { one.error; }) text += one.error.empty() ? "" : ": " + one.error;
    }, *fact);
    text += "\n";
  }
  return text;
}

// ---- crashes, and histories

std::size_t with_every_crash(const std::function<void(const RehearsalOptions&)>& play) {
  std::size_t moments = 0;
  RehearsalOptions options;
  options.moments = &moments;
  play(options);
  std::size_t plays = 1;
  for (std::size_t at = 0, of = moments; at < of; ++at) {
    for (const Crash crash : {Crash::process, Crash::broker, Crash::both}) {
      options.crash = {at, crash};
      try {
        play(options);
      } catch (const std::exception& error) {
        throw std::runtime_error("with a crash at moment " + std::to_string(at) + " (" + std::to_string(static_cast<int>(crash)) + "): " + error.what());
      }
      ++plays;
    }
  }
  return plays;
}

namespace {

bool is_decision(const Fact& fact) {
  return std::visit([]<typename T>(const T&) {
    return std::is_same_v<T, StepStartedT> || std::is_same_v<T, StepAttemptFailedT> || std::is_same_v<T, StepCompletedT> || std::is_same_v<T, StepFailedT> ||
           std::is_same_v<T, CompensationStartedT> || std::is_same_v<T, StepCompensationStartedT> || std::is_same_v<T, StepCompensatedT> ||
           std::is_same_v<T, StepCompensationFailedT> || std::is_same_v<T, CompensationCompletedT> || std::is_same_v<T, SagaCompletedT> || std::is_same_v<T, SagaFailedT> ||
           std::is_same_v<T, SagaParkedT> || std::is_same_v<T, SagaTimerSetT>;
  }, fact);
}

}  // namespace

Result<void> check_history(const Definition& definition, const std::vector<Event>& events) {
  State state;
  for (const Event& event : events) {
    const auto fact = fact_of(event.type(), event.payload());
    if (!fact) continue;
    if (is_decision(*fact)) {
      const auto would_be = decide(definition, state, event.time());
      const auto payload = would_be ? event_of(*would_be, state.definition, state.hash, event.time()).payload : std::vector<std::uint8_t>();
      if (!std::equal(payload.begin(), payload.end(), event.payload().begin(), event.payload().end())) {
        const std::string other = would_be ? "a " + std::string(fact_name(*would_be)) + " would follow, or another one" : "nothing would follow";
        return Error{Code::bad_argument, "version " + std::to_string(event.version()) + " of " + std::string(event.key()) + " is a " + std::string(fact_name(*fact)) + ", and by this definition " + other};
      }
    }
    state.apply(*fact, event.time());
  }
  return {};
}

}  // namespace bus::saga
