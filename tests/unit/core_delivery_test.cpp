// Goal: subscriptions and groups see every matching event, in order, within their credit, across restarts, full sockets
// and seeks.
// Method: a broker without threads; its commits and reads happen when the test says so.
#include <gtest/gtest.h>

#include "tests/support/harness.hpp"

namespace bus::broker {
namespace {

using test::encode;
using test::event;
using test::Harness;
using test::subscribe;
using namespace std::chrono_literals;

class DeliveryTest : public ::testing::Test {
 protected:
  DeliveryTest() {
    bus.hello("p", "alpha");
    bus.hello("s");
  }
  void publish(std::size_t count, const std::string& topic = "a.b", std::size_t text_bytes = 10) {
    auto one = event(topic);
    one.payload = test::notification(std::string(text_bytes, 'x'));
    bus.publish("p", next_, std::vector<Buffer>(count, encode(one)));
    next_ += count;
    bus.run();
  }
  // Positions delivered to the peer since the last call.
  std::vector<std::uint64_t> delivered(const Peer& peer = "s") {
    std::vector<std::uint64_t> positions;
    for (const auto& deliver : bus.take<wire::DeliverT>(peer)) {
      for (const auto& delivery : deliver.deliveries) positions.push_back(delivery.position());
    }
    return positions;
  }
  wire::DeliverT deliver(const Peer& peer = "s") { return std::move(bus.take<wire::DeliverT>(peer).at(0)); }
  void settle(const wire::DeliverT& what, std::uint64_t request = 0) {
    wire::SettleT message;
    message.subscription = what.subscription;
    message.epoch = what.epoch;
    message.request = request;
    for (const auto& one : what.deliveries) {
      message.settlements.emplace_back(one.position(), one.attempt(), 0, wire::Verdict::ack);
    }
    bus.send("s", message);
    bus.advance(limits::settle_delay);
    bus.run();
  }
  void seek(const std::string& group, wire::Start to, std::int64_t value = 0) {
    wire::GroupSeekT ask;
    ask.name = group;
    ask.to = to;
    ask.to_value = value;
    bus.hello("op");
    bus.ask("op", std::move(ask));
  }
  void restart() {
    bus.restart();
    bus.hello("p", "alpha");
    bus.hello("s");
  }
  Harness bus;
  std::uint64_t next_ = 1;
};

using Positions = std::vector<std::uint64_t>;

// ---- plain subscriptions

TEST_F(DeliveryTest, BeginsAtTheEndUnlessToldOtherwise) {
  publish(2);
  bus.send("s", subscribe(1));
  bus.run();
  publish(1);
  EXPECT_EQ(delivered(), Positions{3});
}

TEST_F(DeliveryTest, ReplaysFromWhereItIsTold) {
  publish(5);
  const auto from = [&](std::uint32_t id, wire::Start start, std::int64_t value) {
    auto message = subscribe(id, "", start);
    message.from_value = value;
    bus.send("s", message);
    bus.run();
    return delivered();
  };
  EXPECT_EQ(from(1, wire::Start::start, 0), (Positions{1, 2, 3, 4, 5}));
  EXPECT_EQ(from(2, wire::Start::position, 4), (Positions{4, 5}));
  EXPECT_EQ(from(3, wire::Start::last, 2), (Positions{4, 5}));
  EXPECT_EQ(from(4, wire::Start::last, 100), (Positions{1, 2, 3, 4, 5}));
  EXPECT_EQ(from(5, wire::Start::time, nanoseconds(bus.now.wall)), (Positions{1, 2, 3, 4, 5}));
  EXPECT_EQ(from(6, wire::Start::time, nanoseconds(bus.now.wall) + 1), Positions{});
  EXPECT_EQ(from(7, wire::Start::position, 6), Positions{});
}

TEST_F(DeliveryTest, EndsAfterTheLastPositionOfARange) {
  publish(5);
  auto message = subscribe(1, "", wire::Start::start);
  message.to = wire::Start::position;
  message.to_value = 3;
  bus.send("s", message);
  bus.run();
  ASSERT_EQ(bus.received("s").back().message->body.type, wire::Body::SubscriptionEnd);
  EXPECT_EQ(bus.received("s").back().message->body.AsSubscriptionEnd()->position, 3u);
  EXPECT_EQ(delivered(), (Positions{1, 2, 3}));
}

TEST_F(DeliveryTest, EndsAtOnceOnAnEmptyRange) {
  auto message = subscribe(1, "", wire::Start::start);
  message.to = wire::Start::end;
  bus.send("s", message);
  bus.run();
  EXPECT_EQ(bus.take<wire::SubscriptionEndT>("s").at(0).code, Code::ok);
}

TEST_F(DeliveryTest, TakesARangeOfTimeThatNeverEnds) {
  publish(1);
  auto message = subscribe(1, "", wire::Start::start);
  message.to = wire::Start::time;
  message.to_value = std::numeric_limits<std::int64_t>::max();
  bus.send("s", message);
  bus.run();
  EXPECT_EQ(delivered(), Positions{1});
}

TEST_F(DeliveryTest, ReadsFromDiskWhatIsNotInMemory) {
  publish(5);
  restart();
  bus.send("s", subscribe(1, "", wire::Start::start));
  bus.run();
  publish(1);
  EXPECT_EQ(delivered(), (Positions{1, 2, 3, 4, 5, 6}));
}

TEST_F(DeliveryTest, StaysWithinItsCredit) {
  publish(10);
  auto message = subscribe(1, "", wire::Start::start);
  message.credit_events = 3;
  bus.send("s", message);
  bus.run();
  EXPECT_EQ(delivered(), (Positions{1, 2, 3}));
  wire::CreditT credit;
  credit.subscription = 1;
  credit.events = 2;
  bus.send("s", credit);
  bus.run();
  EXPECT_EQ(delivered(), (Positions{4, 5}));
}

TEST_F(DeliveryTest, CountsWhatWasOverdrawnAgainstTheNextCredit) {
  publish(5, "a.b", 1000);
  auto message = subscribe(1, "", wire::Start::start);
  message.credit_bytes = 1;
  bus.send("s", message);
  bus.run();
  const auto event_bytes = bus.received("s").back().body.size();
  EXPECT_EQ(delivered(), Positions{1}) << "the last event may overdraw";
  const auto give = [&](std::size_t bytes) {
    wire::CreditT credit;
    credit.subscription = 1;
    credit.bytes = static_cast<std::uint32_t>(bytes);
    bus.send("s", credit);
    bus.run();
    return delivered();
  };
  EXPECT_EQ(give(event_bytes - 1), Positions{}) << "as much is out as was given";
  EXPECT_EQ(give(1), Positions{2});
  EXPECT_EQ(give(2 * event_bytes), (Positions{3, 4})) << "the second one overdraws again";
}

TEST_F(DeliveryTest, SaysWhenItHasCaughtUp) {
  publish(2);
  bus.send("s", subscribe(1, "", wire::Start::start));
  bus.run();
  EXPECT_EQ(bus.take<wire::CaughtUpT>("s").at(0).position, 2u);
}

// ---- turns

// How far a source has come is seen at a group: its scan.
class LongLog : public DeliveryTest {
 protected:
  void publish_rows(std::size_t count) {
    for (std::size_t batch; count > 0; count -= batch) {
      batch = std::min<std::size_t>(count, 4096);
      publish(batch, "other");
    }
  }
  // A group that finds nothing, made durable and joined, and no turn taken yet.
  void join(const std::string& group) {
    auto message = subscribe(++subscription_, group);
    message.filter = std::make_unique<wire::FilterT>();
    message.filter->patterns = {"wanted"};
    bus.send("s", message);
    bus.commit();
  }
  std::uint64_t scan(const std::string& group) { return number(bus.core->delivery().groups().at(group)->group->state.scan()); }
  bool has_more() { return bus.core->tick(bus.now) == bus.now.steady; }
  std::uint32_t subscription_ = 0;
};

TEST_F(LongLog, ATurnLooksAtAsManyRowsAsItMay) {
  publish_rows(limits::turn_rows_max);
  join("g");
  EXPECT_TRUE(has_more()) << "it does not know yet that this was the end";
  EXPECT_EQ(scan("g"), limits::turn_rows_max);
  EXPECT_FALSE(has_more());
  EXPECT_EQ(bus.take<wire::CaughtUpT>("s").size(), 1u);
}

TEST_F(LongLog, TheRestWaitsForTheNextTurnAndOthersHaveTheirsInBetween) {
  publish_rows(limits::turn_rows_max + 1);
  join("g");
  bus.send("s", subscribe(100, "", wire::Start::start));
  EXPECT_TRUE(has_more());
  EXPECT_EQ(scan("g"), limits::turn_rows_max);
  EXPECT_EQ(delivered().size(), 1000u) << "as many events as it has credit for";
  EXPECT_FALSE(has_more());
  EXPECT_EQ(scan("g"), limits::turn_rows_max + 1);
}

TEST_F(LongLog, AllTogetherLookAtNoMoreThanTheyMayAndNobodyIsPassedOver) {
  publish_rows(2 * limits::turn_rows_max);
  constexpr auto at_once = limits::pump_rows_max / limits::turn_rows_max;
  std::vector<std::string> names;
  for (std::size_t at = 0; at <= at_once; ++at) join(names.emplace_back("g" + std::to_string(at)));
  bus.send("s", subscribe(100, "", wire::Start::last));  // nothing to look at, and still it comes last
  const auto have_looked = [&] {
    return std::count_if(names.begin(), names.end(), [&](const auto& name) { return scan(name) >= limits::turn_rows_max; });
  };
  EXPECT_TRUE(has_more());
  EXPECT_EQ(have_looked(), static_cast<std::ptrdiff_t>(at_once));
  EXPECT_EQ(scan(names.back()), 0u);
  EXPECT_TRUE(bus.take<wire::CaughtUpT>("s").empty());
  EXPECT_TRUE(has_more());
  EXPECT_EQ(scan(names.back()), limits::turn_rows_max) << "it was the first in line";
  EXPECT_FALSE(bus.take<wire::CaughtUpT>("s").empty());
  bus.run();
  for (const auto& name : names) EXPECT_EQ(scan(name), 2 * limits::turn_rows_max);
}

// The first ones to come would have a read each for as long as they read on.
TEST_F(DeliveryTest, ReadersOfOldEventsShareTheReaderThread) {
  constexpr std::uint64_t greedy = limits::reads_in_flight_max, modest = 24, each = 3;
  bus.map_bytes = 256 * limits::MiB;
  bus.crash();
  bus.hello("p", "alpha");
  for (std::uint64_t at = 0; at < greedy * each + modest; ++at) publish(1, "a.b", 600'000);  // one read each
  bus.crash();  // nothing is in memory
  const auto peer_of = [](std::uint64_t reader) { return "reader " + std::to_string(reader); };
  for (std::uint64_t reader = 0; reader < greedy + modest; ++reader) bus.hello(peer_of(reader));
  for (std::uint64_t reader = 0; reader < greedy + modest; ++reader) {
    auto message = subscribe(1, "", wire::Start::position);
    message.credit_events = reader < greedy ? each : 1;
    message.from_value = static_cast<std::int64_t>(reader < greedy ? reader * each + 1 : greedy * each + (reader - greedy) + 1);
    bus.send(peer_of(reader), message);
  }
  for (std::size_t round = 0; round * limits::reads_in_flight_max < greedy + modest; ++round) {
    bus.core->tick(bus.now);
    EXPECT_TRUE(bus.read());
  }
  bus.core->tick(bus.now);
  for (std::uint64_t reader = 0; reader < greedy + modest; ++reader) {
    EXPECT_FALSE(delivered(peer_of(reader)).empty()) << reader;
  }
}

// ---- full sockets

TEST_F(DeliveryTest, GoesOnOnceTheSocketHasRoom) {
  bus.send("s", subscribe(1, "", wire::Start::start));
  bus.run();
  bus.reads["s"] = false;
  publish(3);
  publish(3);
  EXPECT_EQ(delivered(), Positions{});
  bus.reads["s"] = true;
  for (int turn = 0; turn < 4; ++turn) bus.run();
  EXPECT_EQ(delivered(), (Positions{1, 2, 3, 4, 5, 6}));
}

TEST_F(DeliveryTest, HoldsASlowReaderBackAndKeepsItsSession) {
  bus.reads["s"] = false;
  bus.send("s", subscribe(1, "", wire::Start::start));
  for (int batch = 0; batch < 16; ++batch) publish(2, "a.b", limits::MiB - 1000);
  for (int turn = 0; turn < 50; ++turn) bus.run();
  EXPECT_EQ(bus.core->sessions(), 2u);
  bus.reads["s"] = true;
  for (int turn = 0; turn < 50; ++turn) bus.run();
  EXPECT_GE(delivered().size(), 16u) << "as many bytes as it has credit for";
}

TEST_F(DeliveryTest, GivesTheWorkOfABlockedMemberToOthers) {
  bus.hello("t");
  bus.send("s", subscribe(1, "g"));
  bus.send("t", subscribe(1, "g"));
  bus.run();
  bus.reads["s"] = false;
  wire::PingT ping;
  bus.send("s", ping);
  bus.run();
  publish(4);
  EXPECT_EQ(delivered("t"), (Positions{1, 2, 3, 4}));
}

// ---- groups

TEST_F(DeliveryTest, SharesTheWorkOfAGroup) {
  bus.hello("t");
  bus.send("s", subscribe(1, "g"));
  bus.send("t", subscribe(1, "g"));
  bus.run();
  publish(10);
  const auto one = delivered("s"), two = delivered("t");
  EXPECT_EQ(one.size() + two.size(), 10u);
  EXPECT_EQ(one.size(), two.size());
}

TEST_F(DeliveryTest, DeliversAgainWhatAMemberLeaves) {
  bus.send("s", subscribe(1, "g"));
  bus.run();
  publish(1);
  EXPECT_EQ(deliver().deliveries.at(0).attempt(), 1u);
  bus.core->gone("s");
  bus.hello("t");
  bus.send("t", subscribe(1, "g"));
  bus.run();
  EXPECT_EQ(deliver("t").deliveries.at(0).attempt(), 2u);
}

TEST_F(DeliveryTest, DeliversAgainAfterTheAckWait) {
  bus.send("s", subscribe(1, "g"));
  bus.run();
  publish(1);
  const auto first = deliver();
  bus.advance(limits::ack_wait_default);
  bus.send("s", wire::PingT());
  bus.run();
  EXPECT_TRUE(bus.take<wire::DeliverT>("s").empty()) << "the retry policy wants a pause";
  bus.advance(2 * limits::retry_delay_default);
  bus.run();
  const auto second = deliver();
  EXPECT_EQ(second.deliveries.at(0).attempt(), 2u);
  settle(first);
  EXPECT_EQ(bus.take<wire::SettledT>("s").at(0).refused.at(0).code(), Code::stale_ack);
  settle(second);
  EXPECT_TRUE(bus.take<wire::SettledT>("s").empty());
}

TEST_F(DeliveryTest, ConfirmsAcksOnceTheyAreDurable) {
  bus.send("s", subscribe(1, "g"));
  bus.run();
  publish(1);
  const auto got = deliver();
  wire::SettleT message;
  message.subscription = 1;
  message.epoch = got.epoch;
  message.request = 9;
  message.settlements.emplace_back(1, 1, 0, wire::Verdict::ack);
  bus.send("s", message);
  ASSERT_TRUE(bus.take());
  EXPECT_TRUE(bus.take<wire::SettledT>("s").empty());
  bus.commit();
  EXPECT_EQ(bus.take<wire::SettledT>("s").at(0).request, 9u);
}

TEST_F(DeliveryTest, ForgetsNoConfirmedAckInACrash) {
  bus.send("s", subscribe(1, "g"));
  bus.run();
  publish(2);
  auto got = deliver();
  got.deliveries.resize(1);
  settle(got, 1);
  bus.crash();
  bus.hello("s");
  bus.send("s", subscribe(1, "g"));
  bus.run();
  EXPECT_EQ(delivered(), Positions{2});
  settle(got);
  EXPECT_EQ(bus.take<wire::SettledT>("s").at(0).refused.at(0).code(), Code::stale_ack) << "of another epoch";
}

TEST_F(DeliveryTest, KeepsASeekOfTheBatchThatMadeTheGroup) {
  publish(5);
  bus.send("p", wire::PingT());
  publish(1);
  bus.publish("p", next_, {encode(event())});
  ASSERT_TRUE(bus.take());
  bus.send("s", subscribe(1, "g"));  // both are in the batch that is gathered now
  wire::GroupSeekT ask;
  ask.name = "g";
  ask.to = wire::Start::position;
  ask.to_value = 5;
  bus.ask("p", std::move(ask));
  bus.run();
  EXPECT_EQ(bus.take<wire::ReplyT>("p").size(), 1u);
  bus.crash();
  EXPECT_EQ(number(bus.core->delivery().groups().at("g")->group->state.scan()), 4u);
}

TEST_F(DeliveryTest, SaysAgainThatItHasCaughtUpAfterASeek) {
  publish(2);
  bus.send("s", subscribe(1, "g"));
  bus.run();
  settle(deliver());
  EXPECT_EQ(bus.take<wire::CaughtUpT>("s").size(), 1u);
  seek("g", wire::Start::end);
  bus.run();
  EXPECT_EQ(bus.take<wire::CaughtUpT>("s").size(), 1u);
}

TEST_F(DeliveryTest, DeliversFromWhereItWasMovedTo) {
  publish(3);
  bus.send("s", subscribe(1, "g"));
  bus.run();
  const auto before = deliver();
  seek("g", wire::Start::position, 2);
  bus.run();
  EXPECT_EQ(delivered(), (Positions{2, 3}));
  settle(before);
  EXPECT_EQ(bus.take<wire::SettledT>("s").at(0).refused.size(), 3u) << "attempts of before the seek";
}

TEST_F(DeliveryTest, TellsTheFloorBeforeASeek) {
  publish(3);
  bus.send("s", subscribe(1, "g"));
  bus.run();
  auto got = deliver();
  got.deliveries.resize(1);
  settle(got);
  seek("g", wire::Start::end);
  bus.run();
  const auto replies = bus.take<wire::ReplyT>("op");
  EXPECT_EQ(replies.at(0).answer.AsSeekReply()->floor_before, 1u) << "two events are still open";
  EXPECT_EQ(replies.at(0).answer.AsSeekReply()->floor, 3u);
}

TEST_F(DeliveryTest, TellsMembersThatTheirGroupIsGone) {
  bus.send("s", subscribe(1, "g"));
  bus.run();
  bus.hello("op");
  wire::GroupRemoveT remove;
  remove.name = "g";
  bus.ask("op", std::move(remove));
  bus.run();
  EXPECT_EQ(bus.take<wire::SubscriptionEndT>("s").at(0).code, Code::group_removed);
  bus.crash();
  EXPECT_TRUE(bus.core->delivery().groups().empty());
}

// The answer to the first Subscribe is still on its way (a commit, a read) when its number is free again.
TEST_F(DeliveryTest, ANumberThatIsTakenAgainBelongsToTheNewSubscription) {
  const auto replace = [&](const wire::SubscribeT& first, const wire::SubscribeT& second) {
    bus.send("s", first);
    wire::UnsubscribeT unsubscribe;
    unsubscribe.subscription = first.subscription;
    bus.send("s", unsubscribe);
    bus.send("s", second);
    bus.run();
    bus.core->verify();
  };
  publish(2);
  replace(subscribe(1, "g"), subscribe(1, "g"));
  EXPECT_EQ(delivered(), (std::vector<std::uint64_t>{1, 2}));

  auto timed = subscribe(2);
  timed.from = wire::Start::time;
  timed.from_value = 1;
  replace(timed, timed);
  EXPECT_EQ(delivered(), (std::vector<std::uint64_t>{1, 2}));

  auto plain = subscribe(3);
  plain.from = wire::Start::start;
  replace(subscribe(3, "h"), plain);
  EXPECT_EQ(delivered(), (std::vector<std::uint64_t>{1, 2}));
  EXPECT_EQ(bus.core->delivery().groups().at("h")->group->state.members(), 0u);
}

TEST_F(DeliveryTest, NeverScansAgainWhatDoesNotMatch) {
  auto message = subscribe(1, "g");
  message.filter = std::make_unique<wire::FilterT>();
  message.filter->patterns = {"wanted"};
  bus.send("s", message);
  bus.run();
  publish(50, "other");
  publish(1, "wanted");
  settle(deliver());
  bus.crash();
  EXPECT_EQ(number(bus.core->delivery().groups().at("g")->group->state.floor()), 51u);
}

}  // namespace
}  // namespace bus::broker
