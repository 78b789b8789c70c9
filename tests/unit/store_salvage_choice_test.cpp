// Goal: of all records that lie in a file those are taken that were committed, and no other.
// Method: pieces made by hand; their chains are any numbers that fit or do not.
#include <gtest/gtest.h>

#include "broker/store/salvage_choice.hpp"

namespace bus::store {
namespace {

Piece piece(std::uint64_t first, std::uint64_t last, std::uint64_t chain_before, std::uint64_t chain_after, std::int64_t time = 0, std::uint64_t batch = 0) {
  return {1, Position{first}, Position{last}, chain_before, chain_after, wall_time(time), batch, static_cast<std::uint32_t>(last - first + 1), false};
}

// The chains after the pieces that were chosen: each piece of a test has its own.
std::vector<std::uint64_t> chosen(std::vector<Piece> walked, std::vector<Piece> raw, LogEnd end) {
  std::vector<std::uint64_t> chains;
  for (const Piece& one : choose_pieces(std::move(walked), std::move(raw), end)) chains.push_back(one.chain_after);
  return chains;
}

using Chains = std::vector<std::uint64_t>;

TEST(SalvageChoice, WhatTheTreesLeadToComesFirst) {
  EXPECT_EQ(chosen({piece(1, 5, 0, 11), piece(6, 9, 11, 12)}, {piece(1, 9, 0, 99), piece(4, 7, 50, 51)}, {Position{9}, 12}), (Chains{11, 12}));
}

TEST(SalvageChoice, NothingIsTakenFromBehindTheEnd) {
  EXPECT_EQ(chosen({piece(1, 5, 0, 11)}, {piece(6, 9, 11, 12)}, {Position{5}, 11}), (Chains{11}));
  EXPECT_EQ(chosen({piece(1, 5, 0, 11)}, {piece(6, 9, 11, 12)}, {Position{8}, std::nullopt}), (Chains{11}));
  // What ends there has the chain of the end.
  EXPECT_EQ(chosen({piece(1, 5, 0, 11)}, {piece(6, 9, 11, 12)}, {Position{9}, 13}), (Chains{11}));
  EXPECT_EQ(chosen({piece(1, 5, 0, 11)}, {piece(6, 9, 11, 13)}, {Position{9}, 13}), (Chains{11, 13}));
}

// Both follow the first one; only one of them leads to what comes after.
TEST(SalvageChoice, ADeadTransactionDoesNotDisplaceWhatCameInItsPlace) {
  const std::vector<Piece> walked = {piece(1, 5, 0, 11), piece(10, 12, 14, 15)};
  const Piece dead = piece(6, 9, 11, 99), first = piece(6, 7, 11, 13), second = piece(8, 9, 13, 14);
  EXPECT_EQ(chosen(walked, {dead, first, second}, {Position{12}, 15}), (Chains{11, 13, 14, 15}));
  EXPECT_EQ(chosen(walked, {second, first, dead}, {Position{12}, 15}), (Chains{11, 13, 14, 15}));
  // Alone it does not fit to what comes after it.
  EXPECT_EQ(chosen(walked, {dead}, {Position{12}, 15}), (Chains{11, 15}));
}

TEST(SalvageChoice, WithoutAnyTreeTheChainLeadsBackFromTheEnd) {
  const std::vector<Piece> raw = {piece(1, 5, 0, 11), piece(6, 9, 11, 12), piece(6, 9, 11, 98), piece(6, 8, 11, 97), piece(10, 12, 12, 13), piece(13, 20, 13, 96)};
  EXPECT_EQ(chosen({}, raw, {Position{12}, 13}), (Chains{11, 12, 13}));
  for (const Piece& one : choose_pieces({}, raw, {Position{12}, 13})) EXPECT_TRUE(one.is_proven);
}

// Before a hole nothing leads back: what came in the place of what died is later. It is not proven.
TEST(SalvageChoice, BeforeAHoleTheLatestIsTaken) {
  const std::vector<Piece> walked = {piece(1, 5, 0, 11, 1), piece(20, 22, 50, 51, 9)};
  const Piece dead = piece(6, 15, 11, 99, 2), later = piece(6, 7, 11, 12, 3), last = piece(8, 10, 12, 13, 4);
  EXPECT_EQ(chosen(walked, {dead, later, last}, {Position{22}, 51}), (Chains{11, 12, 13, 51}));
  EXPECT_EQ(chosen(walked, {dead, later}, {Position{22}, 51}), (Chains{11, 12, 51}));
  // Of the same time, the longest.
  EXPECT_EQ(chosen(walked, {piece(6, 9, 11, 99, 3), piece(6, 7, 11, 12, 3), piece(8, 10, 12, 13, 3)}, {Position{22}, 51}), (Chains{11, 12, 13, 51}));
  const auto pieces = choose_pieces(walked, {later}, {Position{22}, 51});
  ASSERT_EQ(pieces.size(), 3u);
  EXPECT_TRUE(pieces[0].is_proven && pieces[2].is_proven);
  EXPECT_FALSE(pieces[1].is_proven);
}

// Of what died only the end is left, between records that were written after it.
TEST(SalvageChoice, BatchesAndTimesAscend) {
  const std::vector<Piece> walked = {piece(1, 5, 0, 11, 5, 5), piece(20, 22, 50, 51, 9, 9)};
  EXPECT_EQ(chosen(walked, {piece(8, 10, 70, 71, 4, 6)}, {Position{22}, 51}), (Chains{11, 51}));
  EXPECT_EQ(chosen(walked, {piece(8, 10, 70, 71, 6, 4)}, {Position{22}, 51}), (Chains{11, 51}));
  EXPECT_EQ(chosen(walked, {piece(8, 10, 70, 71, 10, 6)}, {Position{22}, 51}), (Chains{11, 51}));
  EXPECT_EQ(chosen(walked, {piece(8, 10, 70, 71, 6, 10)}, {Position{22}, 51}), (Chains{11, 51}));
  EXPECT_EQ(chosen(walked, {piece(8, 10, 70, 71, 6, 6)}, {Position{22}, 51}), (Chains{11, 71, 51}));
}

TEST(SalvageChoice, WhatDoesNotFitItsNeighboursIsNotTaken) {
  const std::vector<Piece> walked = {piece(1, 5, 0, 11), piece(10, 12, 14, 15)};
  EXPECT_EQ(chosen(walked, {piece(6, 7, 12, 13)}, {Position{12}, 15}), (Chains{11, 15}));
  EXPECT_EQ(chosen(walked, {piece(8, 9, 13, 99)}, {Position{12}, 15}), (Chains{11, 15}));
  EXPECT_EQ(chosen(walked, {piece(8, 11, 13, 14)}, {Position{12}, 15}), (Chains{11, 15}));
  EXPECT_EQ(chosen({}, {piece(1, 3, 7, 8)}, {Position{3}, 8}), Chains{});
  // Between them, with nothing on either side, nothing objects.
  EXPECT_EQ(chosen(walked, {piece(7, 8, 77, 78)}, {Position{12}, 15}), (Chains{11, 78, 15}));
}

TEST(SalvageChoice, ACopyMayHaveTheEventsThatAreDamaged) {
  Piece damaged = piece(1, 5, 0, 11), whole = damaged, other = piece(1, 5, 0, 12);
  damaged.intact = 3;
  whole.at = 200;
  const auto pieces = choose_pieces({damaged}, {whole, other}, {Position{5}, 11});
  ASSERT_EQ(pieces.size(), 1u);
  EXPECT_EQ(pieces[0].at, 200u);
  EXPECT_EQ(pieces[0].intact, 5u);
}

TEST(SalvageChoice, WhatFollowsAnOldEndIsTheLongest) {
  const std::vector<Piece> raw = {piece(6, 8, 11, 99), piece(6, 7, 11, 12), piece(8, 9, 12, 13), piece(11, 12, 13, 14)};
  const auto end = follow_pieces(raw, Position{5}, 11);
  EXPECT_EQ(end.last, Position{9});
  EXPECT_EQ(end.chain, 13u);
  EXPECT_EQ(follow_pieces(raw, Position{5}, 10).last, Position{5});
}

}  // namespace
}  // namespace bus::store
