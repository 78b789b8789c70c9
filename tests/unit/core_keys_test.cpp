// Goal: a key's head is never older than the store's, and leaves memory only when the store has it.
// Method: drive Keys by hand through advance, checkpoint, commit and eviction.
#include <gtest/gtest.h>

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

}  // namespace
}  // namespace bus::broker
