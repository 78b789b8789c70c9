// Goal: a log comes into being whole or not at all, belongs to one process, gives back what was committed to it, and
// refuses what does not fit without changing anything.
// Method: the real store on a directory in memory, with batches made as the core makes them.
#include <gtest/gtest.h>

#include <sys/wait.h>
#include <unistd.h>

#include <future>
#include <thread>

#include "broker/store/directory.hpp"
#include "broker/store/tables.hpp"
#include "tests/support/batch_maker.hpp"
#include "tests/support/results.hpp"
#include "tests/support/store_dir.hpp"

namespace bus::store {
namespace {

using limits::KiB;
using limits::MiB;
using testing::BatchMaker;
using testing::body_of;
using testing::fails;
using testing::is_ok;

class StoreTest : public ::testing::Test {
 protected:
  void reopen() {
    store_.reset();
    store_ = dir_.open();
  }
  void commit(BatchMaker& maker) { ASSERT_TRUE(is_ok(store_->commit(maker.take()))); }
  VerifySlice verify() const { return store_->reader()->verify(Position::none, 0, ~std::size_t{0}).value(); }
  std::string rows(Table table) const {
    std::string text;
    store_->each_row(table, [&](auto key, auto value) {
      text.append(key).append("=").append(value).append(" ");
      return Result<void>();
    }).value();
    return text;
  }
  std::string journal(std::uint64_t from) const {
    std::string text;
    store_->each_journal(from, [&](auto batch, auto bytes) {
      text.append(std::to_string(batch)).append("=").append(bytes).append(" ");
      return Result<void>();
    }).value();
    return text;
  }

  testing::StoreDir dir_;
  std::unique_ptr<Store> store_ = dir_.open();
};

// ---- directory

TEST_F(StoreTest, AnEmptyDirectoryBecomesAnEmptyLog) {
  EXPECT_EQ(store_->head().batch, 0u);
  EXPECT_EQ(store_->head().committed, Position::none);
  EXPECT_EQ(store_->identity().epoch, 1u);
  EXPECT_EQ(store_->identity().history, 1u);
  const auto seed = dir_.options().seed;
  EXPECT_TRUE(std::equal(seed.begin(), seed.begin() + 16, store_->identity().log_id.begin()));
  EXPECT_TRUE(store_->reader()->records(Position{1}, 1 * MiB).value().empty());
  EXPECT_TRUE(verify().faults.empty());
  EXPECT_FALSE(std::filesystem::exists(dir_.path() / "log.new"));
}

TEST(StoreDirectory, AnAbsentDirectoryIsMadeWithItsParents) {
  const testing::StoreDir dir;
  auto options = dir.options();
  options.dir = dir.path() / "a" / "b";
  EXPECT_TRUE(is_ok(Store::open(options)));
}

TEST(StoreDirectory, WhatACrashedCreationLeftIsReplaced) {
  const testing::StoreDir dir;
  std::filesystem::create_directory(dir.path() / "log.new");
  testing::write_file(dir.path() / "log.new" / "data.mdb", "half a file");
  EXPECT_TRUE(is_ok(Store::open(dir.options())));
}

TEST(StoreDirectory, FilesOfSomebodyElseAreLeftAlone) {
  const testing::StoreDir dir;
  testing::write_file(dir.path() / "thesis.txt", "text");
  EXPECT_TRUE(fails(Store::open(dir.options()), Code::bad_format, "thesis.txt"));
  EXPECT_FALSE(std::filesystem::exists(dir.path() / "log"));
  EXPECT_EQ(testing::read_file(dir.path() / "thesis.txt"), "text");
}

TEST(StoreDirectory, ReadingOnlyNeedsALog) {
  const testing::StoreDir dir;
  EXPECT_TRUE(fails(Store::open_read_only(dir.path()), Code::not_found));
}

TEST(StoreDirectory, WarnsOfMemory) {
  if (!std::filesystem::is_directory("/dev/shm")) GTEST_SKIP() << "no tmpfs";
  EXPECT_NE(storage_warning("/dev/shm").find("tmpfs"), std::string::npos);
}

TEST_F(StoreTest, IsOpenOnceOnly) {
  EXPECT_TRUE(fails(Store::open(dir_.options()), Code::locked, dir_.path().string()));
  EXPECT_TRUE(fails(Store::open_read_only(dir_.path()), Code::locked));
  store_.reset();
  EXPECT_TRUE(is_ok(Store::open(dir_.options())));
}

// A broker that is started while the one before it is still on its way out.
TEST_F(StoreTest, WaitsForALockThatIsBeingLetGo) {
  const auto opened_twice = [&] {
    int found = 0;
    for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
      std::error_code gone;
      found += std::filesystem::read_symlink(entry.path(), gone) == dir_.path() / "lock";
    }
    return found == 2;
  };
  auto second = std::async(std::launch::async, [&] { return is_ok(Store::open(dir_.options())); });
  while (!opened_twice()) std::this_thread::yield();
  store_.reset();
  EXPECT_TRUE(second.get());
}

TEST_F(StoreTest, EveryOpeningIsAnEpochButOneThatOnlyReads) {
  const auto log_id = store_->identity().log_id;
  for (std::uint64_t epoch = 2; epoch < 5; ++epoch) {
    reopen();
    EXPECT_EQ(store_->identity().epoch, epoch);
    EXPECT_EQ(store_->identity().log_id, log_id);
  }
  store_.reset();
  EXPECT_EQ(Store::open_read_only(dir_.path()).value()->identity().epoch, 4u);
  reopen();
  EXPECT_EQ(store_->identity().epoch, 5u);
}

TEST_F(StoreTest, AFileThatIsCutOffIsDamage) {
  BatchMaker maker(*store_);
  maker.add({.text = std::string(100 * KiB, 'x')});
  commit(maker);
  const auto used = store_->space().used_bytes;
  store_.reset();
  std::filesystem::resize_file(dir_.data_file(), used - 4096);
  EXPECT_TRUE(fails(Store::open(dir_.options()), Code::damaged, "cut off"));
  std::filesystem::resize_file(dir_.data_file(), 0);
  EXPECT_TRUE(fails(Store::open(dir_.options()), Code::damaged, "cut off"));
}

TEST_F(StoreTest, AnLmdbFileOfSomebodyElseIsBadFormat) {
  store_.reset();
  std::filesystem::remove_all(dir_.path() / "log");
  std::filesystem::create_directory(dir_.path() / "log");
  {
    const auto env = lmdb::Environment::open(dir_.path() / "log", 1 * MiB, lmdb::Access::write).value();
    auto txn = env.begin(lmdb::Access::write).value();
    ASSERT_TRUE(is_ok(txn.open_table("recipes", true)));
    ASSERT_TRUE(is_ok(txn.commit()));
  }
  EXPECT_TRUE(fails(Store::open(dir_.options()), Code::bad_format, "table meta"));
}

TEST_F(StoreTest, ANewerFormatIsRefusedByItsNumber) {
  store_.reset();
  {
    const auto env = lmdb::Environment::open(dir_.path() / "log", 64 * MiB, lmdb::Access::write).value();
    auto txn = env.begin(lmdb::Access::write).value();
    const auto tables = Tables::open(txn, false).value();
    ASSERT_TRUE(is_ok(tables.put(txn, TableId::meta, "format", Writer().put(std::uint32_t{3}).bytes())));
    ASSERT_TRUE(is_ok(txn.commit()));
  }
  EXPECT_TRUE(fails(Store::open(dir_.options()), Code::bad_format, "version 3"));
}

// ---- commits

TEST_F(StoreTest, GivesBackWhatWasCommittedAlsoAfterReopening) {
  BatchMaker maker(*store_);
  std::vector<RecordPtr> committed;
  for (int batch = 0; batch < 5; ++batch) {
    for (int event = 0; event < 300; ++event) maker.add({.text = std::string(500, 'x') + std::to_string(event)});
    const auto made = maker.take();
    committed.insert(committed.end(), made.records.begin(), made.records.end());
    ASSERT_TRUE(is_ok(store_->commit(made)));
  }
  for (int life = 0; life < 2; ++life) {
    const auto read = store_->reader()->records(Position{1}, 64 * MiB).value();
    ASSERT_EQ(read.size(), committed.size());
    for (std::size_t at = 0; at < read.size(); ++at) {
      EXPECT_EQ(text_of(read[at]->bytes()), text_of(committed[at]->bytes()));
    }
    EXPECT_EQ(store_->head().committed, Position{1500});
    EXPECT_EQ(store_->head().chain, committed.back()->chain_after());
    EXPECT_EQ(store_->head().batch, 5u);
    reopen();
  }
}

TEST_F(StoreTest, ReadsTheRecordThatHoldsAPositionAndNoMoreThanAskedFor) {
  BatchMaker maker(*store_);
  for (int batch = 0; batch < 4; ++batch) {
    for (int event = 0; event < 10; ++event) maker.add({.text = std::string(1000, 'x')});
    commit(maker);
  }
  const auto reader = store_->reader();
  const auto one = reader->records(Position{15}, 1).value();
  ASSERT_EQ(one.size(), 1u);
  EXPECT_EQ(one[0]->first(), Position{11});
  EXPECT_EQ(reader->records(Position{15}, 3 * one[0]->bytes().size()).value().size(), 3u);
  EXPECT_EQ(reader->records(Position{40}, 1 * MiB).value().size(), 1u);
  EXPECT_TRUE(reader->records(Position{41}, 1 * MiB).value().empty());
}

TEST_F(StoreTest, RowsAreWrittenReplacedAndErased) {
  BatchMaker maker(*store_);
  maker.put_row(Table::topics, "a", "1");
  maker.put_row(Table::topics, "b", "2");
  maker.put_row(Table::groups, "a", "other table");
  commit(maker);
  maker.put_row(Table::topics, "a", "3");
  maker.erase_row(Table::topics, "b");
  maker.erase_row(Table::types, "never there");
  commit(maker);
  reopen();
  EXPECT_EQ(rows(Table::topics), "a=3 ");
  EXPECT_EQ(rows(Table::groups), "a=other table ");
  EXPECT_EQ(rows(Table::types), "");
}

TEST_F(StoreTest, TheJournalComesBackFromAnyBatchOn) {
  BatchMaker maker(*store_);
  for (const char* text : {"one", "", "three"}) {
    maker.set_journal(text);
    commit(maker);
  }
  reopen();
  EXPECT_EQ(journal(1), "1=one 3=three ");
  EXPECT_EQ(journal(2), "3=three ");
  EXPECT_EQ(journal(4), "");
}

TEST_F(StoreTest, ACheckpointTrimsTheJournalABoundedNumberOfRowsAtATime) {
  BatchMaker maker(*store_);
  for (int batch = 1; batch <= 100; ++batch) {
    maker.set_journal("entry");
    commit(maker);
  }
  EXPECT_EQ(store_->reader()->stat().value().journal_entries, 100u);
  maker.set_replay(Position{1}, 100);
  commit(maker);
  EXPECT_EQ(store_->reader()->stat().value().journal_entries, 36u);
  EXPECT_EQ(journal(100), "100=entry ");
  commit(maker);
  EXPECT_EQ(store_->reader()->stat().value().journal_entries, 1u);
  reopen();
  EXPECT_EQ(journal(100), "100=entry ");
  EXPECT_TRUE(verify().faults.empty());
}

TEST_F(StoreTest, RecordsAreVisitedFromAnyPositionOn) {
  BatchMaker maker(*store_);
  for (int batch = 0; batch < 3; ++batch) {
    maker.add({});
    maker.add({});
    commit(maker);
  }
  std::string visited;
  const auto visit = [&](const Record& record) {
    visited += std::to_string(number(record.first())) + " ";
    return Result<void>();
  };
  for (const std::uint64_t from : {1, 4, 5, 7}) {
    ASSERT_TRUE(is_ok(store_->each_record(Position{from}, visit)));
    visited += "| ";
  }
  EXPECT_EQ(visited, "1 3 5 | 3 5 | 5 | | ");
}

TEST_F(StoreTest, ABatchThatDoesNotFollowTheHeadIsABug) {
  BatchMaker maker(*store_);
  maker.add({});
  const auto batch = maker.take();
  ASSERT_TRUE(is_ok(store_->commit(batch)));
  EXPECT_DEATH((void)store_->commit(batch), "batch.head.batch");
}

TEST_F(StoreTest, CommittingWithoutTheRightToWriteIsABug) {
  store_.reset();
  store_ = Store::open_read_only(dir_.path()).value();
  EXPECT_DEATH((void)store_->commit({}), "read_only");
}

// ---- lookups

TEST_F(StoreTest, FindsThePositionOfATime) {
  BatchMaker maker(*store_);  // batch n commits at second n, two events each
  for (int batch = 0; batch < 20; ++batch) {
    maker.add({});
    maker.add({});
    commit(maker);
  }
  const auto reader = store_->reader();
  const auto at = [&](double seconds) {
    return reader->position_at(wall_time(static_cast<std::int64_t>(seconds * 1e9))).value();
  };
  EXPECT_EQ(at(0), Position{1});
  for (int batch = 1; batch <= 20; ++batch) {
    EXPECT_EQ(at(batch), Position{static_cast<std::uint64_t>(2 * batch - 1)});
    EXPECT_EQ(at(batch + 0.5), Position{static_cast<std::uint64_t>(2 * batch + 1)});
  }
  EXPECT_EQ(at(100), Position{41});
}

TEST_F(StoreTest, ThePositionOfAnyTimeInAnEmptyLogIsTheFirst) {
  EXPECT_EQ(store_->reader()->position_at(wall_time(5)).value(), Position{1});
}

TEST_F(StoreTest, FindsTheHeadsOfKeysInTheOrderAsked) {
  BatchMaker maker(*store_);
  maker.add({.key = "anna"});
  maker.add({.key = "ben"});
  commit(maker);
  maker.add({.key = "anna"});
  commit(maker);
  reopen();
  const std::vector<Hash128> keys = {maker.hash_of("ben"), maker.hash_of("nobody"), maker.hash_of("anna")};
  const auto heads = store_->reader()->key_heads(keys).value();
  ASSERT_EQ(heads.size(), 3u);
  EXPECT_EQ(heads[0]->position, Position{2});
  EXPECT_FALSE(heads[1]);
  EXPECT_EQ(heads[2]->position, Position{3});
  EXPECT_EQ(heads[2]->version, 2u);
}

TEST_F(StoreTest, StatTellsWhereTheLogStands) {
  BatchMaker maker(*store_);
  for (int batch = 0; batch < 3; ++batch) {
    maker.add({});
    maker.set_journal("x");
    commit(maker);
  }
  const auto stat = store_->reader()->stat().value();
  EXPECT_EQ(stat.first, Position{1});
  EXPECT_EQ(stat.last, Position{3});
  EXPECT_EQ(stat.first_at, wall_time(1'000'000'000));
  EXPECT_EQ(stat.last_at, wall_time(3'000'000'000));
  EXPECT_EQ(stat.records, 3u);
  EXPECT_EQ(stat.journal_entries, 3u);
  EXPECT_EQ(stat.map_bytes, dir_.options().map_bytes);
}

// ---- space

class SmallLog : public StoreTest {
 protected:
  static constexpr std::size_t map_bytes = limits::map_bytes_min;
  SmallLog() {
    store_.reset();
    store_ = Store::open(dir_.options(map_bytes)).value();
  }
  // Commits until the log refuses; what it then holds is what it held before.
  void fill_up(BatchMaker& maker) {
    for (int batch = 0; batch < 100; ++batch) {
      BatchMaker next = maker;
      for (int event = 0; event < 4; ++event) next.add({.text = std::string(1 * MiB - 64, 'x'), .key = "key"});
      next.put_row(Table::topics, "row", std::to_string(batch));
      const auto head = store_->head();
      const auto committed = store_->commit(next.take());
      if (!committed) {
        EXPECT_TRUE(fails(committed, Code::log_full));
        EXPECT_EQ(store_->head().batch, head.batch);
        EXPECT_EQ(rows(Table::topics), "row=" + std::to_string(batch - 1) + " ");
        return;
      }
      maker = next;
    }
    FAIL() << "400 MiB fit into a map of 64";
  }
};

TEST_F(SmallLog, RefusesWhatDoesNotFitAndWritesNothingOfIt) {
  BatchMaker maker(*store_);
  fill_up(maker);
  EXPECT_TRUE(store_->space().full);
  EXPECT_GE(store_->head().committed, Position{48});
  EXPECT_LE(std::filesystem::file_size(dir_.data_file()), map_bytes);
  const auto slice = verify();
  EXPECT_TRUE(slice.faults.empty());
  EXPECT_EQ(slice.events, number(store_->head().committed));
}

TEST_F(SmallLog, SettlementGoesOnWhileTheLogIsFull) {
  BatchMaker maker(*store_);
  fill_up(maker);
  for (int round = 0; round < 300; ++round) {
    maker.set_journal(std::string(2'000, 'j'));
    maker.put_row(Table::groups, "group", std::to_string(round));
    if (round % 50 == 49) maker.set_replay(Position{1}, maker.head().batch);
    commit(maker);
  }
  EXPECT_EQ(rows(Table::groups), "group=299 ");
  EXPECT_TRUE(verify().faults.empty());
}

TEST_F(SmallLog, AFullLogOpensAgainAndAgain) {
  BatchMaker maker(*store_);
  fill_up(maker);
  const auto head = store_->head();
  for (int life = 0; life < 20; ++life) {
    store_.reset();
    store_ = Store::open(dir_.options(map_bytes)).value();
    EXPECT_EQ(store_->head().committed, head.committed);
  }
  maker.set_journal("settled");
  commit(maker);
}

TEST_F(SmallLog, ALargerMapMakesRoom) {
  BatchMaker maker(*store_);
  fill_up(maker);
  store_.reset();
  store_ = Store::open(dir_.options(2 * map_bytes)).value();
  maker.add({.text = std::string(1 * MiB - 64, 'x')});
  commit(maker);
  EXPECT_FALSE(store_->space().full);
}

TEST_F(StoreTest, FillingAheadEndsAndLeavesTheLogAsItWas) {
  BatchMaker maker(*store_);
  maker.add({.text = std::string(100 * KiB, 'x')});
  commit(maker);
  int slices = 0;
  while (store_->fill_ahead().value()) ASSERT_LT(++slices, 100);
  EXPECT_GE(slices, 1);
  EXPECT_FALSE(store_->fill_ahead().value());
  EXPECT_GE(store_->space().free_bytes, dir_.options().reserve_bytes);
  EXPECT_TRUE(verify().faults.empty());
}

// What a killed process has read would be kept for good under load that never ends.
TEST_F(StoreTest, ReadersThatHaveDiedAreForgottenWithoutAnIdleMoment) {
  const pid_t child = ::fork();
  if (child == 0) {
    const auto env = lmdb::Environment::open(dir_.path() / "log", 0, lmdb::Access::read);
    std::vector<lmdb::Transaction> all;
    for (auto txn = env->begin(lmdb::Access::read); txn.ok(); txn = env->begin(lmdb::Access::read)) all.push_back(std::move(*txn));
    ::_exit(0);                       // none of them is ended
  }
  ASSERT_GT(child, 0);
  ASSERT_EQ(::waitpid(child, nullptr, 0), child);
  const auto reader = store_->reader();
  ASSERT_FALSE(reader->records(Position{1}, 1).ok()) << "there is room for one more";
  BatchMaker maker(*store_);
  int commits = 0;
  for (; commits < 1000 && !reader->records(Position{1}, 1).ok(); ++commits) commit(maker);
  EXPECT_LT(commits, 1000);
}

}  // namespace
}  // namespace bus::store
