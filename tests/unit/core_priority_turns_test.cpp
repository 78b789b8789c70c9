// Goal: no class of priority is starved, whatever the others do and whatever has to be read from disk first; a redelivery keeps
// its turn and its place among the readers; searches in old records come in turn.
// Method: RankTurns alone, against the rule in words; and the real core on the real store, with reads that are answered when the
// test says so.
#include <random>

#include "tests/support/priority_case.hpp"

namespace bus::broker {
namespace {

constexpr auto share = limits::priority_share;

TEST(RankTurns, TheMostUrgentGoesFirst) {
  RankTurns turns;
  using enum Rank;
  EXPECT_EQ(turns.order(), (RankTurns::Order{high, medium, low}));
  for (std::uint32_t at = 0; at < share; ++at) {
    EXPECT_EQ(turns.order()[0], high);
    EXPECT_EQ(turns.room(high), share - at);
    turns.given(high);
  }
  EXPECT_EQ(turns.order(), (RankTurns::Order{medium, low, high}));
  EXPECT_EQ(turns.room(high), 1u);
  turns.given(medium);
  EXPECT_EQ(turns.order(), (RankTurns::Order{low, high, medium}));
  turns.given(low);
  EXPECT_EQ(turns.order(), (RankTurns::Order{high, medium, low}));
}

TEST(RankTurns, WhatComesNextInTheLogOvertakesNobody) {
  RankTurns turns;
  for (std::uint32_t at = 0; at < 2 * share; ++at) turns.given_next(Rank::medium, false, false);
  EXPECT_EQ(turns.order()[0], Rank::high);
  for (std::uint32_t at = 0; at < share; ++at) turns.given(Rank::medium);
  EXPECT_EQ(turns.order()[0], Rank::low);
  turns.none(Rank::low);
  EXPECT_EQ(turns.order()[0], Rank::high);
}

// Who is there all the time is never overtaken by more than its share, and one turn of each other.
TEST(RankTurns, NobodyIsStarved) {
  for (unsigned seed = 1; seed <= 1000; ++seed) {
    std::mt19937 random(seed);
    RankTurns turns;
    std::array<std::uint32_t, ranks> waits{};
    for (int step = 0; step < 500; ++step) {
      std::array<bool, ranks> is_there{random() % 10 != 0, random() % 2 == 0, random() % 3 == 0};
      const auto always = at_rank(random() % 2 == 0 ? Rank::medium : Rank::low);
      if (seed % 2 == 0) is_there[always] = true;
      for (const Rank rank : turns.order()) {
        if (!is_there[at_rank(rank)]) {
          turns.none(rank);
          waits[at_rank(rank)] = 0;
          continue;
        }
        turns.given(rank);
        for (auto lower = at_rank(rank) + 1; lower < ranks; ++lower) waits[lower] = is_there[lower] ? waits[lower] + 1 : 0;
        waits[at_rank(rank)] = 0;
        break;
      }
      for (const auto wait : waits) ASSERT_LE(wait, share + ranks) << "seed " << seed << ", step " << step;
    }
  }
}

class PriorityTurnsTest : public PriorityTest {
 protected:
  // As Harness::run(), but these reads are kept.
  void run_without_reads() {
    for (int turn = 0; turn < 30; ++turn) {
      bus.core->tick(bus.now);
      std::vector<ReadRequest> others;
      for (auto& request : bus.core->take_reads()) {
        auto& kept = std::holds_alternative<ReadRecords>(request.ask) ? held : std::holds_alternative<ReadPriority>(request.ask) ? searches : others;
        kept.push_back(std::move(request));
      }
      bus.answer(others);
      bus.commit();
      bus.received("m");
    }
  }
  void subscribe(const Peer& peer, std::uint64_t from) {
    auto plain = test::subscribe(1, "", wire::Start::position);
    plain.from_value = static_cast<std::int64_t>(from);
    bus.send(peer, plain);
  }
  static std::uint64_t read_from(const ReadRequest& request) {
    const auto* records = std::get_if<ReadRecords>(&request.ask);
    return number(records != nullptr ? records->from : std::get<ReadPriority>(request.ask).from);
  }

  std::vector<ReadRequest> held, searches;
};

TEST_F(PriorityTurnsTest, EventsOfAKeyKeepTheirOrderThroughALostConnection) {
  publish(Priority::medium, 3, "k");
  publish(Priority::high, 40);
  join(18);
  const auto seen = delivered();
  ASSERT_EQ(std::count(seen.begin(), seen.end(), 1u) + std::count(seen.begin(), seen.end(), 2u), 2);
  ASSERT_EQ(std::count(seen.begin(), seen.end(), 3u), 0);
  back();
  join(100);
  List mediums;
  for (const auto position : delivered()) {
    if (position <= 3) mediums.push_back(position);
  }
  EXPECT_EQ(mediums, (List{1, 2, 3}));
}

TEST_F(PriorityTurnsTest, LowHasItsTurnWhileUrgentOnesComeNextInTheLog) {
  publish(Priority::low);
  join(1);
  EXPECT_EQ(delivered(), List{1});
  settle({1}, wire::Verdict::nack);
  publish(Priority::high, 30);
  publish(Priority::medium);
  credit(12);
  EXPECT_EQ(delivered(), (List{2, 3, 4, 5, 6, 7, 8, 9, 1, 10, 11, 12}));
}

TEST_F(PriorityTurnsTest, ALowEventThatFailedIsNoMoreUrgentThanOthersThatCome) {
  publish(Priority::low);
  join(1);
  EXPECT_EQ(delivered(), List{1});
  publish(Priority::medium, 20);
  settle({1}, wire::Verdict::nack);
  credit(10);
  EXPECT_EQ(delivered(), (List{2, 3, 4, 5, 6, 7, 8, 9, 1, 10}));
}

TEST_F(PriorityTurnsTest, WhatLiesInTheLogInTheOrderOfItsPrioritiesComesSo) {
  publish(Priority::low, 1, "", 10, "other");  // of no matter here
  publish(Priority::high, 30);
  publish(Priority::medium, 30);
  publish(Priority::low, 10);
  join(100, wire::Sharing::round_robin, "t");
  EXPECT_EQ(delivered(), range(2, 71));
}

TEST_F(PriorityTurnsTest, MediumOutOfTurnIsOneAtATime) {
  publish(Priority::low, 50);
  publish(Priority::medium, 50);
  publish(Priority::high, 40);
  join(140);
  std::string order;
  for (const auto position : delivered()) order += position <= 50 ? 'l' : position <= 100 ? 'm' : 'h';
  EXPECT_EQ(order.substr(0, 40), "hhhhhhhhmlhhhhhhhhmlhhhhhhhhmlhhhhhhhhml");
}

// One that comes again and again at once, for which no failure, delay or limit is the end.
using Endless = std::tuple<wire::Verdict, std::vector<Priority>>;
class EndlessTest : public PriorityTurnsTest, public ::testing::WithParamInterface<Endless> {
 protected:
  std::map<std::uint64_t, int> deliveries(const std::vector<Priority>& priorities) {
    for (const Priority priority : priorities) publish(priority);
    join(1);
    std::map<std::uint64_t, int> counts;
    for (int turn = 0; turn < 200; ++turn) {
      const auto now = delivered();
      for (const auto position : now) ++counts[position];
      settle(now, std::get<0>(GetParam()));
      credit(1);
    }
    return counts;
  }
};

TEST_P(EndlessTest, StarvesNobody) {
  const auto counts = deliveries(std::get<1>(GetParam()));
  EXPECT_EQ(counts.size(), std::get<1>(GetParam()).size());
}
INSTANTIATE_TEST_SUITE_P(PriorityTurns, EndlessTest, ::testing::Combine(::testing::Values(wire::Verdict::nack, wire::Verdict::release),
    ::testing::Values(std::vector{Priority::high, Priority::high, Priority::medium}, std::vector{Priority::medium, Priority::medium, Priority::low},
                      std::vector{Priority::low, Priority::low, Priority::high, Priority::medium}, std::vector{Priority::high, Priority::low},
                      std::vector{Priority::low, Priority::medium, Priority::high}, std::vector{Priority::medium, Priority::medium, Priority::medium})));

// It may not pass the one before it of its key; so it comes when the scan does, before others that are less urgent.
TEST_F(PriorityTurnsTest, OneThatWasLeftToTheScanGoesBeforeThoseThatAreLow) {
  publish(Priority::low, 50);
  publish(Priority::low, 1, "k");
  publish(Priority::high, 1, "k");
  join(51, wire::Sharing::key_ordered);
  auto first = delivered();
  ASSERT_EQ(first.size(), 51u);
  settle({51});
  back();
  join(60, wire::Sharing::key_ordered);
  const auto again = delivered();
  ASSERT_EQ(again.size(), 51u);
  EXPECT_EQ(again.front(), 52u);
}

// Those behind it are not taken before it, though they could be seen again: they are of its key.
TEST_F(PriorityTurnsTest, AnEventThatCouldNotBeFoundKeepsItsPlace) {
  publish(Priority::medium, 300, "", 3000);
  publish(Priority::high, 1, "k");
  publish(Priority::medium, 300, "", 3000);
  bus.restart();
  back();
  int failures = 0;
  bus.read_fault = [&](const ReadAsk& ask) -> std::optional<Error> {
    if (!std::holds_alternative<ReadPriority>(ask) || failures++ > 0) return std::nullopt;
    return Error{Code::disk_error, "once"};
  };
  join(2);
  publish(Priority::high, 1, "k");
  auto all = delivered();
  while (all.size() < 602) {
    credit(50);
    const auto more = delivered();
    if (more.empty()) break;
    all.insert(all.end(), more.begin(), more.end());
  }
  EXPECT_EQ(failures > 0, true);
  EXPECT_LT(std::find(all.begin(), all.end(), 301u), std::find(all.begin(), all.end(), 602u));
}

TEST_F(PriorityTurnsTest, WhatHasToBeReadKeepsItsTurn) {
  publish(Priority::medium);
  join(1);
  EXPECT_EQ(delivered(), List{1});
  bus.restart();
  back();
  publish(Priority::high, 30);
  auto member = test::subscribe(1, "g", wire::Start::unspecified);
  member.credit_events = 12;
  bus.send("m", member);
  run_without_reads();
  EXPECT_EQ(delivered(), range(2, 13)) << "who is urgent does not wait for the disk";
  ASSERT_EQ(held.size(), 1u);
  bus.answer(held);
  credit(2);
  EXPECT_EQ(delivered(), (List{1, 14}));
}

// All places for reads are taken; the group waits in line while it gives what is in memory.
TEST_F(PriorityTurnsTest, ARedeliveryKeepsItsPlaceAmongTheReaders) {
  constexpr auto places = limits::reads_in_flight_max;
  publish(Priority::medium, 1, "", 300'000);
  for (std::size_t at = 0; at < places + 1; ++at) publish(Priority::low, 1, "", 300'000, "other");
  join(2, wire::Sharing::round_robin, "t");
  EXPECT_EQ(delivered(), List{1});
  bus.restart();
  back();
  for (std::size_t at = 0; at < places + 1; ++at) bus.hello("s" + std::to_string(at));
  for (std::size_t at = 0; at < places; ++at) subscribe("s" + std::to_string(at), 2 + at);
  run_without_reads();
  ASSERT_EQ(held.size(), places);
  auto member = test::subscribe(1, "g", wire::Start::unspecified);
  member.credit_events = 10;
  bus.send("m", member);
  run_without_reads();
  subscribe("s" + std::to_string(places), 2 + places);
  for (int round = 0; round < 3; ++round) {
    auto live = test::event("t");
    live.priority = Priority::high;
    bus.publish("p", next_++, {test::encode(live)});
    run_without_reads();
  }
  EXPECT_EQ(delivered().size(), 3u);
  ASSERT_EQ(held.size(), places);
  bus.answer({held.front()});
  run_without_reads();
  ASSERT_GT(held.size(), places);
  EXPECT_EQ(read_from(held[places]), 1u);
}

TEST_F(PriorityTurnsTest, SearchesComeInTurn) {
  constexpr auto together = limits::ahead_searches_max;
  publish(Priority::medium, 20, "", 100'000);
  for (int at = 0; at < 4; ++at) {
    publish(Priority::high);
    publish(Priority::medium, 10, "", 100'000);
  }
  bus.restart();
  back();
  for (std::uint32_t at = 1; at <= together + 2; ++at) {
    auto member = test::subscribe(at, "g" + std::to_string(at), wire::Start::position);
    member.from_value = at;
    member.credit_events = 100;
    member.credit_bytes = limits::credit_bytes_max;
    bus.send("m", member);
    run_without_reads();
  }
  ASSERT_EQ(searches.size(), together) << "no more at once";
  bus.answer({searches.front()});
  run_without_reads();
  ASSERT_EQ(searches.size(), together + 1);
  EXPECT_EQ(read_from(searches[together]), together + 1) << "who has waited longest, not who had its turn just now";
  for (std::size_t search = 1, read = 0; search < searches.size() || read < held.size();) {
    auto& next = search < searches.size() ? searches[search++] : held[read++];
    bus.answer({std::exchange(next, {})});
    run_without_reads();
  }
  std::map<std::uint32_t, List> by_group;
  for (const auto& deliver : bus.take<wire::DeliverT>("m")) {
    for (const auto& one : deliver.deliveries) by_group[deliver.subscription].push_back(one.position());
  }
  EXPECT_EQ(by_group.size(), together + 2);
  for (auto& [group, positions] : by_group) {
    EXPECT_LT(std::find(positions.begin(), positions.end(), 43u), std::find(positions.begin(), positions.end(), 42u)) << group;
    std::sort(positions.begin(), positions.end());
    EXPECT_EQ(positions, range(group, 64));
  }
}

// So many are not looked at one by one.
TEST_F(PriorityTurnsTest, AGroupOfAnyOfVeryManyTopicsHasItsUrgentOnesFirst) {
  std::vector<Buffer> events;
  for (int topic = 0; topic < 10'001; ++topic) events.push_back(test::encode(test::event("t" + std::to_string(topic))));
  constexpr std::size_t part = 5000;
  for (std::size_t from = 0; from < events.size(); from += part) {
    const auto to = std::min(events.size(), from + part);
    const auto first = std::exchange(next_, next_ + to - from);
    bus.publish("p", first, {events.begin() + static_cast<std::ptrdiff_t>(from), events.begin() + static_cast<std::ptrdiff_t>(to)});
    bus.run();
  }
  publish(Priority::high, 1, "", 10, "t77");
  publish(Priority::high, 1, "", 10, "t78");
  join(3, wire::Sharing::round_robin, "t77");
  EXPECT_EQ(delivered(), (List{10'002, 78}));
}

}  // namespace
}  // namespace bus::broker
