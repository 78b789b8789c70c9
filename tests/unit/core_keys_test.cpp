// Goal: a key's head is never older than the store's, and leaves memory only when the store has it.
// Method: drive Keys by hand through advance, checkpoint, commit and eviction.
#include <gtest/gtest.h>

#include <map>
#include <numeric>

#include "broker/core/keys.hpp"

namespace bus::broker {
namespace {

Hash128 key(std::uint64_t number, std::uint64_t shard = 0) { return {shard << 56 | number, number}; }

TEST(Keys, AreNewOnlyWhereTheStoreHasNoOthers) {
  EXPECT_TRUE(Keys(true).find(key(1)).has_value());
  EXPECT_EQ(Keys(true).find(key(1))->position, Position::none);
  EXPECT_FALSE(Keys(false).find(key(1)).has_value());
}

TEST(Keys, CountVersionsFromOne) {
  Keys keys(true);
  EXPECT_EQ(keys.advance(key(1), Position{10}).version, 0u);
  const auto before = keys.advance(key(1), Position{20});
  EXPECT_EQ(before.version, 1u);
  EXPECT_EQ(before.position, Position{10});
  EXPECT_EQ(keys.find(key(1))->version, 2u);
}

TEST(Keys, TakeWhatTheStoreSaysOfAColdOne) {
  Keys keys;
  keys.install(key(1), {Position{7}, 3});
  EXPECT_EQ(keys.advance(key(1), Position{9}).version, 3u);
  keys.install(key(1), {Position{7}, 3});  // came late: what is known is newer
  EXPECT_EQ(keys.find(key(1))->version, 4u);
}

TEST(Keys, AreRestoredForwardOnly) {
  Keys keys;
  keys.restore(key(1), {Position{9}, 4});
  keys.restore(key(1), {Position{7}, 3});
  EXPECT_EQ(keys.find(key(1))->version, 4u);
}

TEST(Keys, CheckpointOneShardSorted) {
  Keys keys(true);
  for (const auto number : {3, 1, 2}) keys.advance(key(static_cast<std::uint64_t>(number), 5), Position{1});
  keys.advance(key(9, 6), Position{1});
  std::vector<store::KeyHead> out;
  keys.checkpoint(5, 1, out);
  ASSERT_EQ(out.size(), 3u);
  EXPECT_TRUE(out[0].key < out[1].key && out[1].key < out[2].key);
  keys.checkpoint(5, 1, out);
  EXPECT_EQ(out.size(), 3u) << "clean ones are not saved again";
}

TEST(Keys, StayUntilTheirCheckpointHasCommitted) {
  Keys keys(true);
  keys.advance(key(1), Position{1});
  keys.evict(0);
  EXPECT_EQ(keys.size(), 1u) << "dirty";
  std::vector<store::KeyHead> out;
  keys.checkpoint(0, 7, out);
  keys.evict(0);
  EXPECT_EQ(keys.size(), 1u) << "not on disk yet";
  keys.committed(6);
  keys.evict(0);
  EXPECT_EQ(keys.size(), 1u) << "another batch";
  keys.committed(7);
  keys.evict(0);
  EXPECT_EQ(keys.size(), 0u);
  EXPECT_FALSE(keys.find(key(1)).has_value()) << "cold now, not new";
}

TEST(Keys, StayWhileALaterCheckpointIsUnderWay) {
  Keys keys(true);
  std::vector<store::KeyHead> out;
  keys.advance(key(1), Position{1});
  keys.checkpoint(0, 1, out);
  keys.advance(key(1), Position{2});
  keys.checkpoint(0, 2, out);
  keys.committed(1);
  keys.evict(0);
  EXPECT_EQ(keys.size(), 1u);
  keys.committed(2);
  keys.evict(0);
  EXPECT_EQ(keys.size(), 0u);
}

TEST(Keys, AreEvictedOnlyBeyondTheLimit) {
  Keys keys(true);
  std::vector<store::KeyHead> out;
  for (std::uint64_t number = 1; number <= 100; ++number) keys.advance(key(number), Position{number});
  keys.checkpoint(0, 1, out);
  keys.committed(1);
  keys.evict(100);
  EXPECT_EQ(keys.size(), 100u);
  keys.evict(60);
  EXPECT_LE(keys.size(), 60u);
  EXPECT_GT(keys.size(), 0u);
}

TEST(Keys, AreEvictedNoMoreAtOnceThanTheyMayBe) {
  Keys keys;
  for (std::uint64_t number = 0; number < 2 * limits::keys_evicted_max + 1; ++number) keys.install(key(number), {});
  keys.evict(0);
  EXPECT_EQ(keys.size(), limits::keys_evicted_max + 1);
  keys.evict(0);
  EXPECT_EQ(keys.size(), 1u);
  keys.evict(0);
  EXPECT_EQ(keys.size(), 0u);
}

TEST(Keys, GoWhenTheyAreNotInUse) {
  Keys keys;
  for (const std::uint64_t number : {1, 2, 3}) keys.install(key(number), {});
  keys.advance(key(2), Position{1});
  keys.evict(1);
  EXPECT_FALSE(keys.find(key(1)).has_value());
  EXPECT_EQ(keys.find(key(2))->version, 1u) << "dirty: it is passed over";
  EXPECT_FALSE(keys.find(key(3)).has_value());
}

// A batch with many cold keys reads them in several parts; the first ones must still be there when the last ones come.
TEST(Keys, ReadForABatchOutlastThoseThatWereThereBefore) {
  Keys keys;
  constexpr std::uint64_t most = 20'000, cold = 4'000;
  for (std::uint64_t number = 0; number < most; ++number) keys.install(key(number, number % limits::key_shards), {});
  keys.evict(most - 1);  // it has gone round once
  for (std::uint64_t number = most; number < most + cold; ++number) {
    keys.install(key(number, number % limits::key_shards), {});
    if (number % limits::key_reads_max == 0) keys.evict(most);
  }
  std::size_t known = 0;
  for (std::uint64_t number = most; number < most + cold; ++number) known += keys.is_known(key(number, number % limits::key_shards));
  EXPECT_GE(known, cold - cold / 100) << "one that wraps round the end of its table may be passed twice";
}

TEST(Keys, AreKeptOnceHoweverOftenTheyAreUsed) {
  Keys keys;
  std::vector<store::KeyHead> out;
  keys.install(key(1), {});
  for (std::uint64_t batch = 1; batch <= 10; ++batch) {
    keys.advance(key(1), Position{batch});
    keys.checkpoint(0, batch, out);
    keys.committed(batch);
  }
  EXPECT_EQ(keys.size(), 1u);
  keys.evict(0);
  EXPECT_EQ(keys.size(), 0u);
}

// Against a plain map, with collisions: the keys share their home slots in hundreds.
TEST(KeyTable, IsAMap) {
  KeyTable table;
  std::map<Hash128, std::uint64_t> plain;
  std::uint64_t random = 1;
  for (std::uint64_t step = 1; step <= 20'000; ++step) {
    random = random * 6364136223846793005u + 1442695040888963407u;
    const Hash128 one{random >> 40 & 7, random >> 50 & 255};
    const auto* found = table.find(one);
    ASSERT_EQ(found != nullptr, plain.contains(one));
    if (found != nullptr) {
      ASSERT_EQ(found->version, plain[one]);
    }
    if (random >> 33 & 1) {
      auto& slot = table.find_or_add(one);
      ASSERT_EQ(slot.key, one);
      slot.set(Position{step}, step);
      plain[one] = step;
    } else if (table.slots() > 0) {
      const auto at = (random >> 20) % table.slots();
      if (!table[at].used) continue;
      ASSERT_EQ(plain.erase(table[at].key), 1u);
      table.erase(at);
    }
    ASSERT_EQ(table.size(), plain.size());
  }
}

// The promise to operators: so many bytes a key, however many there are.
TEST(KeyTable, TakesLessThan64BytesAKey) {
  KeyTable table;
  for (std::uint64_t number = 1; number <= 10'000; ++number) {
    table.find_or_add({number, number * 7919});
    if (number < 32) continue;
    ASSERT_LE(table.slots() * sizeof(KeyTable::Slot), 64 * number) << number;
  }
}

// As the core does it: of what commits bring a 256th is saved for each 1,024 events.
TEST(Keys, StayWithinTheirNumberWhenEveryKeyIsNew) {
  constexpr std::size_t most = 10'000, commits = 40;
  constexpr auto steps = limits::batch_events_max / limits::checkpoint_step_events;
  Keys keys;
  std::array<std::size_t, limits::key_shards> dirty{};
  std::uint64_t number = 0;
  std::size_t step = 0;
  for (std::uint64_t batch = 1; batch <= commits; ++batch) {
    for (std::size_t at = 0; at < limits::batch_events_max; ++at, ++number) {
      const auto shard = number % limits::key_shards;
      keys.install(key(number, shard), {});
      keys.advance(key(number, shard), Position{number + 1});
      ++dirty[shard];
    }
    std::vector<store::KeyHead> out;
    for (std::size_t saved = 0; saved < steps; ++saved, step = (step + 1) % limits::key_shards) {
      keys.checkpoint(step, batch, out);
      dirty[step] = 0;
    }
    keys.committed(batch);
    keys.evict(most);
    EXPECT_LE(keys.size(), most + std::accumulate(dirty.begin(), dirty.end(), std::size_t{0}));
  }
}

}  // namespace
}  // namespace bus::broker
