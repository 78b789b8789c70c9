#include "tools/saga_list.hpp"

#include <algorithm>
#include <map>
#include <memory>

#include "bus/saga_control.hpp"
#include "tools/position.hpp"
#include "tools/saga_index.hpp"
#include "tools/saga_index_file.hpp"
#include "tools/saga_report.hpp"

namespace bus::tools {

namespace {

using namespace std::chrono_literals;
using suoke::saga::SagaDefinedT;
using suoke::saga::StepDefinedT;

// ---- ls

std::vector<std::string_view> states_of(const std::vector<std::string>& words) {
  std::vector<std::string_view> states;
  for (const auto& word : words) {
    const auto known = std::find(std::begin(saga_states), std::end(saga_states), word);
    if (known != std::end(saga_states)) states.push_back(*known);
    else if (word == "open") states.insert(states.end(), std::begin(saga_states), std::begin(saga_states) + saga_states_open);
    else states.insert(states.end(), std::begin(saga_states) + saga_states_open, std::end(saga_states));
  }
  if (words.empty()) states.assign(std::begin(saga_states), std::end(saga_states));
  std::sort(states.begin(), states.end());
  states.erase(std::unique(states.begin(), states.end()), states.end());
  return states;
}

Json row_json(const SagaRow& row, WallTime now) {
  Json steps = Json::array();
  for (const auto& one : row.active) steps.push_back(one.step);
  return {{"saga_id", row.saga_id}, {"definition", row.definition}, {"definition_hash", row.hash}, {"state", row.state()}, {"steps", steps}, {"user_id", text_or_null(row.user_id)},
          {"started_at", show_time(row.started_at)}, {"since", show_time(row.since)}, {"for", show_about(now - row.since)}, {"error", text_or_null(row.errors())}};
}

// ---- stuck

// What stands still for too long: the step, or without one the saga as a whole; why, and what would mend it.
struct Stuck {
  std::string step;
  WallTime since;
  std::optional<Duration> limit;
  std::string why, what_to_do;
};

// Whatever the rows are about, the saga's own history says what it waits for, and what may be done with it.
class StuckRules {
 public:
  StuckRules(Client& client, Duration otherwise, WallTime now) : control_(client), otherwise_(otherwise), now_(now) {}

  std::vector<Stuck> judge(const SagaRow& row) {
    auto candidates = stand_still(row);
    if (candidates.empty()) return {};
    const auto report = control_.report(row.saga_id);
    if (!report && report.error().code != Code::not_found && report.error().code != Code::trimmed) throw Failed(report.error());
    std::vector<Stuck> stuck;
    for (auto& one : candidates) {
      if (!report) one.why = report.error().detail, one.what_to_do = "nothing: its history is not whole, so no worker can go on with it";
      if (!report || explain(one, row, *report)) stuck.push_back(std::move(one));
    }
    return stuck;
  }

 private:
  using Defined = std::shared_ptr<const SagaDefinedT>;

  // As far as the rows tell.
  std::vector<Stuck> stand_still(const SagaRow& row) {
    std::vector<Stuck> found;
    for (const auto& one : row.active) {
      if (one.is_parked()) found.push_back({one.step, one.since, {}, "", ""});
    }
    if (row.paused_at) {                 // nothing begins, so nothing is late
      if (now_ - *row.paused_at > otherwise_) found.push_back({"", *row.paused_at, otherwise_, "", ""});
      return found;
    }
    const auto defined = definition_of(row);
    for (const auto& one : row.active) {
      if (one.is_parked()) continue;
      const auto* step = find(defined.get(), one.step);
      const auto limit = (step != nullptr ? limit_of(*step, one.is_undone()) : std::nullopt).value_or(otherwise_);
      // The time of a step goes on while the saga is paused; attempts, of which the next one does not begin, have theirs.
      const bool goes_on = step != nullptr && !one.is_undone() && step->timeout_ns > 0;
      if (now_ - one.begun - (goes_on ? Duration(0) : one.paused) > limit) found.push_back({one.step, one.begun, limit, "", ""});
    }
    if (row.active.empty() && now_ - row.last_at > otherwise_) found.push_back({"", row.last_at, otherwise_, "", ""});
    return found;
  }

  // False: it has gone on since the rows were read.
  static bool explain(Stuck& stuck, const SagaRow& row, const saga::Report& report) {
    if (report.ended_at) return false;
    if (stuck.step.empty()) return explain_whole(stuck, row, report);
    const auto step = std::find_if(report.steps.begin(), report.steps.end(), [&](const auto& one) { return one.name == stuck.step; });
    const bool was_parked = !stuck.limit, is_parked = step != report.steps.end() && step->status.ends_with("parked");
    if (step == report.steps.end() || step->waits_for.empty() || was_parked != is_parked) return false;
    stuck.why = "waits for " + step->waits_for;
    stuck.what_to_do = is_parked ? for_parked(row, *step, report) : for_late(row, *step, report);
    return true;
  }
  static bool explain_whole(Stuck& stuck, const SagaRow& row, const saga::Report& report) {
    if (row.paused_at.has_value() != report.is_paused) return false;
    const bool has_begun = std::any_of(report.steps.begin(), report.steps.end(), [](const auto& one) { return !one.waits_for.empty(); });
    if (!report.is_paused && has_begun) return false;
    stuck.why = "waits for " + report.waits_for.front();
    stuck.what_to_do = report.is_paused ? "resume" : workers(row);
    return true;
  }

  static std::string for_parked(const SagaRow& row, const saga::StepReport& step, const saga::Report& report) {
    if (!fits(report, "retry-step " + step.name)) return workers(row);  // it is given up
    return by_hand({"retry-step " + step.name, "skip-step " + step.name, "compensate"}, report);
  }
  // Workers end what is over its time. A step that cannot be skipped has an outcome, on which none has decided.
  static std::string for_late(const SagaRow& row, const saga::StepReport& step, const saga::Report& report) {
    const auto* defined = find(report.definition.get(), step.name);
    const bool undoes = step.status.starts_with("compensati");
    const bool has_limit = defined != nullptr && limit_of(*defined, undoes).has_value();
    const bool is_at_work = step.status == "running" || step.status == "compensating";
    const bool is_remote = defined != nullptr && (undoes ? defined->compensation == suoke::saga::CompensationKind::remote : defined->kind == suoke::saga::StepKind::remote);
    const std::string skip = "skip-step " + step.name, signal = defined != nullptr ? "signal " + defined->signal : "";
    auto text = workers(row);
    if (!has_limit && fits(report, signal)) text = signal;
    else if (!has_limit && is_remote && is_at_work && fits(report, skip)) text = "see that a service answers commands of " + (undoes ? defined->compensation_topic : defined->topic);
    const auto rest = by_hand({skip, "cancel"}, report);
    return rest.empty() ? text : text + "; or " + rest;
  }

  static bool fits(const saga::Report& report, const std::string& what) { return std::find(report.fits.begin(), report.fits.end(), what) != report.fits.end(); }
  // Those that fit.
  static std::string by_hand(const std::vector<std::string>& wanted, const saga::Report& report) {
    std::string text;
    for (const auto& one : wanted) {
      if (fits(report, one)) text += (text.empty() ? "" : ", or ") + one;
    }
    return text;
  }
  static std::string workers(const SagaRow& row) { return "see that workers of definition " + row.definition + " with hash " + row.hash + " run"; }

  static const StepDefinedT* find(const SagaDefinedT* defined, const std::string& name) {
    if (defined == nullptr) return nullptr;
    for (const auto& step : defined->steps) {
      if (step->name == name) return step.get();
    }
    return nullptr;
  }
  // Null: it is not in the log any more.
  Defined definition_of(const SagaRow& row) {
    const auto key = std::pair(row.definition, row.hash);
    const auto known = known_.find(key);
    if (known != known_.end()) return known->second;
    auto found = control_.definition(row.definition, row.hash);
    if (!found && found.error().code != Code::not_found) throw Failed(found.error());
    return known_.emplace(key, found ? found->definition : nullptr).first->second;
  }

  saga::Control control_;
  Duration otherwise_;
  WallTime now_;
  std::map<std::pair<std::string, std::string>, Defined> known_;
};

Json stuck_json(const SagaRow& row, const Stuck& stuck, WallTime now) {
  return {{"saga_id", row.saga_id}, {"definition", row.definition}, {"state", row.state()}, {"step", text_or_null(stuck.step)}, {"since", show_time(stuck.since)}, {"for", show_about(now - stuck.since)},
          {"limit", stuck.limit ? Json(show_duration(*stuck.limit)) : Json()}, {"why", stuck.why}, {"what_to_do", stuck.what_to_do}};
}

}  // namespace

Exit list_sagas(const Globals& globals, const SagaListVerb& options) {
  auto client = connect(globals);
  const auto now = wall_now();
  SagaQuery query{states_of(options.states), options.definition, options.step, options.user, {}, options.limit + 1};
  if (options.older_than) query.started_before = now - *options.older_than;
  std::vector<SagaRow> found;
  with_saga_index(globals, client, options.state_file, [&](const Projection::Snapshot& rows) { found = find_sagas(rows, query); });
  const bool is_cut = found.size() > options.limit;
  if (is_cut) found.resize(options.limit);
  std::vector<Json> printed;
  for (const auto& row : found) printed.push_back(row_json(row, now));
  print_list(globals.format, {{"SAGA", "saga_id"}, {"STATE", "state"}, {"STEP", "steps"}, {"STARTED", "started_at"}, {"FOR", "for"}, {"USER", "user_id"}, {"ERROR", "error"}}, printed);
  if (is_cut) warn("there are more; --limit N shows more than " + std::to_string(options.limit));
  return Exit::ok;
}

Exit list_stuck_sagas(const Globals& globals, const SagaListVerb& options) {
  auto client = connect(globals);
  const auto now = wall_now();
  const SagaQuery open{states_of({"open"}), options.definition, "", "", {}, 0};
  std::vector<SagaRow> found;
  with_saga_index(globals, client, options.state_file, [&](const Projection::Snapshot& rows) { found = find_sagas(rows, open); });
  StuckRules rules(client, options.longer_than.value_or(1h), now);
  std::vector<Json> printed;
  for (const auto& row : found) {
    for (const auto& one : rules.judge(row)) printed.push_back(stuck_json(row, one, now));
  }
  print_list(globals.format, {{"SAGA", "saga_id"}, {"STATE", "state"}, {"STEP", "step"}, {"FOR", "for"}, {"LIMIT", "limit"}, {"WHY", "why"}, {"WHAT TO DO", "what_to_do"}}, printed);
  return Exit::ok;
}

}  // namespace bus::tools
