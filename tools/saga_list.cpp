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
          {"started_at", show_time(row.started_at)}, {"since", show_time(row.since)}, {"for", show_about(now - row.since)}, {"error", text_or_null(row.error)}};
}

// ---- stuck

// Why a saga stands still for too long, and what would mend it.
struct Stuck {
  std::string step;                      // empty: the saga as a whole
  WallTime since;
  std::optional<Duration> limit;
  std::string why, what_to_do;
};

class StuckRules {
 public:
  StuckRules(Client& client, Duration otherwise, WallTime now) : control_(client), otherwise_(otherwise), now_(now) {}

  std::vector<Stuck> judge(const SagaRow& row) {
    std::vector<Stuck> stuck;
    for (const auto& one : row.active) {
      if (one.is_parked()) stuck.push_back(parked(row, one));
    }
    if (row.is_paused && now_ - row.since > otherwise_) stuck.push_back({"", row.since, otherwise_, "it is paused", "resume"});
    if (row.is_paused) return stuck;     // nothing begins, so nothing is late
    const auto defined = definition_of(row);
    for (const auto& one : row.active) {
      if (one.is_parked()) continue;
      const auto* step = find(defined.get(), one.step);
      const auto limit = (step != nullptr ? limit_of(*step, one.is_undone()) : std::nullopt).value_or(otherwise_);
      if (now_ - one.begun > limit) stuck.push_back(late(row, one, step, limit));
    }
    if (row.active.empty() && now_ - row.last_at > otherwise_) stuck.push_back({"", row.last_at, otherwise_, "no worker has decided how it goes on", workers(row)});
    return stuck;
  }

 private:
  using Defined = std::shared_ptr<const SagaDefinedT>;

  static Stuck parked(const SagaRow& row, const SagaRow::Active& one) {
    const std::string tries = "retry-step " + one.step + ", or skip-step " + one.step;
    return {one.step, one.since, {}, (one.is_undone() ? "parked, as it could not be undone" : "parked, as it has failed") + (row.error.empty() ? "" : ": " + row.error),
            one.is_undone() ? tries : tries + ", or compensate"};
  }
  static Stuck late(const SagaRow& row, const SagaRow::Active& one, const StepDefinedT* step, Duration limit) {
    const std::string by_hand = one.is_undone() ? "; or skip-step " + one.step : "; or skip-step " + one.step + ", or cancel";
    const std::string status = "it is " + one.status + " for longer than its limit";
    if (step != nullptr && step->kind == suoke::saga::StepKind::signal && !one.is_undone()) return {one.step, one.begun, limit, "signal " + step->signal + " has not come", "signal " + step->signal + by_hand};
    const bool is_remote = step != nullptr && (one.is_undone() ? step->compensation == suoke::saga::CompensationKind::remote : step->kind == suoke::saga::StepKind::remote);
    if (is_remote) return {one.step, one.begun, limit, status, "see that a service answers commands of " + (one.is_undone() ? step->compensation_topic : step->topic) + by_hand};
    return {one.step, one.begun, limit, status, workers(row) + by_hand};
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
