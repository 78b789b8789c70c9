// Goal: bus::Client keeps what its header says, on its threads and over a real socket, also when the broker is killed.
// Method: a busd of the test's own. Under TSan, too: this is where libbus's threads meet.
#include <gtest/gtest.h>

#include <atomic>
#include <set>

#include "bus/client.hpp"
#include "bus/suoke_realtime_generated.h"
#include "bus/transaction.hpp"
#include "tests/support/broker_process.hpp"

namespace bus {
namespace {

suoke::realtime::SystemNotificationT notification(const std::string& id) {
  suoke::realtime::SystemNotificationT payload;
  payload.notification_id = id;
  payload.title = "hello";
  return payload;
}

class ClientTest : public ::testing::Test {
 protected:
  Client connect(const std::string& publisher = "", std::size_t window_bytes = 16u << 20) {
    ClientOptions options;
    options.server = broker.endpoint();
    options.publisher = publisher;
    options.connect_timeout = options.request_timeout = options.publish_timeout = std::chrono::seconds(30);
    options.backoff_max = std::chrono::milliseconds(100);
    options.window_bytes = window_bytes;
    return Client::connect(std::move(options)).value();
  }
  static NewEvent event(const std::string& topic, const std::string& key = "") {
    flatbuffers::FlatBufferBuilder builder;
    const auto payload = notification("n");
    builder.Finish(suoke::realtime::SystemNotification::Pack(builder, &payload));
    NewEvent event;
    event.topic = topic;
    event.type = "suoke.realtime.SystemNotification";
    event.key = key;
    event.payload.assign(builder.GetBufferPointer(), builder.GetBufferPointer() + builder.GetSize());
    return event;
  }
  void publish_while_the_broker_dies(const std::string& publisher);
  test::BrokerProcess broker;
  int groups = 0;
};

// What an automatic subscription holds would be acknowledged even if the transaction fails, and what another client's holds is not
// this one's to settle.
TEST_F(ClientTest, TransactsOnlyWithEventsThatItMaySettleByHand) {
  auto client = connect("service"), other = connect("other");
  client.publish(event("in")).get().value();
  const auto settled_by = [&](Client& holder, AckMode ack) {
    std::promise<Code> code;
    SubscribeOptions options{.patterns = {"in"}, .group = "g" + std::to_string(++groups)};
    options.ack = ack;
    auto held = holder.subscribe(options, [&](Subscription& subscription, const Event& in) {
      Transaction step;
      step.publish(event("out")).ack(subscription, in);
      const auto done = client.transact(step).get();
      code.set_value(done ? Code::ok : done.error().code);
    }).value();
    const auto result = code.get_future().get();
    held.close();
    return result;
  };
  EXPECT_EQ(settled_by(client, AckMode::automatic), Code::bad_argument);
  EXPECT_EQ(settled_by(other, AckMode::manual), Code::bad_argument);
  EXPECT_EQ(settled_by(client, AckMode::manual), Code::ok);
}

// Whoever closes first would leave the broker with settlements of a subscription that it has forgotten.
TEST_F(ClientTest, ATransactionGoesBeforeTheEndOfTheSubscriptionThatItSettlesFor) {
  ClientOptions options;
  options.server = broker.endpoint();
  options.publisher = "service";
  options.linger = std::chrono::hours(1);
  auto client = Client::connect(options).value();
  connect("other").publish(event("in")).get().value();
  std::promise<std::future<Result<std::vector<Receipt>>>> transacted;
  auto held = client.subscribe({.patterns = {"in"}, .group = "g", .ack = AckMode::manual}, [&](Subscription& subscription, const Event& in) {
    Transaction step;
    step.publish(event("out")).ack(subscription, in);
    transacted.set_value(client.transact(step));
  }).value();
  auto done = transacted.get_future().get();
  held.close();
  const auto result = done.get();
  EXPECT_TRUE(result) << (result ? "" : result.error().detail);
}

TEST_F(ClientTest, RefusesTransactionsAboveTheirLimits) {
  auto client = connect("service");
  const auto transacted = [&](std::size_t events, std::size_t conditions) {
    Transaction step;
    for (; events > 0; --events) step.publish(event("out"));
    for (; conditions > 0; --conditions) step.require(Condition::absent("k" + std::to_string(conditions)));
    const auto done = client.transact(step).get();
    return done ? Code::ok : done.error().code;
  };
  EXPECT_EQ(transacted(0, 0), Code::bad_argument);
  EXPECT_EQ(transacted(1024, 16), Code::ok);
  EXPECT_EQ(transacted(1025, 0), Code::bad_argument);
  EXPECT_EQ(transacted(1, 17), Code::bad_argument);
}

TEST_F(ClientTest, PublishesAndReplaysTypedEvents) {
  auto client = connect("service");
  const auto receipt = client.publish("note.new", "user-1", notification("n-1")).get().value();
  EXPECT_EQ(receipt.position, Position{1});
  EXPECT_EQ(receipt.version, 1u);
  EXPECT_FALSE(receipt.duplicate);
  int seen = 0;
  for (const Event& found : client.replay()) {
    EXPECT_EQ(found.key(), "user-1");
    EXPECT_EQ(found.publisher(), "service");
    EXPECT_EQ(found.as<suoke::realtime::SystemNotification>().value()->notification_id()->str(), "n-1");
    EXPECT_EQ(found.as<suoke::realtime::SyncRequest>().error().code, Code::bad_payload);
    ++seen;
  }
  EXPECT_EQ(seen, 1);
}

TEST_F(ClientTest, ManyThreadsPublishAndEachKeepsItsOrder) {
  auto client = connect("many");
  std::vector<std::thread> threads;
  std::atomic<int> stored{0};
  for (int thread = 0; thread < 4; ++thread) {
    threads.emplace_back([&, thread] {
      for (int at = 0; at < 500; ++at) {
        client.publish(event("t.x", "thread-" + std::to_string(thread)), [&](const Result<Receipt>& receipt) { stored += receipt.ok(); });
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(client.flush(std::chrono::seconds(30)).events, 0u);
  EXPECT_EQ(stored, 2000);
  std::map<std::string, std::uint64_t> versions;
  for (const Event& found : client.replay()) EXPECT_EQ(found.version(), ++versions[std::string(found.key())]);
}

// Whoever publishes while the connection's thread sleeps sends for itself; it, and others, may come along at any moment.
TEST_F(ClientTest, ManyThreadsWaitForEachReceiptWhileACallbackPublishes) {
  std::atomic<int> seen{0}, stored{0};
  auto client = connect("many");
  SubscribeOptions options;
  options.patterns = {"t.x"};
  const auto subscription = client.subscribe(options, [&](const Event& found) {
    client.publish(event("t.y", std::string(found.key())), [&](const Result<Receipt>& receipt) { stored += receipt.ok(); });
    ++seen;
  }).value();
  std::vector<std::thread> threads;
  for (int thread = 0; thread < 4; ++thread) {
    threads.emplace_back([&, thread] {
      for (int at = 0; at < 100; ++at) EXPECT_TRUE(client.publish(event("t.x", "thread-" + std::to_string(thread))).get().ok());
    });
  }
  for (auto& thread : threads) thread.join();
  while (seen < 400) std::this_thread::yield();
  EXPECT_EQ(client.flush(std::chrono::seconds(30)).events, 0u);
  EXPECT_EQ(stored, 400);
}

TEST_F(ClientTest, AGroupSharesTheWorkAmongCallbacksThatRunAtTheSameTime) {
  auto client = connect();
  std::mutex mutex;
  std::multiset<Position> seen;
  SubscribeOptions options;
  options.patterns = {"work.>"};
  options.group = "workers";
  options.concurrency = 4;
  auto subscription = client.subscribe(options, [&](const Event& found) {
    const std::lock_guard lock(mutex);
    seen.insert(found.position());
  }).value();
  for (int at = 0; at < 1000; ++at) client.publish(event("work.x"), [](const Result<Receipt>&) {});
  client.flush(std::chrono::seconds(30));
  while (subscription.caught_up() < Position{1000}) std::this_thread::yield();
  EXPECT_TRUE(subscription.flush(std::chrono::seconds(30)).ok());
  subscription.close();
  EXPECT_EQ(seen.size(), 1000u);
  EXPECT_EQ(std::set<Position>(seen.begin(), seen.end()).size(), 1000u);
  EXPECT_EQ(subscription.stale(), 0u);
}

// Few, large events: their bytes run out long before their number does, and long before nothing waits here.
TEST_F(ClientTest, LargeEventsMakeRoomForTheNextWhileOthersAreBeingHandled) {
  auto client = connect("large");
  auto large = event("large");
  large.attributes.emplace_back("filler", std::string(900'000, 'x'));
  constexpr std::uint64_t at_once = 5, all = 12;  // the fifth overdraws
  for (std::uint64_t at = 0; at < all; ++at) client.publish(large).get().value();
  SubscribeOptions options;
  options.patterns = {"large"};
  options.from = At::start();
  options.credit_bytes = 4'000'000;
  std::atomic<std::uint64_t> begun{0};
  std::promise<void> more_was_delivered;
  auto subscription = client.subscribe(options, [&](const Event&) {
    // Two are done with, this one is in hand, two wait: credit for the two must have gone back.
    if (++begun == 3) more_was_delivered.get_future().wait();
  }).value();
  while (begun < 3) std::this_thread::yield();
  const auto delivered = [&] {
    wire::AskUnion ask;
    ask.Set(wire::StatusRequestT());
    return client.request(std::move(ask)).value().reply->answer.AsStatusReply()->delivered;
  };
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  while (delivered() <= at_once && std::chrono::steady_clock::now() < deadline) std::this_thread::yield();
  EXPECT_GT(delivered(), at_once);
  more_was_delivered.set_value();
  while (begun < all) std::this_thread::yield();
}

TEST_F(ClientTest, AnEventWhoseCallbackThrewComesAgain) {
  auto client = connect();
  std::promise<std::uint32_t> attempt;
  SubscribeOptions options;
  options.patterns = {">"};
  options.group = "g";
  auto subscription = client.subscribe(options, [&](const Event& found) {
    if (found.attempt() == 1) throw std::runtime_error("not today");
    attempt.set_value(found.attempt());
  }).value();
  client.publish(event("a")).get().value();
  EXPECT_EQ(attempt.get_future().get(), 2u);
}

void ClientTest::publish_while_the_broker_dies(const std::string& publisher) {
  auto client = connect(publisher);
  std::vector<Position> seen;
  SubscribeOptions options;
  options.patterns = {">"};
  std::atomic<int> count{0};
  auto subscription = client.subscribe(options, [&](const Event& found) {
    seen.push_back(found.position());
    ++count;
  }).value();
  std::atomic<int> receipts{0};
  for (int at = 0; at < 300; ++at) {
    if (at % 100 == 50) {
      broker.kill();
      broker.start();
    }
    client.publish(event("a.b", "k"), [&](const Result<Receipt>& receipt) { receipts += receipt.ok(); });
  }
  EXPECT_EQ(client.flush(std::chrono::seconds(60)).events, 0u);
  EXPECT_EQ(receipts, 300);
  while (count < 300) std::this_thread::yield();
  subscription.close();
  for (std::size_t at = 0; at < seen.size(); ++at) EXPECT_EQ(seen[at], Position{at + 1}) << "lost, doubled or out of order";
}

TEST_F(ClientTest, ACallbackThatClosesItsSubscriptionKeepsItsAck) {
  auto client = connect();
  client.publish(event("a")).get().value();
  client.publish(event("a")).get().value();
  SubscribeOptions options;
  options.patterns = {">"};
  options.group = "g";
  std::promise<void> closed;
  auto first = client.subscribe(options, [&](Subscription& self, const Event& found) {
    EXPECT_EQ(found.position(), Position{1});
    self.close();
    closed.set_value();
  }).value();
  closed.get_future().get();
  std::promise<Position> next;
  auto second = client.subscribe({.patterns = {}, .group = "g"}, [&](const Event& found) { next.set_value(found.position()); }).value();
  EXPECT_EQ(next.get_future().get(), Position{2});
}

TEST_F(ClientTest, ACallbackCanAcknowledgeByItsSubscription) {
  auto client = connect();
  SubscribeOptions options;
  options.patterns = {">"};
  options.group = "g";
  options.ack = AckMode::manual;
  std::promise<Code> acked;
  auto subscription = client.subscribe(options, [&](Subscription& self, const Event& found) {
    self.ack(found);
    acked.set_value(self.flush(std::chrono::seconds(30)).error().code);
  }).value();
  client.publish(event("a")).get().value();
  EXPECT_EQ(acked.get_future().get(), Code::ok);
  EXPECT_EQ(subscription.stale(), 0u);
}

// Two large events fill the window, and the third waits for a broker that is gone.
TEST_F(ClientTest, ClosingSetsACallbackFreeThatWaitsForRoom) {
  auto client = connect("narrow", 2u << 20);
  std::promise<void> begun, broker_gone;
  std::atomic<Code> last{Code::ok};
  auto subscription = client.subscribe({.patterns = {">"}, .group = ""}, [&](const Event&) {
    begun.set_value();
    broker_gone.get_future().get();
    auto large = event("a");
    large.attributes.emplace_back("filler", std::string(900'000, 'x'));
    for (int at = 0; at < 3; ++at) client.publish(large, [&](const Result<Receipt>& receipt) { last = receipt.error().code; });
  }).value();
  client.publish(event("a")).get().value();
  begun.get_future().get();
  broker.kill();
  broker_gone.set_value();
  const auto before = std::chrono::steady_clock::now();
  client.close(std::chrono::seconds(1));
  EXPECT_LT(std::chrono::steady_clock::now() - before, std::chrono::seconds(20)) << "publish_timeout is 30 s";
  subscription.close();
  EXPECT_EQ(last, Code::closed);
  broker.start();
}

TEST_F(ClientTest, GoesOnAfterTheBrokerWasKilled) { publish_while_the_broker_dies("steady"); }

TEST_F(ClientTest, GoesOnUnderItsTransientNameAfterTheBrokerWasKilled) { publish_while_the_broker_dies(""); }

TEST_F(ClientTest, ClientsWithoutANameThatComeAndGoShareOne) {
  for (std::uint64_t round = 1; round <= 5; ++round) {
    auto client = connect();
    EXPECT_EQ(client.publish(event("a")).get().value().sequence, round);
    client.close(std::chrono::seconds(30));
  }
  auto reader = connect();
  std::set<std::string> names;
  for (const Event& found : reader.replay()) names.emplace(found.publisher());
  EXPECT_EQ(names.size(), 1u);
}

TEST_F(ClientTest, TellsWhatItCannotKnow) {
  auto client = connect("unlucky");
  client.publish(event("a")).get().value();
  broker.kill();
  std::atomic<int> closed{0};
  for (int at = 0; at < 10; ++at) client.publish(event("a"), [&](const Result<Receipt>& receipt) { closed += !receipt && receipt.error().code == Code::closed; });
  const auto unknown = client.close(std::chrono::milliseconds(50));
  EXPECT_EQ(unknown.events, 10u);
  EXPECT_EQ(unknown.first_sequence, 2u);
  EXPECT_EQ(closed, 10);
  EXPECT_EQ(client.publish(event("a")).get().error().code, Code::closed);
  broker.start();
}

TEST_F(ClientTest, TryPublishIsBusyWhenTheWindowIsFull) {
  auto client = connect("narrow", 2u << 20);
  broker.kill();
  auto large = event("a");
  large.attributes.emplace_back("filler", std::string(900'000, 'x'));
  int taken = 0;
  Result<void> last;
  do {
    last = client.try_publish(large, [](const Result<Receipt>&) {});
    taken += last.ok();
  } while (last.ok() && taken < 100);
  EXPECT_EQ(last.error().code, Code::busy);
  EXPECT_EQ(taken, 2);
  broker.start();
  EXPECT_EQ(client.flush(std::chrono::seconds(30)).events, 0u);
}

TEST_F(ClientTest, AnotherSessionOfTheSamePublisherFencesTheFirst) {
  auto first = connect("one");
  first.publish(event("a")).get().value();
  auto second = connect("one");
  EXPECT_EQ(second.server().last_sequence, 1u);
  EXPECT_EQ(first.publish(event("a")).get().error().code, Code::publisher_fenced);
  EXPECT_EQ(second.publish(event("a")).get().value().sequence, 2u);
}

TEST_F(ClientTest, RefusesWhatCannotBe) {
  auto client = connect();
  auto huge = event("a");
  huge.attributes.emplace_back("filler", std::string(1u << 20, 'x'));
  EXPECT_EQ(client.publish(std::move(huge)).get().error().code, Code::event_too_large);
  EXPECT_EQ(client.publish(event("a..b")).get().error().code, Code::bad_topic);
  SubscribeOptions bad;
  bad.patterns = {"a.>.b"};
  EXPECT_EQ(client.subscribe(bad, [](const Event&) {}).error().code, Code::bad_pattern);
  ClientOptions nowhere;
  nowhere.server = "http://example.org";
  EXPECT_EQ(Client::connect(nowhere).error().code, Code::bad_argument);
  nowhere.server = broker.endpoint() + ".none";
  nowhere.connect_timeout = std::chrono::milliseconds(50);
  EXPECT_EQ(Client::connect(nowhere).error().code, Code::timed_out);
}

}  // namespace
}  // namespace bus
