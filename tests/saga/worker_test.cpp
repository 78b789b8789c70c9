// Goal: workers run sagas on a real busd to their end: local and remote steps, signals, retries, compensation; each step's work is begun
// once where nobody dies, and where somebody does its key keeps the effect to one.
// Method: clients and workers of a real busd, which is killed now and then.
#include "bus/saga_worker.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <map>
#include <mutex>
#include <set>
#include <thread>

#include "bus/saga_service.hpp"
#include "tests/support/broker_process.hpp"
#include "tests/support/connected.hpp"

namespace bus::saga {
namespace {

using bus::test::BrokerProcess;
using bus::test::connect;

// What services have done, by idempotency key.
class Effects {
 public:
  // How often it was asked for before.
  int apply(std::string_view key) {
    const std::lock_guard lock(mutex_);
    order_.emplace_back(key);
    return calls_[std::string(key)]++;
  }
  std::vector<std::string> order() const {
    const std::lock_guard lock(mutex_);
    return order_;
  }
  std::map<std::string, int> calls() const {
    const std::lock_guard lock(mutex_);
    return calls_;
  }

 private:
  mutable std::mutex mutex_;
  std::map<std::string, int> calls_;
  std::vector<std::string> order_;
};

class Workers : public ::testing::Test {
 protected:
  BrokerProcess broker;
  Client client = connect(broker.endpoint(), "test");
  Effects effects;

  Action works() {
    return [this](const Context& context) {
      effects.apply(context.idempotency_key());
      return Value{"", {}, "made " + std::string(context.step())};
    };
  }
  Action fails() {
    return [this](const Context& context) {
      effects.apply(context.idempotency_key());
      return Failed{"no", "never works"};
    };
  }
  static RetryPolicy soon(std::uint32_t retries = 3) {
    RetryPolicy policy;
    policy.kind = RetryPolicy::Kind::fixed;
    policy.first = 10ms;
    policy.retries = retries;
    return policy;
  }
  Instance start(const Definition& definition) { return Starter::open(client, definition).value().start("1").value(); }
  Step step(const std::string& name) { return std::move(Step(name).run(works()).compensate(works()).retry(soon()).retry_compensation(soon())); }
  // Waits until so many have ended. By instance, the types of all its events but timers.
  std::map<std::string, std::vector<std::string>> until_ended(std::size_t count) {
    std::map<std::string, std::vector<std::string>> told;
    std::size_t ended = 0;
    ReplayOptions all;
    all.filter.patterns = {"saga.>"};
    all.to = {};
    auto events = client.replay(all);
    for (const auto deadline = std::chrono::steady_clock::now() + bus::test::patience; ended < count;) {
      const auto event = events.read(deadline).value();
      if (std::chrono::steady_clock::now() >= deadline) {
        ADD_FAILURE() << "only " << ended << " have ended";
        break;
      }
      if (!event) continue;
      const auto type = event->type().substr(event->type().rfind('.') + 1);
      if (type != "SagaDefined" && type != "SagaTimer" && type != "SagaTimerSet") told[std::string(event->key())].emplace_back(type);
      ended += type == "SagaCompleted" || type == "SagaFailed";
    }
    return told;
  }
};

using Told = std::vector<std::string>;

TEST_F(Workers, RunASagaToItsEnd) {
  const auto definition = std::move(Definition("plan").step(step("a")).step(step("b")));
  auto worker = Worker::start(client, definition).value();
  const auto started = start(definition);
  EXPECT_EQ(started.saga_id, "plan/1");
  EXPECT_TRUE(started.is_new);
  EXPECT_FALSE(start(definition).is_new);
  EXPECT_EQ(until_ended(1)["plan/1"], (Told{"SagaStarted", "StepStarted", "StepReply", "StepCompleted", "StepStarted", "StepReply", "StepCompleted", "SagaCompleted"}));
  EXPECT_EQ(effects.calls(), (std::map<std::string, int>{{"plan/1:a", 1}, {"plan/1:b", 1}}));
}

TEST_F(Workers, UndoWhatWasDone) {
  const auto definition = std::move(Definition("plan").step(step("a")).step(step("b")).step(std::move(Step("c").run(fails()).no_compensation().retry(soon(2)))));
  auto worker = Worker::start(client, definition).value();
  start(definition);
  const auto told = until_ended(1)["plan/1"];
  EXPECT_EQ(told.back(), "SagaFailed");
  EXPECT_EQ(effects.order(), (Told{"plan/1:a", "plan/1:b", "plan/1:c", "plan/1:c", "plan/1:c", "plan/1:b:undo", "plan/1:a:undo"}));
}

// By the time that it is stored it is no timer any more.
TEST_F(Workers, LoseNoTimerThatIsDueAtOnce) {
  auto now = soon();
  now.first = 1ns;
  std::atomic<int> left{2};
  auto retried = Step("a").run([&](const Context&) -> std::variant<Value, Failed> {
    if (left-- > 0) return Failed{"", "not yet"};
    return Value();
  });
  retried.no_compensation().retry(now);
  const auto definition = std::move(Definition("plan").step(std::move(retried)).step(step("b")));
  auto worker = Worker::start(client, definition).value();
  start(definition);
  EXPECT_EQ(until_ended(1)["plan/1"].back(), "SagaCompleted");
}

TEST_F(Workers, CommandAService) {
  const auto definition = std::move(Definition("plan").step(step("a")).step(std::move(Step("b").command("b.commands").compensate_by_command("b.commands").retry(soon()))).step(std::move(Step("c").run(fails()).no_compensation().retry(RetryPolicy::none()))));
  auto service_client = connect(broker.endpoint(), "b");
  const Action runs = [&](const Context& context) -> Done {
    effects.apply(context.idempotency_key());
    EXPECT_EQ(context.result("a")->text, "made a");
    if (context.attempt() == 1) return Failed{"", "not yet"};
    return Value{"", {}, "b's own"};
  };
  const Action undoes = [&](const Context& context) {
    effects.apply(context.idempotency_key());
    EXPECT_EQ(context.result("b")->text, "b's own");
    return Value();
  };
  auto service = Service::start(service_client, "b.commands", {{"b", {runs, undoes}}}).value();
  auto worker = Worker::start(client, definition).value();
  start(definition);
  EXPECT_EQ(until_ended(1)["plan/1"].back(), "SagaFailed");
  EXPECT_EQ(effects.order(), (Told{"plan/1:a", "plan/1:b", "plan/1:b", "plan/1:c", "plan/1:b:undo", "plan/1:a:undo"}));
}

TEST_F(Workers, ALimitOfTimeEndsAnAttemptThatHangs) {
  std::atomic<bool> is_over = false;
  auto hangs = Step("a").run([&](const Context& context) -> std::variant<Value, Failed> {
    EXPECT_TRUE(context.deadline().has_value());
    is_over.wait(false);
    return Value();
  });
  hangs.no_compensation().attempt_timeout(50ms).retry(RetryPolicy::none());
  const auto definition = std::move(Definition("plan").step(std::move(hangs)));
  auto worker = Worker::start(client, definition).value();
  start(definition);
  EXPECT_EQ(until_ended(1)["plan/1"], (Told{"SagaStarted", "StepStarted", "StepFailed", "CompensationStarted", "StepCompensated", "CompensationCompleted", "SagaFailed"}));
  is_over = true;
  is_over.notify_all();
}

// Two processes would not be able to do more than two workers with a client each.
TEST_F(Workers, GoOnWhereTheBrokerOrAnotherWorkerEnded) {
  constexpr int instances = 200;
  const auto definition = std::move(Definition("plan").step(step("a")).parallel({step("b1"), step("b2")}).step(std::move(step("c").attempt_timeout(60s))));
  auto first_client = connect(broker.endpoint(), "worker-1");
  auto first = std::make_unique<Worker>(Worker::start(first_client, definition).value());
  auto second_client = connect(broker.endpoint(), "worker-2");
  const auto second = Worker::start(second_client, definition).value();
  auto starter = Starter::open(client, definition).value();
  std::thread killer([&] {
    for (int turn = 0; turn < 5; ++turn) {
      while (effects.order().size() < static_cast<std::size_t>(instances * turn / 2)) std::this_thread::yield();
      broker.kill();
      broker.start();
    }
    first.reset();
  });
  for (int at = 0; at < instances; ++at) {
    const auto started = starter.start(std::to_string(at));
    EXPECT_TRUE(started) << describe(started.error());
  }
  killer.join();
  const auto told = until_ended(instances);
  for (int at = 0; at < instances; ++at) {
    const auto& history = told.at("plan/" + std::to_string(at));
    EXPECT_EQ(history.back(), "SagaCompleted");
    EXPECT_EQ(std::count(history.begin(), history.end(), "StepCompleted"), 4);
    EXPECT_EQ(std::count(history.begin(), history.end(), "StepStarted"), 4);
  }
  EXPECT_EQ(effects.calls().size(), 4u * instances);
}

TEST_F(Workers, LeaveInstancesOfAnotherDefinitionAloneAndSaySo) {
  const auto older = std::move(Definition("plan").step(step("a"))), newer = std::move(Definition("plan").step(step("a")).step(step("b")));
  Starter::open(client, older).value().start("old").value();
  std::vector<std::string> left;
  WorkerOptions options;
  options.on_left_alone = [&](const LeftAlone& one) { left.push_back(one.definition + " " + one.hash); };
  auto worker = Worker::start(client, newer, options).value();
  EXPECT_EQ(left, (Told{"plan " + older.hash().substr(0, 8)}));
  Starter::open(client, newer).value().start("new").value();
  EXPECT_EQ(until_ended(1).at("plan/new").back(), "SagaCompleted");
  EXPECT_EQ(effects.calls(), (std::map<std::string, int>{{"plan/new:a", 1}, {"plan/new:b", 1}}));
  left.clear();
  auto other_client = connect(broker.endpoint(), "other");
  auto other = Worker::start(other_client, older, options).value();
  EXPECT_EQ(left, Told{}) << "the newer one has a worker";
  EXPECT_EQ(until_ended(2).at("plan/old").back(), "SagaCompleted");
}

TEST_F(Workers, TellWhenTheyAreOfNoUseAnyMore) {
  const auto definition = std::move(Definition("plan").step(step("a")));
  auto worker = Worker::start(client, definition).value();
  std::thread closer([&] { worker.close(); });
  EXPECT_TRUE(worker.wait().ok());
  closer.join();
  auto other_client = connect(broker.endpoint(), "other");
  auto other = Worker::start(other_client, definition).value();
  wire::GroupRemoveT remove;
  remove.name = "saga.plan." + definition.hash().substr(0, 8);
  wire::AskUnion ask;
  ask.Set(std::move(remove));
  client.request(std::move(ask)).value();
  EXPECT_EQ(other.wait().error().code, Code::group_removed);
}

TEST_F(Workers, AnswerThatAResultIsTooLargeForAnEvent) {
  auto large = Step("a").run([](const Context&) { return Value{"", {}, std::string(2 << 20, 'x')}; });
  large.compensate(works());
  const auto definition = std::move(Definition("plan").step(std::move(large)));
  auto worker = Worker::start(client, definition).value();
  start(definition);
  EXPECT_EQ(until_ended(1).at("plan/1"), (Told{"SagaStarted", "StepStarted", "StepReply", "StepFailed", "CompensationStarted", "StepCompensationStarted", "StepReply", "StepCompensated",
                                               "CompensationCompleted", "SagaFailed"}));
}

TEST_F(Workers, RefuseWhatMakesNoSense) {
  EXPECT_EQ(Worker::start(client, Definition("plan")).error().code, Code::bad_argument);
  const auto typed = std::move(Definition("plan").input("suoke.health.HealthDataUpdate").step(step("a")));
  const auto refused = Starter::open(client, typed).value().start("1", Value{"clinic.Visit", {}, ""});
  EXPECT_EQ(refused.error().code, Code::bad_argument);
  EXPECT_NE(refused.error().detail.find("suoke.health.HealthDataUpdate"), std::string::npos) << refused.error().detail;
  auto starter = Starter::open(client, std::move(Definition("plan").step(step("a")))).value();
  EXPECT_EQ(starter.start("").error().code, Code::bad_argument);
  EXPECT_TRUE(starter.start(std::string(business_id_bytes_max, 'x')).ok());
  EXPECT_EQ(starter.start(std::string(business_id_bytes_max + 1, 'x')).error().code, Code::bad_argument);
}

}  // namespace
}  // namespace bus::saga
