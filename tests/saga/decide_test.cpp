// Goal: from what has come to a saga follows what a worker begins, in the order that the definition has: retries when the policy says,
// compensation in reverse order, nothing twice, and nothing after the end.
// Method: scripts played without a broker, on a clock that stands still.
#include <gtest/gtest.h>

#include <set>

#include "player.hpp"

namespace bus::saga {
namespace {

using test::Player;

const Action nothing = [](const Context&) { return Value(); };

Step undoable(const std::string& name) { return std::move(Step(name).run(nothing).compensate(nothing)); }
Definition three() { return std::move(Definition("three").step(undoable("a")).step(undoable("b")).step(undoable("c"))); }
Outcome fine(const std::string& text = "") { return {false, "", "", {"", {}, text}}; }
Outcome broken(const std::string& code = "") { return {true, code, "broken", {}}; }

template <typename T>
bool ends_step(const T&) { return std::is_same_v<T, StepCompletedT> || std::is_same_v<T, StepFailedT> || std::is_same_v<T, SagaParkedT>; }

// "StepStarted a 1", of all facts but those that only tell of time and replies; of those that end a step, without the attempt.
std::vector<std::string> told(const Player& player) {
  std::vector<std::string> all;
  for (const auto& one : player.log()) {
    std::string line(fact_name(one.fact));
    if (line == "StepReply" || line == "SagaTimer" || line == "SagaTimerSet") continue;
    std::visit([&](const auto& fact) {
      if constexpr (requires { fact.step_id; }) line += " " + fact.step_id;
      if constexpr (requires { fact.attempt; }) line += ends_step(fact) ? "" : " " + std::to_string(fact.attempt);
      if constexpr (requires { fact.steps_to_compensate; }) line += " " + std::to_string(fact.steps_to_compensate);
    }, one.fact);
    all.push_back(std::move(line));
  }
  return all;
}
using Told = std::vector<std::string>;

// Of the values together, which a command would have to take along.
TEST(Decide, AResultThatIsTooLargeIsAFailureWhoseEffectIsUndone) {
  const auto with_result = [](std::size_t bytes) {
    Player player(three(), [bytes](const auto& step, auto, bool) { return fine(step == "b" ? std::string(bytes, 'x') : "made"); });
    player.start(Value{"", {}, "input"});
    player.run();
    return player;
  };
  const std::size_t room = values_bytes_max - 5 - 4;  // the input, and what a made
  EXPECT_EQ(with_result(room - 4).state().status, Status::completed) << "c has room for its own";
  const auto full = with_result(room);
  EXPECT_EQ(full.state().find("b")->status, StepStatus::compensated) << "b fitted, and c did not";
  EXPECT_EQ(full.state().error, "c: its result is too large: values of a saga have 524288 bytes together");
  const auto over = with_result(room + 1);
  EXPECT_EQ(told(over), (Told{"SagaStarted", "StepStarted a 1", "StepCompleted a", "StepStarted b 1", "StepFailed b", "CompensationStarted 2", "StepCompensationStarted b 1", "StepCompensated b",
                              "StepCompensationStarted a 1", "StepCompensated a", "CompensationCompleted", "SagaFailed"}));
}

// Also that of a service: the next step would stumble over it.
TEST(Decide, AResultOfAnotherTypeIsAFailureWhoseEffectIsUndone) {
  auto definition = std::move(Definition("d").step(std::move(Step("a").command("a.commands").compensate_by_command("a.commands").result("suoke.health.HealthDataUpdate"))));
  Player player(std::move(definition), [](const auto&, auto, bool) { return fine("text"); });
  player.start();
  player.run();
  EXPECT_EQ(told(player), (Told{"SagaStarted", "StepStarted a 1", "StepFailed a", "CompensationStarted 1", "StepCompensationStarted a 1", "StepCompensated a", "CompensationCompleted", "SagaFailed"}));
  EXPECT_EQ(player.state().error, "a: the result is of no type, and the definition says suoke.health.HealthDataUpdate");
}

// What lists and reports show of a failure.
TEST(Decide, AFailureSaysItsAttemptAndCodeAndWhetherItsEffectMayBeThere) {
  Player player(three(), [](const auto& step, auto, bool) { return step == "b" ? broken("no_disk") : fine(); });
  player.start();
  player.run();
  const auto failed = std::find_if(player.log().begin(), player.log().end(), [](const auto& one) { return std::holds_alternative<StepFailedT>(one.fact); });
  ASSERT_NE(failed, player.log().end());
  const auto& fact = std::get<StepFailedT>(failed->fact);
  EXPECT_EQ(fact.attempt, 4u);
  EXPECT_EQ(fact.code, "no_disk");
  EXPECT_FALSE(fact.uncertain);
  const auto turned = std::find_if(player.log().begin(), player.log().end(), [](const auto& one) { return std::holds_alternative<CompensationStartedT>(one.fact); });
  ASSERT_NE(turned, player.log().end());
  EXPECT_EQ(std::get<CompensationStartedT>(turned->fact).cause, "b: broken");
  const auto completed = std::find_if(player.log().begin(), player.log().end(), [](const auto& one) { return std::holds_alternative<StepCompletedT>(one.fact); });
  ASSERT_NE(completed, player.log().end());
  EXPECT_EQ(std::get<StepCompletedT>(completed->fact).attempt, 1u);
}

TEST(Decide, StepsFollowOneAnother) {
  Player player(three(), [](const auto& step, auto, bool) { return fine("made " + step); });
  player.start();
  player.run();
  EXPECT_EQ(told(player), (Told{"SagaStarted", "StepStarted a 1", "StepCompleted a", "StepStarted b 1", "StepCompleted b", "StepStarted c 1", "StepCompleted c", "SagaCompleted"}));
  EXPECT_EQ(player.state().status, Status::completed);
  EXPECT_EQ(player.state().find("b")->result.text, "made b");
  const auto facts = player.log().size();
  EXPECT_FALSE(player.step());
  EXPECT_EQ(player.log().size(), facts);
}

TEST(Decide, ARetryComesWhenThePolicySays) {
  Player player(three(), [](const auto& step, auto attempt, bool) { return step == "b" && attempt <= 2 ? broken() : fine(); });
  player.start();
  player.run();
  EXPECT_EQ(told(player), (Told{"SagaStarted", "StepStarted a 1", "StepCompleted a", "StepStarted b 1", "StepAttemptFailed b 1", "StepStarted b 2", "StepAttemptFailed b 2", "StepStarted b 3",
                                "StepCompleted b", "StepStarted c 1", "StepCompleted c", "SagaCompleted"}));
  EXPECT_EQ(player.now() - player.log().front().time, 5 * 500ms + 1s + 2s);
}

TEST(Decide, ATimerOfNoUseChangesNothing) {
  Player player(three(), [](const auto& step, auto, bool) { return step == "a" ? broken() : fine(); });
  player.start();
  player.step();
  player.next_timer();
  player.step();
  const auto before = told(player);
  EXPECT_EQ(player.state().find("a")->status, StepStatus::retrying);
  for (const std::uint32_t attempt : {1, 2, 4}) {
    player.fire({TimerKind::retry, "a", attempt, false, {}});
    player.fire({TimerKind::attempt, "a", attempt, false, {}});
  }
  player.fire({TimerKind::retry, "a", 3, true, {}});
  player.fire({TimerKind::retry, "b", 1, false, {}});
  player.fire({TimerKind::step, "c", 1, false, {}});
  EXPECT_EQ(told(player), before);
  player.fire({TimerKind::retry, "a", 3, false, {}});
  EXPECT_EQ(told(player).back(), "StepStarted a 3");
}

TEST(Decide, WhatWasDoneIsUndoneInReverseOrder) {
  Player player(three(), [](const auto& step, auto, bool) { return step == "c" ? broken() : fine(); });
  player.start();
  player.run();
  const auto all = told(player);
  const Told end(all.end() - 8, all.end());
  EXPECT_EQ(end, (Told{"StepFailed c", "CompensationStarted 2", "StepCompensationStarted b 1", "StepCompensated b", "StepCompensationStarted a 1", "StepCompensated a", "CompensationCompleted", "SagaFailed"}));
  EXPECT_EQ(player.state().status, Status::compensated);
  EXPECT_EQ(player.state().error, "c: broken");
}

TEST(Decide, AFailureThatNoRetryMendsIsNotRetried) {
  auto policy = RetryPolicy();
  policy.not_retried = {"unknown_user"};
  Player player(std::move(Definition("d").step(std::move(undoable("a").retry(policy)))), [](const auto&, auto, bool) { return broken("unknown_user"); });
  player.start();
  player.run();
  EXPECT_EQ(told(player), (Told{"SagaStarted", "StepStarted a 1", "StepFailed a", "CompensationStarted 0", "CompensationCompleted", "SagaFailed"}));
}

TEST(Decide, ACompensationThatFailsIsTriedAgainAndThenTheOthersAreUndone) {
  Player player(three(), [](const auto& step, auto, bool undo) { return step == "c" || (undo && step == "b") ? broken() : fine(); });
  player.start();
  player.run();
  const auto all = told(player);
  EXPECT_EQ(std::count(all.begin(), all.end(), "StepCompensationStarted b 4"), 1);
  const Told end(all.end() - 5, all.end());
  EXPECT_EQ(end, (Told{"StepCompensationFailed b", "StepCompensationStarted a 1", "StepCompensated a", "CompensationCompleted", "SagaFailed"}));
  EXPECT_EQ(player.state().status, Status::compensation_failed);
}

TEST(Decide, ACompensationThatFailsWaitsForAPersonWhereThatIsDeclared) {
  bool is_mended = false;
  auto definition = std::move(Definition("d").step(undoable("a")).step(std::move(undoable("b").retry_compensation(RetryPolicy::none()).on_compensation_failure(Compensation::OnFailure::park))).step(undoable("c")));
  Player player(std::move(definition), [&](const auto& step, auto, bool undo) { return step == "c" || (undo && step == "b" && !is_mended) ? broken() : fine(); });
  player.start();
  player.run();
  EXPECT_TRUE(player.state().is_parked());
  EXPECT_EQ(told(player).back(), "SagaParked b");
  is_mended = true;
  StepRetryRequestedT again;
  again.saga_id = "d/1";
  again.step_id = "b";
  again.reason = "the disk was full";
  player.take(std::move(again));
  player.run();
  EXPECT_EQ(player.state().status, Status::compensated);
  EXPECT_EQ(player.state().find("b")->attempt, 2u);
}

TEST(Decide, StepsOfAGroupBeginAtOnceAndAllHaveToSucceed) {
  const auto definition = [] { return std::move(Definition("d").step(undoable("first")).parallel({undoable("a"), undoable("b")}).step(undoable("last"))); };
  Player good(definition(), [](const auto&, auto, bool) { return fine(); });
  good.start();
  good.run();
  EXPECT_EQ(told(good), (Told{"SagaStarted", "StepStarted first 1", "StepCompleted first", "StepStarted a 1", "StepStarted b 1", "StepCompleted a", "StepCompleted b", "StepStarted last 1",
                              "StepCompleted last", "SagaCompleted"}));
  // What is at work ends before anything is undone; what waits for its next attempt has none.
  Player bad(definition(), [](const auto& step, auto attempt, bool) { return step == "a" ? broken(attempt == 1 ? "" : "never") : fine(); });
  bad.start();
  bad.run();
  const auto all = told(bad);
  EXPECT_LT(std::find(all.begin(), all.end(), "StepCompleted b"), std::find(all.begin(), all.end(), "CompensationStarted 2"));
  EXPECT_EQ(bad.state().status, Status::compensated);
}

TEST(Decide, AnAttemptThatTakesTooLongIsTriedAgainAndItsLateReplyCounts) {
  auto step = undoable("a");
  step.attempt_timeout(10s);
  Player player(std::move(Definition("d").step(step).step(undoable("b"))), [](const auto&, auto, bool) { return fine("in time"); });
  player.hangs = {"a"};
  player.start();
  EXPECT_TRUE(player.step());  // 10 s pass
  EXPECT_EQ(player.state().find("a")->status, StepStatus::retrying);
  EXPECT_TRUE(player.state().find("a")->is_uncertain);
  StepReplyT late;
  late.saga_id = "d/1";
  late.step_id = "a";
  late.attempt = 1;
  late.value = to_wire({"", {}, "late"});
  player.take(std::move(late));
  EXPECT_EQ(player.state().find("a")->result.text, "late");
  EXPECT_EQ(player.state().late_replies, 1u);
  player.run();
  EXPECT_EQ(player.state().status, Status::completed);
  EXPECT_EQ(told(player)[3], "StepCompleted a");
}

// Its effect may be there, though nobody has said so.
TEST(Decide, AStepThatHasTakenTooLongIsUndoneToo) {
  auto step = undoable("b");
  step.attempt_timeout(10s).retry(RetryPolicy::none());
  Player player(std::move(Definition("d").step(undoable("a")).step(step)), [](const auto&, auto, bool) { return fine(); });
  player.hangs = {"b"};
  player.start();
  player.step();  // a
  player.step();  // the timer
  player.hangs.clear();
  player.run();
  const auto all = told(player);
  const Told end(all.end() - 8, all.end());
  EXPECT_EQ(end, (Told{"StepFailed b", "CompensationStarted 2", "StepCompensationStarted b 1", "StepCompensated b", "StepCompensationStarted a 1", "StepCompensated a", "CompensationCompleted", "SagaFailed"}));
}

TEST(Decide, ASignalMayComeBeforeItsStep) {
  const auto definition = [] { return std::move(Definition("d").step(undoable("a")).step(std::move(Step("approve").wait_for("approved").timeout(1h))).step(undoable("b"))); };
  SagaSignalledT signal;
  signal.saga_id = "d/1";
  signal.signal = "approved";
  signal.value = to_wire({"", {}, "by ana"});
  Player early(definition(), [](const auto&, auto, bool) { return fine(); });
  early.start();
  early.take(signal);
  early.run();
  EXPECT_EQ(early.state().status, Status::completed);
  EXPECT_EQ(early.state().find("approve")->result.text, "by ana");
  Player late(definition(), [](const auto&, auto, bool) { return fine(); });
  late.start();
  late.step();
  EXPECT_EQ(late.state().find("approve")->status, StepStatus::running);
  late.take(signal);
  late.run();
  EXPECT_EQ(late.state().status, Status::completed);
  Player never(definition(), [](const auto&, auto, bool) { return fine(); });
  never.start();
  never.run();
  EXPECT_EQ(never.state().status, Status::compensated);
  EXPECT_EQ(never.now() - never.log().front().time, 500ms + 1h + 500ms);
}

TEST(Decide, AfterThePivotItOnlyGoesForward) {
  int failures = 8;
  auto definition = std::move(Definition("d").step(std::move(undoable("a").pivot())).step(undoable("b")));
  Player player(std::move(definition), [&](const auto& step, auto, bool) { return step == "b" && failures-- > 0 ? broken() : fine(); });
  player.start();
  player.run();
  EXPECT_TRUE(player.state().is_parked());
  SagaCancelRequestedT cancel;
  cancel.saga_id = "d/1";
  cancel.reason = "no longer wanted";
  player.take(std::move(cancel));
  EXPECT_TRUE(player.state().is_parked()) << "there is no way back";
  StepRetryRequestedT again;
  again.saga_id = "d/1";
  again.step_id = "b";
  again.reason = "mended";
  player.take(again);
  player.run();
  EXPECT_TRUE(player.state().is_parked()) << "all its retries have failed once more";
  player.take(again);
  player.run();
  EXPECT_EQ(player.state().status, Status::completed);
}

// What a person has tried again has all its time again.
TEST(Decide, AStepThatWasParkedForItsTimeCanBeTriedAgain) {
  auto slow = undoable("b");
  slow.timeout(10s).retry(RetryPolicy::none());
  Player player(std::move(Definition("d").step(std::move(undoable("a").pivot())).step(slow).timeout(1h)), [](const auto&, auto, bool) { return fine(); });
  player.hangs = {"b"};
  player.start();
  player.step();
  player.step();  // 10 s pass
  EXPECT_TRUE(player.state().is_parked());
  player.next_timer();  // the hour of the saga
  EXPECT_TRUE(player.state().is_parked());
  StepRetryRequestedT again;
  again.saga_id = "d/1";
  again.step_id = "b";
  again.reason = "the service is back";
  player.take(again);
  EXPECT_EQ(told(player).back(), "StepStarted b 2");
  player.fire({TimerKind::step, "b", 1, false, {}});
  EXPECT_EQ(told(player).back(), "StepStarted b 2") << "the first one's time";
  player.step();
  EXPECT_TRUE(player.state().is_parked()) << "its own time";
  player.take(again);
  player.hangs.clear();
  player.run();
  EXPECT_EQ(player.state().status, Status::completed);
  EXPECT_EQ(player.state().error, "");
}

TEST(Decide, ASagaThatTakesTooLongAfterThePivotIsParked) {
  Player player(std::move(Definition("d").step(std::move(undoable("a").pivot())).step(undoable("b")).timeout(1h)), [](const auto&, auto, bool) { return fine(); });
  player.hangs = {"b"};
  player.start();
  player.step();
  player.step();
  EXPECT_EQ(told(player).back(), "SagaParked b");
}

// The effect of one that has taken too long may be there, and with it there is no way back.
TEST(Decide, APivotThatHasTakenTooLongIsParked) {
  auto pivot = Step("a");
  pivot.run(nothing).no_compensation().attempt_timeout(10s).retry(RetryPolicy::none()).pivot();
  Player player(std::move(Definition("d").step(undoable("first")).step(pivot)), [](const auto&, auto, bool) { return fine(); });
  player.hangs = {"a"};
  player.start();
  player.run();
  EXPECT_EQ(told(player).back(), "SagaParked a");
}

// An attempt that was done twice, once in vain.
TEST(Decide, ASuccessCountsThoughAFailureOfTheSameAttemptCameBefore) {
  auto a = undoable("a");
  a.retry(RetryPolicy::none());
  const auto definition = std::move(Definition("d").step(a));
  State state;
  SagaStartedT started;
  started.saga_id = "d/1";
  state.apply(started, {});
  advance(definition, state, {});
  StepReplyT reply;
  reply.step_id = "a";
  reply.attempt = 1;
  reply.failed = true;
  state.apply(reply, {});
  reply.failed = false;
  state.apply(reply, {});
  advance(definition, state, {});
  EXPECT_EQ(state.status, Status::completed);
}

TEST(Decide, OnlyItsSignalCompletesAStepThatWaitsForOne) {
  Player player(std::move(Definition("d").step(std::move(Step("approve").wait_for("approved").compensate(nothing).timeout(1h)))), [](const auto&, auto, bool) { return fine(); });
  player.start();
  StepReplyT stray;
  stray.saga_id = "d/1";
  stray.step_id = "approve";
  stray.attempt = 1;
  player.take(std::move(stray));
  EXPECT_EQ(told(player).back(), "StepStarted approve 1");
  player.run();
  const auto all = told(player);
  const Told end(all.end() - 4, all.end());
  EXPECT_EQ(end, (Told{"StepFailed approve", "CompensationStarted 0", "CompensationCompleted", "SagaFailed"})) << "nobody has done anything";
}

TEST(Decide, WhoIsAskedUndoesAlsoAfterThePivot) {
  auto definition = std::move(Definition("d").step(std::move(undoable("a").pivot())).step(undoable("b")));
  Player player(std::move(definition), [](const auto& step, auto, bool undo) { return step == "b" && !undo ? broken() : fine(); });
  player.start();
  player.run();
  CompensationRequestedT undo;
  undo.saga_id = "d/1";
  undo.reason = "the patient has left";
  player.take(std::move(undo));
  player.run();
  EXPECT_EQ(player.state().status, Status::compensated);
}

TEST(Decide, AStepThatIsSkippedCountsAsDone) {
  auto definition = std::move(Definition("d").step(std::move(undoable("a").pivot())).step(undoable("b")).step(undoable("c")));
  Player player(std::move(definition), [](const auto& step, auto, bool) { return step == "b" ? broken() : fine(); });
  player.start();
  player.run();
  StepSkippedT skip;
  skip.saga_id = "d/1";
  skip.step_id = "b";
  skip.reason = "done by hand";
  player.take(std::move(skip));
  player.run();
  EXPECT_EQ(player.state().status, Status::completed);
}

TEST(Decide, ACancelledSagaIsUndoneOnceWhatIsAtWorkHasEnded) {
  Player player(three(), [](const auto&, auto, bool) { return fine(); });
  player.start();
  player.step();
  SagaCancelRequestedT cancel;
  cancel.saga_id = "three/1";
  cancel.reason = "withdrawn";
  player.take(std::move(cancel));
  EXPECT_EQ(told(player).back(), "SagaCancelRequested") << "b is at work";
  player.run();
  EXPECT_EQ(told(player), (Told{"SagaStarted", "StepStarted a 1", "StepCompleted a", "StepStarted b 1", "SagaCancelRequested", "StepCompleted b", "CompensationStarted 2",
                                "StepCompensationStarted b 1", "StepCompensated b", "StepCompensationStarted a 1", "StepCompensated a", "CompensationCompleted", "SagaFailed"}));
  EXPECT_EQ(player.state().error, "cancelled: withdrawn");
}

TEST(Decide, APausedSagaBeginsNothing) {
  Player player(three(), [](const auto&, auto, bool) { return fine(); });
  player.start();
  SagaPausedT pause;
  pause.saga_id = "three/1";
  pause.reason = "the registry moves";
  player.take(std::move(pause));
  player.run();
  EXPECT_EQ(told(player).back(), "StepCompleted a") << "what was at work has ended";
  SagaResumedT resume;
  resume.saga_id = "three/1";
  resume.reason = "it has moved";
  player.take(std::move(resume));
  player.run();
  EXPECT_EQ(player.state().status, Status::completed);
}

TEST(Decide, ASagaThatTakesTooLongIsUndone) {
  Player player(std::move(three().timeout(1h)), [](const auto&, auto, bool) { return fine(); });
  player.hangs = {"b"};
  player.start();
  player.step();
  player.step();  // an hour passes
  player.hangs.clear();
  player.run();
  EXPECT_EQ(player.state().status, Status::compensated);
  const auto all = told(player);
  EXPECT_EQ(all[4], "StepFailed b");
  EXPECT_EQ(all[5], "CompensationStarted 2") << "b may have had its effect";
  EXPECT_EQ(player.state().error, "it has taken too long");
}

TEST(Decide, WithoutACompensationThereIsNothingToUndo) {
  Player player(std::move(Definition("d").step(std::move(Step("a").run(nothing).no_compensation())).step(undoable("b"))), [](const auto& step, auto, bool) { return step == "b" ? broken() : fine(); });
  player.start();
  player.run();
  const auto all = told(player);
  const Told end(all.end() - 4, all.end());
  EXPECT_EQ(end, (Told{"CompensationStarted 1", "StepCompensated a", "CompensationCompleted", "SagaFailed"}));
}

TEST(Decide, WhatIsUndoneInParallelBeginsAtOnce) {
  Player player(std::move(three().compensate_in_parallel()), [](const auto& step, auto, bool) { return step == "c" ? broken() : fine(); });
  player.start();
  player.run();
  const auto all = told(player);
  const Told end(all.end() - 7, all.end());
  EXPECT_EQ(end, (Told{"CompensationStarted 2", "StepCompensationStarted b 1", "StepCompensationStarted a 1", "StepCompensated a", "StepCompensated b", "CompensationCompleted", "SagaFailed"}));
}

}  // namespace
}  // namespace bus::saga
