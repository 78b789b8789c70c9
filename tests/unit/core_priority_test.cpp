// Goal: of the events that a group may deliver the urgent ones go first, however far behind others they lie; those that are not
// have their turn all the same; a key kept in order stays in order; and what was delivered ahead is delivered once, whatever
// crashes.
// Method: the real core on the real store, driven message by message; and the group alone where a limit is far.
#include <gtest/gtest.h>

#include <map>
#include <set>

#include "tests/support/harness.hpp"

namespace bus::broker {
namespace {

using namespace std::chrono_literals;
using test::Harness;
using wire::Priority;

class PriorityTest : public ::testing::Test {
 protected:
  PriorityTest() {
    bus.hello("p", "alpha");
    bus.hello("m");
  }
  void publish(Priority priority, std::size_t count = 1, const std::string& key = "", std::size_t bytes = 10) {
    std::vector<Buffer> events;
    for (std::size_t at = 0; at < count; ++at) {
      auto event = test::event("t", key);
      event.priority = priority;
      event.payload = test::notification(std::string(bytes, 'x'));
      events.push_back(test::encode(event));
    }
    bus.publish("p", next_, events);
    next_ += count;
    bus.run();
  }
  void join(std::uint32_t credit, wire::Sharing sharing = wire::Sharing::round_robin) {
    auto member = test::subscribe(1, "g", created_ ? wire::Start::unspecified : wire::Start::start);
    created_ = true;
    member.credit_events = credit;
    member.settings = std::make_unique<wire::GroupSettingsT>();
    member.settings->sharing = sharing;
    member.settings->retry_delay_ms = 0;
    bus.send("m", member);
    bus.run();
  }
  void credit(std::uint32_t events) {
    wire::CreditT more;
    more.subscription = 1;
    more.events = events;
    more.bytes = limits::credit_bytes_max / 2;
    bus.send("m", more);
    bus.run();
  }
  std::vector<std::uint64_t> delivered() {
    std::vector<std::uint64_t> all;
    for (const auto& deliver : bus.take<wire::DeliverT>("m")) {
      epoch_ = deliver.epoch;
      for (const auto& one : deliver.deliveries) {
        all.push_back(one.position());
        attempts_[one.position()] = one.attempt();
      }
    }
    return all;
  }
  void settle(const std::vector<std::uint64_t>& positions, wire::Verdict verdict = wire::Verdict::ack) {
    wire::SettleT message;
    message.subscription = 1;
    message.epoch = epoch_;
    message.request = 1;
    for (const auto position : positions) message.settlements.emplace_back(position, attempts_.at(position), 0, verdict);
    bus.send("m", message);
    bus.run();
  }
  void back() {
    bus.hello("p", "alpha");
    bus.hello("m");
  }
  wire::GroupInfoT group() {
    wire::GroupsRequestT ask;
    ask.name = "g";
    bus.ask("p", std::move(ask));
    bus.run();
    auto replies = bus.take<wire::ReplyT>("p");
    return std::move(*replies.back().answer.AsGroupsReply()->groups.at(0));
  }
  static std::vector<std::uint64_t> range(std::uint64_t from, std::uint64_t to) {
    std::vector<std::uint64_t> all;
    for (; from <= to; ++from) all.push_back(from);
    return all;
  }

  Harness bus;
  std::map<std::uint64_t, std::uint32_t> attempts_;
  std::uint64_t next_ = 1, epoch_ = 0;
  bool created_ = false;
};

using List = std::vector<std::uint64_t>;

TEST_F(PriorityTest, AHighEventOvertakesAllThatWait) {
  publish(Priority::low, 2);
  publish(Priority::medium, 100);
  publish(Priority::high);
  join(1);
  EXPECT_EQ(delivered(), List{103});
  credit(2);
  EXPECT_EQ(delivered(), (List{3, 4}));
  publish(Priority::high);
  credit(1);
  EXPECT_EQ(delivered(), List{104});
}

TEST_F(PriorityTest, WhatIsNotUrgentHasItsTurn) {
  publish(Priority::medium, 5);
  publish(Priority::high, 20);
  join(25);
  EXPECT_EQ(delivered(), (List{6, 7, 8, 9, 10, 11, 12, 13, 1, 14, 15, 16, 17, 18, 19, 20, 21, 2, 22, 23, 24, 25, 3, 4, 5}));
}

TEST_F(PriorityTest, LowIsNeverStarved) {
  publish(Priority::low, 3);
  publish(Priority::medium, 20);
  join(23);
  EXPECT_EQ(delivered(), (List{4, 5, 6, 7, 8, 9, 10, 11, 1, 12, 13, 14, 15, 16, 17, 18, 19, 2, 20, 21, 22, 23, 3}));
}

TEST_F(PriorityTest, LowGoesOnWhereOnlyHighOnesCome) {
  publish(Priority::low, 3);
  publish(Priority::high, 20);
  join(23);
  EXPECT_EQ(delivered(), (List{4, 5, 6, 7, 8, 9, 10, 11, 1, 12, 13, 14, 15, 16, 17, 18, 19, 2, 20, 21, 22, 23, 3}));
}

TEST_F(PriorityTest, OneClassAloneComesInTheOrderOfTheLog) {
  for (const auto priority : {Priority::high, Priority::low, Priority::medium}) {
    const auto first = next_;
    publish(priority, 50);
    if (!created_) join(1000);
    EXPECT_EQ(delivered(), range(first, first + 49));
  }
}

TEST_F(PriorityTest, APlainSubscriptionReadsTheLogAsItIs) {
  publish(Priority::low, 2);
  publish(Priority::high, 2);
  bus.send("m", test::subscribe(1, "", wire::Start::start));
  bus.run();
  EXPECT_EQ(delivered(), range(1, 4));
}

TEST_F(PriorityTest, AFailedHighEventComesAgainBeforeOthers) {
  publish(Priority::medium, 5);
  publish(Priority::high);
  join(1);
  EXPECT_EQ(delivered(), List{6});
  settle({6}, wire::Verdict::nack);
  credit(2);
  EXPECT_EQ(delivered(), (List{6, 1}));
  EXPECT_EQ(attempts_[6], 2u);
}

TEST_F(PriorityTest, WhatWasDeliveredAheadIsDeliveredOnce) {
  publish(Priority::medium, 600);
  publish(Priority::high, 3);
  join(2);
  EXPECT_EQ(delivered(), (List{601, 602}));
  settle({601});
  EXPECT_EQ(group().floor, 0u);
  bus.crash();
  back();
  join(1000);
  auto all = delivered();
  ASSERT_GE(all.size(), 2u);
  EXPECT_EQ(all[0], 602u) << "it was in flight";
  EXPECT_EQ(all[1], 603u);
  std::set<std::uint64_t> once(all.begin(), all.end());
  EXPECT_EQ(once.size(), 602u);
  EXPECT_EQ(all.size(), 602u);
  EXPECT_FALSE(once.contains(601));
  settle(all);
  bus.restart();
  back();
  join(1000);
  EXPECT_EQ(delivered(), List{});
  EXPECT_EQ(group().lag, 0u);
}

TEST_F(PriorityTest, ItIsFoundInWhatIsNoLongerInMemory) {
  publish(Priority::medium, 300, "", 3000);  // several records
  publish(Priority::high);
  publish(Priority::medium, 300, "", 3000);
  bus.restart();
  back();
  join(1);
  EXPECT_EQ(delivered(), List{301});
  credit(2);
  EXPECT_EQ(delivered(), (List{1, 2}));
}

TEST_F(PriorityTest, AKeyInOrderStaysInOrder) {
  publish(Priority::low, 1, "k");
  publish(Priority::medium, 1, "l");
  publish(Priority::high, 1, "k");
  publish(Priority::high, 1, "l");
  publish(Priority::high, 1, "n");
  publish(Priority::medium, 1, "n");
  join(10, wire::Sharing::key_ordered);
  EXPECT_EQ(delivered(), (List{5, 2, 1})) << "of each key the first, the most urgent of them first";
  settle({5, 2, 1});
  EXPECT_EQ(delivered(), (List{3, 4, 6}));
}

TEST_F(PriorityTest, AnUrgentEventLendsItsRankToTheOneBeforeIt) {
  join(1, wire::Sharing::key_ordered);
  publish(Priority::low, 1, "k");
  EXPECT_EQ(delivered(), List{1});
  settle({1}, wire::Verdict::nack);  // ready again, and low
  publish(Priority::medium, 1, "l");
  publish(Priority::high, 1, "k");
  credit(2);
  EXPECT_EQ(delivered(), (List{1, 2}));
}

TEST_F(PriorityTest, ASeekBeginsAnew) {
  publish(Priority::medium, 2);
  publish(Priority::high);
  join(3);
  EXPECT_EQ(delivered(), (List{3, 1, 2}));
  wire::GroupSeekT seek;
  seek.name = "g";
  seek.to = wire::Start::start;
  bus.ask("p", std::move(seek));
  bus.run();
  credit(3);
  EXPECT_EQ(delivered(), (List{3, 1, 2}));
}

TEST(ConsumerGroupAhead, ReachesSoFarAndNoFurther) {
  ConsumerGroup group({}, Position{10});
  const Position last = Position{10} + limits::ahead_max;
  EXPECT_EQ(group.may_go_ahead(last, {}, Position::none), ConsumerGroup::Ahead::open);
  EXPECT_EQ(group.may_go_ahead(last + 1, {}, Position::none), ConsumerGroup::Ahead::no);
}

TEST(PositionSet, KnowsWhatWasAdded) {
  PositionSet set;
  EXPECT_EQ(set.last(), Position::none);
  for (const std::uint64_t position : {1, 63, 64, 255, 256, 1000}) set.add(Position{position});
  EXPECT_TRUE(set.contains(Position{63}) && set.contains(Position{64}) && set.contains(Position{1000}));
  EXPECT_FALSE(set.contains(Position{2}) || set.contains(Position{257}) || set.contains(Position{5000}));
  EXPECT_EQ(set.last(), Position{1000});
  EXPECT_EQ(set.drop_up_to(Position{254}), List{});
  EXPECT_EQ(set.drop_up_to(Position{511}), (List{0, 1}));
  EXPECT_FALSE(set.contains(Position{256}));
  PositionSet again;
  again.add_chunk(3, set.chunk(3));
  EXPECT_TRUE(again.contains(Position{1000}));
  EXPECT_FALSE(again.has_chunk(2));
}

}  // namespace
}  // namespace bus::broker
