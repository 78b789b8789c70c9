#include "tools/saga_history.hpp"

#include <iterator>
#include <limits>

#include "tools/cli.hpp"
#include "tools/position.hpp"

namespace bus::tools {

namespace {

std::string text_in(const Json& payload, const char* name) {
  const auto it = payload.find(name);
  if (it == payload.end() || it->is_null()) return "";
  return it->is_string() ? it->get<std::string>() : dump(*it);
}
bool is_set(const Json& payload, const char* name) { return payload.value(name, false); }
std::uint64_t number_in(const Json& payload, const char* name) { return payload.value(name, std::uint64_t{0}); }

// ": no_money: the account is empty"; each part as far as it is there.
std::string why(const Json& payload) {
  const auto code = text_in(payload, "code"), error = text_in(payload, "error");
  return (code.empty() ? "" : ": " + code) + (error.empty() ? "" : ": " + error);
}

std::string timer_words(const Json& payload) {
  const auto kind = text_in(payload, "kind");
  const std::string attempt = "attempt " + std::to_string(number_in(payload, "attempt")) + (is_set(payload, "compensation") ? " at undoing" : "");
  if (kind == "retry") return attempt + " begins";
  return (kind == "attempt" ? attempt : kind == "step" ? "the step" : "the saga") + " has taken too long";
}

// What happened, of an event by that name.
std::string words(const std::string& type, const Json& payload) {
  const std::string attempt = "attempt " + std::to_string(payload.value("attempt", std::uint64_t{1}));
  const std::string undoing = is_set(payload, "compensation") ? " at undoing" : "";
  if (type == "SagaStarted") return "started" + (text_in(payload, "user_id").empty() ? "" : ", for " + text_in(payload, "user_id"));
  if (type == "StepStarted") return attempt + " begins";
  if (type == "StepCommand") return "command of " + attempt + undoing;
  if (type == "StepReply") return attempt + undoing + (is_set(payload, "failed") ? " has failed" + why(payload) : " has succeeded");
  if (type == "StepAttemptFailed") return attempt + undoing + " counts as failed, and another one follows" + why(payload);
  if (type == "StepCompleted") return "completed";
  if (type == "StepFailed") return std::string("failed for good") + (is_set(payload, "uncertain") ? ", and its effect may be there" : "") + why(payload);
  if (type == "CompensationStarted") return count_of(number_in(payload, "steps_to_compensate"), "step") + " to be undone: " + text_in(payload, "cause");
  if (type == "StepCompensationStarted") return attempt + " at undoing begins";
  if (type == "StepCompensated") return "undone";
  if (type == "StepCompensationFailed") return "could not be undone" + why(payload);
  if (type == "CompensationCompleted") return number_in(payload, "steps_failed") == 0 ? "all is undone" : count_of(number_in(payload, "steps_failed"), "step") + " could not be undone";
  if (type == "SagaCompleted") return "the saga is completed";
  if (type == "SagaFailed") return "the saga is " + text_in(payload, "outcome") + why(payload);
  if (type == "SagaTimerSet") return "from " + show_time(wall_time(payload.value("due_at", std::int64_t{0}))) + " on, " + timer_words(payload);
  if (type == "SagaTimer") return "it is time: " + timer_words(payload);
  if (type == "SagaSignalled") return "signal " + text_in(payload, "signal");
  if (type == "SagaParked") return "parked" + undoing + ", until a person decides" + why(payload);
  if (type == "SagaPaused") return "paused";
  if (type == "SagaResumed") return "resumed";
  if (type == "SagaCancelRequested") return "to be cancelled";
  if (type == "StepRetryRequested") return "to be tried again";
  if (type == "StepSkipped") return "skipped";
  if (type == "CompensationRequested") return "to be undone";
  return type;
}

}  // namespace

// An attempt ends with its reply; where none came, with the decision that did without it. Such a decision that names no attempt is about the last one.
std::string SagaTimeline::took(const std::string& type, const std::string& of, std::uint64_t attempt, WallTime time) {
  if (type == "SagaCompleted" || type == "SagaFailed") return started_at_ ? show_about(time - *started_at_) : "";
  if (type == "StepStarted" || type == "StepCompensationStarted") return began_[{of, attempt}] = time, "";
  const bool ends = type == "StepReply" || type == "StepAttemptFailed" || type == "StepCompleted" || type == "StepFailed" || type == "StepCompensated" || type == "StepCompensationFailed" ||
                    type == "StepSkipped" || type == "SagaParked";
  auto began = began_.find({of, attempt});
  if (attempt == 0) {
    began = began_.lower_bound({of, std::numeric_limits<std::uint64_t>::max()});
    began = began != began_.begin() && std::prev(began)->first.first == of ? std::prev(began) : began_.end();
  }
  if (!ends || began == began_.end()) return "";
  const auto text = show_about(time - began->second);
  began_.erase(began);
  return text;
}

Json SagaTimeline::line(const Event& event, Json payload) {
  const std::string type(event.type().substr(event.type().rfind('.') + 1));
  if (!payload.is_object()) payload = Json::object();
  if (type == "SagaStarted" && !started_at_) started_at_ = event.time();
  const auto step = text_in(payload, "step_id");
  const bool undoes = type.find("Compensat") != type.npos || is_set(payload, "compensation");
  const bool begins = type == "StepStarted" || type == "StepCompensationStarted";
  const bool has_attempt = payload.contains("attempt") || begins;
  const auto took_text = took(type, step + (undoes ? ":undo" : ""), payload.value("attempt", std::uint64_t{begins}), event.time());
  return {{"version", event.version()}, {"position", number(event.position())}, {"time", show_time(event.time())},
          {"since_start", started_at_ ? Json(show_about(event.time() - *started_at_)) : Json()}, {"event", type}, {"step", text_or_null(step)},
          {"attempt", has_attempt && !step.empty() ? Json(payload.value("attempt", std::uint64_t{1})) : Json()}, {"what", words(type, payload)}, {"took", text_or_null(took_text)},
          {"reason", text_or_null(text_in(payload, "reason"))}, {"by", text_or_null(text_in(payload, "by"))},
          {"causation_id", text_or_null(std::string(event.causation_id()))}, {"payload", std::move(payload)}};
}

}  // namespace bus::tools
