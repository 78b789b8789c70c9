// Goal: whatever comes to a saga, in whatever order, twice, late, or never: what follows is legal, whoever folds the same events comes to the
// same state, and once nothing stands in its way any more it ends.
// Method: random definitions and random things that come to them, without a broker; rules that hold for every history.
#include <gtest/gtest.h>

#include <random>
#include <set>

#include "player.hpp"

namespace bus::saga {
namespace {

using test::Player;

const Action nothing_to_do = [](const Context&) { return Value(); };

class Chance {
 public:
  explicit Chance(std::uint64_t seed) : random_(seed) {}
  std::uint64_t below(std::uint64_t most) { return random_() % most; }
  bool percent(std::uint64_t chance) { return below(100) < chance; }

 private:
  std::mt19937_64 random_;
};

Step any_step(Chance& chance, std::size_t number) {
  Step step("s" + std::to_string(number));
  if (chance.percent(15)) {
    step.wait_for("go" + std::to_string(number));
  } else {
    chance.percent(50) ? step.run(nothing_to_do) : step.command("commands");
    auto policy = RetryPolicy();
    policy.retries = static_cast<std::uint32_t>(chance.below(3));
    policy.first = std::chrono::seconds(chance.below(3));
    step.retry(policy);
    if (chance.percent(40)) step.attempt_timeout(5s);
  }
  if (chance.percent(30)) step.timeout(20s);
  switch (chance.below(3)) {
    case 0: step.no_compensation(); break;
    case 1: step.compensate(nothing_to_do); break;
    default: step.compensate_by_command("commands");
  }
  auto policy = RetryPolicy();
  policy.retries = static_cast<std::uint32_t>(chance.below(2));
  step.retry_compensation(policy);
  if (chance.percent(30)) step.on_compensation_failure(Compensation::OnFailure::park);
  return step;
}

Definition any_definition(Chance& chance) {
  Definition definition("any");
  const auto stages = 1 + chance.below(4);
  const auto pivot = chance.percent(40) ? chance.below(stages) : stages;
  for (std::size_t stage = 0, number = 0; stage < stages; ++stage) {
    if (stage != pivot && chance.percent(30)) {
      std::vector<Step> steps;
      for (auto left = 2 + chance.below(2); left > 0; --left) steps.push_back(any_step(chance, number++));
      definition.parallel(std::move(steps));
      continue;
    }
    Step step = any_step(chance, number++);
    if (stage == pivot) step.pivot();
    definition.step(std::move(step));
  }
  if (chance.percent(20)) definition.timeout(60s);
  if (chance.percent(30)) definition.compensate_in_parallel();
  return definition;
}

// What must never be seen in a history.
class Rules {
 public:
  explicit Rules(const Definition& definition) : definition_(definition) {}

  void see(const Fact& fact, WallTime time) {
    time_ = time;
    std::visit([this](const auto& one) { check(one); }, fact);
  }

 private:
  struct Seen {
    std::uint32_t attempt = 0, undo_attempt = 0;
    bool is_done = false, is_failed = false, is_undone = false, is_open = false, is_parked = false;
  };
  template <typename T>
  void check(const T&) {}
  void check(const SagaStartedT&) { has_started_ = true; }
  void check(const StepStartedT& fact) {
    Seen& one = seen_[fact.step_id];
    may_decide();
    EXPECT_FALSE(is_undoing_ || one.is_done || one.is_failed || one.is_open) << fact.step_id;
    EXPECT_EQ(fact.attempt, one.attempt + 1) << fact.step_id;
    check_due(fact.step_id, fact.attempt, false);
    one.attempt = fact.attempt;
    one.is_open = true;
    const auto stage = stage_of(fact.step_id);
    for (const Step& other : definition_.steps()) {
      EXPECT_TRUE(stage_of(other.name()) >= stage || seen_[other.name()].is_done) << fact.step_id << " begins before " << other.name() << " is done";
    }
  }
  void check(const SagaTimerSetT& fact) {
    may_decide();
    if (fact.kind == TimerKind::retry) due_[{fact.step_id, fact.attempt, fact.compensation}] = wall_time(fact.due_at);
  }
  void check(const StepRetryRequestedT& fact) {
    if (seen_[fact.step_id].is_parked) asked_.insert(fact.step_id);
  }
  void check_due(const std::string& step, std::uint32_t attempt, bool undo) {
    const auto due = due_.find({step, attempt, undo});
    EXPECT_TRUE(due == due_.end() || due->second <= time_ || asked_.contains(step)) << step << " is tried again too early";
    asked_.erase(step);
    seen_[step].is_parked = false;
  }
  void check(const StepAttemptFailedT& fact) {
    may_decide();
    EXPECT_TRUE(seen_[fact.step_id].is_open);
    EXPECT_TRUE(ended_.contains({fact.step_id, fact.attempt, fact.compensation})) << fact.step_id << " has not failed";
    seen_[fact.step_id].is_open = false;
  }
  void check(const StepReplyT& fact) {
    if (fact.failed) ended_.insert({fact.step_id, fact.attempt, fact.compensation});
  }
  void check(const SagaTimerT& fact) {
    if (fact.kind == TimerKind::attempt) ended_.insert({fact.step_id, fact.attempt, fact.compensation});
  }
  void check(const StepCompletedT& fact) {
    may_decide();
    Seen& one = seen_[fact.step_id];
    EXPECT_FALSE(one.is_done || one.is_failed || is_undoing_);
    EXPECT_GT(one.attempt, 0u);
    one.is_done = true;
    one.is_open = false;
  }
  void check(const StepFailedT& fact) {
    may_decide();
    Seen& one = seen_[fact.step_id];
    EXPECT_FALSE(one.is_done || one.is_failed || is_undoing_);
    one.is_failed = true;
    one.is_open = false;
  }
  void check(const SagaParkedT& fact) {
    may_decide();
    EXPECT_EQ(fact.compensation, is_undoing_);
    seen_[fact.step_id].is_parked = true;
    seen_[fact.step_id].is_open = false;
  }
  void check(const CompensationStartedT&) {
    may_decide();
    EXPECT_FALSE(std::exchange(is_undoing_, true));
    for (const auto& [name, one] : seen_) EXPECT_FALSE(one.is_open) << name << " is at work";
  }
  void check(const StepCompensationStartedT& fact) {
    may_decide();
    Seen& one = seen_[fact.step_id];
    EXPECT_TRUE(is_undoing_ && !one.is_undone && !one.is_open && (one.is_done || one.is_failed));
    EXPECT_EQ(fact.attempt, one.undo_attempt + 1);
    check_due(fact.step_id, fact.attempt, true);
    one.undo_attempt = fact.attempt;
    one.is_open = true;
    if (!definition_.compensates_in_parallel()) {
      for (const Step& other : definition_.steps()) {
        EXPECT_TRUE(stage_of(other.name()) <= stage_of(fact.step_id) || !seen_[other.name()].is_done || seen_[other.name()].is_undone);
      }
    }
  }
  void check(const StepCompensatedT& fact) { undone(fact.step_id); }
  void check(const StepCompensationFailedT& fact) { undone(fact.step_id); }
  void check(const StepSkippedT& fact) {
    Seen& one = seen_[fact.step_id];
    if (has_ended_ || one.attempt == 0) return;
    if (is_undoing_ && one.undo_attempt > 0) one.is_undone = true, one.is_open = false;
    else if (!is_undoing_ && !one.is_done && !one.is_failed) one.is_done = true, one.is_open = false;
  }
  void check(const CompensationCompletedT&) {
    may_decide();
    for (const auto& [name, one] : seen_) EXPECT_TRUE(!one.is_done || one.is_undone) << name;
  }
  void check(const SagaCompletedT&) {
    may_decide();
    EXPECT_FALSE(is_undoing_);
    for (const Step& step : definition_.steps()) EXPECT_TRUE(seen_[step.name()].is_done);
    has_ended_ = true;
  }
  void check(const SagaFailedT&) {
    may_decide();
    EXPECT_TRUE(is_undoing_);
    has_ended_ = true;
  }
  void undone(const std::string& step) {
    may_decide();
    EXPECT_TRUE(is_undoing_ && !seen_[step].is_undone) << step;
    seen_[step].is_undone = true;
    seen_[step].is_open = false;
  }
  void may_decide() { EXPECT_TRUE(has_started_ && !has_ended_); }
  std::size_t stage_of(const std::string& name) const {
    for (std::size_t at = 0; at < definition_.steps().size(); ++at) {
      if (definition_.steps()[at].name() == name) return definition_.stage_of(at);
    }
    return 0;
  }

  const Definition& definition_;
  std::map<std::string, Seen> seen_;
  std::map<std::tuple<std::string, std::uint32_t, bool>, WallTime> due_;
  std::set<std::tuple<std::string, std::uint32_t, bool>> ended_;  // attempts, badly
  std::set<std::string> asked_;
  WallTime time_;
  bool has_started_ = false, is_undoing_ = false, has_ended_ = false;
};

// One of all that may come to a saga.
Fact anything(Chance& chance, const Player& player, std::size_t steps) {
  const auto id = player.log().empty() ? "any/1" : saga_id_of(player.log().front().fact);
  const auto step = "s" + std::to_string(chance.below(steps + 1));
  const auto with = [&](auto fact) {
    fact.saga_id = id;
    if constexpr (requires { fact.step_id; }) fact.step_id = step;
    if constexpr (requires { fact.attempt; }) fact.attempt = static_cast<std::uint32_t>(1 + chance.below(4));
    if constexpr (requires { fact.compensation; }) fact.compensation = chance.percent(40);
    if constexpr (requires { fact.reason; }) fact.reason = "for a reason";
    return Fact(std::move(fact));
  };
  switch (chance.below(10)) {
    case 0: {
      SagaSignalledT signal;
      signal.signal = "go" + std::to_string(chance.below(steps));
      return with(std::move(signal));
    }
    case 1: return with(SagaPausedT());
    case 2: return with(SagaResumedT());
    case 3: return chance.percent(30) ? with(SagaCancelRequestedT()) : with(SagaResumedT());
    case 4: return with(StepRetryRequestedT());
    case 5: return chance.percent(30) ? with(StepSkippedT()) : with(StepRetryRequestedT());
    case 6: return with(CompensationRequestedT());
    case 7: {
      SagaTimerT timer;
      timer.kind = static_cast<TimerKind>(chance.below(5));
      // One that is still of use comes when it is due only.
      const auto* one = player.state().find(step);
      auto stale = std::get<SagaTimerT>(with(std::move(timer)));
      const auto now = one == nullptr ? 1 : one->attempt;
      if (stale.kind == TimerKind::retry && stale.attempt == now + 1) stale.attempt = now;
      if (stale.kind == TimerKind::attempt && stale.attempt == now) stale.attempt = now + 1;
      if (stale.kind == TimerKind::step || stale.kind == TimerKind::saga) stale.kind = TimerKind::unspecified;
      return stale;
    }
    case 8: {
      SagaStartedT again;
      again.name = "any";
      return with(std::move(again));
    }
    default: {
      StepReplyT reply;
      reply.failed = chance.percent(50);
      return with(std::move(reply));
    }
  }
}

void expect_same(const State& one, const State& other) {
  EXPECT_EQ(one.status, other.status);
  EXPECT_EQ(one.error, other.error);
  EXPECT_EQ(one.late_replies, other.late_replies);
  EXPECT_EQ(one.timers.size(), other.timers.size());
  ASSERT_EQ(one.steps.size(), other.steps.size());
  for (const auto& [name, step] : one.steps) {
    const auto* same = other.find(name);
    ASSERT_NE(same, nullptr);
    EXPECT_EQ(std::tuple(step.status, step.attempt, step.failures, step.is_open, step.is_due, step.is_uncertain, step.started_at, step.changed_at),
              std::tuple(same->status, same->attempt, same->failures, same->is_open, same->is_due, same->is_uncertain, same->started_at, same->changed_at));
  }
}

TEST(DecideProperty, EveryHistoryIsLegalAndComesToItsEnd) {
  std::map<Status, int> ends;
  int parked = 0;
  for (std::uint64_t seed = 1; seed <= 4000 && !HasFailure(); ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    Chance chance(seed);
    const auto definition = any_definition(chance);
    const auto steps = definition.steps().size();
    const auto failing = chance.below(60);
    Player player(definition, [&](const auto&, auto, bool) { return Outcome{chance.percent(failing), "", "broken", {}}; });
    for (std::size_t at = 0; at < steps; ++at) {
      if (chance.percent(20)) player.hangs.insert("s" + std::to_string(at));
    }
    player.start();
    for (auto left = chance.below(60); left > 0; --left) {
      if (chance.percent(60)) player.step();
      else if (chance.percent(40)) player.take(anything(chance, player, steps));
      ASSERT_FALSE(decide(definition, player.state(), player.now()).has_value());
    }
    parked += player.state().is_parked();
    // From here on nothing stands in its way.
    player.hangs.clear();
    for (int turn = 0; turn < 50 && !player.state().has_ended(); ++turn) {
      SagaResumedT resume;
      resume.saga_id = "any/1";
      player.take(std::move(resume));
      for (std::size_t at = 0; at < steps; ++at) {
        SagaSignalledT signal;
        signal.saga_id = "any/1";
        signal.signal = "go" + std::to_string(at);
        player.take(std::move(signal));
        StepSkippedT skip;
        skip.saga_id = "any/1";
        skip.step_id = "s" + std::to_string(at);
        const auto* one = player.state().find(skip.step_id);
        if (one != nullptr && (one->status == StepStatus::parked || one->status == StepStatus::compensation_parked)) player.take(std::move(skip));
      }
      player.run();
    }
    EXPECT_TRUE(player.state().has_ended());
    ++ends[player.state().status];
    Rules rules(definition);
    State again;
    for (const auto& one : player.log()) {
      rules.see(one.fact, one.time);
      again.apply(one.fact, one.time);
    }
    expect_same(again, player.state());
  }
  EXPECT_GT(ends[Status::completed], 100);
  EXPECT_GT(ends[Status::compensated], 100);
  EXPECT_GT(ends[Status::compensation_failed], 100);
  EXPECT_GT(parked, 100);
}

}  // namespace
}  // namespace bus::saga
