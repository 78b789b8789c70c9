// Goal: a definition that makes no sense is refused, and the refusal names the step and what is wrong with it; whatever changes what
// happens changes the hash, and nothing else does; retries come when the policy says.
// Method: definitions by hand. No broker, no clock.
#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "bus/saga.hpp"

namespace bus::saga {
namespace {

const Action done = [](const Context&) { return Value(); };

Step local(const std::string& name) { return std::move(Step(name).run(done).no_compensation()); }

std::string refusal_of(const Definition& definition) {
  const auto checked = definition.check();
  if (checked) return "";
  EXPECT_EQ(checked.error().code, Code::bad_argument);
  return checked.error().detail;
}

std::string refusal_of(Step step) { return refusal_of(Definition("saga").step(std::move(step))); }

void expect_refused(const std::string& refusal, const std::vector<std::string>& words) {
  EXPECT_NE(refusal, "");
  for (const auto& word : words) EXPECT_NE(refusal.find(word), std::string::npos) << refusal << " does not say " << word;
}

Definition plan() {
  return std::move(Definition("health_data_entry")
                       .step(Step("validate_user").run(done).no_compensation())
                       .step(Step("save_health_data").run(done).compensate(done))
                       .parallel({Step("update_blockchain").command("blockchain.commands").compensate_by_command("blockchain.commands"), local("notify")})
                       .step(Step("approve").wait_for("approved").timeout(24h))
                       .step(Step("trigger_ai_analysis").run(done).compensate(done).pivot())
                       .timeout(48h));
}

TEST(Definition, IsGoodAsThePlanHasIt) {
  EXPECT_EQ(refusal_of(plan()), "");
  EXPECT_EQ(plan().stages(), 5u);
  EXPECT_EQ(plan().stage_of(2), plan().stage_of(3));
  EXPECT_EQ(plan().find("approve")->signal(), "approved");
  EXPECT_EQ(plan().find("absent"), nullptr);
}

TEST(Definition, NamesWhatIsWrong) {
  expect_refused(refusal_of(Definition("saga")), {"'saga'", "no steps"});
  expect_refused(refusal_of(Definition("a saga").step(local("a"))), {"'a saga'", "letters"});
  expect_refused(refusal_of(Definition("").step(local("a"))), {"''"});
  expect_refused(refusal_of(Definition("saga").step(local("a")).step(local("b")).step(local("a"))), {"'a'", "two steps"});
  expect_refused(refusal_of(Definition("saga").parallel({local("a"), local("a")})), {"'a'", "two steps"});
  expect_refused(refusal_of(local("a.b")), {"'a.b'", "letters"});
  expect_refused(refusal_of(Step("a").no_compensation()), {"'a'", "does nothing"});
  expect_refused(refusal_of(Step("a").run(Action())), {"'a'", "no function"});
  expect_refused(refusal_of(Step("a").run(done)), {"'a'", "no_compensation()"});
  expect_refused(refusal_of(Step("a").command("b")), {"'a'", "no_compensation()"});
  expect_refused(refusal_of(Step("a").run(done).compensate(Action())), {"'a'", "compensation", "function"});
  expect_refused(refusal_of(Step("a").command("").no_compensation()), {"'a'", "topic"});
  expect_refused(refusal_of(Step("a").run(done).compensate_by_command("")), {"'a'", "topic"});
  expect_refused(refusal_of(Step("a").wait_for("")), {"'a'", "signal"});
  expect_refused(refusal_of(local("a").timeout(0s)), {"'a'", "timeout"});
  expect_refused(refusal_of(local("a").attempt_timeout(-1s)), {"'a'", "attempt_timeout"});
  expect_refused(refusal_of(Definition("saga").step(local("a")).timeout(24h * 400)), {"'saga'", "timeout"});
  expect_refused(refusal_of(Definition("saga").step(Step("a").wait_for("s")).step(Step("b").wait_for("s"))), {"'s'", "two steps wait"});
  expect_refused(refusal_of(Definition("saga").step(local("a").pivot()).step(local("b").pivot())), {"'a'", "'b'", "pivot"});
  expect_refused(refusal_of(Definition("saga").parallel({local("a").pivot(), local("b")})), {"'a'", "parallel"});
}

TEST(Definition, HasLimits) {
  EXPECT_EQ(refusal_of(local(std::string(name_bytes_max, 'a'))), "");
  expect_refused(refusal_of(local(std::string(name_bytes_max + 1, 'a'))), {"letters"});
  Definition most("saga");
  for (std::size_t at = 0; at < steps_max; ++at) most.step(local("s" + std::to_string(at)));
  EXPECT_EQ(refusal_of(most), "");
  expect_refused(refusal_of(most.step(local("more"))), {"256"});
  EXPECT_EQ(refusal_of(local("a").retry({RetryPolicy::Kind::fixed, 1000, 0s, {}, 1, {}})), "");
  expect_refused(refusal_of(local("a").retry({RetryPolicy::Kind::fixed, 1001, 0s, {}, 0, {}})), {"retries"});
  expect_refused(refusal_of(local("a").retry({RetryPolicy::Kind::fixed, 1, -1s, {}, 0, {}})), {"delay"});
  expect_refused(refusal_of(local("a").retry({RetryPolicy::Kind::fixed, 1, 0s, {}, 1.5, {}})), {"jitter"});
  expect_refused(refusal_of(local("a").retry({RetryPolicy::Kind::fixed, 1, 0s, {}, std::nan(""), {}})), {"jitter"});
  expect_refused(refusal_of(Step("a").run(done).compensate(done).retry_compensation({RetryPolicy::Kind::fixed, 1001, 0s, {}, 0, {}})), {"compensation", "retries"});
}

TEST(Definition, WhateverChangesWhatHappensChangesTheHash) {
  std::set<std::string> hashes{plan().hash()};
  EXPECT_EQ(plan().hash().size(), 32u);
  EXPECT_EQ(hashes.count(plan().hash()), 1u) << "it does not depend on the functions";
  const auto base = [] { return Step("a").run(done).compensate(done); };
  const RetryPolicy policies[] = {{RetryPolicy::Kind::fixed, 3, 1s, {}, 0, {}},  {RetryPolicy::Kind::exponential, 2, 1s, {}, 0, {}},
                                  {RetryPolicy::Kind::linear, 3, 1s, {}, 0, {}}, {RetryPolicy::Kind::exponential, 3, 2s, {}, 0, {}},
                                  {RetryPolicy::Kind::exponential, 3, 1s, 5s, 0, {}}, {RetryPolicy::Kind::exponential, 3, 1s, {}, 0.1, {}},
                                  {RetryPolicy::Kind::exponential, 3, 1s, {}, 0, {"a"}}, {RetryPolicy::Kind::exponential, 3, 1s, {}, 0, {"a", "b"}},
                                  {RetryPolicy::Kind::exponential, 3, 1s, {}, 0, {"ab"}}};
  std::vector<Definition> others{
      Definition("b").step(base()), Definition("a").step(base()).input("T"), Definition("a").step(base()).timeout(1h),
      Definition("a").step(base()).compensate_in_parallel(), Definition("a").step(base()), Definition("a").step(base()).step(local("b")),
      Definition("a").parallel({base(), local("b")}), Definition("a").step(local("b")).step(base()), Definition("a").step(base().pivot()),
      Definition("a").step(base().result("T")), Definition("a").step(base().timeout(1s)), Definition("a").step(base().attempt_timeout(1s)),
      Definition("a").step(base().no_compensation()), Definition("a").step(base().compensate_by_command("c")),
      Definition("a").step(base().on_compensation_failure(Compensation::OnFailure::park)), Definition("a").step(base().command("c")),
      Definition("a").step(base().wait_for("c"))};
  for (const auto& policy : policies) {
    others.push_back(Definition("a").step(base().retry(policy)));
    others.push_back(Definition("a").step(base().retry_compensation(policy)));
  }
  const auto before = hashes.size();
  for (const auto& other : others) hashes.insert(other.hash());
  EXPECT_EQ(hashes.size(), before + others.size());
}

TEST(RetryPolicy, IsThatOfThePlanUnlessToldOtherwise) {
  const RetryPolicy policy;
  EXPECT_EQ(policy.delay(1, "", 0), 1s);
  EXPECT_EQ(policy.delay(2, "", 0), 2s);
  EXPECT_EQ(policy.delay(3, "", 0), 4s);
  EXPECT_EQ(policy.delay(4, "", 0), std::nullopt);
  EXPECT_EQ(RetryPolicy::none().delay(1, "", 0), std::nullopt);
}

TEST(RetryPolicy, GrowsAsItsKindSaysUpToTheCap) {
  const RetryPolicy fixed{RetryPolicy::Kind::fixed, 1000, 3s, {}, 0, {}}, linear{RetryPolicy::Kind::linear, 1000, 3s, 10s, 0, {}},
      exponential{RetryPolicy::Kind::exponential, 1000, 3s, 10s, 0, {}};
  EXPECT_EQ(fixed.delay(1000, "", 0), 3s);
  EXPECT_EQ(linear.delay(3, "", 0), 9s);
  EXPECT_EQ(linear.delay(4, "", 0), 10s);
  EXPECT_EQ(exponential.delay(2, "", 0), 6s);
  EXPECT_EQ(exponential.delay(1000, "", 0), 10s);
  EXPECT_EQ((RetryPolicy{RetryPolicy::Kind::exponential, 1000, 1s, {}, 0, {}}).delay(1000, "", 0), 24h * 366) << "without a cap no longer than anybody waits";
}

TEST(RetryPolicy, DoesNotTryAgainWhatNoRetryMends) {
  const RetryPolicy policy{RetryPolicy::Kind::fixed, 3, 1s, {}, 0, {"unknown_user", "denied"}};
  EXPECT_EQ(policy.delay(1, "denied", 0), std::nullopt);
  EXPECT_EQ(policy.delay(1, "busy", 0), 1s);
}

TEST(RetryPolicy, JitterTakesPartOfADelayAndIsTheSameForTheSameSalt) {
  const RetryPolicy policy{RetryPolicy::Kind::fixed, 3, 1000s, {}, 0.25, {}};
  Duration least = 1000s, most = 0s;
  for (std::uint64_t salt = 0; salt < 1000; ++salt) {
    const auto delay = *policy.delay(1, "", salt);
    EXPECT_EQ(policy.delay(1, "", salt), delay);
    least = std::min(least, delay), most = std::max(most, delay);
  }
  EXPECT_GE(least, 750s);
  EXPECT_LE(most, 1000s);
  EXPECT_LT(least, 760s);
  EXPECT_GT(most, 990s);
}

}  // namespace
}  // namespace bus::saga
