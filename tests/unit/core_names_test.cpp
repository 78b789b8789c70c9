// Goal: a name has one number for life, counted from 1 without gaps.
// Method: add, find and restore by hand.
#include <gtest/gtest.h>

#include "broker/core/names.hpp"

namespace bus::broker {
namespace {

TEST(Names, CountFromOne) {
  Names<int> names;
  EXPECT_EQ(names.size(), 0u);
  EXPECT_EQ(names.add("a"), 1u);
  EXPECT_EQ(names.add("b"), 2u);
  EXPECT_EQ(names.find("b"), 2u);
  EXPECT_EQ(names.name(1), "a");
  EXPECT_EQ(names.find("c"), std::nullopt);
}

TEST(Names, HaveNoNumberZeroAndNoneBeyondTheLast) {
  Names<int> names;
  names.add("a");
  EXPECT_FALSE(names.has(0));
  EXPECT_TRUE(names.has(1));
  EXPECT_FALSE(names.has(2));
}

TEST(Names, StayFoundWhileManyMoreCome) {
  Names<int> names;
  for (int at = 0; at < 10'000; ++at) names[names.add("name-" + std::to_string(at))] = at;
  for (int at = 0; at < 10'000; ++at) EXPECT_EQ(names[*names.find("name-" + std::to_string(at))], at);
}

TEST(Names, ContinueAfterThoseRestored) {
  Names<int> names;
  names.restore(1, "a", 5);
  EXPECT_EQ(names[1], 5);
  EXPECT_EQ(names.add("b"), 2u);
}

TEST(NamesDeathTest, NeverRestoreAGapOrAnOldName) {
  Names<int> names;
  EXPECT_DEATH(names.restore(2, "b", 0), "number == ");
  names.add("a");
  EXPECT_DEATH(names.restore(2, "a", 0), "emplace");
}

}  // namespace
}  // namespace bus::broker
