// Goal: a rehearsal plays a saga as its script says, on its own clock, the same each time; people can act in it; and what it says of a history is true.
// Method: small sagas of local and remote steps, and steps that wait for a signal.
#include "bus/saga_rehearsal.hpp"

#include <gtest/gtest.h>

#include <stdexcept>

namespace bus::saga {
namespace {

using namespace std::chrono_literals;

const Action nothing = [](const Context&) { return Value(); };

Step undone(const std::string& name) { return std::move(Step(name).run(nothing).compensate(nothing)); }
Definition two() { return std::move(Definition("plan").step(undone("a")).step(undone("b"))); }

TEST(Rehearsal, PlaysASagaToItsEnd) {
  Rehearsal rehearsal(two());
  EXPECT_EQ(rehearsal.status("1"), "unknown");
  EXPECT_TRUE(rehearsal.start("1"));
  EXPECT_FALSE(rehearsal.start("1"));
  rehearsal.run();
  EXPECT_EQ(rehearsal.status("1"), "completed");
  EXPECT_EQ(rehearsal.history("1"),
            "    +0.000s  SagaStarted\n"
            "    +0.000s  StepStarted a attempt 1\n"
            "    +0.000s  StepReply a attempt 1\n"
            "    +0.000s  StepCompleted a attempt 1\n"
            "    +0.000s  StepStarted b attempt 1\n"
            "    +0.000s  StepReply b attempt 1\n"
            "    +0.000s  StepCompleted b attempt 1\n"
            "    +0.000s  SagaCompleted\n");
}

// A retry after 1 s, one after 2 s, one after 4 s, and then it is undone.
TEST(Rehearsal, TimeTakesNoTime) {
  Rehearsal rehearsal(two());
  rehearsal.script("b", {fails("busy", "try later", 100ms)});
  rehearsal.start("1");
  const auto before = rehearsal.now();
  rehearsal.run();
  EXPECT_EQ(rehearsal.status("1"), "compensated");
  EXPECT_GE(rehearsal.now() - before, 7400ms);
  EXPECT_LT(rehearsal.now() - before, 8s);
  const auto history = rehearsal.history("1");
  EXPECT_NE(history.find("+0.100s  StepAttemptFailed b attempt 1 busy: try later\n"), std::string::npos) << history;
  EXPECT_NE(history.find("+1.100s  StepStarted b attempt 2\n"), std::string::npos) << history;
  EXPECT_NE(history.find("+3.200s  StepStarted b attempt 3\n"), std::string::npos) << history;
  EXPECT_NE(history.find("+7.300s  StepStarted b attempt 4\n"), std::string::npos) << history;
  Rehearsal again(two());
  again.script("b", {fails("busy", "try later", 100ms)});
  again.start("1");
  again.run();
  EXPECT_EQ(again.history("1"), history);
}

TEST(Rehearsal, RemoteStepsHaveScriptsOrServices) {
  const auto definition = std::move(Definition("plan").step(std::move(Step("a").command("a.commands").compensate_by_command("a.commands"))).step(std::move(Step("b").command("b.commands").no_compensation())));
  int served = 0;
  Rehearsal rehearsal(definition);
  rehearsal.script("a", {works(Value{"", {}, "made"})}).serve("b.commands", [&](const Context& context) -> std::variant<Value, Failed> {
    ++served;
    EXPECT_EQ(context.result("a")->text, "made");
    EXPECT_EQ(context.idempotency_key(), "plan/1:b");
    return Value();
  });
  rehearsal.start("1");
  rehearsal.run();
  EXPECT_EQ(rehearsal.status("1"), "completed");
  EXPECT_EQ(served, 1);
}

TEST(Rehearsal, ItRestsWhereOnlySomebodyElseCanGoOn) {
  Rehearsal rehearsal(std::move(Definition("plan").step(std::move(Step("approve").wait_for("approved"))).step(undone("b"))));
  rehearsal.start("1");
  rehearsal.run();
  EXPECT_EQ(rehearsal.status("1"), "running");
  rehearsal.run_for(48h);
  rehearsal.signal("1", "approved", Value{"", {}, "by a doctor"});
  rehearsal.run();
  EXPECT_EQ(rehearsal.status("1"), "completed");

  Rehearsal hung(two());
  hung.script("a", {hangs()});
  hung.start("1");
  hung.run();
  EXPECT_EQ(hung.status("1"), "running");
}

TEST(Rehearsal, PeopleCanAct) {
  Rehearsal rehearsal(std::move(Definition("plan").step(std::move(undone("a").pivot())).step(undone("b")).step(undone("c"))));
  rehearsal.script("b", {fails(""), fails(""), fails(""), fails(""), works()});
  rehearsal.script("c", {fails("")});
  rehearsal.start("1");
  rehearsal.run();
  EXPECT_EQ(rehearsal.status("1"), "parked");
  rehearsal.retry_step("1", "b", "the disk was changed");
  rehearsal.run();
  EXPECT_EQ(rehearsal.status("1"), "parked") << "at c";
  rehearsal.skip_step("1", "c", "done by hand");
  rehearsal.run();
  EXPECT_EQ(rehearsal.status("1"), "completed");

  rehearsal.start("2");
  rehearsal.run();
  rehearsal.compensate("2", "nobody wants it");
  rehearsal.run();
  EXPECT_EQ(rehearsal.status("2"), "compensated");

  Rehearsal paused(two());
  paused.start("1");
  paused.pause("1", "not now");
  paused.run();
  EXPECT_EQ(paused.status("1"), "paused");
  paused.cancel("1", "never");
  paused.resume("1", "so that it is undone");
  paused.run();
  EXPECT_EQ(paused.status("1"), "compensated");
}

TEST(Rehearsal, AnAttemptThatTakesTooLongIsUncertain) {
  Rehearsal rehearsal(std::move(Definition("plan").step(std::move(undone("a").attempt_timeout(5s).retry(RetryPolicy::none())))));
  int undos = 0;
  rehearsal.script("a", {works({}, 6s)}).script_undo("a", {works()}, [&](const Context&) { ++undos; });
  rehearsal.start("1");
  rehearsal.run();
  EXPECT_EQ(rehearsal.status("1"), "compensated");
  EXPECT_EQ(undos, 1);
}

TEST(Rehearsal, RefusesWhatMakesNoSense) {
  EXPECT_THROW(Rehearsal(Definition("plan")), std::exception);
  Rehearsal rehearsal(two());
  EXPECT_THROW(rehearsal.script("x", {works()}), std::invalid_argument);
  EXPECT_THROW(rehearsal.script("a", {}), std::invalid_argument);
  EXPECT_THROW(rehearsal.serve("no.such", nothing), std::invalid_argument);
  EXPECT_THROW(rehearsal.retry_step("1", "x", "?"), std::invalid_argument);
  Rehearsal typed(std::move(two().input("suoke.health.HealthDataUpdate")));
  EXPECT_THROW(typed.start("1"), std::invalid_argument);
}

TEST(WithEveryCrash, SaysWhereAPlayHasFailed) {
  std::vector<std::size_t> crashes(3);
  const auto plays = with_every_crash([&](const RehearsalOptions& options) {
    Rehearsal rehearsal(two(), options);
    rehearsal.start("1");
    rehearsal.run();
    EXPECT_EQ(rehearsal.status("1"), "completed");
    if (options.crash) ++crashes[static_cast<std::size_t>(options.crash->second)];
  });
  EXPECT_EQ(plays, 1 + crashes[0] + crashes[1] + crashes[2]);
  EXPECT_GT(crashes[0], 10u);
  EXPECT_EQ(crashes[0], crashes[1]);
  EXPECT_EQ(crashes[0], crashes[2]);
  const auto fail_at = [](const RehearsalOptions& options) {
    Rehearsal rehearsal(two(), options);
    rehearsal.start("1");
    rehearsal.run();
    if (options.crash && options.crash->first == 7) throw std::runtime_error("no");
  };
  EXPECT_THROW(
      {
        try {
          with_every_crash(fail_at);
        } catch (const std::runtime_error& error) {
          EXPECT_NE(std::string(error.what()).find("moment 7"), std::string::npos) << error.what();
          throw;
        }
      },
      std::runtime_error);
}

TEST(CheckHistory, TellsWhetherADefinitionLeadsToIt) {
  Rehearsal rehearsal(two());
  rehearsal.script("b", {fails("busy"), works()});
  rehearsal.start("1");
  rehearsal.run();
  const auto events = rehearsal.events("1");
  EXPECT_TRUE(check_history(two(), events).ok());
  const auto impatient = std::move(Definition("plan").step(undone("a")).step(std::move(undone("b").retry(RetryPolicy::none()))));
  const auto other = check_history(impatient, events);
  ASSERT_FALSE(other.ok());
  EXPECT_NE(other.error().detail.find("StepAttemptFailed"), std::string::npos) << other.error().detail;
  EXPECT_NE(other.error().detail.find("StepFailed"), std::string::npos) << other.error().detail;
  const auto longer = std::move(two().step(undone("c")));
  EXPECT_FALSE(check_history(longer, events).ok());
}

}  // namespace
}  // namespace bus::saga
