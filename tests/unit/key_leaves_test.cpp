// Goal: the head of every key is found again, whatever was merged before; leaves stay sorted and of bounded size.
// Method: single cases by hand, and random merges against a std::map.
#include <gtest/gtest.h>

#include <map>
#include <random>

#include "broker/store/key_leaves.hpp"
#include "tests/support/results.hpp"
#include "tests/support/store_dir.hpp"

namespace bus::store {
namespace {

using testing::fails;
using testing::is_ok;

class KeyLeaves : public ::testing::Test {
 protected:
  void merge(const std::vector<KeyHead>& heads) { ASSERT_TRUE(is_ok(merge_heads(txn_, tables_, heads))); }
  std::optional<KeyHead> find(const Hash128& key) { return find_head(txn_, tables_, key).value(); }

  testing::StoreDir dir_;
  lmdb::Environment env_ = lmdb::Environment::open(dir_.path(), 256 * limits::MiB, lmdb::Access::write).value();
  lmdb::Transaction txn_ = env_.begin(lmdb::Access::write).value();
  Tables tables_ = Tables::open(txn_, true).value();
};

TEST_F(KeyLeaves, AnUnknownKeyHasNoHead) {
  EXPECT_FALSE(find({1, 1}));
  merge({{{1, 1}, Position{5}, 2}});
  EXPECT_FALSE(find({1, 0}));
  EXPECT_FALSE(find({1, 2}));
}

TEST_F(KeyLeaves, AHeadIsFound) {
  merge({{{0, 0}, Position{4}, 1}, {{1, 1}, Position{5}, 2}, {{~0ull, ~0ull}, Position{6}, 3}});
  EXPECT_EQ(find({0, 0})->position, Position{4});
  EXPECT_EQ(find({1, 1})->version, 2u);
  EXPECT_EQ(find({~0ull, ~0ull})->version, 3u);
}

TEST_F(KeyLeaves, ALaterHeadReplacesAnEarlierOneAndNotTheOtherWayRound) {
  merge({{{1, 1}, Position{5}, 2}});
  merge({{{1, 1}, Position{9}, 3}});
  EXPECT_EQ(find({1, 1})->version, 3u);
  merge({{{1, 1}, Position{5}, 2}});
  EXPECT_EQ(find({1, 1})->version, 3u);
}

TEST_F(KeyLeaves, MergingNothingChangesNothing) {
  merge({});
  EXPECT_EQ(txn_.stat(tables_[TableId::keys]).value().entries, 0u);
}

// The values of all leaves, checked as verify() does.
std::vector<std::vector<KeyHead>> leaves(const lmdb::Transaction& txn, const Tables& tables) {
  std::vector<std::vector<KeyHead>> all;
  auto each = tables.each(txn, TableId::keys, {}, [&](auto key, auto value) -> Result<void> {
    all.push_back(read_leaf(key, value).value());
    return {};
  });
  each.value();
  return all;
}

TEST_F(KeyLeaves, ManyHeadsAreSplitIntoLeavesOfFourPages) {
  std::vector<KeyHead> heads;
  for (std::uint64_t at = 0; at < 4 * leaf_heads_max; ++at) heads.push_back({{at, at}, Position{at + 1}, 1});
  merge(heads);
  std::size_t count = 0;
  const auto found = leaves(txn_, tables_);
  EXPECT_EQ(found.size(), 4u);
  for (const auto& leaf : found) {
    EXPECT_LE(leaf.size(), leaf_heads_max);
    count += leaf.size();
  }
  EXPECT_EQ(count, heads.size());
  EXPECT_EQ(txn_.stat(tables_[TableId::keys]).value().overflow_pages, 4u * 4u);
  for (const auto& head : heads) ASSERT_EQ(find(head.key)->position, head.position);
}

TEST_F(KeyLeaves, RandomMergesAgreeWithAMap) {
  std::mt19937_64 random(3);
  std::map<Hash128, KeyHead> model;
  for (std::uint64_t position = 1, round = 0; round < 60; ++round) {
    std::map<Hash128, KeyHead> changes;
    for (auto count = random() % 300; count > 0; --count, ++position) {
      const Hash128 key{random() % 7 << 61, random() % 2'000};
      changes[key] = {key, Position{position}, model[key].version + 1};
    }
    std::vector<KeyHead> heads;
    for (const auto& [key, head] : changes) heads.push_back(model[key] = head);
    merge(heads);
  }
  std::erase_if(model, [](const auto& item) { return item.second.position == Position::none; });
  for (const auto& [key, head] : model) ASSERT_EQ(find(key)->position, head.position);
  std::size_t count = 0;
  for (const auto& leaf : leaves(txn_, tables_)) count += leaf.size();
  EXPECT_EQ(count, model.size());
}

TEST(KeyLeaf, IsDamageIfItIsNotInOrder) {
  const auto value_of = [](const std::vector<KeyHead>& heads) {
    return std::string(reinterpret_cast<const char*>(heads.data()), heads.size() * sizeof(KeyHead));
  };
  const std::string zero = leaf_key({});
  EXPECT_TRUE(is_ok(read_leaf(zero, value_of({{{1, 1}}, {{2, 1}}}))));
  EXPECT_TRUE(fails(read_leaf(zero, value_of({{{2, 1}}, {{1, 1}}})), Code::damaged));
  EXPECT_TRUE(fails(read_leaf(zero, value_of({{{1, 1}}, {{1, 1}}})), Code::damaged));
  EXPECT_TRUE(fails(read_leaf(zero, std::string(33, 'x')), Code::damaged));
  EXPECT_TRUE(fails(read_leaf("short", ""), Code::damaged));
  EXPECT_TRUE(fails(read_leaf(leaf_key({1, 2}), value_of({{{1, 1}}})), Code::damaged));
}

TEST(KeyLeaf, KeysOrderAsHashesDo) {
  EXPECT_LT(leaf_key({1, ~0ull}), leaf_key({2, 0}));
  EXPECT_LT(leaf_key({1, 255}), leaf_key({1, 256}));
}

}  // namespace
}  // namespace bus::store
