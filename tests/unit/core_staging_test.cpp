// Goal: what is staged gets its place at once, and every answer that depends on it waits for the commit.
// Method: stage events by hand; the test is the committer.
#include <gtest/gtest.h>

#include <set>

#include "broker/core/staging.hpp"
#include "tests/support/events.hpp"

namespace bus::broker {
namespace {

class StagingTest : public ::testing::Test {
 protected:
  StagingTest() {
    state.keys.set_complete(true);
    staging.start({});
    session.publisher = "p";
  }
  Staged stage(std::uint64_t sequence, const Hash128* key = nullptr) {
    Staging::NewEntry entry;
    entry.publisher = staging.publisher(session);
    entry.sequence = sequence;
    entry.topic = staging.topic("a.b");
    entry.type = staging.type(test::notification_type);
    entry.key = key;
    entry.body = body;
    return staging.stage(entry);
  }
  void commit() {
    staging.committed();
    staging.release();
  }
  store::Head replay;
  Buffer body = test::encode(test::event());
  State state;
  Sessions sessions{{1, 2}};
  Session session;
  Staging staging{state, sessions, {}};
};

TEST_F(StagingTest, GivesPositionsAndVersionsInOrder) {
  const Hash128 key{1, 2};
  EXPECT_EQ(stage(1, &key).position, Position{1});
  EXPECT_EQ(stage(2).version, 0u);
  const auto third = stage(3, &key);
  EXPECT_EQ(third.position, Position{3});
  EXPECT_EQ(third.version, 2u);
  EXPECT_EQ(staging.last(), Position{3});
}

TEST_F(StagingTest, SealsWhatWasStaged) {
  stage(1);
  stage(2);
  const auto batch = staging.take(wall_time(5), replay);
  EXPECT_EQ(batch.head.batch, 1u);
  EXPECT_EQ(batch.head.committed, Position{2});
  EXPECT_EQ(batch.head.committed_at, wall_time(5));
  ASSERT_EQ(batch.records.size(), 1u);
  EXPECT_EQ(batch.records[0]->entry(1).sequence, 2u);
  EXPECT_EQ(batch.rows.size(), 3u) << "publisher, topic and type";
  EXPECT_EQ(batch.head.chain, batch.records[0]->chain_after());
}

TEST_F(StagingTest, WritesEachNewNameOnce) {
  stage(1);
  staging.take(wall_time(1), replay);
  commit();
  stage(2);
  EXPECT_TRUE(staging.take(wall_time(1), replay).rows.empty());
}

TEST_F(StagingTest, WritesWhoHasATransientNameWithTheFirstEventOfEach) {
  session.transient = true;
  const auto rows_for = [&](std::uint64_t instance, std::uint64_t sequence) {
    session.instance = instance;
    stage(sequence);
    std::vector<store::Row> rows = staging.take(wall_time(1), replay).rows;
    commit();
    std::erase_if(rows, [](const store::Row& row) { return row.table != store::Table::publishers; });
    return rows;
  };
  EXPECT_EQ(rows_for(7, 1).size(), 1u);
  EXPECT_TRUE(rows_for(7, 2).empty());
  const auto rows = rows_for(8, 3);
  ASSERT_EQ(rows.size(), 1u);
  State restored;
  restored.restore_row(rows[0].table, rows[0].key, *rows[0].value).value();
  EXPECT_TRUE(restored.publishers[1].transient);
  EXPECT_EQ(restored.publishers[1].instance, 8u);
  EXPECT_EQ(restored.publishers[1].last_sequence, 2u);
}

TEST_F(StagingTest, ACheckpointSavesEachRowInOneOfItsSteps) {
  constexpr std::size_t topics = 10'001;
  while (state.topics.size() < topics) state.topics[state.topics.add("topic-" + std::to_string(state.topics.size()))].dirty = true;
  for (const std::size_t dirty : {topics, std::size_t{0}}) {
    std::set<std::string> saved;
    for (std::size_t step = 0; step < limits::key_shards; ++step) {
      std::vector<store::Row> rows;
      state.checkpoint(step, rows);
      EXPECT_LE(rows.size(), topics / limits::key_shards + 16);
      for (const auto& row : rows) EXPECT_TRUE(saved.insert(row.key).second);
    }
    EXPECT_EQ(saved.size(), dirty);
  }
}

TEST_F(StagingTest, SplitsLargeBatchesIntoRecords) {
  auto large = test::event();
  large.payload = test::notification(std::string(100'000, 'x'));
  body = test::encode(large);
  for (std::uint64_t sequence = 1; sequence <= 10; ++sequence) stage(sequence);
  const auto batch = staging.take(wall_time(1), replay);
  EXPECT_GT(batch.records.size(), 2u);
  for (std::size_t at = 1; at < batch.records.size(); ++at) {
    EXPECT_EQ(batch.records[at]->first(), batch.records[at - 1]->last() + 1);
    EXPECT_EQ(batch.records[at]->chain_before(), batch.records[at - 1]->chain_after());
  }
}

TEST_F(StagingTest, HoldsAnswersUntilTheirBatchHasCommitted) {
  std::string said;
  staging.hold([&] { said += "first "; });
  EXPECT_EQ(said, "");
  staging.take(wall_time(1), replay);
  staging.hold([&] { said += "second "; });
  commit();
  EXPECT_EQ(said, "first ");
  staging.hold(1, [&] { said += "at once "; });
  EXPECT_EQ(said, "first at once ");
  staging.take(wall_time(1), replay);
  commit();
  EXPECT_EQ(said, "first at once second ");
}

TEST_F(StagingTest, NeverMovesCommitTimeBack) {
  staging.take(wall_time(9), replay);
  commit();
  EXPECT_EQ(staging.take(wall_time(3), replay).head.committed_at, wall_time(9));
}

TEST_F(StagingTest, JournalsSequencesThatWereRefused) {
  const auto publisher = staging.publisher(session);
  staging.use_up(publisher, 4);
  EXPECT_EQ(state.publishers[publisher].last_sequence, 4u);
  EXPECT_FALSE(staging.take(wall_time(1), replay).journal.empty());
}

TEST_F(StagingTest, CountsBytesUntilTheyAreCommitted) {
  stage(1);
  EXPECT_EQ(staging.bytes(), body.size());
  staging.take(wall_time(1), replay);
  stage(2);
  EXPECT_EQ(staging.bytes(), 2 * body.size());
  commit();
  EXPECT_EQ(staging.bytes(), body.size());
}

TEST_F(StagingTest, FitsAsManyBytesAsACommitMayHave) {
  EXPECT_TRUE(staging.fits(limits::commit_bytes_max + 1)) << "an empty one takes any batch";
  stage(1);
  EXPECT_TRUE(staging.fits(limits::commit_bytes_max - body.size()));
  EXPECT_FALSE(staging.fits(limits::commit_bytes_max - body.size() + 1));
  staging.take(wall_time(1), replay);
  EXPECT_TRUE(staging.fits(limits::commit_bytes_max)) << "what is with the committer does not count";
}

TEST_F(StagingTest, HandsOutOneBatchAtATime) {
  EXPECT_FALSE(staging.has_changes());
  staging.take(wall_time(1), replay);
  EXPECT_TRUE(staging.committing());
  EXPECT_DEATH(staging.take(wall_time(1), replay), "!committing_");
}

}  // namespace
}  // namespace bus::broker
