// Goal: who reads what retention was faster than is told so before the first event behind it, and nobody folds half of a key.
// Method: clients of a real busd; a policy that keeps the last few events.
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "bus/transaction.hpp"
#include "tests/support/broker_process.hpp"
#include "tests/support/connected.hpp"

namespace bus::test {
namespace {

class RetentionOfClients : public ::testing::Test {
 protected:
  void publish(std::size_t count, const std::string& key = "k") {
    for (std::size_t at = 0; at < count; ++at) client.publish(note("t", key, std::to_string(++published_))).get().value();
  }
  void keep(std::uint64_t events, bool past_groups = false) { keep_newest(client, "t", events, past_groups); }

  BrokerProcess broker;
  Client client = connect(broker.endpoint());
  std::size_t published_ = 0;
};

TEST_F(RetentionOfClients, AReplayKnowsWhatIsMissingBeforeItReadsOn) {
  publish(10);
  keep(4);
  auto replay = client.replay();
  const auto first = replay.read().value();
  ASSERT_TRUE(first);
  EXPECT_EQ(first->position(), Position{7});
  EXPECT_EQ(replay.trimmed().events, 6u);
  EXPECT_EQ(replay.trimmed().to, Position{6});
  for (int at = 0; at < 3; ++at) ASSERT_TRUE(replay.read().value());
  EXPECT_FALSE(replay.read().value());
  keep(1);
  auto nothing = client.replay({.to = At::position(Position{5})});
  EXPECT_FALSE(nothing.read().value());
  EXPECT_EQ(nothing.trimmed().to, Position{5});
}

TEST_F(RetentionOfClients, ASubscriptionIsToldFirst) {
  publish(10);
  keep(4);
  std::vector<std::string> seen;
  SubscribeOptions options;
  options.patterns = {"t"};
  options.from = At::start();
  options.to = At::end();
  options.on_trimmed = [&](const Trimmed& trimmed) { seen.push_back("trimmed " + std::to_string(trimmed.events) + " to " + std::to_string(number(trimmed.to))); };
  auto subscription = client.subscribe(options, [&](const Event& event) { seen.push_back(std::to_string(number(event.position()))); }).value();
  subscription.wait().value();
  EXPECT_EQ(seen, (std::vector<std::string>{"trimmed 6 to 6", "7", "8", "9", "10"}));
  EXPECT_EQ(subscription.trimmed().events, 6u);
}

// Also where nothing comes behind what is gone, and where the group was passed over while nobody was there.
TEST_F(RetentionOfClients, AGroupThatWasPassedOverIsTold) {
  wire::GroupCreateT create;
  create.name = "g";
  ask(client, std::move(create));
  publish(10);
  client.publish(note("other", "")).get().value();
  keep(4);
  EXPECT_EQ(ask(client, wire::RetentionRequestT())->answer.AsRetentionReply()->policies[0]->events, 10u) << "the group has not settled them";
  keep(1, true);
  std::atomic<std::uint64_t> trimmed{0}, events{0};
  SubscribeOptions options;
  options.group = "g";
  options.on_trimmed = [&](const Trimmed& told) { trimmed = told.events; };
  auto subscription = client.subscribe(options, [&](const Event&) { ++events; }).value();
  const auto until = std::chrono::steady_clock::now() + patience;
  while (events < 2 && std::chrono::steady_clock::now() < until) std::this_thread::yield();
  EXPECT_EQ(events, 2u);
  EXPECT_EQ(trimmed, 9u);
  subscription.close();
}

TEST_F(RetentionOfClients, NobodyFoldsHalfOfAKey) {
  publish(10);
  keep(4);
  const auto fold = [](const Event&) {};
  EXPECT_EQ(client.fold_key("k", fold).error().code, Code::trimmed);
  EXPECT_EQ(client.fold_key("k", fold, 7).value().version, 10u);
  const auto restore = [](const Event&) { return true; };
  EXPECT_EQ(client.load("k", restore, fold).error().code, Code::trimmed);
  const NewSnapshot late{"k", 10, "suoke.realtime.SystemNotification", note("", "").payload, 2};
  client.transact(Transaction().snapshot(late)).get().value();
  EXPECT_EQ(client.load("k", restore, fold).value(), 10u);
  KeyRange range{"k"};
  range.skip_trimmed = true;
  const auto part = client.read_key(range).value();
  EXPECT_EQ(part.events.size(), 4u);
  EXPECT_EQ(part.trimmed, 6u);
}

}  // namespace
}  // namespace bus::test
