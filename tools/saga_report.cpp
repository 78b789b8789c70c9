#include "tools/saga_report.hpp"

#include <algorithm>

#include "tools/cli.hpp"
#include "tools/position.hpp"
#include "tools/saga_values.hpp"

namespace bus::tools {

namespace {

using suoke::saga::RetryDefinedT;
using suoke::saga::SagaDefinedT;
using suoke::saga::StepDefinedT;

Json time_or_none(const std::optional<WallTime>& time) { return time ? Json(show_time(*time)) : Json(); }
Json duration_or_null(std::int64_t nanoseconds) { return nanoseconds == 0 ? Json() : Json(show_duration(Duration(nanoseconds))); }

Json step_report_json(Schemas& schemas, const saga::StepReport& step) {
  return {{"step", step.name}, {"stage", step.stage}, {"status", step.status}, {"attempt", step.attempt}, {"retry_count", step.failures},
          {"started_at", time_or_none(step.started_at)}, {"since", time_or_none(step.since)}, {"code", text_or_null(step.code)}, {"error", text_or_null(step.error)},
          {"uncertain", step.is_uncertain}, {"result", saga_value_json(schemas, step.result)}};
}

Json timer_json(const saga::TimerReport& timer) {
  return {{"kind", timer.kind}, {"step", text_or_null(timer.step)}, {"attempt", timer.attempt}, {"compensation", timer.compensation}, {"due_at", show_time(timer.due)}};
}

std::string timer_text(const saga::TimerReport& timer) {
  const std::string of_step = (timer.compensation ? " at undoing '" : " at '") + timer.step + "'";
  if (timer.kind == "retry") return "attempt " + std::to_string(timer.attempt) + of_step + " begins";
  if (timer.kind == "attempt") return "attempt " + std::to_string(timer.attempt) + of_step + " has taken too long";
  return (timer.kind == "step" ? "step '" + timer.step + "'" : "the saga") + " has taken too long";
}

Json report_json(Schemas& schemas, const saga::Report& report) {
  Json steps = Json::array(), timers = Json::array();
  for (const auto& step : report.steps) steps.push_back(step_report_json(schemas, step));
  for (const auto& timer : report.timers) timers.push_back(timer_json(timer));
  return {{"saga_id", report.saga_id}, {"definition", report.name}, {"definition_hash", report.hash}, {"user_id", text_or_null(report.user_id)}, {"status", report.status},
          {"paused", report.is_paused}, {"parked", report.is_parked}, {"cancelled", report.is_cancelled}, {"since", show_time(report.since)},
          {"started_at", show_time(report.started_at)}, {"ended_at", time_or_none(report.ended_at)}, {"error", text_or_null(report.error)},
          {"total_steps", report.steps.size()}, {"completed_steps", report.completed_steps}, {"late_replies", report.late_replies}, {"version", report.version},
          {"input", saga_value_json(schemas, report.input)}, {"waits_for", report.waits_for}, {"fits", report.fits}, {"timers", timers}, {"steps", steps}};
}

// ---- definitions

saga::RetryPolicy policy_of(const RetryDefinedT& defined) {
  saga::RetryPolicy policy;
  policy.kind = static_cast<saga::RetryPolicy::Kind>(defined.kind);
  policy.retries = defined.retries;
  policy.first = Duration(defined.first_ns);
  policy.cap = Duration(defined.cap_ns);
  return policy;
}

// "3 times, exponential from 1s up to 1m, less up to 20 %, not after no_money".
std::string retry_text(const RetryDefinedT* retry) {
  if (retry == nullptr || retry->retries == 0) return "none";
  std::string text = std::to_string(retry->retries) + (retry->retries == 1 ? " time, " : " times, ") + suoke::saga::EnumNameRetryKind(retry->kind) + " from " + show_duration(Duration(retry->first_ns));
  if (retry->cap_ns > 0) text += " up to " + show_duration(Duration(retry->cap_ns));
  if (retry->jitter > 0) text += ", less up to " + std::to_string(static_cast<int>(retry->jitter * 100)) + " %";
  for (const auto& code : retry->not_retried) text += (code == retry->not_retried.front() ? ", not after " : " or ") + code;
  return text;
}

Json retry_json(const RetryDefinedT* retry) {
  if (retry == nullptr) return Json();
  return {{"kind", suoke::saga::EnumNameRetryKind(retry->kind)}, {"retries", retry->retries}, {"first", show_duration(Duration(retry->first_ns))}, {"cap", duration_or_null(retry->cap_ns)},
          {"jitter", retry->jitter}, {"not_retried", retry->not_retried}};
}

std::string work_text(const StepDefinedT& step) {
  if (step.kind == suoke::saga::StepKind::remote) return "command to " + step.topic;
  if (step.kind == suoke::saga::StepKind::signal) return "signal " + step.signal;
  return "function";
}

std::string undo_text(const StepDefinedT& step) {
  if (step.compensation == suoke::saga::CompensationKind::remote) return "command to " + step.compensation_topic;
  return step.compensation == suoke::saga::CompensationKind::local ? "function" : "none";
}

Json step_json(const StepDefinedT& step) {
  const bool undoes = step.compensation == suoke::saga::CompensationKind::local || step.compensation == suoke::saga::CompensationKind::remote;
  return {{"step", step.name}, {"stage", step.stage}, {"kind", suoke::saga::EnumNameStepKind(step.kind)}, {"topic", text_or_null(step.topic)}, {"signal", text_or_null(step.signal)},
          {"pivot", step.pivot}, {"result_type", text_or_null(step.result_type)}, {"attempt_timeout", duration_or_null(step.attempt_timeout_ns)}, {"timeout", duration_or_null(step.timeout_ns)},
          {"retry", retry_json(step.retry.get())}, {"compensation", undoes ? suoke::saga::EnumNameCompensationKind(step.compensation) : "none"},
          {"compensation_topic", text_or_null(step.compensation_topic)}, {"compensation_parks", undoes && step.parks}, {"retry_compensation", undoes ? retry_json(step.retry_compensation.get()) : Json()}};
}

}  // namespace

// ---- instances

void print_report(Format format, Schemas& schemas, const saga::Report& report) {
  auto json = report_json(schemas, report);
  if (format != Format::text) return print_object(format, json);
  auto steps = json["steps"].get<std::vector<Json>>();
  Json timers = Json::array();
  for (const auto& timer : report.timers) timers.push_back(show_time(timer.due) + ": " + timer_text(timer));
  json["timers"] = timers;
  json.erase("steps");
  print_object(format, json);
  write("\n");
  for (auto& step : steps) step["error"] = step["code"].is_null() ? step["error"] : Json(step["code"].get<std::string>() + (step["error"].is_null() ? "" : ": " + step["error"].get<std::string>()));
  print_list(format, {{"STEP", "step"}, {"STATUS", "status"}, {"ATTEMPT", "attempt"}, {"FAILED", "retry_count"}, {"SINCE", "since"}, {"RESULT", "result"}, {"ERROR", "error"}}, steps);
  if (!report.definition) warn("its definition is not in the log any more, so steps that have not begun are not shown");
}

// ---- definitions

Json definition_json(const saga::Registered& registered) {
  const SagaDefinedT& defined = *registered.definition;
  Json steps = Json::array();
  for (const auto& step : defined.steps) steps.push_back(step_json(*step));
  return {{"definition", defined.name}, {"definition_hash", defined.definition_hash}, {"since", show_time(registered.since)}, {"input_type", text_or_null(defined.input_type)},
          {"timeout", duration_or_null(defined.timeout_ns)}, {"compensates_in_parallel", defined.compensates_in_parallel}, {"steps", steps}};
}

Json definition_row(const saga::Registered& registered) {
  const SagaDefinedT& defined = *registered.definition;
  std::vector<std::string> steps;
  for (const auto& step : defined.steps) steps.push_back(step->name);
  return {{"definition", defined.name}, {"definition_hash", defined.definition_hash}, {"since", show_time(registered.since)}, {"input_type", text_or_null(defined.input_type)}, {"steps", steps}};
}

void print_definition(Format format, const saga::Registered& registered) {
  auto json = definition_json(registered);
  if (format != Format::text) return print_object(format, json);
  json.erase("steps");
  print_object(format, json);
  write("\n");
  std::vector<Json> rows;
  for (const auto& step : registered.definition->steps) {
    const bool undoes = step->compensation == suoke::saga::CompensationKind::local || step->compensation == suoke::saga::CompensationKind::remote;
    rows.push_back({{"step", step->name + (step->pivot ? " (pivot)" : "")}, {"stage", step->stage}, {"work", work_text(*step)}, {"retry", retry_text(step->retry.get())},
                    {"attempt", duration_or_null(step->attempt_timeout_ns)}, {"timeout", duration_or_null(step->timeout_ns)}, {"result", text_or_null(step->result_type)},
                    {"undo", undo_text(*step) + (undoes && step->parks ? ", else parked" : "")}, {"undo_retry", undoes ? Json(retry_text(step->retry_compensation.get())) : Json()}});
  }
  print_list(format, {{"STEP", "step"}, {"STAGE", "stage"}, {"WORK", "work"}, {"RETRIES", "retry"}, {"ATTEMPT TIMEOUT", "attempt"}, {"TIMEOUT", "timeout"}, {"RESULT", "result"}, {"UNDONE BY", "undo"},
                      {"ITS RETRIES", "undo_retry"}}, rows);
}

std::optional<Duration> limit_of(const suoke::saga::StepDefinedT& step, bool compensation) {
  constexpr Duration most = std::chrono::hours(24 * 366 * 10);
  if (!compensation && step.timeout_ns > 0) return Duration(step.timeout_ns);
  const auto* retry = compensation ? step.retry_compensation.get() : step.retry.get();
  if (step.attempt_timeout_ns <= 0) return {};
  Duration limit(step.attempt_timeout_ns);
  if (retry == nullptr) return limit;
  const auto policy = policy_of(*retry);
  for (std::uint32_t failed = 1; failed <= policy.retries && limit < most; ++failed) limit += Duration(step.attempt_timeout_ns) + std::min(most, *policy.delay(failed, "", 0));
  return std::min(limit, most);
}

}  // namespace bus::tools
