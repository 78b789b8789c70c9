// Goal: for the plan's saga the nine events of the plan come in its order and with its fields: when all goes well, when each of the steps fails, when one
// is tried again, and when a compensation fails.
// Method: what the plan's own orchestrator has published (golden/README.md), compared line by line with what our decisions come to.
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <filesystem>
#include <fstream>

#include "player.hpp"

namespace bus::saga {
namespace {

using Json = nlohmann::json;

const std::string golden = BUS_SOURCE_DIR "/tests/saga/golden/";
const std::vector<std::string> plan_steps = {"validate_user", "save_health_data", "update_blockchain", "trigger_ai_analysis"};

Definition plan_saga() {
  Definition definition("health_data_entry");
  const Action scripted = [](const Context&) { return Value(); };
  for (const auto& name : plan_steps) definition.step(std::move(Step(name).run(scripted).compensate(scripted).retry_compensation(RetryPolicy::none())));
  return definition;
}

// What a script fails at, as the scenario's name says.
struct Script {
  std::string scenario;

  Outcome operator()(const std::string& step, std::uint32_t attempt, bool undo) const {
    const bool is_retried = scenario == "retry_then_success" && step == "save_health_data" && attempt <= 2;
    const bool fails_for_good = scenario == "failure_at_" + step || (scenario == "compensation_failure" && step == "trigger_ai_analysis");
    const bool fails_undo = scenario == "compensation_failure" && step == "save_health_data";
    return {undo ? fails_undo : is_retried || fails_for_good, "", "broken", {}};
  }
};

double seconds(std::int64_t ns) { return static_cast<double>(ns) / 1e9; }

struct AsThePlan {
  Json operator()(const SagaStartedT& one) const { return {{"steps_count", one.steps_count}}; }
  Json operator()(const StepStartedT& one) const { return with_step(one, {{"attempt", one.attempt}}); }
  Json operator()(const StepCompletedT& one) const { return with_step(one, {{"duration", seconds(one.duration_ns)}}); }
  Json operator()(const StepFailedT& one) const { return with_step(one, {{"error", one.error}, {"retry_count", one.retry_count}}); }
  Json operator()(const CompensationStartedT& one) const { return {{"steps_to_compensate", one.steps_to_compensate}}; }
  Json operator()(const StepCompensatedT& one) const { return with_step(one, Json::object()); }
  Json operator()(const StepCompensationFailedT& one) const { return with_step(one, {{"error", one.error}}); }
  Json operator()(const CompensationCompletedT&) const { return Json::object(); }
  Json operator()(const SagaCompletedT& one) const { return {{"duration", seconds(one.duration_ns)}}; }
  // Ours alone.
  template <typename T>
  Json operator()(const T&) const {
    return {};
  }

 private:
  template <typename T>
  static Json with_step(const T& one, Json data) {
    data["step_id"] = one.step_id;
    data["step_name"] = one.step_name;
    return data;
  }
};

class PlanGolden : public ::testing::TestWithParam<std::string> {};

TEST_P(PlanGolden, TheNineEventsAreThePlans) {
  std::ifstream file(golden + GetParam() + ".ndjson");
  ASSERT_TRUE(file.is_open());
  std::vector<Json> wanted;
  for (std::string line; std::getline(file, line);) wanted.push_back(Json::parse(line));
  test::Player player(plan_saga(), Script{GetParam()});
  player.start();
  player.run();
  std::vector<Json> told;
  for (const auto& one : player.log()) {
    Json data = std::visit(AsThePlan(), one.fact);
    if (data.is_null()) continue;
    EXPECT_EQ(saga_id_of(one.fact), "health_data_entry/1");
    data["saga_id"] = "S";
    told.push_back({{"event", topic_word(fact_name(one.fact))}, {"data", data}});
  }
  EXPECT_EQ(Json(told).dump(1), Json(wanted).dump(1));
  EXPECT_TRUE(player.state().has_ended());
}

std::vector<std::string> scenarios() {
  std::vector<std::string> names;
  for (const auto& file : std::filesystem::directory_iterator(golden)) {
    if (file.path().extension() == ".ndjson") names.push_back(file.path().stem());
  }
  return names;
}

INSTANTIATE_TEST_SUITE_P(Scenarios, PlanGolden, ::testing::ValuesIn(scenarios()), [](const auto& info) { return info.param; });

TEST(PlanGolden, HasItsScenarios) { EXPECT_EQ(scenarios().size(), 7u); }

}  // namespace
}  // namespace bus::saga
