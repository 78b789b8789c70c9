// Goal: what became of each sequence of a publisher is found by walking back along its chain, in as many parts as it takes,
// and a chain that leads astray is noticed.
// Method: the real store on a directory in memory, with batches made as the core makes them.
#include <gtest/gtest.h>

#include <numeric>

#include "tests/support/batch_maker.hpp"
#include "tests/support/results.hpp"
#include "tests/support/store_dir.hpp"

namespace bus::store {
namespace {

using testing::BatchMaker;
using testing::fails;
using testing::is_ok;

class SequencesTest : public ::testing::Test {
 protected:
  void commit() { ASSERT_TRUE(is_ok(store->commit(maker.take()))); }
  // Of publisher 1.
  std::vector<SequenceHit> find_sequences(Position from, std::span<const std::uint64_t> sequences) const {
    const auto slice = reader->find_sequences(1, from, sequences, limits::chain_records_max).value();
    EXPECT_EQ(slice.open, 0u);
    return slice.hits;
  }

  testing::StoreDir dir;
  std::unique_ptr<Store> store = dir.open();
  std::unique_ptr<LogReader> reader = store->reader();
  BatchMaker maker{*store};
};

TEST_F(SequencesTest, FindsWhatBecameOfEachSequence) {
  maker.add({.publisher = 1});                 // sequence 1 at position 1
  maker.add({.publisher = 2});
  maker.add({.key = "anna", .publisher = 1});  // 2 at 3
  commit();
  maker.skip_sequence(1);                      // 3 was refused
  maker.add({.key = "anna", .publisher = 1});  // 4 at 4
  maker.add({.publisher = 1});                 // 5 at 5
  commit();
  const std::uint64_t sequences[] = {1, 2, 3, 4, 5};
  const auto hits = find_sequences(maker.last_of(1), sequences);
  ASSERT_EQ(hits.size(), 5u);
  const std::uint64_t positions[] = {1, 3, 0, 4, 5}, versions[] = {0, 1, 0, 2, 0};
  for (std::size_t at = 0; at < hits.size(); ++at) {
    EXPECT_EQ(number(hits[at].position), positions[at]) << at;
    EXPECT_EQ(hits[at].version, versions[at]) << at;
  }
}

TEST_F(SequencesTest, FindsSequencesAcrossManyRecordsAndOtherPublishers) {
  std::vector<Position> stored;
  for (int batch = 0; batch < 30; ++batch) {
    for (std::uint32_t event = 0; event < 7; ++event) {
      const std::uint32_t publisher = event % 3;
      const Position position = maker.add({.publisher = publisher});
      if (publisher == 1) stored.push_back(position);
    }
    commit();
  }
  std::vector<std::uint64_t> sequences(stored.size());
  for (std::size_t at = 0; at < sequences.size(); ++at) sequences[at] = at + 1;
  const auto hits = find_sequences(maker.last_of(1), sequences);
  for (std::size_t at = 0; at < hits.size(); ++at) EXPECT_EQ(hits[at].position, stored[at]);
}

TEST_F(SequencesTest, AChainThatLeadsToSomebodyElseIsDamage) {
  maker.add({.publisher = 1});
  maker.add({.publisher = 2});
  commit();
  const std::uint64_t sequences[] = {1};
  EXPECT_TRUE(fails(reader->find_sequences(1, Position{2}, sequences, 1), Code::damaged, "publisher 1"));
}

TEST_F(SequencesTest, WalksAlongNoMoreRecordsThanItMay) {
  for (int batch = 0; batch < 10; ++batch) {
    maker.add({.publisher = 1});
    maker.add({.publisher = 2});
    maker.add({.publisher = 1});  // another run of the same record
    commit();
  }
  std::vector<std::uint64_t> sequences(20);
  std::iota(sequences.begin(), sequences.end(), 1);
  const auto all = reader->find_sequences(1, maker.last_of(1), sequences, 10).value();
  EXPECT_EQ(all.open, 0u);
  EXPECT_EQ(all.hits.front().position, Position{1});
  const auto less = reader->find_sequences(1, maker.last_of(1), sequences, 9).value();
  EXPECT_EQ(less.open, 2u);
  EXPECT_EQ(less.next, Position{3});
  EXPECT_EQ(less.hits[2].position, Position{4});
}

TEST_F(SequencesTest, TheWalkGoesOnWhereItStopped) {
  for (int batch = 0; batch < 10; ++batch) {
    maker.add({.publisher = 1});
    maker.skip_sequence(1);  // on the border of two parts of the walk, too
    commit();
  }
  std::vector<std::uint64_t> sequences(19);
  std::iota(sequences.begin(), sequences.end(), 1);
  const auto whole = find_sequences(maker.last_of(1), sequences);
  for (const std::size_t records_max : {1, 2, 3}) {
    Position next = maker.last_of(1);
    std::size_t parts = 0;
    for (auto open = sequences.size(); open > 0; ++parts) {
      ASSERT_LT(parts, sequences.size());
      const auto slice = reader->find_sequences(1, next, std::span(sequences).first(open), records_max).value();
      for (auto at = slice.open; at < open; ++at) EXPECT_EQ(slice.hits[at].position, whole[at].position) << at;
      open = slice.open;
      next = slice.next;
    }
    EXPECT_EQ(parts, (10 + records_max - 1) / records_max);
  }
}

TEST_F(SequencesTest, BeforeAPublishersFirstEventThereIsNothing) {
  maker.skip_sequence(1);
  maker.add({.publisher = 1});
  commit();
  const std::uint64_t sequences[] = {1, 2};
  const auto slice = reader->find_sequences(1, Position{1}, sequences, 1).value();
  EXPECT_EQ(slice.open, 0u);
  EXPECT_EQ(slice.hits[0].position, Position::none);
  EXPECT_EQ(slice.hits[1].position, Position{1});
}

}  // namespace
}  // namespace bus::store
