// Goal: what a group is made of does what it says: the settings with their bounds and delays, and the map of open events.
// Method: each by itself; the map against a plain one.
#include <gtest/gtest.h>

#include <map>
#include <random>
#include <set>

#include "broker/core/group_settings.hpp"
#include "broker/core/position_map.hpp"

namespace bus::broker {
namespace {

using namespace std::chrono_literals;

// ---- settings

TEST(GroupSettingsTest, DelaysGrowAsTheySay) {
  GroupSettings settings;
  settings.retry_delay = 1s;
  settings.retry_delay_max = 10s;
  settings.jitter_percent = 0;
  const auto delays = [&](Backoff backoff) {
    settings.backoff = backoff;
    std::vector<std::int64_t> seconds;
    for (std::uint32_t failures = 1; failures <= 6; ++failures) seconds.push_back(settings.delay_after(failures, 7) / 1s);
    return seconds;
  };
  using List = std::vector<std::int64_t>;
  EXPECT_EQ(delays(Backoff::fixed), (List{1, 1, 1, 1, 1, 1}));
  EXPECT_EQ(delays(Backoff::linear), (List{1, 2, 3, 4, 5, 6}));
  EXPECT_EQ(delays(Backoff::exponential), (List{1, 2, 4, 8, 10, 10}));
  settings.jitter_percent = 50;
  std::set<Duration> spread;
  for (std::uint64_t salt = 0; salt < 1000; ++salt) {
    const auto delay = settings.delay_after(1, salt);
    EXPECT_GE(delay, 500ms);
    EXPECT_LE(delay, 1500ms);
    spread.insert(delay);
  }
  EXPECT_GT(spread.size(), 500u);
  settings.retry_delay_max = limits::nack_delay_max;
  settings.retry_delay = limits::nack_delay_max;
  EXPECT_LE(settings.delay_after(limits::attempts_max, 1), limits::nack_delay_max);
}

// What docs/DELIVERY.md says of the defaults.
TEST(GroupSettingsTest, GiveUpAfterMinutesByDefault) {
  GroupSettings settings;
  settings.jitter_percent = 0;
  Duration sum{};
  for (std::uint32_t failures = 1; failures < settings.attempts_max; ++failures) sum += settings.delay_after(failures, 1);
  EXPECT_EQ(sum / 1s, 10 * 60 + 42);
}

// Each bound, and one beyond it.
TEST(GroupSettingsTest, HaveBounds) {
  const auto good = [](auto change) {
    GroupSettings settings;
    change(settings);
    return settings.check().ok();
  };
  EXPECT_TRUE(good([](auto&) {}));
  EXPECT_TRUE(good([](auto& one) { one.ack_wait = limits::ack_wait_min; }));
  EXPECT_FALSE(good([](auto& one) { one.ack_wait = limits::ack_wait_min - 1ns; }));
  EXPECT_TRUE(good([](auto& one) { one.ack_wait = limits::ack_wait_max; }));
  EXPECT_FALSE(good([](auto& one) { one.ack_wait = limits::ack_wait_max + 1ns; }));
  EXPECT_TRUE(good([](auto& one) { one.in_flight_max = limits::open_max; }));
  EXPECT_FALSE(good([](auto& one) { one.in_flight_max = limits::open_max + 1; }));
  EXPECT_FALSE(good([](auto& one) { one.in_flight_max = 0; }));
  EXPECT_FALSE(good([](auto& one) { one.member_in_flight_max = 0; }));
  EXPECT_FALSE(good([](auto& one) { one.attempts_max = 0; }));
  EXPECT_TRUE(good([](auto& one) { one.attempts_max = limits::attempts_max; }));
  EXPECT_FALSE(good([](auto& one) { one.attempts_max = limits::attempts_max + 1; }));
  EXPECT_TRUE(good([](auto& one) { one.attempts_max = GroupSettings::unlimited; }));
  EXPECT_TRUE(good([](auto& one) { one.retry_delay_max = limits::nack_delay_max; }));
  EXPECT_FALSE(good([](auto& one) { one.retry_delay_max = limits::nack_delay_max + 1ns; }));
  EXPECT_FALSE(good([](auto& one) { one.retry_delay = one.retry_delay_max + 1ns; }));
  EXPECT_TRUE(good([](auto& one) { one.jitter_percent = 100; }));
  EXPECT_FALSE(good([](auto& one) { one.jitter_percent = 101; }));
  EXPECT_FALSE(good([](auto& one) { one.dead_letter = DeadLetter::stop_key; }));
  EXPECT_FALSE(good([](auto& one) { one.sharing = static_cast<Sharing>(4); }));
}

// ---- what holds the open events

// Against a plain map: runs without gaps and with, erased from both ends, from the middle and in bulk.
TEST(PositionMap, IsAnOrderedMap) {
  std::mt19937_64 random(7);
  PositionMap<std::uint64_t> map;
  std::map<Position, std::uint64_t> plain;
  Position next{1};
  for (int step = 0; step < 50'000; ++step) {
    const auto roll = random() % 100;
    const Position any{1 + random() % (number(next) + 10)};
    ASSERT_EQ(map.find(any) != nullptr, plain.contains(any));
    if (plain.contains(any)) {
      ASSERT_EQ(*map.find(any), plain[any]);
    }
    if (roll < 55) {
      next = next + 1 + (roll < 5 ? random() % 50 : 0);
      plain[next] = map.add(next) = random();
    } else if (roll < 60 && !plain.contains(any)) {
      plain[any] = map.add(any) = random();
      next = std::max(next, any);
    } else if (roll < 95 && !plain.empty()) {
      auto victim = roll < 85 ? plain.begin() : plain.lower_bound(any);
      if (victim == plain.end()) victim = std::prev(plain.end());
      map.erase(victim->first);
      plain.erase(victim);
    } else if (random() % 500 == 0) {
      map.clear();
      plain.clear();
    }
    ASSERT_EQ(map.size(), plain.size());
    if (!plain.empty()) {
      ASSERT_EQ(map.first(), plain.begin()->first);
    }
    if (step % 500 != 0) continue;
    std::vector<std::pair<Position, std::uint64_t>> seen;
    map.each([&](Position position, std::uint64_t value) { seen.emplace_back(position, value); });
    ASSERT_TRUE(std::equal(seen.begin(), seen.end(), plain.begin(), plain.end(), [](const auto& have, const auto& want) { return have.first == want.first && have.second == want.second; }));
  }
}

TEST(PositionMap, TakesAPositionAgainWhereItWas) {
  PositionMap<std::uint64_t> map;
  for (const std::uint64_t at : {1, 2, 3}) map.add(Position{at}) = at;
  map.erase(Position{2});
  map.add(Position{2}) = 22;
  EXPECT_EQ(*map.find(Position{2}), 22u);
  EXPECT_EQ(*map.find(Position{3}), 3u);
  EXPECT_EQ(map.size(), 3u);
}

// One that stays open while all after it come and go must not make the map grow.
TEST(PositionMap, DoesNotGrowBehindOneThatStays) {
  PositionMap<std::uint64_t> map;
  map.add(Position{1}) = 1;
  for (std::uint64_t at = 2; at < 1'000'000; ++at) {
    map.add(Position{at}) = at;
    if (at > 10) map.erase(Position{at - 8});
  }
  EXPECT_EQ(*map.find(Position{1}), 1u);
  EXPECT_LE(map.slots(), 2 * map.chunk_positions + 16);
}

// One of each chunk stays open: memory follows the values, not the positions.
TEST(PositionMap, TakesLittleForValuesThatLieFarApart) {
  PositionMap<std::uint64_t> map;
  for (std::uint64_t at = 1; at < 1'000'000; ++at) {
    map.add(Position{at}) = at;
    if (at > 10 && (at - 8) % 256 != 77) map.erase(Position{at - 8});
  }
  EXPECT_LE(map.slots(), 16 * map.size());
  std::uint64_t in_chunk = 0;
  map.each_of_chunk(3, [&](Position position, std::uint64_t) { in_chunk = number(position); });
  EXPECT_EQ(in_chunk, 3 * 256 + 77);
}

}  // namespace
}  // namespace bus::broker
