// Goal: an event nobody acknowledges is delivered again, to one member at a time; only the current attempt settles; and
// what was journaled is what a crash brings back.
// Method: drive a ConsumerGroup by hand with a fake clock. The model test does the same at random.
#include <gtest/gtest.h>
#include <malloc.h>

#include <limits>

#include "broker/core/consumer_group.hpp"

namespace bus::broker {
namespace {

using namespace std::chrono_literals;

const MemberId a{1, 1}, b{2, 1};

class GroupTest : public ::testing::Test {
 protected:
  GroupTest() { group.join(a, {10, 1000}); }
  static GroupSettings settings() {
    GroupSettings settings;
    settings.ack_wait = 2s;
    settings.in_flight_max = 3;
    settings.retry_delay = 0s;
    return settings;
  }
  std::uint32_t open(std::uint64_t position, MemberId member = a, std::uint64_t key = 0) {
    return group.open(Position{position}, {{key, key}, 1, 2}, Rank::medium, member, 10, now.steady);
  }
  Code nack(std::uint64_t position, std::uint32_t attempt, Duration delay = 0s) {
    return group.nack(a, Position{position}, attempt, delay, "no", now);
  }
  void pass(Duration time) {
    now.steady += time;
    now.wall += time;
    group.tick(now);
    group.verify();
  }
  std::optional<MemberId> next() { return group.next_member([](MemberId) { return true; }); }
  ConsumerGroup after_crash() {
    auto other = ConsumerGroup::restore(group.settings(), row).value();
    for (const auto& journal : journals) EXPECT_TRUE(other.apply_journal(journal, now));
    other.recovered();
    other.verify();
    return other;
  }
  void journal() { journals.push_back(group.take_journal()); }

  Now now{wall_time(1'000'000), SteadyTime{}};
  ConsumerGroup group{settings(), Position::none};
  std::string row = group.head();
  std::vector<std::string> journals;
};

TEST_F(GroupTest, SettlesWhatIsAcked) {
  EXPECT_EQ(open(1), 1u);
  EXPECT_EQ(group.floor(), Position::none);
  EXPECT_EQ(group.ack(a, Position{1}, 1), Code::ok);
  EXPECT_EQ(group.floor(), Position{1});
  EXPECT_EQ(group.ack(a, Position{1}, 1), Code::not_delivered);
}

TEST_F(GroupTest, HoldsTheFloorBelowTheOldestOpenEvent) {
  open(1), open(5);
  group.ack(a, Position{5}, 1);
  EXPECT_EQ(group.floor(), Position::none);
  group.ack(a, Position{1}, 1);
  EXPECT_EQ(group.floor(), Position{5});
  group.advance(Position{9});
  EXPECT_EQ(group.floor(), Position{9});
}

TEST_F(GroupTest, TakesNoAckOfAnotherAttemptOrHolder) {
  open(1);
  group.join(b, {10, 1000});
  EXPECT_EQ(group.ack(b, Position{1}, 1), Code::stale_ack);
  EXPECT_EQ(group.ack(a, Position{1}, 2), Code::stale_ack);
  EXPECT_EQ(group.nack(b, Position{1}, 1, 0s, "", now), Code::stale_ack);
  EXPECT_EQ(group.extend(b, Position{1}, 1, "", now.steady), Code::stale_ack);
  EXPECT_EQ(group.ack(a, Position{1}, 1), Code::ok);
}

TEST_F(GroupTest, DeliversAgainWhenTheAckWaitIsOver) {
  open(1);
  pass(2s - 1ns);
  EXPECT_EQ(group.next_ready(Rank::medium), std::nullopt);
  pass(1ns);
  EXPECT_EQ(group.next_ready(Rank::medium), Position{1});
  EXPECT_EQ(group.ack(a, Position{1}, 1), Code::stale_ack);
  EXPECT_EQ(open(1), 2u);
  EXPECT_EQ(group.redeliveries(), 1u);
}

// Timers of the past go now and then; the one that counts stays.
TEST_F(GroupTest, KeepsTheLastTimerOfManyExtensions) {
  const auto attempt = open(1);
  for (std::size_t at = 0; at < 100'000; ++at) {
    ASSERT_EQ(group.extend(a, Position{1}, attempt, "", now.steady), Code::ok);
    now.steady += 1us;
  }
  pass(1900ms);
  EXPECT_EQ(group.in_flight(), 1u);
  pass(200ms);
  EXPECT_EQ(group.in_flight(), 0u);
  EXPECT_EQ(group.next_ready(Rank::medium), Position{1});
}

TEST_F(GroupTest, WaitsLongerForThoseWhoExtend) {
  open(1);
  pass(1s);
  EXPECT_EQ(group.extend(a, Position{1}, 1, "", now.steady), Code::ok);
  pass(1500ms);
  EXPECT_EQ(group.next_ready(Rank::medium), std::nullopt);
  pass(500ms);
  EXPECT_EQ(group.next_ready(Rank::medium), Position{1});
}

TEST_F(GroupTest, DeliversAgainAtOnceOrAfterTheDelayOfANack) {
  open(1), open(2);
  nack(1, 1, 0s);
  nack(2, 1, 5s);
  EXPECT_EQ(group.next_ready(Rank::medium), Position{1});
  open(1);
  pass(1999ms);
  EXPECT_EQ(group.next_ready(Rank::medium), std::nullopt);
  pass(3001ms);
  EXPECT_EQ(group.open_count(), 2u);
  open(1);
  EXPECT_EQ(group.next_ready(Rank::medium), Position{2});
}

TEST_F(GroupTest, TakesBackWhatALeavingMemberHolds) {
  open(1);
  group.leave(a);
  EXPECT_EQ(group.next_ready(Rank::medium), Position{1});
  EXPECT_EQ(group.in_flight(), 0u);
  group.join(b, {1, 1000});
  EXPECT_EQ(open(1, b), 2u);
}

TEST_F(GroupTest, TakesTurnsAmongThoseWithCredit) {
  group.join(b, {1, 1000});
  EXPECT_EQ(next(), a);
  open(1, a);
  EXPECT_EQ(next(), b);
  open(2, b);
  EXPECT_EQ(next(), a) << "the other has no credit left";
  open(3, a);
  EXPECT_EQ(next(), std::nullopt) << "as much is in flight as may be";
  group.ack(a, Position{1}, 1);
  EXPECT_EQ(next(), a);
  group.add_credit(b, 1, 0);
  EXPECT_EQ(next(), b);
}

TEST_F(GroupTest, GivesToTheOneThatHoldsTheFewest) {
  group.change([] {
    auto one = settings();
    one.sharing = Sharing::least_in_flight;
    return one;
  }());
  group.join(b, {10, 1000});
  open(1, a), open(2, b), open(3, b);
  group.ack(b, Position{2}, 1);
  group.ack(b, Position{3}, 1);
  EXPECT_EQ(next(), b);
}

TEST_F(GroupTest, GivesAllToOneAndTheNextTakesOver) {
  auto one = settings();
  one.sharing = Sharing::exclusive;
  group.change(one);
  group.join(b, {10, 1000});
  open(1, a), open(2, a);
  EXPECT_EQ(next(), a);
  group.extend(a, Position{2}, 1, "", now.steady + 1s);
  pass(2s);  // the first one is not acknowledged in time: a has stalled
  EXPECT_EQ(next(), b);
  EXPECT_EQ(group.in_flight(), 0u) << "the other was taken back, too";
  EXPECT_EQ(open(1, b), 2u);
  EXPECT_EQ(group.ack(a, Position{2}, 1), Code::stale_ack);
  group.leave(b);
  EXPECT_EQ(next(), a);
}

// What came after the event that is named was maybe not seen by whoever says it.
TEST_F(GroupTest, AcknowledgesUpToAnEventWhatWasGivenNoLater) {
  open(1), open(2), open(3);
  nack(1, 1);
  EXPECT_EQ(open(1), 2u);
  EXPECT_EQ(group.ack_up_to(a, Position{3}, 2), Code::stale_ack);
  EXPECT_EQ(group.ack_up_to(a, Position{3}, 1), Code::ok);
  EXPECT_EQ(group.acked(), 2u);
  EXPECT_EQ(group.floor(), Position::none) << "the first one was given again since";
  EXPECT_EQ(group.ack(a, Position{1}, 2), Code::ok);
}

TEST_F(GroupTest, GivesNoMemberMoreThanItsShare) {
  auto one = settings();
  one.member_in_flight_max = 1;
  group.change(one);
  open(1);
  EXPECT_EQ(next(), std::nullopt);
  group.join(b, {10, 1000});
  EXPECT_EQ(next(), b);
}

TEST_F(GroupTest, DeliversNothingWhilePaused) {
  auto one = settings();
  one.paused = true;
  open(1);
  group.change(one);
  EXPECT_EQ(next(), std::nullopt);
  EXPECT_EQ(group.ack(a, Position{1}, 1), Code::ok);
  group.change(settings());
  EXPECT_EQ(next(), a);
}

TEST_F(GroupTest, NeedsCreditInBytesToo) {
  group.leave(a);
  group.join(b, {5, 0});
  EXPECT_EQ(next(), std::nullopt);
  group.add_credit(b, 0, 1);
  EXPECT_EQ(next(), b);
}

TEST_F(GroupTest, CountsTheDebtOfTheLastEventAgainstTheNextCredit) {
  group.leave(a);
  group.join(b, {10, 25});
  for (std::uint64_t position = 1; position <= 3; ++position) {
    ASSERT_EQ(next(), b);
    open(position, b);  // 10 bytes each
    group.ack(b, Position{position}, 1);
  }
  EXPECT_EQ(next(), std::nullopt);
  group.add_credit(b, 0, 5);
  EXPECT_EQ(next(), std::nullopt) << "30 bytes are out, 30 were given";
  group.add_credit(b, 0, 1);
  EXPECT_EQ(next(), b);
}

// What is out never exceeds what was given by more than the one event that crosses the line.
TEST(Credit, NeverCreeps) {
  constexpr std::uint32_t event_bytes = 1000;
  Credit credit(limits::credit_events_max, 1);
  std::uint64_t given = 1, used = 0;
  for (int round = 0; round < 100; ++round) {
    while (credit.is_open()) {
      credit.use(event_bytes);
      used += event_bytes;
    }
    EXPECT_GE(used, given);
    EXPECT_LT(used, given + event_bytes);
    credit.add(0, 10 + static_cast<std::uint32_t>(round));
    given += 10 + static_cast<std::uint32_t>(round);
  }
}

TEST(Credit, IsCutOffAtItsLimits) {
  const auto opens = [](Credit credit, std::size_t bytes) {
    std::size_t events = 0;
    for (; credit.is_open(); ++events) credit.use(bytes);
    return events;
  };
  constexpr auto any = std::numeric_limits<std::uint32_t>::max();
  EXPECT_EQ(opens(Credit(limits::credit_events_max, any), 1), limits::credit_events_max);
  EXPECT_EQ(opens(Credit(limits::credit_events_max + 1, any), 1), limits::credit_events_max);
  EXPECT_EQ(opens(Credit(any, limits::credit_bytes_max), limits::MiB), limits::credit_bytes_max / limits::MiB);
  EXPECT_EQ(opens(Credit(any, limits::credit_bytes_max + 1), limits::MiB), limits::credit_bytes_max / limits::MiB);
  Credit twice(1, 1);
  twice.add(any, any);
  EXPECT_EQ(opens(twice, 1), limits::credit_events_max);
}

TEST_F(GroupTest, KeepsNoMoreOpenThanItMay) {
  auto wide_settings = settings();
  wide_settings.ack_wait = 1h;
  wide_settings.in_flight_max = limits::open_max;
  ConsumerGroup wide(wide_settings, Position::none);
  wide.join(a, {});
  for (std::uint64_t at = 1; at <= limits::open_max; ++at) {
    ASSERT_TRUE(wide.may_open());
    wide.add_credit(a, 1, 10);
    wide.open(Position{at}, {}, Rank::medium, a, 1, now.steady);
  }
  EXPECT_FALSE(wide.may_open());
  wide.ack(a, Position{7}, 1);
  EXPECT_TRUE(wide.may_open());
}

TEST_F(GroupTest, ForgetsEverythingOnASeek) {
  open(1), open(2);
  const auto before = group.generation();
  group.seek(Position::none);
  group.verify();
  EXPECT_EQ(group.open_count(), 0u);
  EXPECT_NE(group.generation(), before);
  EXPECT_EQ(group.ack(a, Position{1}, 1), Code::not_delivered);
  EXPECT_EQ(open(1), 1u);
}

TEST_F(GroupTest, BringsBackWhatWasJournaled) {
  open(1), open(2), open(3);
  group.ack(a, Position{2}, 1);
  nack(3, 1, 10s);
  journal();
  auto other = after_crash();
  EXPECT_EQ(other.scan(), Position{3});
  EXPECT_EQ(other.open_count(), 2u);
  EXPECT_EQ(other.next_ready(Rank::medium), Position{1}) << "in flight when the broker stopped";
  other.join(b, {10, 1000});
  EXPECT_EQ(other.open(Position{1}, {}, Rank::medium, b, 1, now.steady), 2u);
  EXPECT_EQ(other.next_ready(Rank::medium), std::nullopt);
  EXPECT_EQ(other.ack(b, Position{1}, 2), Code::ok);
  other.tick({now.wall + 10s, now.steady + 10s});
  EXPECT_EQ(other.next_ready(Rank::medium), Position{3});
}

TEST_F(GroupTest, LosesOnlyWhatWasNot) {
  open(1);
  journal();
  group.ack(a, Position{1}, 1);
  open(2);
  const auto other = after_crash();
  EXPECT_EQ(other.scan(), Position{1});
  EXPECT_EQ(other.next_ready(Rank::medium), Position{1});
  journal();
  const auto later = after_crash();
  EXPECT_EQ(later.scan(), Position{2});
  EXPECT_EQ(later.floor(), Position{1});
}

TEST_F(GroupTest, ForgetsInTheJournalToo) {
  open(1);
  journal();
  group.seek(Position{5});
  journal();
  const auto other = after_crash();
  EXPECT_EQ(other.open_count(), 0u);
  EXPECT_EQ(other.floor(), Position{5});
  EXPECT_EQ(other.generation(), group.generation());
}

TEST_F(GroupTest, RefusesAJournalThatMakesNoSense) {
  journal();
  const std::string good = journals.back();
  for (std::size_t size = 0; size < good.size(); ++size) {
    EXPECT_FALSE(group.apply_journal(good.substr(0, size), now)) << size;
  }
  EXPECT_FALSE(ConsumerGroup::restore({}, "x").has_value());
}

TEST_F(GroupTest, TellsUrgentChangesFromOthers) {
  EXPECT_FALSE(group.changed_since_journal());
  open(1);
  EXPECT_TRUE(group.changed_since_journal());
  EXPECT_FALSE(group.settled_since_journal());
  group.ack(a, Position{1}, 1);
  EXPECT_TRUE(group.settled_since_journal());
  journal();
  EXPECT_FALSE(group.changed_since_journal());
}

// ---- many

// The heap that a value takes; where the allocator is another one, nothing is said.
std::size_t heap_bytes() { return mallinfo2().uordblks + mallinfo2().hblkhd; }

std::vector<PendingEvent> all_pending(const ConsumerGroup& group) {
  std::vector<PendingEvent> all;
  Position after = Position::none;
  do {
    const auto some = group.pending(after, false, limits::open_max, after);
    all.insert(all.end(), some.begin(), some.end());
  } while (after != Position::none);
  return all;
}

// Each of another key, with one more of it waiting; some in flight, some delayed, some ready again.
TEST(LargeGroup, TakesLittleMemoryAndComesBackAsItWas) {
  constexpr std::uint64_t count = 100'000;
  Now now{wall_time(1'000'000), SteadyTime{}};
  GroupSettings settings;
  settings.sharing = Sharing::key_ordered;
  settings.in_flight_max = limits::open_max;
  settings.retry_delay = settings.retry_delay_max = 1h;
  settings.jitter_percent = 0;
  const auto before = heap_bytes();
  ConsumerGroup group(settings, Position::none);
  group.join(a, {});
  for (std::uint64_t at = 1; at <= count; ++at) {
    group.add_credit(a, 1, 1);
    group.open(Position{at}, {{at, at}, 1, 2}, Rank::medium, a, 1, now.steady);
  }
  for (std::uint64_t at = 1; at <= count; ++at) group.wait(Position{count + at}, {at, at}, Rank::medium);
  for (std::uint64_t at = 1; at <= count; ++at) {
    if (at % 3 == 1) {
      ASSERT_EQ(group.nack(a, Position{at}, 1, at % 2 == 0 ? 1h : 2h, "", now), Code::ok);
    }
    if (at % 3 == 2) {
      ASSERT_EQ(group.release(a, Position{at}, 1), Code::ok);
    }
  }
  group.take_incidents();
  const auto taken = heap_bytes() - before;
  if (before > 0) {
    EXPECT_LE(taken, 32 * limits::MiB);
  }
  ASSERT_EQ(group.open_count(), count);
  group.verify();

  const auto journal = group.take_journal();
  auto other = ConsumerGroup::restore(settings, ConsumerGroup(settings, Position::none).head()).value();
  ASSERT_TRUE(other.apply_journal(journal, now));
  other.recovered();
  other.verify();
  const auto was = all_pending(group), is = all_pending(other);
  ASSERT_EQ(is.size(), count);
  for (std::size_t at = 0; at < count; ++at) {
    const bool was_in_flight = was[at].place == PendingEvent::Place::in_flight;
    ASSERT_EQ(is[at].position, was[at].position);
    ASSERT_EQ(is[at].attempt, was[at].attempt);
    ASSERT_EQ(is[at].failures, was[at].failures);
    ASSERT_EQ(is[at].returns, was[at].returns + was_in_flight) << "what was in flight counts as a return";
    ASSERT_EQ(is[at].place, was_in_flight ? PendingEvent::Place::ready : was[at].place);
    if (is[at].place == PendingEvent::Place::delayed) {
      ASSERT_EQ(is[at].due, was[at].due);
    }
  }
  EXPECT_EQ(other.scan(), group.scan());
}

}  // namespace
}  // namespace bus::broker
