// Goal: a service does each command as it is asked to, and replies once, in the transaction that acknowledges it: also where it fails, is slow, or the
// broker is killed on the way.
// Method: commands as workers publish them, and the replies in the log of a real busd.
#include "bus/saga_service.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <map>
#include <mutex>
#include <thread>

#include "bus/suoke_saga_generated.h"
#include "tests/support/broker_process.hpp"
#include "tests/support/connected.hpp"

namespace bus::saga {
namespace {

using ::suoke::saga::NamedValueT;
using ::suoke::saga::StepCommandT;
using ::suoke::saga::StepReplyT;
using ::suoke::saga::ValueT;

class Services : public ::testing::Test {
 protected:
  test::BrokerProcess broker;
  Client client = test::connect(broker.endpoint(), "test");
  Client services = test::connect(broker.endpoint(), "service");

  static StepCommandT command(const std::string& saga, const std::string& step = "save", bool undo = false) {
    StepCommandT command;
    command.saga_id = "plan/" + saga;
    command.step_id = step;
    command.attempt = 1;
    command.compensation = undo;
    command.idempotency_key = command.saga_id + ":" + step + (undo ? ":undo" : "");
    command.definition = "plan";
    command.definition_hash = "0123456789abcdef";
    command.reply_topic = "saga.plan.step_reply";
    return command;
  }
  void send(const StepCommandT& command) { client.publish("save.commands", command.saga_id, command).get().value(); }
  Done count(const Context& context) {
    note(context);
    return Value{"", {}, "made"};
  }
  void note(const Context& context) {
    const std::lock_guard lock(mutex_);
    order_.emplace_back(context.idempotency_key());
  }
  // Idempotency keys, and how often each came.
  std::vector<std::string> order() {
    const std::lock_guard lock(mutex_);
    return order_;
  }
  std::map<std::string, int> calls() {
    std::map<std::string, int> counted;
    for (const auto& key : order()) ++counted[key];
    return counted;
  }
  Action counts() {
    return [this](const Context& context) { return count(context); };
  }
  Service serve(ServiceSteps steps, ServiceOptions options = {}) { return Service::start(services, "save.commands", std::move(steps), std::move(options)).value(); }

  // The first so many, in their order.
  std::vector<Event> reply_events(std::size_t many) {
    ReplayOptions all;
    all.filter.patterns = {"saga.plan.step_reply"};
    all.to = {};
    auto replay = client.replay(all);
    std::vector<Event> found;
    for (const auto deadline = std::chrono::steady_clock::now() + test::patience; found.size() < many && std::chrono::steady_clock::now() < deadline;) {
      if (const auto event = replay.read(deadline).value()) found.push_back(*event);
    }
    EXPECT_EQ(found.size(), many);
    return found;
  }
  std::vector<StepReplyT> replies(std::size_t many) {
    std::vector<StepReplyT> found;
    for (const Event& event : reply_events(many)) event.as<::suoke::saga::StepReply>().value()->UnPackTo(&found.emplace_back());
    return found;
  }
  StepReplyT reply_to(const StepCommandT& command) {
    send(command);
    return replies(++replies_).back();
  }
  std::unique_ptr<wire::GroupInfoT> group() {
    wire::GroupsRequestT request;
    request.name = "save.commands";
    return std::move(test::ask(client, std::move(request))->answer.AsGroupsReply()->groups.at(0));
  }

 private:
  std::size_t replies_ = 0;
  std::mutex mutex_;
  std::vector<std::string> order_;
};

TEST_F(Services, DoWhatACommandSays) {
  auto service = serve({{"save", {.run = [](const Context& context) {
    EXPECT_EQ(context.saga_id(), "plan/1");
    EXPECT_EQ(context.step(), "save");
    EXPECT_EQ(context.attempt(), 3u);
    EXPECT_EQ(context.idempotency_key(), "plan/1:save");
    EXPECT_EQ(context.input().text, "what to save");
    EXPECT_EQ(context.result("validate")->text, "known");
    EXPECT_EQ(context.result("another"), nullptr);
    EXPECT_EQ(context.deadline(), std::nullopt);
    return Value{"clinic.Visit", {1, 2, 3}, "record-1"};
  }}}});
  auto asked = command("1");
  asked.attempt = 3;
  asked.input = std::make_unique<ValueT>();
  asked.input->text = "what to save";
  asked.results.push_back(std::make_unique<NamedValueT>());
  asked.results.back()->name = "validate";
  asked.results.back()->value = std::make_unique<ValueT>();
  asked.results.back()->value->text = "known";
  const auto reply = reply_to(asked);
  EXPECT_EQ(reply.saga_id, "plan/1");
  EXPECT_EQ(reply.step_id, "save");
  EXPECT_EQ(reply.attempt, 3u);
  EXPECT_FALSE(reply.compensation);
  EXPECT_FALSE(reply.failed);
  ASSERT_NE(reply.value, nullptr);
  EXPECT_EQ(reply.value->type, "clinic.Visit");
  EXPECT_EQ(reply.value->bytes, (std::vector<std::uint8_t>{1, 2, 3}));
  EXPECT_EQ(reply.value->text, "record-1");
  const auto event = reply_events(1).front();
  EXPECT_EQ(event.key(), "plan/1");
  EXPECT_FALSE(event.causation_id().empty());
  EXPECT_EQ(event.attributes(), (std::vector<std::pair<std::string_view, std::string_view>>{{"saga_definition", "0123456789abcdef"}}));
  // Settled with the reply, not after it.
  EXPECT_EQ(group()->acked, 1u);
  EXPECT_EQ(group()->open, 0u);
}

TEST_F(Services, UndoWhatACommandSays) {
  auto service = serve({{"save", {.run = counts(), .undo = counts()}}});
  EXPECT_FALSE(reply_to(command("1")).compensation);
  const auto undone = reply_to(command("1", "save", true));
  EXPECT_TRUE(undone.compensation);
  EXPECT_FALSE(undone.failed);
  EXPECT_EQ(calls(), (std::map<std::string, int>{{"plan/1:save", 1}, {"plan/1:save:undo", 1}}));
}

TEST_F(Services, DoWhatWasSentBeforeTheyWereThere) {
  send(command("1"));
  auto service = serve({{"save", {.run = counts()}}});
  EXPECT_FALSE(replies(1).front().failed);
}

TEST_F(Services, SayWhyAStepFailed) {
  auto service = serve({{"refused", {.run = [](const Context&) { return Failed{"no_funds", "nothing is left"}; }}},
                        {"throws", {.run = [](const Context&) -> Done { throw std::runtime_error("broken"); }}},
                        {"throws_a_number", {.run = [](const Context&) -> Done { throw 7; }}}});
  const auto refused = reply_to(command("1", "refused"));
  EXPECT_TRUE(refused.failed);
  EXPECT_EQ(refused.code, "no_funds");
  EXPECT_EQ(refused.error, "nothing is left");
  EXPECT_EQ(refused.value, nullptr);
  const auto thrown = reply_to(command("1", "throws"));
  EXPECT_TRUE(thrown.failed);
  EXPECT_EQ(thrown.code, "");
  EXPECT_EQ(thrown.error, "broken");
  EXPECT_TRUE(reply_to(command("1", "throws_a_number")).failed);
}

TEST_F(Services, NameAStepThatTheyDoNotKnow) {
  auto service = serve({{"save", {.run = counts()}}});
  const auto unknown = reply_to(command("1", "keep"));
  EXPECT_TRUE(unknown.failed);
  EXPECT_EQ(unknown.code, "unknown_step");
  EXPECT_NE(unknown.error.find("'keep'"), std::string::npos) << unknown.error;
  const auto no_undo = reply_to(command("1", "save", true));
  EXPECT_EQ(no_undo.code, "unknown_step");
  EXPECT_NE(no_undo.error.find("undo step 'save'"), std::string::npos) << no_undo.error;
  EXPECT_TRUE(calls().empty());
}

// With the code of an attempt that has taken too long, which says that the effect may be there.
TEST_F(Services, DoNothingAfterTheDeadline) {
  auto service = serve({{"save", {.run = counts()}}});
  const WallTime now = std::chrono::system_clock::now();
  auto late = command("1");
  late.deadline = nanoseconds(now);
  EXPECT_EQ(reply_to(late).code, "timeout");
  EXPECT_TRUE(calls().empty());
  auto in_time = command("2");
  in_time.deadline = nanoseconds(now + 1h);
  EXPECT_FALSE(reply_to(in_time).failed);
}

TEST_F(Services, ReplyToWhatTheyHaveBegunAfterTheDeadline) {
  auto service = serve({{"save", {.run = [&](const Context& context) {
    while (std::chrono::system_clock::now() <= *context.deadline()) std::this_thread::yield();
    return count(context);
  }}}});
  auto asked = command("1");
  asked.deadline = nanoseconds(std::chrono::system_clock::now() + 1s);
  EXPECT_FALSE(reply_to(asked).failed);
}

TEST_F(Services, AResultThatNoEventCanHoldIsAFailure) {
  auto service = serve({{"save", {.run = [&](const Context& context) {
    count(context);
    return Value{"", {}, std::string(2u << 20, 'x')};
  }}}});
  const auto reply = reply_to(command("1"));
  EXPECT_TRUE(reply.failed);
  EXPECT_EQ(reply.code, "too_large");
  EXPECT_EQ(calls()["plan/1:save"], 1);
}

TEST_F(Services, ACommandThatCannotBeAnsweredIsADeadLetter) {
  std::promise<Error> trouble;
  ServiceOptions options;
  options.on_trouble = [&](const Error& error) { trouble.set_value(error); };
  auto service = serve({{"save", {.run = counts()}}}, options);
  auto asked = command("1");
  asked.reply_topic = "no topic";
  send(asked);
  auto told = trouble.get_future();
  ASSERT_EQ(told.wait_for(test::patience), std::future_status::ready);
  EXPECT_EQ(told.get().code, Code::bad_topic);
  // The next one of its saga goes on.
  EXPECT_FALSE(reply_to(command("1")).failed);
  EXPECT_EQ(group()->dead_letters, 1u);
}

TEST_F(Services, WorkForSeveralSagasAtATimeAndNotMore) {
  std::atomic<int> running = 0, most = 0, done = 0;
  constexpr int sagas = 8;
  ServiceOptions options;
  options.concurrency = 4;
  auto service = serve({{"save", {.run = [&](const Context&) {
    const int now = ++running;
    for (int seen = most; seen < now && !most.compare_exchange_weak(seen, now);) {}
    // The first four wait for one another.
    while (most < 4) std::this_thread::yield();
    --running;
    ++done;
    return Value();
  }}}}, options);
  for (int at = 0; at < sagas; ++at) send(command(std::to_string(at)));
  replies(sagas);
  EXPECT_EQ(most, 4);
  EXPECT_EQ(done, sagas);
}

// So that an undo never overtakes what it undoes.
TEST_F(Services, DoTheCommandsOfOneSagaOneAfterTheOther) {
  std::atomic<int> running = 0;
  const Action alone = [&](const Context& context) {
    EXPECT_EQ(++running, 1);
    note(context);
    std::this_thread::yield();
    --running;
    return Value();
  };
  auto service = serve({{"save", {.run = alone, .undo = alone}}});
  auto other_client = test::connect(broker.endpoint(), "other");
  auto other = Service::start(other_client, "save.commands", {{"save", {.run = alone, .undo = alone}}}).value();
  std::vector<std::string> sent;
  for (int at = 0; at < 20; ++at) {
    auto asked = command("1", "save", at % 2 == 1);
    asked.idempotency_key += std::to_string(at);
    sent.push_back(asked.idempotency_key);
    send(asked);
  }
  replies(20);
  EXPECT_EQ(order(), sent);
}

TEST_F(Services, WhatTakesLongerThanTheAckWaitIsNotDoneTwice) {
  ServiceOptions options;
  options.ack_wait = 800ms;
  std::promise<void> never;
  const Action slow = [&, never = never.get_future().share()](const Context& context) {
    never.wait_for(3 * options.ack_wait);
    return count(context);
  };
  auto service = serve({{"save", {.run = slow}}}, options);
  auto other_client = test::connect(broker.endpoint(), "other");
  auto other = Service::start(other_client, "save.commands", {{"save", {.run = slow}}}, options).value();
  EXPECT_FALSE(reply_to(command("1")).failed);
  EXPECT_EQ(calls()["plan/1:save"], 1);
  EXPECT_EQ(group()->redeliveries, 0u);
}

// What it has done, it still knows when the command comes again.
TEST_F(Services, AKilledBrokerLosesNoReplyAndHasNoWorkDoneTwice) {
  constexpr int sagas = 60;
  std::atomic<int> begun = 0, kills = 0;
  ServiceOptions options;
  options.concurrency = 6;
  auto service = serve({{"save", {.run = [&](const Context& context) {
    // Every tenth waits until the broker was killed under it.
    const int number = ++begun;
    while (number % 10 == 0 && kills < number / 10) std::this_thread::yield();
    return count(context);
  }}}}, options);
  for (int at = 0; at < sagas; ++at) send(command(std::to_string(at)));
  for (int turn = 1; turn <= sagas / 10; ++turn) {
    while (begun < turn * 10) std::this_thread::yield();
    broker.kill();
    broker.start();
    kills = turn;
  }
  const auto told = replies(sagas);
  std::map<std::string, int> answered;
  for (const auto& one : told) ++answered[one.saga_id + (one.failed ? " failed" : "")];
  auto called = calls();
  for (int at = 0; at < sagas; ++at) {
    EXPECT_EQ(answered["plan/" + std::to_string(at)], 1) << at;
    EXPECT_EQ(called["plan/" + std::to_string(at) + ":save"], 1) << at;
  }
  service.close();
  EXPECT_EQ(group()->open, 0u);
}

TEST_F(Services, RefuseWhatMakesNoSense) {
  const auto refused = [&](ServiceSteps steps, ServiceOptions options = {}, const std::string& topic = "save.commands") {
    const auto service = Service::start(services, topic, std::move(steps), std::move(options));
    return service ? Error() : service.error();
  };
  const ServiceSteps good = {{"save", {.run = counts()}}};
  EXPECT_EQ(refused({}).code, Code::bad_argument);
  const auto empty = refused({{"save", {.run = nullptr}}});
  EXPECT_EQ(empty.code, Code::bad_argument);
  EXPECT_NE(empty.detail.find("'save'"), std::string::npos) << empty.detail;
  EXPECT_EQ(refused(good, {.concurrency = 0}).code, Code::bad_argument);
  EXPECT_EQ(refused(good, {.ack_wait = 99ms}).code, Code::bad_argument);
  EXPECT_EQ(refused(good, {.ack_wait = 24h + 1ms}).code, Code::bad_argument);
  EXPECT_EQ(refused(good, {.group = "shortest", .ack_wait = 100ms}).code, Code::ok);
  EXPECT_EQ(refused(good, {.group = "longest", .ack_wait = 24h}).code, Code::ok);
  EXPECT_EQ(refused(good, {.group = "none"}, "no topic").code, Code::bad_pattern);
  const auto service = serve(good);
  EXPECT_EQ(refused(good, {.ack_wait = 20s}).code, Code::group_mismatch);
}

TEST_F(Services, SayWhyTheyHaveEnded) {
  auto service = serve({{"save", {.run = counts()}}});
  wire::GroupRemoveT remove;
  remove.name = "save.commands";
  test::ask(client, std::move(remove));
  EXPECT_EQ(service.wait().error().code, Code::group_removed);
  auto closed = serve({{"save", {.run = counts()}}});
  closed.close();
  EXPECT_TRUE(closed.wait().ok());
}

}  // namespace
}  // namespace bus::saga
