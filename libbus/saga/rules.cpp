#include "libbus/saga/rules.hpp"

#include <algorithm>

namespace bus::saga {

namespace {

bool undoes(StepStatus status) {
  return status == StepStatus::compensating || status == StepStatus::compensation_retrying || status == StepStatus::compensation_parked;
}
bool works(StepStatus status) { return status == StepStatus::running || status == StepStatus::retrying || status == StepStatus::parked; }
bool is_parked_at(StepStatus status) { return status == StepStatus::parked || status == StepStatus::compensation_parked; }

std::string quoted(const std::string& text) { return "'" + text + "'"; }

std::string listed(const std::vector<std::string>& items) {
  std::string text;
  for (const auto& item : items) text += (text.empty() ? "" : ", ") + item;
  return text;
}

std::string verb_word(Verb verb) {
  switch (verb) {
    case Verb::pause: return "paused";
    case Verb::resume: return "resumed";
    case Verb::cancel: return "cancelled";
    case Verb::compensate: return "undone";
    case Verb::retry_step: return "retry-step";
    case Verb::skip_step: return "skip-step";
    case Verb::signal: return "signal";
  }
  return "";
}

}  // namespace

std::string_view word(Status status) {
  constexpr std::string_view words[] = {"none", "running", "compensating", "completed", "compensated", "compensation_failed"};
  return words[static_cast<std::size_t>(status)];
}

std::string_view word(StepStatus status) {
  constexpr std::string_view words[] = {"pending", "running", "retrying", "parked", "completed", "skipped", "failed", "compensating", "compensation_retrying", "compensation_parked",
                                        "compensated", "compensation_failed"};
  return words[static_cast<std::size_t>(status)];
}

// ---- what it is at

const StepDefinedT* Rules::step(const std::string& name) const {
  if (!seen_.definition) return nullptr;
  for (const auto& one : seen_.definition->steps) {
    if (one->name == name) return one.get();
  }
  return nullptr;
}

const StepDefinedT* Rules::step_of_signal(const std::string& signal) const {
  if (!seen_.definition) return nullptr;
  for (const auto& one : seen_.definition->steps) {
    if (one->kind == ::suoke::saga::StepKind::signal && one->signal == signal) return one.get();
  }
  return nullptr;
}

std::vector<std::string> Rules::step_names() const {
  std::vector<std::string> names;
  if (seen_.definition) {
    for (const auto& one : seen_.definition->steps) names.push_back(one->name);
  } else {
    for (const auto& [name, state] : saga_.steps) names.push_back(name);
  }
  return names;
}

const StepState& Rules::state_of(const std::string& name) const {
  static const StepState pending;
  const auto* known = saga_.find(name);
  return known != nullptr ? *known : pending;
}

std::string Rules::pivot_passed() const {
  if (!seen_.definition) return "";
  for (const auto& one : seen_.definition->steps) {
    const auto status = state_of(one->name).status;
    if (one->pivot && (status == StepStatus::completed || status == StepStatus::skipped)) return one->name;
  }
  return "";
}

// As decide() has it.
bool Rules::is_turning_back() const {
  return saga_.is_forced || saga_.is_failing || saga_.status == Status::compensating || (pivot_passed().empty() && (saga_.is_cancelled || saga_.has_timed_out));
}

Error Rules::conflict(const std::string& why) const {
  std::string state(word(saga_.status));
  if (saga_.is_paused) state += ", paused";
  for (const auto& name : step_names()) {
    const auto status = state_of(name).status;
    if (works(status) || undoes(status)) state += ", step " + quoted(name) + " is " + std::string(word(status));
  }
  const auto fits = fitting();
  return {Code::conflict, "saga " + quoted(saga_.saga_id) + why + "; it is " + state + (fits.empty() ? "" : "; what fits: " + listed(fits)), seen_.version};
}

// ---- what fits

Result<void> Rules::check(Verb verb, const std::string& name) const {
  if (saga_.has_ended()) return Error{Code::conflict, "saga " + quoted(saga_.saga_id) + " has ended: " + std::string(word(saga_.status)), seen_.version};
  if (verb == Verb::retry_step || verb == Verb::skip_step) return check_step(verb, name);
  if (verb == Verb::signal) return check_signal(name);
  const auto why = why_not(verb);
  if (why.empty()) return {};
  return conflict(" cannot be " + verb_word(verb) + ": " + why);
}

std::string Rules::why_not(Verb verb) const {
  const auto pivot = pivot_passed();
  switch (verb) {
    case Verb::pause: return saga_.is_paused ? "it is paused already" : "";
    case Verb::resume: return saga_.is_paused ? "" : "it is not paused";
    case Verb::cancel:
      if (saga_.status == Status::running && !saga_.is_failing && !saga_.is_forced && !pivot.empty()) return "it is past its pivot " + quoted(pivot) + ", and only goes forward";
      if (saga_.is_cancelled) return "it is cancelled already";
      return is_turning_back() ? "it is being undone already" : "";
    case Verb::compensate:
      if (is_turning_back()) return "it is being undone already";
      return saga_.is_parked() ? "" : "it is not parked";
    default: return "";
  }
}

Result<void> Rules::check_step(Verb verb, const std::string& name) const {
  const auto names = step_names();
  if (std::find(names.begin(), names.end(), name) == names.end()) return Error{Code::not_found, "saga " + quoted(saga_.saga_id) + " has no step " + quoted(name) + "; it has " + listed(names)};
  const StepState& one = state_of(name);
  if (verb == Verb::skip_step) {
    const auto why = why_not_skipped(one);
    return why.empty() ? Result<void>() : conflict(": step " + quoted(name) + " cannot be skipped: " + why);
  }
  const std::string not_tried = ": step " + quoted(name) + " cannot be tried again: ";
  if (!is_parked_at(one.status)) return conflict(not_tried + "it is " + std::string(word(one.status)) + ", not parked");
  if (one.status == StepStatus::parked && is_turning_back()) return conflict(not_tried + "the saga is being undone");
  return {};
}

std::string Rules::why_not_skipped(const StepState& step) const {
  if (step.status == StepStatus::pending) return "it has not begun";
  if (!works(step.status) && !undoes(step.status)) return "it is " + std::string(word(step.status));
  return step.outcome ? "its attempt has ended by now, and a worker decides what follows" : "";
}

Result<void> Rules::check_signal(const std::string& name) const {
  if (!seen_.definition) return Error{Code::not_found, "the definition of saga " + quoted(saga_.saga_id) + ", with hash " + saga_.hash + ", is not in the log any more, so nobody knows what it waits for"};
  const auto* waits = step_of_signal(name);
  if (waits == nullptr) {
    std::vector<std::string> known;
    for (const auto& one : seen_.definition->steps) {
      if (one->kind == ::suoke::saga::StepKind::signal) known.push_back(one->signal);
    }
    return Error{Code::not_found, "no step of saga " + quoted(saga_.saga_id) + " waits for a signal " + quoted(name) + "; " + (known.empty() ? "none waits for any" : "there are " + listed(known))};
  }
  const std::string not_sent = ": signal " + quoted(name) + " cannot be sent: ";
  const StepState& one = state_of(waits->name);
  if (one.status != StepStatus::pending && !works(one.status)) return conflict(not_sent + "step " + quoted(waits->name) + ", which waits for it, is " + std::string(word(one.status)));
  if (is_turning_back()) return conflict(not_sent + "the saga is being undone");
  if (saga_.signals.contains(name)) return conflict(not_sent + "it has come already, and step " + quoted(waits->name) + " will have it");
  return {};
}

std::vector<std::string> Rules::fitting() const {
  std::vector<std::string> fits;
  if (saga_.has_ended()) return fits;
  const std::pair<Verb, const char*> verbs[] = {{Verb::pause, "pause"}, {Verb::resume, "resume"}, {Verb::cancel, "cancel"}, {Verb::compensate, "compensate"}};
  for (const auto& [verb, text] : verbs) {
    if (why_not(verb).empty()) fits.emplace_back(text);
  }
  for (const auto& name : step_names()) {
    const StepState& one = state_of(name);
    if (is_parked_at(one.status) && (undoes(one.status) || !is_turning_back())) fits.push_back("retry-step " + name);
    if (why_not_skipped(one).empty()) fits.push_back("skip-step " + name);
    const auto* defined = step(name);
    const bool may_wait = one.status == StepStatus::pending || works(one.status);
    if (defined != nullptr && !defined->signal.empty() && may_wait && !is_turning_back() && !saga_.signals.contains(defined->signal)) fits.push_back("signal " + defined->signal);
  }
  return fits;
}

// ---- what it waits for

std::vector<std::string> Rules::waits_for() const {
  std::vector<std::string> waits;
  if (saga_.has_ended()) return waits;
  if (saga_.is_paused) waits.emplace_back("somebody who resumes it");
  for (const auto& name : step_names()) {
    if (auto text = waits_for(name); !text.empty()) waits.push_back(std::move(text));
  }
  if (waits.empty()) waits.push_back("a worker of definition " + quoted(saga_.definition) + " with hash " + saga_.hash + ", which decides how it goes on");
  return waits;
}

// A saga that turns back gives up what stands still; so decide() has it.
bool Rules::is_given_up(const StepState& step, const StepDefinedT* defined) const {
  const bool waits_for_signal = step.status == StepStatus::running && defined != nullptr && defined->kind == ::suoke::saga::StepKind::signal;
  return is_turning_back() && (step.status == StepStatus::retrying || step.status == StepStatus::parked || waits_for_signal);
}

std::string Rules::waits_for(const std::string& name) const {
  const StepState& one = state_of(name);
  const auto* defined = step(name);
  const std::string of_step = (undoes(one.status) ? "undoing step " : "step ") + quoted(name);
  const std::string attempt = "attempt " + std::to_string(one.attempt) + " at " + of_step;
  if (!works(one.status) && !undoes(one.status)) return "";
  const std::string decision = "a worker that decides what follows, as ";
  if (is_given_up(one, defined)) return decision + "the saga is being undone";
  if (is_parked_at(one.status)) return "somebody who decides about " + of_step + ", which has failed" + (one.error.empty() ? "" : ": " + one.error);
  if (one.outcome) return decision + attempt + " has ended";
  if (one.status == StepStatus::retrying || one.status == StepStatus::compensation_retrying) return "attempt " + std::to_string(one.attempt + 1) + " at " + of_step;
  const bool is_remote = defined != nullptr && (undoes(one.status) ? defined->compensation == ::suoke::saga::CompensationKind::remote : defined->kind == ::suoke::saga::StepKind::remote);
  if (is_remote) return "a reply to " + attempt + ", whose command went to " + (undoes(one.status) ? defined->compensation_topic : defined->topic);
  if (defined != nullptr && defined->kind == ::suoke::saga::StepKind::signal && one.status == StepStatus::running) {
    const std::string signal = "signal " + quoted(defined->signal);
    return saga_.signals.contains(defined->signal) ? decision + signal + " has come" : signal + ", for " + of_step;
  }
  return "the end of " + attempt;
}

}  // namespace bus::saga
