// Goal: a transaction takes scheduled events out of the schedule, or fails as they were due before: of a timer and what stops it one wins, and
// who lost learns of it. A transaction without events settles once.
// Method: clients of a real busd, which is killed now and then.
#include "bus/transaction.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <map>
#include <thread>

#include "base/limits.hpp"
#include "tests/support/broker_process.hpp"
#include "tests/support/connected.hpp"

namespace bus::test {
namespace {

WallTime wall_now() { return std::chrono::system_clock::now(); }

class Transactions : public ::testing::Test {
 protected:
  BrokerProcess broker;
  Client client = connect(broker.endpoint(), "reminders");
  std::string timer(Duration delay, const std::string& key = "") {
    auto event = note("due", key);
    event.deliver_at = wall_now() + delay;
    return client.publish(event).get().value().schedule_id;
  }
  Code code_of(const Transaction& step) { return code_of(client, step); }
  static Code code_of(Client& by, const Transaction& step) {
    const auto done = by.transact(step).get();
    return done ? Code::ok : done.error().code;
  }
  std::map<std::string, std::uint64_t> count_topics() {
    std::map<std::string, std::uint64_t> counts;
    for (const Event& event : client.replay()) ++counts[std::string(event.topic())];
    return counts;
  }
};

TEST_F(Transactions, CancelWhatWaits) {
  const auto first = timer(1h), second = timer(1h), other = timer(1h);
  const auto done = client.transact(Transaction().publish(note("paid", "k")).cancel(first).cancel(second)).get();
  ASSERT_TRUE(done) << describe(done.error());
  EXPECT_EQ(done->size(), 1u);
  broker.kill();
  broker.start();
  auto by = connect(broker.endpoint(), "somebody");
  const auto late = by.transact(Transaction().publish(note("paid", "k")).cancel(first).cancel(other)).get();
  EXPECT_EQ(late.error().code, Code::not_scheduled);
  EXPECT_NE(late.error().detail.find("'" + first + "' was cancelled"), std::string::npos) << late.error().detail;
  const auto alone = by.transact(Transaction().cancel(other)).get();
  ASSERT_TRUE(alone) << describe(alone.error());
  EXPECT_TRUE(alone->empty());
  EXPECT_EQ(code_of(by, Transaction().cancel(other)), Code::not_scheduled);
  EXPECT_EQ(count_topics(), (std::map<std::string, std::uint64_t>{{"paid", 1}}));
}

TEST_F(Transactions, RefuseWhatIsNone) {
  const auto id = timer(1h);
  EXPECT_EQ(code_of(Transaction()), Code::bad_argument);
  EXPECT_EQ(code_of(Transaction().require(Condition::absent("k"))), Code::bad_argument);
  for (const char* bad : {"", "reminders", "/1", "reminders/", "reminders/0", "reminders/x", "reminders/1x", "reminders/-1"}) {
    EXPECT_EQ(code_of(Transaction().cancel(bad)), Code::bad_argument) << bad;
  }
  EXPECT_EQ(code_of(Transaction().cancel(std::string(129, 'p') + "/1")), Code::bad_argument);
  EXPECT_EQ(code_of(Transaction().cancel(id).cancel(id)), Code::bad_argument);
  EXPECT_EQ(code_of(Transaction().cancel(id).require(Condition::exists("k"))), Code::conflict);
  Transaction most;
  std::vector<std::future<Result<Receipt>>> timers;
  for (std::size_t at = 0; at < limits::schedule_ids_max; ++at) {
    auto event = note("due", "");
    event.deliver_at = wall_now() + 1h;
    timers.push_back(client.publish(event));
  }
  for (auto& one : timers) most.cancel(one.get().value().schedule_id);
  EXPECT_EQ(code_of(Transaction(most).cancel(id)), Code::bad_argument);
  EXPECT_EQ(code_of(most), Code::ok);
  EXPECT_EQ(code_of(Transaction().cancel(id)), Code::ok);
}

// Steps that only acknowledge, while busd is killed: the members' events come to their end, and nothing is stored.
TEST_F(Transactions, SettleWithoutAnEvent) {
  constexpr std::uint64_t inputs = 200;
  for (std::uint64_t at = 0; at < inputs; ++at) client.publish(note("input", "k" + std::to_string(at % 7)), [](const Result<Receipt>&) {});
  ASSERT_EQ(client.flush(patience).events, 0u);
  std::atomic<std::uint64_t> acked{0};
  SubscribeOptions options;
  options.patterns = {"input"};
  options.group = "g";
  options.ack = AckMode::manual;
  options.settings.ack_wait = std::chrono::seconds(1);
  auto subscription = client.subscribe(options, [&](Subscription& from, const Event& event) {
    const Code code = code_of(Transaction().ack(from, event).require(Condition::exists(std::string(event.key()))));
    if (code == Code::ok) ++acked;
    else EXPECT_TRUE(code == Code::stale_ack || code == Code::not_delivered || code == Code::unknown_subscription || code == Code::refused_before) << EnumNameCode(code);
  }).value();
  for (const std::uint64_t kill : {inputs / 4, inputs / 2}) {
    const auto until = std::chrono::steady_clock::now() + patience;
    while (acked < kill && std::chrono::steady_clock::now() < until) std::this_thread::yield();
    broker.kill();
    broker.start();
  }
  const auto until = std::chrono::steady_clock::now() + patience;
  while (acked < inputs && std::chrono::steady_clock::now() < until) std::this_thread::yield();
  EXPECT_EQ(acked, inputs) << "each once: the receipt of a step that is sent again is that of the first";
  subscription.close();
  EXPECT_EQ(count_topics(), (std::map<std::string, std::uint64_t>{{"input", inputs}}));
}

// Each timer is stopped at about the time when it is due, by two at once, while busd is killed: either it is in the log, or one event that
// says that it was stopped.
TEST_F(Transactions, OfATimerAndThoseWhoStopItOneWins) {
  constexpr std::uint64_t timers = 300;
  auto other = connect(broker.endpoint(), "other");
  std::uint64_t stopped = 0;
  for (std::uint64_t at = 0; at < timers; ++at) {
    const auto id = timer(std::chrono::milliseconds(at % 30));
    if (id.empty()) continue;  // it was due at once
    const auto step = Transaction().publish(note("stopped", "")).cancel(id);
    auto one = client.transact(step), two = other.transact(step);
    if (at % 60 == 59) {
      broker.kill();
      broker.start();
    }
    std::uint64_t winners = 0;
    for (auto* future : {&one, &two}) {
      const auto done = future->get();
      winners += done.ok();
      EXPECT_TRUE(done.ok() || done.error().code == Code::not_scheduled) << describe(done.error());
    }
    EXPECT_LE(winners, 1u) << id;
    stopped += winners;
  }
  const auto until = std::chrono::steady_clock::now() + patience;
  auto counts = count_topics();
  while (counts["due"] + counts["stopped"] < timers && std::chrono::steady_clock::now() < until) counts = count_topics();
  EXPECT_EQ(counts["stopped"], stopped);
  EXPECT_EQ(counts["due"], timers - stopped);
  EXPECT_TRUE(stopped > 0 && stopped < timers) << stopped << " of " << timers << " were stopped: there was no race";
}

}  // namespace
}  // namespace bus::test
