// Goal: of the events that a group may deliver the urgent ones go first, however far behind others they lie; those that are not
// have their turn all the same; a key kept in order stays in order; and what was delivered ahead is delivered once, whatever
// crashes.
// Method: the real core on the real store, driven message by message; and the group alone where a limit is far.
#include <gtest/gtest.h>

#include <set>

#include "tests/support/priority_case.hpp"

namespace bus::broker {
namespace {

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

TEST_F(PriorityTest, EachClassHasItsTurn) {
  publish(Priority::low, 10);
  publish(Priority::medium, 5);
  publish(Priority::high, 100);
  join(115);
  std::string order;
  for (const auto position : delivered()) order += position <= 10 ? 'l' : position <= 15 ? 'm' : 'h';
  EXPECT_EQ(order.substr(0, 45), "hhhhhhhhmlhhhhhhhhmlhhhhhhhhmlhhhhhhhhmlhhhhh");
  EXPECT_EQ(order.size(), 115u);
}

TEST_F(PriorityTest, OneThatFailsAgainAndAgainStarvesNobody) {
  publish(Priority::low);
  publish(Priority::medium);
  join(1);
  List all;
  for (int turn = 0; turn < 20; ++turn) {
    const auto now = delivered();
    all.insert(all.end(), now.begin(), now.end());
    settle(now, wire::Verdict::nack);
    credit(1);
  }
  EXPECT_EQ(std::find(all.begin(), all.end(), 1u) - all.begin(), 8);
}

TEST_F(PriorityTest, AGroupGoesOnBehindManyThatDoNotMatch) {
  publish(Priority::medium);
  for (int part = 0; part < 4; ++part) publish(Priority::high, 7000, "", 10, "other");
  publish(Priority::high);
  join(10, wire::Sharing::round_robin, "t");
  EXPECT_EQ(delivered(), (List{28'002, 1}));
}

TEST_F(PriorityTest, OneThatIsReadyDoesNotWaitForWhatIsLookedAt) {
  publish(Priority::medium, 2);
  join(1, wire::Sharing::round_robin, "t");
  EXPECT_EQ(delivered(), List{1});
  for (int part = 0; part < 6; ++part) publish(Priority::high, 7000, "", 10, "other");
  publish(Priority::high);
  settle({1}, wire::Verdict::nack);
  credit(5);
  EXPECT_EQ(delivered(), (List{42'003, 1, 2}));
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

TEST_F(PriorityTest, AKeyStaysInOrderWithinItsClassWhenTheSharingChanges) {
  publish(Priority::medium, 1, "x");
  publish(Priority::low, 1, "k");
  publish(Priority::high, 1, "k");
  join(1, wire::Sharing::key_ordered);
  EXPECT_EQ(delivered(), List{1});
  edit(wire::Sharing::round_robin);
  publish(Priority::high, 1, "k");
  credit(3);
  EXPECT_EQ(delivered(), (List{3, 4, 2}));
}

// While the committer is busy: the event was delivered ahead and acknowledged, then its key was put in line, and the scan passed it.
TEST_F(PriorityTest, WhatWasSettledAheadStaysSettledWhenItsKeyIsPutInLine) {
  publish(Priority::medium, 1, "k");
  publish(Priority::medium, 2);
  publish(Priority::high, 1, "k");
  publish(Priority::medium);
  join(0);
  const auto turn = [&] {
    for (int count = 0; count < 20; ++count) {
      bus.core->tick(bus.now);
      bus.read();
    }
  };
  const auto more = [&](std::uint32_t events) {
    wire::CreditT credit;
    credit.subscription = 1;
    credit.events = events;
    credit.bytes = 100'000;
    bus.send("m", credit);
    turn();
    return delivered();
  };
  bus.publish("p", next_++, {test::encode(test::event("t"))});
  ASSERT_TRUE(bus.take());
  EXPECT_EQ(more(1), List{4});
  wire::SettleT ack;
  ack.subscription = 1;
  ack.epoch = epoch_;
  ack.request = 1;
  ack.settlements.emplace_back(4, 1, 0, wire::Verdict::ack);
  bus.send("m", ack);
  turn();
  EXPECT_EQ(more(1), List{1});
  bus.ask("p", sharing(wire::Sharing::key_ordered));
  turn();
  EXPECT_EQ(more(3), (List{2, 3, 5}));
  bus.commit();
  bus.commit();
  bus.commit();
  ASSERT_EQ(bus.take<wire::SettledT>("m").size(), 1u);
  bus.crash();
  back();
  join(100, wire::Sharing::key_ordered);
  const auto again = delivered();
  EXPECT_EQ(std::count(again.begin(), again.end(), 4u), 0);
  settle(again);
  EXPECT_EQ(delivered(), List{});
}

TEST_F(PriorityTest, AnAnswerFromBeforeASeekIsOfNoUse) {
  publish(Priority::medium, 300, "", 3000);
  publish(Priority::high);  // 301
  publish(Priority::medium, 300, "", 3000);
  publish(Priority::high);  // 602
  publish(Priority::medium, 300, "", 3000);
  bus.restart();
  back();
  auto member = test::subscribe(1, "g", wire::Start::position);
  member.from_value = 310;
  member.credit_events = 1;
  bus.send("m", member);
  std::vector<ReadRequest> held;
  const auto turn = [&] {
    for (int count = 0; count < 20; ++count) {
      bus.core->tick(bus.now);
      std::vector<ReadRequest> others;
      for (auto& request : bus.core->take_reads()) (std::holds_alternative<ReadPriority>(request.ask) ? held : others).push_back(std::move(request));
      bus.answer(others);
      bus.commit();
    }
  };
  turn();
  ASSERT_EQ(held.size(), 1u);
  wire::GroupSeekT seek;
  seek.name = "g";
  seek.to = wire::Start::start;
  bus.ask("p", std::move(seek));
  turn();
  wire::CreditT more;
  more.subscription = 1;
  more.events = 1;
  more.bytes = 1'000'000;
  bus.send("m", more);
  turn();
  ASSERT_EQ(held.size(), 2u);
  delivered();
  bus.answer(held);
  credit(3);
  const auto all = delivered();
  EXPECT_EQ(all.front(), 301u);
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

// What a lane that never ends needs of what was taken ahead does not keep all of it.
TEST(ConsumerGroupAhead, GoesOnWhileAKeyIsHeldUp) {
  const Hash128 key{1, 1};
  GroupSettings settings;
  ConsumerGroup group(settings, Position::none);
  const Now now{wall_time(1), SteadyTime{}};
  const MemberId member{1, 1};
  group.join(member, Credit(100, 100'000));
  const auto take = [&](Position position) {
    group.add_credit(member, 1, 100);
    const auto attempt = group.open_ahead(position, {{}, 1, 1}, Rank::high, member, 1, now.steady);
    ASSERT_EQ(group.ack(member, position, attempt), Code::ok);
  };
  group.open(Position{1}, {key, 1, 1}, Rank::medium, member, 1, now.steady);
  take(Position{300});
  settings.sharing = Sharing::key_ordered;
  group.change(settings);  // from now on the key waits for its event at 1
  for (std::uint64_t scan = 512; scan < 80'000 * 256; scan += 256) {
    group.advance(Position{scan});
    ASSERT_EQ(group.may_go_ahead(Position{scan + 256}, {}, Position::none), ConsumerGroup::Ahead::open) << scan;
    take(Position{scan + 256});
    if (scan % (256 * 1000) == 0) group.take_journal();
  }
}

TEST(PositionSet, KnowsWhatWasAdded) {
  PositionSet set;
  EXPECT_EQ(set.last(), Position::none);
  for (const std::uint64_t position : {1, 63, 64, 255, 256, 1000}) set.add(Position{position});
  EXPECT_TRUE(set.contains(Position{63}) && set.contains(Position{64}) && set.contains(Position{1000}));
  EXPECT_FALSE(set.contains(Position{2}) || set.contains(Position{257}) || set.contains(Position{5000}));
  EXPECT_EQ(set.last(), Position{1000});
  EXPECT_EQ(set.drop(Position::none, Position{254}), List{});
  EXPECT_EQ(set.drop(Position::none, Position{511}), (List{0, 1}));
  EXPECT_FALSE(set.contains(Position{256}));
  EXPECT_EQ(set.drop(Position{1000}, Position{5000}), List{});
  PositionSet again;
  again.add_chunk(3, set.chunk(3));
  EXPECT_TRUE(again.contains(Position{1000}));
  EXPECT_FALSE(again.has_chunk(2));
}

}  // namespace
}  // namespace bus::broker
