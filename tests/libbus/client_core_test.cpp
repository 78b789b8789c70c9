// Goal: the poll-driven core of libbus says of itself what the broker needs to know, and tells its callers the truth about
// what a lost connection may have taken with it.
// Method: a ClientCore by hand, with a fake clock; the test plays the broker.
#include <gtest/gtest.h>

#include "src/client_core.hpp"

namespace bus {
namespace {

using namespace std::chrono_literals;

struct Listener : SubscriptionListener {
  void started(const Subscription::Started&) override { ++starts; }
  void resumed() override { ++resumptions; }
  void delivered(std::vector<Event>) override {}
  void caught_up(Position) override {}
  void trimmed(std::uint64_t, Position) override {}
  void stale(std::size_t) override {}
  void interrupted() override {}
  void ended(Result<void> why) override { end = why; }
  int starts = 0, resumptions = 0;
  std::optional<Result<void>> end;
};

class ClientCoreTest : public ::testing::Test {
 protected:
  // All messages of one kind that the core wants to send now.
  template <typename T>
  std::vector<T> hear() {
    core.tick(now);
    std::vector<T> found;
    for (const auto& outgoing : core.take_outgoing()) {
      const auto* message = wire::parse(outgoing.header.bytes).value();
      const auto* body = message->body_as<typename T::TableType>();
      if (body != nullptr) body->UnPackTo(&found.emplace_back());
    }
    core.take_action();
    return found;
  }
  template <typename T>
  void say(const T& message) { core.receive({Frame::of(wire::encode(message))}, now); }

  wire::HelloT greet(std::uint64_t session) {
    now.steady += 10s;
    const auto hellos = hear<wire::HelloT>();
    wire::WelcomeT welcome;
    welcome.protocol = wire::protocol_version;
    welcome.session = session;
    welcome.publisher = "publisher";
    welcome.log_id.assign(16, 1);
    welcome.history = welcome.epoch = 1;
    welcome.heartbeat_ms = welcome.timeout_ms = 1'000'000;
    say(welcome);
    return hellos.at(0);
  }
  void lose() { core.lost({Code::disconnected, "cut"}, now.steady); }
  ClientCore::SubscriptionId join(const std::string& group) {
    wire::SubscribeT what;
    what.group = group;
    what.credit_events = 10;
    what.credit_bytes = 1000;
    const auto id = core.subscribe(std::move(what), listener);
    hear<wire::SubscribeT>();
    confirm(id);
    return id;
  }
  void confirm(ClientCore::SubscriptionId id) {
    wire::SubscribedT subscribed;
    subscribed.subscription = id;
    say(subscribed);
  }
  void ack(ClientCore::SubscriptionId id, std::uint64_t position) { core.settle(id, 1, {position, 1, 0, wire::Verdict::ack}); }

  // The flush is answered by the broker as soon as it asks for that.
  Code flush(ClientCore::SubscriptionId id, Code answer = Code::ok) {
    std::optional<Result<void>> done;
    core.flush(id, [&](Result<void> result) { done = result; });
    for (const auto& settle : hear<wire::SettleT>()) {
      if (settle.request == 0) continue;
      if (answer != Code::ok) {
        core.receive({Frame::of(wire::encode_failure({answer, ""}, settle.request, id))}, now);
        continue;
      }
      wire::SettledT settled;
      settled.subscription = id;
      settled.request = settle.request;
      say(settled);
    }
    return done ? done->error().code : Code::timed_out;
  }

  Now now{wall_time(1), SteadyTime(1h)};
  ClientCore core{{"test", "publisher", 10ms, 100ms, 7}, {[](const wire::WelcomeT&) {}, [](const Batch&) {}, [](const Error&) {}}};
  std::shared_ptr<Listener> listener = std::make_shared<Listener>();
};

TEST_F(ClientCoreTest, EachConnectionIsALaterAttemptOfTheSameInstance) {
  const auto first = greet(100);
  EXPECT_EQ(first.attempt, 1u);
  EXPECT_EQ(first.resume, 0u);
  lose();
  const auto second = greet(200);
  EXPECT_EQ(second.instance, first.instance);
  EXPECT_EQ(second.attempt, 2u);
  EXPECT_EQ(second.resume, 100u) << "the broker can end the session before";
  ClientCore other{{"test", "publisher", 10ms, 100ms, 8}, {[](const wire::WelcomeT&) {}, [](const Batch&) {}, [](const Error&) {}}};
  other.tick(now);
  const auto outgoing = other.take_outgoing();
  EXPECT_NE(wire::parse(outgoing.at(0).header.bytes).value()->body_as_Hello()->instance(), first.instance);
}

// In the order in which they were given, with their texts; and of those that take others along one a message.
TEST_F(ClientCoreTest, SettlementsKeepTheirOrderAndTheirTexts) {
  greet(1);
  const auto id = join("g");
  core.settle(id, 1, {1, 1, 0, wire::Verdict::reject}, "bad");
  core.settle(id, 1, {5, 1, 0, wire::Verdict::ack_up_to});
  core.settle(id, 1, {7, 1, 0, wire::Verdict::nack}, "later");
  core.settle(id, 1, {9, 1, 0, wire::Verdict::ack_up_to});
  core.tick(now);
  const auto told = hear<wire::SettleT>();
  ASSERT_EQ(told.size(), 2u);
  ASSERT_EQ(told[0].settlements.size(), 3u);
  EXPECT_EQ(told[0].settlements[0].verdict(), wire::Verdict::reject);
  EXPECT_EQ(told[0].settlements[1].verdict(), wire::Verdict::ack_up_to);
  ASSERT_EQ(told[0].texts.size(), 2u);
  EXPECT_EQ(told[0].texts[0]->text, "bad");
  EXPECT_EQ(told[0].texts[1]->settlement, 2u);
  ASSERT_EQ(told[1].settlements.size(), 1u);
  EXPECT_EQ(told[1].settlements[0].position(), 9u);
}

TEST_F(ClientCoreTest, AFlushConfirmsWhatWasGivenBeforeIt) {
  greet(1);
  const auto id = join("g");
  ack(id, 1);
  EXPECT_EQ(flush(id), Code::ok);
  lose();
  greet(2);
  confirm(id);
  EXPECT_EQ(flush(id), Code::ok) << "nothing was given since";
}

TEST_F(ClientCoreTest, AFlushSaysOnceThatAcksMayBeLost) {
  greet(1);
  const auto id = join("g");
  ack(id, 1);
  hear<wire::SettleT>();
  lose();
  greet(2);
  confirm(id);
  ack(id, 2);
  EXPECT_EQ(flush(id), Code::disconnected);
  EXPECT_EQ(flush(id), Code::ok);
}

TEST_F(ClientCoreTest, AnAckWithoutAConnectionIsInDoubtToo) {
  greet(1);
  const auto id = join("g");
  lose();
  ack(id, 1);
  greet(2);
  confirm(id);
  EXPECT_EQ(flush(id), Code::disconnected);
  EXPECT_EQ(flush(id), Code::ok);
}

TEST_F(ClientCoreTest, AFlushThatTheConnectionCutsShortIsToldThen) {
  greet(1);
  const auto id = join("g");
  ack(id, 1);
  Code code = Code::ok;
  core.flush(id, [&](const Result<void>& result) { code = result.error().code; });
  lose();
  EXPECT_EQ(code, Code::disconnected);
  greet(2);
  confirm(id);
  EXPECT_EQ(flush(id), Code::ok) << "it has been said";
}

TEST_F(ClientCoreTest, AFlushThatNobodyWaitsForAnyMoreTellsNobody) {
  greet(1);
  const auto id = join("g");
  ack(id, 1);
  core.forget_flush(id, core.flush(id, [](const Result<void>&) { FAIL() << "it was given up"; }));
  lose();
  greet(2);
  confirm(id);
  EXPECT_EQ(flush(id), Code::disconnected);
  EXPECT_EQ(flush(id), Code::ok);
}

TEST_F(ClientCoreTest, AFlushSpeaksOfWhatWasGivenBeforeItAndNoMore) {
  greet(1);
  const auto id = join("g");
  ack(id, 1);
  core.flush(id, [](const Result<void>&) {});
  ack(id, 2);
  lose();
  greet(2);
  confirm(id);
  EXPECT_EQ(flush(id), Code::disconnected) << "of the second ack";
  EXPECT_EQ(flush(id), Code::ok);
}

// The broker would answer unknown_subscription, and that would end it.
TEST_F(ClientCoreTest, AnAckOfAnEarlierSessionIsNotSentInTheNext) {
  greet(1);
  const auto id = join("g");
  lose();
  greet(2);
  ack(id, 1);
  EXPECT_EQ(hear<wire::SubscribeT>().size(), 1u);
  EXPECT_TRUE(hear<wire::SettleT>().empty());
  confirm(id);
  EXPECT_EQ(flush(id), Code::disconnected);
  EXPECT_FALSE(listener->end.has_value());
}

TEST_F(ClientCoreTest, AFlushThatIsRefusedEnds) {
  greet(1);
  const auto id = join("g");
  ack(id, 1);
  EXPECT_EQ(flush(id, Code::unknown_subscription), Code::unknown_subscription);
  EXPECT_FALSE(listener->end.has_value());
}

TEST_F(ClientCoreTest, AGroupThatWasRemovedMeanwhileIsNotMadeAnew) {
  greet(1);
  const auto id = join("g");
  lose();
  greet(2);
  const auto again = hear<wire::SubscribeT>();
  ASSERT_EQ(again.size(), 1u);
  EXPECT_TRUE(again[0].existing);
  core.receive({Frame::of(wire::encode_failure({Code::unknown_group, ""}, 0, id))}, now);
  ASSERT_TRUE(listener->end.has_value());
  EXPECT_EQ(listener->end->error().code, Code::group_removed);
  EXPECT_EQ(listener->starts, 1);
}

}  // namespace
}  // namespace bus
