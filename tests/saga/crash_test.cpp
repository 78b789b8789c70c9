// Goal: wherever a worker, a service, the broker, or both at once die, a saga ends as it would have: each effect is there once by its key, nothing is
// done after it was undone, and every decision is one that its definition leads to.
// Method: the plan's saga with each way it can go, played with a crash before and after each write of the broker and each attempt, on the broker's own
// core and log and a clock that jumps (bus/saga_rehearsal.hpp).
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include "bus/saga_rehearsal.hpp"

namespace bus::saga {
namespace {

using namespace std::chrono_literals;

const Action unscripted = [](const Context&) -> std::variant<Value, Failed> { return Failed{"unscripted", "this step should have a script"}; };
const std::vector<std::string> steps = {"validate_user", "save_health_data", "update_blockchain", "trigger_ai_analysis"};

// One local step, the others with services; and limits that nothing here reaches but what hangs.
Definition health_data_entry() {
  const auto remote = [](const std::string& name) { return std::move(Step(name).command(name + ".commands").compensate_by_command(name + ".commands").attempt_timeout(60s)); };
  Definition definition("health_data_entry");
  definition.step(std::move(Step(steps[0]).run(unscripted).compensate(unscripted).attempt_timeout(60s)));
  for (std::size_t at = 1; at < steps.size(); ++at) definition.step(remote(steps[at]));
  return std::move(definition.timeout(1h));
}

// Its middle steps at once, with limits for each step as a whole.
Definition entry_in_parallel() {
  const auto step = [](const std::string& name) { return std::move(Step(name).run(unscripted).compensate(unscripted).timeout(10min)); };
  return std::move(Definition("entry_in_parallel").step(step(steps[0])).parallel({step(steps[1]), std::move(step(steps[2]).command("blockchain.commands"))}).step(step(steps[3])));
}

struct Scenario {
  std::string name;
  Definition (*definition)() = health_data_entry;
  std::map<std::string, std::vector<Played>> does = {}, undoes = {};  // others work
  std::string status = "completed";
  unsigned workers = 1;
  bool is_timed = false;                 // a crash may change which of two things comes first
};

const Played work = works(Value{"", {}, "done"}, 200ms);
const Played failure = fails("broken", "broken", 200ms);

std::vector<Scenario> scenarios() {
  std::vector<Scenario> all = {{.name = "success"}, {.name = "two_workers", .workers = 2}, {.name = "parallel", .definition = entry_in_parallel, .workers = 2}};
  for (const auto& step : steps) all.push_back({.name = "failure_at_" + step, .does = {{step, {failure}}}, .status = "compensated"});
  all.push_back({.name = "retry_then_success", .does = {{steps[1], {failure, failure, work}}}});
  all.push_back({.name = "compensation_failure", .does = {{steps[3], {failure}}}, .undoes = {{steps[1], {failure}}}, .status = "compensation_failed"});
  all.push_back({.name = "compensation_retried", .does = {{steps[3], {failure}}}, .undoes = {{steps[2], {failure, work}}}, .status = "compensated"});
  all.push_back({.name = "timeout", .does = {{steps[0], {hangs(), work}}}});
  // Its reply counts, though its time was over; after a crash the command is late, and the second attempt has its turn.
  all.push_back({.name = "late_reply", .does = {{steps[2], {works(Value{"", {}, "done"}, 60500ms), work}}}, .is_timed = true});
  all.push_back({.name = "parallel_failure", .definition = entry_in_parallel, .does = {{steps[2], {failure}}}, .status = "compensated"});
  return all;
}

// What services keep: the effects, by key, in the order in which they were made.
struct Ledger {
  std::vector<std::string> order;
  std::map<std::string, int> calls;
  void apply(std::string_view key) {
    EXPECT_FALSE(calls.contains(std::string(key) + ":undo")) << key << " is done after it was undone";
    if (calls[std::string(key)]++ == 0) order.emplace_back(key);
  }
};

// What the nine events of the plan and the end are.
std::vector<std::string> decisions(const std::vector<Event>& events) {
  std::vector<std::string> names;
  for (const Event& event : events) {
    const auto name = event.type().substr(event.type().rfind('.') + 1);
    if (name != "SagaTimer" && name != "SagaTimerSet" && name != "StepReply") names.emplace_back(name);
  }
  return names;
}

struct Outcomes {
  std::vector<std::string> order, decisions;
  std::map<std::string, int> calls;
};

std::vector<std::string> sorted(std::vector<std::string> all) { return std::sort(all.begin(), all.end()), all; }

Outcomes play(const Scenario& scenario, RehearsalOptions options) {
  options.workers = scenario.workers;
  const Definition definition = scenario.definition();
  Ledger ledger;
  Rehearsal rehearsal(definition, options);
  const auto apply = [&](const Context& context) { ledger.apply(context.idempotency_key()); };
  for (const auto& step : steps) {
    const auto does = scenario.does.find(step), undoes = scenario.undoes.find(step);
    rehearsal.script(step, does == scenario.does.end() ? std::vector{work} : does->second, apply);
    rehearsal.script_undo(step, undoes == scenario.undoes.end() ? std::vector{work} : undoes->second, apply);
  }
  rehearsal.start("1");
  rehearsal.run();
  EXPECT_EQ(rehearsal.status("1"), scenario.status) << rehearsal.history("1");
  const auto events = rehearsal.events("1");
  const auto legal = check_history(definition, events);
  EXPECT_TRUE(legal.ok()) << legal.error().detail << "\n" << rehearsal.history("1");
  return {ledger.order, decisions(events), ledger.calls};
}

class Crashes : public ::testing::TestWithParam<Scenario> {};

TEST_P(Crashes, LeaveNoTrace) {
  std::optional<Outcomes> undisturbed;
  std::size_t repeated = 0;
  const auto plays = with_every_crash([&](const RehearsalOptions& options) {
    SCOPED_TRACE(options.crash ? "a crash at moment " + std::to_string(options.crash->first) + ", of kind " + std::to_string(static_cast<int>(options.crash->second)) : "no crash");
    const auto played = play(GetParam(), options);
    if (!undisturbed) undisturbed = played;
    EXPECT_EQ(sorted(played.order), sorted(undisturbed->order));
    if (GetParam().is_timed) return;
    // Of steps that run at once either may be first.
    const bool in_order = GetParam().definition != entry_in_parallel;
    EXPECT_EQ(in_order ? played.decisions : sorted(played.decisions), in_order ? undisturbed->decisions : sorted(undisturbed->decisions));
    if (in_order) {
      EXPECT_EQ(played.order, undisturbed->order);
    }
    int more = 0;
    for (const auto& [key, calls] : played.calls) more += calls - undisturbed->calls.at(key);
    EXPECT_GE(more, 0);
    EXPECT_LE(more, in_order ? 1 : 2) << "only what was under way is done again";
    repeated += static_cast<std::size_t>(more);
  });
  EXPECT_TRUE(GetParam().is_timed || repeated > 0) << "no crash came between an effect and its reply";
  RecordProperty("plays", static_cast<int>(plays));
  std::printf("%zu plays, %zu with an effect that was asked for again\n", plays, repeated);
}

INSTANTIATE_TEST_SUITE_P(OfThePlansSaga, Crashes, ::testing::ValuesIn(scenarios()), [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace bus::saga
