// Goal: what people ask of a saga by hand is stored when it fits what the saga is at, and refused by name when it does not; and reports say
// all that is known.
// Method: a client of a real busd. No worker runs: the test tells what happened to a saga, event by event, so each state stands still.
#include "bus/saga_control.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "tests/support/broker_process.hpp"
#include "tests/support/connected.hpp"

namespace bus::saga {
namespace {

using bus::test::BrokerProcess;
using bus::test::connect;

const ByHand why{"a test", "mia"};

class Controlled : public ::testing::Test {
 protected:
  BrokerProcess broker;
  Client client = connect(broker.endpoint(), "test");
  Control control{client};
  Definition definition = order();

  // local "reserve"; signal "approve"; the pivot, remote "charge"; and a group of two.
  static Definition order() {
    const Action works = [](const Context&) { return Value(); };
    Definition made("order");
    made.step(std::move(Step("reserve").run(works).compensate(works)));
    made.step(std::move(Step("approve").wait_for("approval").result("suoke.realtime.SystemNotification")));
    made.step(std::move(Step("charge").command("bank.commands").compensate_by_command("bank.commands").pivot()));
    made.parallel({std::move(Step("ship").run(works).no_compensation()), std::move(Step("tell").run(works).no_compensation())});
    return made;
  }

  void SetUp() override { register_definition(client, definition).value(); }

  // An order that has come as far as `steps` say: the last one runs, those before it are complete.
  std::string begin(const std::vector<std::string>& steps = {}, const std::string& id = "1") {
    const auto started = control.start("order", id).value();
    for (const auto& step : steps) {
      tell_started(started.saga_id, step);
      if (step != steps.back()) tell_completed(started.saga_id, step);
    }
    return started.saga_id;
  }
  template <typename T>
  void tell(const std::string& saga_id, T fact) {
    fact.saga_id = saga_id;
    client.publish("saga.order.told", saga_id, fact).get().value();
  }
  template <typename T>
  void tell_step(const std::string& saga_id, const std::string& step, T fact = {}) {
    fact.step_id = fact.step_name = step;
    tell(saga_id, std::move(fact));
  }
  void tell_started(const std::string& saga_id, const std::string& step) { tell_step<suoke::saga::StepStartedT>(saga_id, step); }
  void tell_completed(const std::string& saga_id, const std::string& step) { tell_step<suoke::saga::StepCompletedT>(saga_id, step); }
  void tell_failed(const std::string& saga_id, const std::string& step) {
    suoke::saga::StepFailedT fact;
    fact.error = "broken";
    tell_step(saga_id, step, std::move(fact));
  }
  void tell_parked(const std::string& saga_id, const std::string& step, bool compensation = false) {
    suoke::saga::SagaParkedT fact;
    fact.error = "no answer";
    fact.code = "bank_down";
    fact.attempt = 1;
    fact.compensation = compensation;
    tell_step(saga_id, step, std::move(fact));
  }
  void tell_ended(const std::string& saga_id) {
    suoke::saga::SagaFailedT fact;
    fact.outcome = suoke::saga::Outcome::compensated;
    tell(saga_id, std::move(fact));
  }
  // Paid for, and "ship" stands still.
  std::string begin_parked() {
    const auto id = begin({"reserve", "approve", "charge", "ship"});
    tell_parked(id, "ship");
    return id;
  }
  std::uint64_t version(const std::string& id) { return client.key_head(id).value().version; }
  Event last_event(const std::string& id) {
    KeyRange last;
    last.key = id;
    last.backwards = true;
    last.limit = 1;
    return client.read_key(last).value().events.at(0);
  }
};

using Texts = std::vector<std::string>;

// Nothing was stored, and the detail has all of `texts`.
#define EXPECT_REFUSED(call, id, wanted, ...)                                                        \
  do {                                                                                               \
    const auto before = version(id);                                                                 \
    const auto refused = (call);                                                                     \
    ASSERT_FALSE(refused);                                                                           \
    EXPECT_EQ(refused.error().code, wanted) << describe(refused.error());                            \
    for (const std::string& text : Texts{__VA_ARGS__}) EXPECT_NE(refused.error().detail.find(text), std::string::npos) << text << " in " << refused.error().detail; \
    EXPECT_EQ(version(id), before);                                                                  \
  } while (false)

// ---- start

TEST_F(Controlled, StartWhatIsRegistered) {
  const auto started = control.start("order", "17", {"", {}, "a book"}, "user-7").value();
  EXPECT_EQ(started.saga_id, "order/17");
  EXPECT_TRUE(started.is_new);
  EXPECT_FALSE(control.start("order", "17").value().is_new);
  const auto report = control.report("order/17").value();
  EXPECT_EQ(report.hash, definition.hash());
  EXPECT_EQ(report.input.text, "a book");
  EXPECT_EQ(report.user_id, "user-7");
  EXPECT_FALSE(Starter::open(client, definition).value().start("17").value().is_new);
}

TEST_F(Controlled, StartOnlyWhatIsRegisteredAndOfItsType) {
  EXPECT_REFUSED(control.start("ordre", "1"), "ordre/1", Code::not_found, "'ordre'", "order");
  const auto typed = std::move(Definition("typed").input("suoke.health.HealthDataUpdate").step(definition.steps()[0]));
  register_definition(client, typed).value();
  EXPECT_REFUSED(control.start("typed", "1"), "typed/1", Code::bad_argument, "suoke.health.HealthDataUpdate", "nothing");
  EXPECT_REFUSED(control.start("typed", "1", {"clinic.Visit", {}, ""}), "typed/1", Code::bad_argument, "clinic.Visit");
  EXPECT_TRUE(control.start("order", std::string(business_id_bytes_max, 'x')).ok());
  EXPECT_EQ(control.start("order", std::string(business_id_bytes_max + 1, 'x')).error().code, Code::bad_argument);
}

// ---- signals

TEST_F(Controlled, SignalWhatAStepWaitsFor) {
  const auto id = begin({"reserve", "approve"});
  const Value value{"suoke.realtime.SystemNotification", {1, 2, 3}, ""};
  const auto receipt = control.signal(id, "approval", value, {"", "bank"}).value();
  EXPECT_EQ(receipt.version, version(id));
  const auto event = last_event(id);
  const auto* fact = event.as<suoke::saga::SagaSignalled>().value();
  EXPECT_EQ(fact->by()->str(), "bank");
  EXPECT_EQ(fact->value()->bytes()->size(), 3u);
  EXPECT_EQ(event.attributes().at(0).second, definition.hash());  // so that it comes to a worker
  EXPECT_REFUSED(control.signal(id, "approval", value), id, Code::conflict, "come already", "'approve'");
}

TEST_F(Controlled, SignalBeforeTheStepBeginsAndNotAfterItEnded) {
  const auto id = begin({"reserve"});
  const Value value{"suoke.realtime.SystemNotification", {}, ""};
  EXPECT_TRUE(control.signal(id, "approval", value).ok());
  EXPECT_REFUSED(control.signal(id, "approval", value), id, Code::conflict, "come already");
  tell_completed(id, "reserve");
  tell_started(id, "approve");
  tell_completed(id, "approve");
  EXPECT_REFUSED(control.signal(id, "approval", value), id, Code::conflict, "'approve'", "is completed");
}

TEST_F(Controlled, RefuseSignalsByName) {
  const auto id = begin({"reserve"});
  EXPECT_REFUSED(control.signal(id, "aproval"), id, Code::not_found, "'aproval'", "there are approval");
  EXPECT_REFUSED(control.signal(id, "approval", {"", {}, "yes"}), id, Code::bad_argument, "suoke.realtime.SystemNotification", "plain text");
  EXPECT_REFUSED(control.signal(id, "approval", {"clinic.Visit", {}, ""}), id, Code::bad_argument, "clinic.Visit");
  EXPECT_REFUSED(control.signal("order/2", "approval"), "order/2", Code::not_found, "'order/2'", "DEFINITION/BUSINESS_ID");
  tell_failed(id, "reserve");
  EXPECT_REFUSED(control.signal(id, "approval", {"suoke.realtime.SystemNotification", {}, ""}), id, Code::conflict, "being undone");
  tell_ended(id);
  EXPECT_REFUSED(control.signal(id, "approval"), id, Code::conflict, "has ended: compensated");
}

// ---- pause and resume

TEST_F(Controlled, TakeValuesUpToWhatACommandCarries) {
  const auto id = begin({"reserve", "approve", "charge", "ship"});
  const Value full{"", {}, std::string(values_bytes_max, 'x')};
  Value over = full;
  over.text += 'x';
  EXPECT_REFUSED(control.skip_step(id, "ship", {"by hand", "me"}, over), id, Code::bad_argument, "too large", std::to_string(values_bytes_max));
  EXPECT_TRUE(control.skip_step(id, "ship", {"by hand", "me"}, full).ok());
  EXPECT_EQ(control.start("order", "full", over).error().code, Code::bad_argument);
  EXPECT_TRUE(control.start("order", "full", full).ok());
}

TEST_F(Controlled, PauseAndResume) {
  const auto id = begin({"reserve"});
  EXPECT_REFUSED(control.resume(id, why), id, Code::conflict, "not paused", "it is running, step 'reserve' is running", "what fits: pause, cancel, skip-step reserve, signal approval");
  EXPECT_TRUE(control.pause(id, why).ok());
  const auto paused = control.report(id).value();
  EXPECT_TRUE(paused.is_paused);
  EXPECT_EQ(paused.since, last_event(id).time());
  EXPECT_REFUSED(control.pause(id, why), id, Code::conflict, "paused already", "resume");
  EXPECT_TRUE(control.resume(id, why).ok());
  const auto event = last_event(id);
  EXPECT_EQ(event.as<suoke::saga::SagaResumed>().value()->reason()->str(), "a test");
  EXPECT_EQ(event.as<suoke::saga::SagaResumed>().value()->by()->str(), "mia");
  EXPECT_FALSE(control.report(id).value().is_paused);
}

// ---- cancel and compensate

TEST_F(Controlled, CancelBeforeThePivotOnly) {
  const auto early = begin({"reserve"}, "early");
  EXPECT_TRUE(control.cancel(early, why).ok());
  EXPECT_TRUE(control.report(early).value().is_cancelled);
  EXPECT_REFUSED(control.cancel(early, why), early, Code::conflict, "cancelled already");
  const auto late = begin({"reserve", "approve", "charge", "ship"}, "late");
  EXPECT_REFUSED(control.cancel(late, why), late, Code::conflict, "past its pivot 'charge'");
  const auto failing = begin({"reserve"}, "failing");
  tell_failed(failing, "reserve");
  EXPECT_REFUSED(control.cancel(failing, why), failing, Code::conflict, "being undone already");
}

TEST_F(Controlled, CompensateWhatIsParked) {
  const auto id = begin({"reserve"}, "runs");
  EXPECT_REFUSED(control.compensate(id, why), id, Code::conflict, "not parked", "cancel");
  const auto parked = begin_parked();
  EXPECT_TRUE(control.report(parked).value().is_parked);
  EXPECT_TRUE(control.compensate(parked, why).ok());
  EXPECT_REFUSED(control.compensate(parked, why), parked, Code::conflict, "being undone already");
  tell(parked, suoke::saga::CompensationStartedT());
  EXPECT_REFUSED(control.compensate(parked, why), parked, Code::conflict, "it is compensating");
}

// ---- steps

TEST_F(Controlled, RetryAStepThatIsParked) {
  const auto id = begin_parked();
  EXPECT_REFUSED(control.retry_step(id, "shop", why), id, Code::not_found, "'shop'", "reserve, approve, charge, ship, tell");
  EXPECT_REFUSED(control.retry_step(id, "tell", why), id, Code::conflict, "'tell' cannot be tried again: it is pending", "retry-step ship");
  EXPECT_TRUE(control.retry_step(id, "ship", why).ok());
  EXPECT_REFUSED(control.retry_step(id, "ship", why), id, Code::conflict, "it is retrying, not parked");
}

TEST_F(Controlled, RetryACompensationThatIsParked) {
  const auto id = begin({"reserve", "approve"});
  tell_failed(id, "approve");
  tell(id, suoke::saga::CompensationStartedT());
  tell_step<suoke::saga::StepCompensationStartedT>(id, "reserve");
  EXPECT_REFUSED(control.retry_step(id, "reserve", why), id, Code::conflict, "it is compensating, not parked");
  tell_parked(id, "reserve", true);
  EXPECT_EQ(control.report(id).value().fits, (Texts{"pause", "retry-step reserve", "skip-step reserve"}));
  EXPECT_TRUE(control.retry_step(id, "reserve", why).ok());
}

TEST_F(Controlled, SkipAStepThatHasBegun) {
  const auto id = begin({"reserve", "approve"});
  EXPECT_REFUSED(control.skip_step(id, "charge", why), id, Code::conflict, "'charge' cannot be skipped: it has not begun");
  EXPECT_REFUSED(control.skip_step(id, "reserve", why), id, Code::conflict, "it is completed");
  EXPECT_REFUSED(control.skip_step(id, "approve", why, {"", {}, "yes"}), id, Code::bad_argument, "suoke.realtime.SystemNotification");
  EXPECT_TRUE(control.skip_step(id, "approve", why, {"suoke.realtime.SystemNotification", {7}, ""}).ok());
  const auto step = control.report(id).value().steps.at(1);
  EXPECT_EQ(step.status, "skipped");
  EXPECT_EQ(step.result.bytes, std::vector<std::uint8_t>{7});
}

TEST_F(Controlled, SkipNothingOfWhichTheOutcomeIsThere) {
  const auto id = begin({"reserve"});
  suoke::saga::StepReplyT reply;
  reply.step_id = "reserve";
  reply.attempt = 1;
  tell(id, std::move(reply));
  EXPECT_REFUSED(control.skip_step(id, "reserve", why), id, Code::conflict, "has ended by now");
  EXPECT_EQ(control.report(id).value().waits_for, Texts{"a worker that decides what follows, as attempt 1 at step 'reserve' has ended"});
}

// Retention may have removed it; no instance of it says more than its own events.
TEST_F(Controlled, DoWithoutADefinitionWhatNeedsNone) {
  suoke::saga::SagaStartedT started;
  started.name = "order";
  started.definition_hash = "gone";
  const std::string id = "order/1";
  tell(id, std::move(started));
  tell_started(id, "reserve");
  EXPECT_EQ(control.report(id).value().definition, nullptr);
  EXPECT_EQ(control.report(id).value().steps.at(0).name, "reserve");
  EXPECT_REFUSED(control.signal(id, "approval"), id, Code::not_found, "gone");
  EXPECT_REFUSED(control.skip_step(id, "charge", why), id, Code::not_found, "it has reserve");
  EXPECT_TRUE(control.pause(id, why).ok());
  EXPECT_TRUE(control.skip_step(id, "reserve", why).ok());
}

// ---- every change

TEST_F(Controlled, NeedAReasonOfALimitedLength) {
  const auto id = begin({"reserve"});
  EXPECT_REFUSED(control.pause(id, {"", "mia"}), id, Code::bad_argument, "needs a reason");
  EXPECT_REFUSED(control.pause(id, {std::string(reason_bytes_max + 1, 'x'), ""}), id, Code::bad_argument, "1024");
  EXPECT_REFUSED(control.pause(id, {"x", std::string(by_bytes_max + 1, 'x')}), id, Code::bad_argument, "256");
  EXPECT_TRUE(control.pause(id, {std::string(reason_bytes_max, 'x'), std::string(by_bytes_max, 'x')}).ok());
}

TEST_F(Controlled, ChangeNothingThatHasEnded) {
  const auto id = begin({"reserve"});
  tell_ended(id);
  EXPECT_REFUSED(control.pause(id, why), id, Code::conflict, "'order/1' has ended: compensated");
  EXPECT_REFUSED(control.cancel(id, why), id, Code::conflict, "has ended");
  EXPECT_REFUSED(control.retry_step(id, "reserve", why), id, Code::conflict, "has ended");
  EXPECT_REFUSED(control.skip_step(id, "reserve", why), id, Code::conflict, "has ended");
  EXPECT_EQ(control.report(id).value().fits, Texts());
}

TEST_F(Controlled, ChangeNothingThatIsNotThere) {
  EXPECT_REFUSED(control.pause("order/9", why), "order/9", Code::not_found, "'order/9'");
  EXPECT_REFUSED(control.compensate("order/9", why), "order/9", Code::not_found, "'order/9'");
  EXPECT_EQ(control.report("order/9").error().code, Code::not_found);
}

// Of many who ask for the same at once one has it; the others see what it has come to by then.
TEST_F(Controlled, AskForEachChangeOnce) {
  constexpr int askers = 8;
  const auto id = begin_parked();
  std::atomic<int> done = 0, refused = 0;
  std::vector<std::thread> threads;
  for (int at = 0; at < askers; ++at) {
    threads.emplace_back([&] {
      const auto asked = control.retry_step(id, "ship", why);
      (asked ? done : refused) += asked || asked.error().code == Code::conflict;
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(done, 1);
  EXPECT_EQ(refused, askers - 1);
}

// Some wait for an answer then, and some for a receipt.
TEST_F(Controlled, WaitForTheBrokerAsLongAsTheyAreTold) {
  constexpr int askers = 32;
  ClientOptions options;
  options.server = broker.endpoint();
  options.request_timeout = 1s;
  auto impatient = Client::connect(options).value();
  std::atomic<int> asked = 0;
  std::vector<Code> ends(askers, Code::ok);
  std::vector<std::thread> threads;
  for (int at = 0; at < askers; ++at) {
    const auto id = begin({"reserve"}, std::to_string(at));
    threads.emplace_back([&, id, at] {
      Control own(impatient, 1s);
      while (ends[static_cast<std::size_t>(at)] == Code::ok) {
        const auto changed = asked++ % 2 == 0 ? own.pause(id, why) : own.resume(id, why);
        if (!changed && changed.error().code != Code::conflict) ends[static_cast<std::size_t>(at)] = changed.error().code;
      }
    });
  }
  while (asked < 10 * askers) std::this_thread::yield();
  broker.freeze();
  for (auto& thread : threads) thread.join();
  broker.thaw();
  EXPECT_EQ(ends, std::vector<Code>(askers, Code::timed_out));
}

// ---- reports

TEST_F(Controlled, ReportAllThatIsKnown) {
  const auto id = begin({"reserve", "approve", "charge"});
  suoke::saga::SagaTimerSetT timer;
  timer.kind = suoke::saga::TimerKind::attempt;
  timer.step_id = "charge";
  timer.attempt = 1;
  timer.due_at = 4'000'000'000'000'000'000;
  tell(id, std::move(timer));
  suoke::saga::StepReplyT late;
  late.step_id = "reserve";
  late.attempt = 1;
  tell(id, std::move(late));
  const auto report = control.report(id).value();
  EXPECT_EQ(report.name, "order");
  EXPECT_EQ(report.status, "running");
  EXPECT_EQ(report.since, report.started_at);
  EXPECT_FALSE(report.ended_at.has_value());
  EXPECT_EQ(report.late_replies, 1u);
  EXPECT_EQ(report.version, version(id));
  ASSERT_EQ(report.steps.size(), 5u);
  EXPECT_EQ(report.steps[0].status, "completed");
  EXPECT_EQ(report.steps[2].status, "running");
  EXPECT_EQ(report.steps[2].attempt, 1u);
  EXPECT_TRUE(report.steps[2].started_at && report.steps[2].since);
  EXPECT_EQ(report.steps[4].status, "pending");
  EXPECT_EQ(report.steps[3].stage, report.steps[4].stage);
  EXPECT_FALSE(report.steps[4].started_at.has_value());
  ASSERT_EQ(report.timers.size(), 1u);
  EXPECT_EQ(report.timers[0].kind, "attempt");
  EXPECT_EQ(nanoseconds(report.timers[0].due), 4'000'000'000'000'000'000);
  EXPECT_EQ(report.waits_for, Texts{"a reply to attempt 1 at step 'charge', whose command went to bank.commands"});
}

TEST_F(Controlled, ReportWhatItWaitsFor) {
  const auto waits = [&](const std::string& id) { return control.report(id).value().waits_for; };
  const auto fresh = begin({}, "fresh");
  EXPECT_NE(waits(fresh).at(0).find("a worker of definition 'order' with hash " + definition.hash()), std::string::npos);
  const auto signal = begin({"reserve", "approve"}, "signal");
  EXPECT_EQ(waits(signal), Texts{"signal 'approval', for step 'approve'"});
  control.pause(signal, why).value();
  EXPECT_EQ(waits(signal), (Texts{"somebody who resumes it", "signal 'approval', for step 'approve'"}));
  const auto parked = begin_parked();
  EXPECT_EQ(waits(parked), Texts{"somebody who decides about step 'ship', which has failed: no answer"});
  EXPECT_EQ(control.report(parked).value().steps[3].code, "bank_down");
  tell_ended(parked);
  const auto ended = control.report(parked).value();
  EXPECT_EQ(ended.waits_for, Texts());
  EXPECT_EQ(ended.status, "compensated");
  EXPECT_GE(ended.ended_at.value(), ended.started_at);
}

// What stands still is not what a saga waits for that has to go on by itself.
TEST_F(Controlled, ReportThatAWorkerHasToDecide) {
  const auto waits = [&](const std::string& id) { return control.report(id).value().waits_for; };
  const auto signalled = begin({"reserve", "approve"}, "signalled");
  control.signal(signalled, "approval", {"suoke.realtime.SystemNotification", {}, ""}).value();
  EXPECT_EQ(waits(signalled), Texts{"a worker that decides what follows, as signal 'approval' has come"});
  const auto given_up = begin_parked();
  control.compensate(given_up, why).value();
  EXPECT_EQ(waits(given_up), Texts{"a worker that decides what follows, as the saga is being undone"});
  EXPECT_EQ(control.report(given_up).value().steps[3].waits_for, waits(given_up).at(0));
  const auto retrying = begin({"reserve"}, "retrying");
  tell_step<suoke::saga::StepAttemptFailedT>(retrying, "reserve");
  EXPECT_EQ(waits(retrying), Texts{"attempt 2 at step 'reserve'"});
  control.cancel(retrying, why).value();
  EXPECT_EQ(waits(retrying), Texts{"a worker that decides what follows, as the saga is being undone"});
  const auto cancelled = begin({"reserve", "approve"}, "cancelled");
  control.cancel(cancelled, why).value();
  EXPECT_EQ(waits(cancelled), Texts{"a worker that decides what follows, as the saga is being undone"});
}

TEST_F(Controlled, ReportNoCancellationThatThePivotHasOvertaken) {
  const auto id = begin({"reserve", "approve", "charge"});
  control.cancel(id, why).value();
  EXPECT_TRUE(control.report(id).value().is_cancelled);
  EXPECT_EQ(control.report(id).value().error, "cancelled: a test");
  tell_completed(id, "charge");
  const auto report = control.report(id).value();
  EXPECT_FALSE(report.is_cancelled);
  EXPECT_EQ(report.error, "");
  EXPECT_REFUSED(control.cancel(id, why), id, Code::conflict, "past its pivot 'charge'");
  tell_started(id, "ship");
  tell_parked(id, "ship");
  control.compensate(id, why).value();
  EXPECT_EQ(control.report(id).value().error, "undone on request: a test");
}

// As the plan's own report does.
TEST_F(Controlled, CountWhatWasUndoneAsCompleted) {
  const auto id = begin({"reserve", "approve"});
  EXPECT_EQ(control.report(id).value().completed_steps, 1u);
  tell_failed(id, "approve");
  tell(id, suoke::saga::CompensationStartedT());
  tell_step<suoke::saga::StepCompensatedT>(id, "reserve");
  EXPECT_EQ(control.report(id).value().steps[0].status, "compensated");
  EXPECT_EQ(control.report(id).value().completed_steps, 1u);
}

// ---- definitions

TEST_F(Controlled, KnowEveryDefinition) {
  const auto first = definition.hash();
  auto changed = order();
  changed.timeout(1h);
  register_definition(client, changed).value();
  register_definition(client, std::move(Definition("another").step(definition.steps()[0]))).value();
  const auto all = control.definitions().value();
  ASSERT_EQ(all.size(), 2u);
  EXPECT_EQ(all[0].definition->name, "another");
  EXPECT_EQ(all[1].definition->definition_hash, changed.hash());
  const auto versions = control.versions("order").value();
  ASSERT_EQ(versions.size(), 2u);
  EXPECT_EQ(versions[0].definition->definition_hash, changed.hash());
  EXPECT_EQ(versions[1].definition->definition_hash, first);
  EXPECT_EQ(control.definition("order", first).value().definition->timeout_ns, 0);
  EXPECT_EQ(control.definition("order").value().definition->timeout_ns, std::chrono::nanoseconds(1h).count());
  EXPECT_EQ(control.definition("order", "0").error().code, Code::not_found);
  EXPECT_EQ(control.versions("nothing").error().code, Code::not_found);
}

// Instances keep to the definition that they were started with.
TEST_F(Controlled, JudgeAnInstanceByItsOwnDefinition) {
  const auto id = begin({"reserve"});
  register_definition(client, std::move(Definition("order").step(std::move(Step("other").wait_for("nod"))))).value();
  EXPECT_REFUSED(control.signal(id, "nod"), id, Code::not_found, "there are approval");
  EXPECT_TRUE(control.signal(id, "approval", {"suoke.realtime.SystemNotification", {}, ""}).ok());
  EXPECT_TRUE(control.signal(control.start("order", "2").value().saga_id, "nod").ok());
}

}  // namespace
}  // namespace bus::saga
