// Control looks at the saga's key, asks the rules whether a request makes sense, and publishes it on condition that the key is still there.
#include "bus/saga_control.hpp"

#include <algorithm>
#include <functional>
#include <tuple>

#include "libbus/saga/registration.hpp"
#include "libbus/saga/rules.hpp"

namespace bus::saga {

namespace {

using ::suoke::saga::SagaDefined;

// ---- definitions

// Calls `take` with each that was registered under the name, the last one first, until it returns false.
Result<void> each_version(Client& client, const std::string& name, std::uint32_t at_once, const std::function<bool(Registered)>& take) {
  KeyRange range;
  range.key = definition_key(name);
  range.backwards = range.skip_trimmed = true;
  range.limit = at_once;
  for (;;) {
    const auto part = client.read_key(range);
    if (!part) return part.error();
    for (const Event& event : part->events) {
      const auto defined = event.as<SagaDefined>();
      if (!defined) continue;
      auto definition = std::make_shared<SagaDefinedT>();
      (*defined)->UnPackTo(definition.get());
      if (!take({std::move(definition), event.time()})) return {};
    }
    if (part->events.empty() || part->events.back().version() == 1) return {};
    range.from = part->events.back().version() - 1;
    range.limit = 0;
  }
}

std::string known_names(Client& client) {
  const auto all = Control(client).definitions();
  if (!all) return "";
  std::string names;
  for (const auto& one : *all) names += (names.empty() ? "; there are " : ", ") + one.definition->name;
  return names.empty() ? "; none is" : names;
}

// ---- instances

auto standing(const State& saga) { return std::tuple(saga.status, saga.is_paused, saga.is_parked(), saga.is_cancelled); }

Result<Seen> look(Client& client, const std::string& saga_id) {
  Seen seen;
  const auto head = client.fold_key(saga_id, [&](const Event& event) {
    const auto before = standing(seen.state);
    if (const auto fact = fact_of(event.type(), event.payload())) seen.state.apply(*fact, event.time());
    if (standing(seen.state) != before) seen.since = event.time();
    seen.version = event.version();
  });
  if (!head) return head.error();
  if (seen.state.status == Status::none) return Error{Code::not_found, "there is no saga '" + saga_id + "'; its id is DEFINITION/BUSINESS_ID"};
  auto defined = Control(client).definition(seen.state.definition, seen.state.hash);
  if (defined) seen.definition = std::move(defined->definition);
  else if (defined.error().code != Code::not_found) return defined.error();
  return seen;
}

Result<void> check_texts(const ByHand& why, bool needs_reason) {
  if (needs_reason && why.reason.empty()) return Error{Code::bad_argument, "a change by hand needs a reason"};
  if (why.reason.size() > reason_bytes_max) return Error{Code::bad_argument, "the reason has more than " + std::to_string(reason_bytes_max) + " bytes"};
  if (why.by.size() > by_bytes_max) return Error{Code::bad_argument, "who wants it has more than " + std::to_string(by_bytes_max) + " bytes"};
  return {};
}

Result<void> check_type(const StepDefinedT* step, const Value& value) {
  if (step == nullptr || step->result_type.empty() || step->result_type == value.type) return {};
  return Error{Code::bad_argument, "the result of step '" + step->name + "' is a " + step->result_type + ", not " + (value.type.empty() ? "plain text, or nothing" : "a " + value.type)};
}

// What is asked for, and of which step or signal.
struct Wanted {
  Verb verb;
  std::string name = {};
  const Value* value = nullptr;
};

template <typename T>
Result<Receipt> change(Client& client, Duration patience, const std::string& saga_id, const Wanted& wanted, T fact, const ByHand& why) {
  if (auto good = check_texts(why, wanted.verb != Verb::signal); !good) return good.error();
  fact.saga_id = saga_id;
  fact.reason = why.reason;
  fact.by = why.by;
  for (;;) {
    const auto seen = look(client, saga_id);
    if (!seen) return seen.error();
    const Rules rules(*seen);
    if (auto fits = rules.check(wanted.verb, wanted.name); !fits) return fits.error();
    const auto* step = wanted.verb == Verb::signal ? rules.step_of_signal(wanted.name) : rules.step(wanted.name);
    if (wanted.value != nullptr) {
      if (auto good = check_type(step, *wanted.value); !good) return good.error();
      if (!seen->state.has_room(*wanted.value)) return Error{Code::bad_argument, "the value is too large: those of a saga have " + std::to_string(values_bytes_max) + " bytes together"};
    }
    auto event = event_of(Fact(T(fact)), seen->state.definition, seen->state.hash, std::chrono::system_clock::now());
    event.conditions = {Condition::at(seen->version)};
    auto stored = publish_within(client, event, patience);
    if (stored || stored.error().code != Code::conflict) return stored;  // else it is not any more what was seen
  }
}

// ---- reports

StepReport report_of(const Rules& rules, const State& saga, const std::string& name) {
  StepReport report;
  report.name = name;
  const auto* defined = rules.step(name);
  if (defined != nullptr) report.stage = defined->stage;
  const auto* state = saga.find(name);
  report.status = word(state != nullptr ? state->status : StepStatus::pending);
  if (state == nullptr) return report;
  report.attempt = state->attempt;
  report.failures = state->failures;
  if (state->started_at != WallTime()) report.started_at = state->started_at;
  if (state->changed_at != WallTime()) report.since = state->changed_at;
  report.result = state->result;
  report.code = state->code;
  report.error = state->error;
  report.is_uncertain = state->is_uncertain;
  if (!saga.has_ended()) report.waits_for = rules.waits_for(name);
  return report;
}

TimerReport report_of(const Timer& timer) { return {::suoke::saga::EnumNameTimerKind(timer.kind), timer.step, timer.attempt, timer.compensation, timer.due}; }

}  // namespace

// ---- definitions

Result<Registered> Control::definition(const std::string& name, const std::string& hash) {
  std::optional<Registered> found;
  const auto looked = each_version(*client_, name, 1, [&](Registered one) {
    if (hash.empty() || one.definition->definition_hash == hash) found = std::move(one);
    return !found;
  });
  if (!looked) return looked.error();
  if (found) return std::move(*found);
  const std::string named = "no definition '" + name + "'";
  if (!hash.empty()) return Error{Code::not_found, named + " with hash " + hash + " is in the log"};
  return Error{Code::not_found, named + " is registered" + known_names(*client_)};
}

Result<std::vector<Registered>> Control::versions(const std::string& name) {
  std::vector<Registered> all;
  const auto looked = each_version(*client_, name, 0, [&](Registered one) { return all.push_back(std::move(one)), true; });
  if (!looked) return looked.error();
  if (all.empty()) return Error{Code::not_found, "no definition '" + name + "' is registered" + known_names(*client_)};
  return all;
}

// Each has a topic of its own.
Result<std::vector<Registered>> Control::definitions() {
  constexpr std::string_view before = "saga.", after = ".saga_defined";
  std::vector<std::string> names;
  wire::TopicsRequestT question;
  for (;;) {
    wire::AskUnion ask;
    ask.Set(wire::TopicsRequestT(question));
    const auto answer = client_->request(std::move(ask));
    if (!answer) return answer.error();
    const auto* reply = answer->reply->answer.AsTopicsReply();
    if (reply == nullptr) return Error{Code::malformed, "the broker's answer to a request for topics is of another kind"};
    for (const auto& topic : reply->topics) {
      const std::string_view name = topic->name;
      if (name.starts_with(before) && name.ends_with(after) && name.size() > before.size() + after.size()) names.emplace_back(name.substr(before.size(), name.size() - before.size() - after.size()));
    }
    if (reply->more == 0 && reply->more_name.empty()) break;
    question.after = reply->more;
    question.after_name = reply->more_name;
  }
  std::sort(names.begin(), names.end());
  std::vector<Registered> all;
  for (const auto& name : names) {
    const auto looked = each_version(*client_, name, 1, [&](Registered one) { return all.push_back(std::move(one)), false; });
    if (!looked) return looked.error();
  }
  return all;
}

// ---- instances

Result<Instance> Control::start(const std::string& definition, const std::string& business_id, const Value& input, const std::string& user_id) {
  const auto known = this->definition(definition);
  if (!known) return known.error();
  const SagaDefinedT& defined = *known->definition;
  return start_instance(*client_, {defined.name, defined.definition_hash, defined.input_type, static_cast<std::uint32_t>(defined.steps.size())}, business_id, input, user_id, patience_);
}

Result<Receipt> Control::signal(const std::string& saga_id, const std::string& signal, const Value& value, const ByHand& why) {
  SagaSignalledT fact;
  fact.signal = signal;
  fact.value = to_wire(value);
  return change(*client_, patience_, saga_id, {Verb::signal, signal, &value}, std::move(fact), why);
}

Result<Receipt> Control::pause(const std::string& saga_id, const ByHand& why) { return change(*client_, patience_, saga_id, {Verb::pause}, SagaPausedT(), why); }
Result<Receipt> Control::resume(const std::string& saga_id, const ByHand& why) { return change(*client_, patience_, saga_id, {Verb::resume}, SagaResumedT(), why); }
Result<Receipt> Control::cancel(const std::string& saga_id, const ByHand& why) { return change(*client_, patience_, saga_id, {Verb::cancel}, SagaCancelRequestedT(), why); }
Result<Receipt> Control::compensate(const std::string& saga_id, const ByHand& why) { return change(*client_, patience_, saga_id, {Verb::compensate}, CompensationRequestedT(), why); }

Result<Receipt> Control::retry_step(const std::string& saga_id, const std::string& step, const ByHand& why) {
  StepRetryRequestedT fact;
  fact.step_id = step;
  return change(*client_, patience_, saga_id, {Verb::retry_step, step}, std::move(fact), why);
}

Result<Receipt> Control::skip_step(const std::string& saga_id, const std::string& step, const ByHand& why, const Value& value) {
  StepSkippedT fact;
  fact.step_id = step;
  fact.value = to_wire(value);
  const bool has_value = fact.value != nullptr;
  return change(*client_, patience_, saga_id, {Verb::skip_step, step, has_value ? &value : nullptr}, std::move(fact), why);
}

Result<Report> Control::report(const std::string& saga_id) {
  const auto seen = look(*client_, saga_id);
  if (!seen) return seen.error();
  const Rules rules(*seen);
  const State& saga = seen->state;
  Report report;
  report.saga_id = saga.saga_id;
  report.name = saga.definition;
  report.hash = saga.hash;
  report.user_id = saga.user_id;
  report.definition = seen->definition;
  report.status = word(saga.status);
  report.since = seen->since;
  report.is_paused = saga.is_paused && !saga.has_ended();
  report.is_parked = saga.is_parked() && !saga.has_ended();
  const bool only_forward = rules.only_goes_forward();
  report.is_cancelled = saga.is_cancelled && !only_forward;
  report.started_at = saga.started_at;
  if (saga.has_ended()) report.ended_at = saga.ended_at;
  report.input = saga.input;
  if (!only_forward) report.error = saga.error;
  report.completed_steps = saga.completed.size();
  for (const auto& name : rules.step_names()) report.steps.push_back(report_of(rules, saga, name));
  for (const auto& timer : saga.timers) {
    if (saga.is_wanted(timer)) report.timers.push_back(report_of(timer));
  }
  report.late_replies = saga.late_replies;
  report.waits_for = rules.waits_for();
  report.fits = rules.fitting();
  report.version = seen->version;
  return report;
}

}  // namespace bus::saga
