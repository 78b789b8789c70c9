// Goal: a log that is restored from a backup is the one that was backed up, row by row and event by event, or as it was at a position between
// two backups; and damage anywhere in a repository is found, and never restored.
// Method: backups of real stores as BackupMaker makes them; files of repositories changed in every way a disk may.
#include <gtest/gtest.h>

#include <set>

#include "broker/store/backup_restore.hpp"
#include "broker/store/key_pages.hpp"
#include "broker/store/meta.hpp"
#include "tests/support/backup_maker.hpp"
#include "tests/support/batch_maker.hpp"
#include "tests/support/results.hpp"

namespace bus::store {
namespace {

using testing::BackupMaker;
using testing::BatchMaker;
using testing::fails;
using testing::is_ok;
namespace fs = std::filesystem;

// A log of batches of five events; the text of an event names its position, its key is one of seven.
class StoreBackup : public ::testing::TestWithParam<Compression> {
 protected:
  static constexpr std::uint64_t batch_events = 5;
  StoreBackup() {
    auto options = dir_.options();
    options.compression = GetParam();
    store_ = Store::open(options).value();
    maker_.emplace(*store_);
    for (std::uint32_t number = 1; number <= 2; ++number) name(number, "first");
    maker_->put_row(Table::groups, number_key(1), "a group");
  }
  void name(std::uint32_t number, const std::string& what) {
    const auto text = what + std::to_string(number);
    maker_->put_row(Table::topics, number_key(number), testing::topic_row("topic." + text));
    maker_->put_row(Table::types, number_key(number), Writer().put_string("type." + text).take());
    maker_->put_row(Table::publishers, number_key(number), testing::publisher_row("publisher " + text));
  }
  void publish(std::uint64_t batches, std::uint32_t number = 1) {
    for (; batches > 0; --batches) {
      for (std::uint64_t event = 0; event < batch_events; ++event) {
        const auto position = bus::number(maker_->head().committed) + event + 1;
        maker_->add({.text = std::string(40, 'x') + " told at " + std::to_string(position), .key = "key " + std::to_string(position % 7), .publisher = number, .topic = number, .type = number});
      }
      maker_->set_journal(Writer().put(std::uint64_t{maker_->head().batch}).put_string("journal").take());
      store_->commit(maker_->take()).value();
    }
  }
  void remove(Position first, std::vector<std::uint32_t> at) {
    auto batch = maker_->take();
    const auto record = store_->reader()->records(first, 1).value().front();
    batch.changes.push_back({first, record->without(at)});
    ASSERT_TRUE(is_ok(store_->commit(batch)));
  }
  Result<RestoreReport> restore(RestoreGoal goal = {}) {
    RestoreOptions options{maker().path(), maker().backups(), target(), goal, {}};
    return store::restore(options);
  }
  std::unique_ptr<Store> restored(RestoreGoal goal = {}) {
    fs::remove_all(target());
    report_ = restore(goal).value();
    auto options = dir_.options();
    options.dir = target();
    return Store::open(options).value();
  }
  BackupMaker& maker() { return *repository_; }
  fs::path target() const { return other_.path() / "restored"; }
  // All rows but those of the log and meta.
  static std::map<std::string, std::string> rows(Store& store) {
    std::map<std::string, std::string> all;
    const auto reader = store.reader();
    reader->backup({.what = BackupAsk::What::hold}).value();
    for (std::uint8_t table = 1; table < table_ids; ++table) {
      if (table == static_cast<std::uint8_t>(TableId::meta)) continue;
      const auto slice = reader->backup({.what = BackupAsk::What::rows, .table = table}).value();
      for (const auto& [key, value] : slice.rows) all[std::to_string(table) + ' ' + key] = value;
    }
    return all;
  }
  static std::vector<std::uint64_t> sums(Store& store) {
    std::vector<std::uint64_t> all;
    const auto records = store.reader()->records(Position{1}, ~std::size_t{0}).value();
    for (const auto& record : records) {
      for (std::uint32_t at = 0; at < record->count(); ++at) all.push_back(record->is_removed(at) ? 0 : record->event_checksum(at));
    }
    return all;
  }
  static void expect_whole(Store& store) {
    const auto slice = store.reader()->verify(Position::none, 0, ~std::size_t{0}).value();
    EXPECT_TRUE(slice.faults.empty()) << slice.faults.front().what;
    EXPECT_EQ(slice.chain, store.head().chain);
  }
  static RestoreGoal at(std::uint64_t position) { return {0, Position{position}, {}}; }
  static RestoreGoal by(WallTime time) { return {0, {}, time}; }

  testing::StoreDir dir_, repository_dir_, other_;
  std::unique_ptr<Store> store_;
  std::optional<BatchMaker> maker_;
  std::optional<BackupMaker> repository_{repository_dir_.path()};
  RestoreReport report_;
};

TEST_P(StoreBackup, ARestoredLogIsTheSame) {
  publish(20);
  remove(Position{6}, {0, 3});
  maker().add(*store_);
  const auto copy = restored();
  EXPECT_EQ(rows(*copy), rows(*store_));
  EXPECT_EQ(sums(*copy), sums(*store_));
  expect_whole(*copy);
  EXPECT_EQ(copy->head().committed, Position{100});
  EXPECT_EQ(copy->head().batch, store_->head().batch);
  EXPECT_EQ(copy->head().replay_from, store_->head().replay_from);
  EXPECT_EQ(copy->identity().log_id, store_->identity().log_id);
  EXPECT_EQ(copy->identity().secret, store_->identity().secret);
  EXPECT_EQ(copy->identity().history, store_->identity().history + 1);
  EXPECT_EQ(report_.events, 100u);
  EXPECT_EQ(report_.later, 0u);
}

TEST_P(StoreBackup, AnEmptyLogCanBeRestored) {
  maker().add(*store_);
  const auto copy = restored();
  EXPECT_EQ(copy->head().committed, Position::none);
  EXPECT_EQ(rows(*copy), rows(*store_));
}

TEST_P(StoreBackup, OnlyWhatIsNewIsCopied) {
  publish(20);
  const auto first = maker().add(*store_);
  EXPECT_EQ(first.new_bytes, first.record_bytes);
  publish(1);
  remove(Position{6}, {1});
  const auto second = maker().add(*store_);
  EXPECT_EQ(second.records, first.records + 1);
  EXPECT_LT(second.new_bytes, second.record_bytes / 5) << "one that is new, and one that retention has rewritten";
  const auto copy = restored();
  EXPECT_EQ(sums(*copy), sums(*store_));
  const auto before = restored({1, {}, {}});
  EXPECT_EQ(sums(*before).size(), 100u);
  EXPECT_NE(sums(*before)[6], 0u) << "as it was then";
  EXPECT_EQ(sums(*copy)[6], 0u);
}

TEST_P(StoreBackup, ALogIsRestoredToAPositionBetweenTwoBackups) {
  publish(4);
  maker().add(*store_);
  for (std::uint32_t number = 3; number <= 5; ++number) name(number, "later");
  publish(6, 4);
  const auto all = sums(*store_);
  maker().add(*store_);
  for (const std::uint64_t last : {20u, 21u, 23u, 25u, 26u, 49u, 50u}) {
    const auto copy = restored(at(last));
    expect_whole(*copy);
    EXPECT_EQ(copy->head().committed, Position{last});
    EXPECT_EQ(sums(*copy), std::vector<std::uint64_t>(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(last)));
    EXPECT_EQ(report_.backup, last == 50 ? 2u : 1u);
    EXPECT_EQ(report_.later, last == 20 || last == 50 ? 0u : 2u);
    EXPECT_EQ(report_.later_events, last == 50 ? 0 : last - 20);
    if (last <= 20 || last == 50) continue;
    std::map<std::uint32_t, std::string> topics;
    copy->each_row(Table::topics, [&](auto key, auto value) { return topics[key_number(key)] = Reader(value).get_string(), Result<void>(); }).value();
    EXPECT_EQ(topics.size(), 4u) << "without a gap up to the last one that is used";
    EXPECT_EQ(topics[3], "topic.later3");
    EXPECT_EQ(topics[4], "topic.later4");
    // The next commit goes on from there.
    BatchMaker next(*copy);
    next.add({.text = "next"});
    EXPECT_TRUE(is_ok(copy->commit(next.take())));
    expect_whole(*copy);
  }
}

TEST_P(StoreBackup, ATimeMeansTheLastEventThatWasCommittedByThen) {
  publish(4);
  maker().add(*store_);
  publish(2);
  const auto then = store_->head().committed_at;
  publish(2);
  maker().add(*store_);
  EXPECT_EQ(restored(by(then))->head().committed, Position{30});
  EXPECT_EQ(restored(by(then - std::chrono::nanoseconds(1)))->head().committed, Position{25});
  EXPECT_EQ(restored(by(then + std::chrono::hours(1)))->head().committed, Position{40});
  EXPECT_TRUE(fails(restore(by(WallTime{} + std::chrono::hours(1))), Code::bad_format)) << "the directory is not empty";
  fs::remove_all(target());
  EXPECT_TRUE(fails(restore(by(WallTime{})), Code::beyond_end));
}

TEST_P(StoreBackup, WhatIsNotThereIsRefusedAndNothingChanges) {
  publish(4);
  maker().add(*store_);
  publish(4);
  maker().add(*store_);
  for (const auto& goal : {at(19), at(41), RestoreGoal{2, Position{30}, {}}}) {
    const auto refused = restore(goal);
    EXPECT_TRUE(fails(refused, Code::beyond_end));
    EXPECT_FALSE(fs::exists(target()));
  }
  EXPECT_NE(restore(at(19)).error().detail.find("ends at position 20"), std::string::npos) << restore(at(19)).error().detail;
  EXPECT_TRUE(fails(restore({3, {}, {}}), Code::not_found));
  fs::create_directories(target());
  testing::write_file(target() / "theirs", "x");
  EXPECT_TRUE(fails(restore(), Code::bad_format));
  EXPECT_EQ(std::distance(fs::directory_iterator(target()), fs::directory_iterator()), 1);
}

// Sequence 21 waited in the base, 22 was scheduled after it, and both came out; 90 still waits.
TEST_P(StoreBackup, EventsThatCameOutOfTheScheduleDoNotComeAgain) {
  constexpr std::int64_t due = 7;
  constexpr std::uint8_t waiting = 0, published = 1;
  const auto schedule_key = [](std::uint64_t sequence) { return std::string(std::string_view(NumberKey(due))) + number_key(1) + std::string(std::string_view(NumberKey(sequence))); };
  const auto id_key = [](std::uint64_t sequence, char kind) { return number_key(1) + kind + std::string(std::string_view(NumberKey(sequence))); };
  const auto fate_row = [](std::uint8_t fate, std::int64_t time, std::uint64_t position) { return Writer().put(fate).put(time).put(position).take(); };
  maker_->put_row(Table::publishers, number_key(1), testing::publisher_row("p", 20, Position{20}));
  for (const std::uint64_t sequence : {21u, 90u}) {
    maker_->put_row(Table::schedule, schedule_key(sequence), "an event");
    maker_->put_row(Table::schedule_ids, id_key(sequence, waiting), fate_row(waiting, due, 0));
  }
  publish(4);
  maker().add(*store_);
  auto batch = maker_->take();
  RecordBuilder builder;
  const auto body = testing::body_of("an event");
  for (const std::uint64_t sequence : {21u, 22u}) {
    Entry entry;
    entry.topic = entry.type = entry.publisher = 1;
    entry.flags = format::scheduled;
    entry.sequence = sequence;
    entry.checksum = checksum(body);
    builder.append(entry, body);
  }
  batch.records.push_back(builder.seal({store_->identity().log_id, Position{21}, batch.head.committed_at, batch.head.chain, batch.head.batch}));
  batch.head.committed = Position{22};
  batch.head.chain = batch.records.back()->chain_after();
  const auto came_out_at = nanoseconds(batch.head.committed_at);
  store_->commit(batch).value();
  maker_.emplace(*store_);
  publish(1, 2);
  maker().add(*store_);
  const auto copy = restored(at(23));
  EXPECT_EQ(report_.later, 2u);
  std::vector<std::string> left;
  copy->each_row(Table::schedule, [&](auto key, auto) { return left.emplace_back(key), Result<void>(); }).value();
  EXPECT_EQ(left, std::vector<std::string>{schedule_key(90)});
  std::map<std::string, std::string> fates;
  copy->each_row(Table::schedule_ids, [&](auto key, auto value) { return fates.emplace(key, value), Result<void>(); }).value();
  EXPECT_EQ(fates, (std::map<std::string, std::string>{{id_key(90, waiting), fate_row(waiting, due, 0)},
                                                       {id_key(21, published), fate_row(published, due, 21)},
                                                       {id_key(22, published), fate_row(published, came_out_at, 22)}}));
  std::map<std::string, std::string> publishers;
  copy->each_row(Table::publishers, [&](auto key, auto value) { return publishers.emplace(key, value), Result<void>(); }).value();
  EXPECT_EQ(publishers[number_key(1)], testing::publisher_row("p", 22, Position{20})) << "its next event is not given a sequence that is used up";
  EXPECT_EQ(publishers[number_key(2)], testing::publisher_row("publisher first2"));
}

// Clients tell logs by id and history.
TEST_P(StoreBackup, EachRestoreHasAHistoryOfItsOwn) {
  publish(1);
  maker().add(*store_);
  RestoreOptions options{maker().path(), maker().backups(), target(), {}, {}};
  std::set<std::uint64_t> histories{store_->identity().history};
  for (const auto seconds : {0, 1'772'000'000, 1'772'000'001}) {
    options.now = WallTime{} + std::chrono::seconds(seconds);
    const auto report = store::restore(options).value();
    EXPECT_TRUE(histories.insert(report.history).second) << seconds;
    EXPECT_EQ(report.history, seconds == 0 ? 2 : static_cast<std::uint64_t>(seconds));
    fs::remove_all(target());
  }
  EXPECT_EQ(next_history(1'772'000'005, WallTime{} + std::chrono::seconds(3)), 1'772'000'006u) << "whatever the clock says";
}

TEST_P(StoreBackup, RecordsAfterTheBaseMayLackBodies) {
  publish(4);
  maker().add(*store_);
  publish(2);
  remove(Position{21}, {1, 3});
  remove(Position{26}, {0, 1, 2, 3, 4});
  maker().add(*store_);
  const auto all = sums(*store_);
  for (const std::uint64_t last : {21u, 22u, 25u, 27u, 29u}) {
    const auto copy = restored(at(last));
    expect_whole(*copy);
    EXPECT_EQ(sums(*copy), std::vector<std::uint64_t>(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(last)));
    const std::uint64_t removed = last == 21 ? 0 : last == 22 ? 1 : 2 + (last > 25 ? last - 25 : 0);
    auto row = testing::topic_row("topic.first1");
    if (removed > 0) row += Writer().put(removed).put(std::uint64_t{0}).take();
    std::map<std::uint32_t, std::string> topics;
    copy->each_row(Table::topics, [&](auto key, auto value) { return topics.emplace(key_number(key), value), Result<void>(); }).value();
    EXPECT_EQ(topics[1], row) << last;
  }
}

// Between the two backups there are events that neither of them has.
TEST_P(StoreBackup, WhatRetentionHasDeletedBetweenTwoBackupsIsNamed) {
  publish(4);
  maker().add(*store_);
  publish(4);
  maker_->set_replay(maker_->head().committed + 1, maker_->head().batch + 1);
  auto batch = maker_->take();
  for (Position at{1}; at < Position{31};) {
    const auto record = store_->reader()->records(at, 1).value().front();
    batch.trim = Trim{record->last(), record->chain_after()};
    batch.changes.push_back({at, nullptr});
    at = record->last() + 1;
  }
  ASSERT_TRUE(is_ok(store_->commit(batch)));
  maker().add(*store_);
  EXPECT_TRUE(fails(restore(at(35)), Code::beyond_end, "backup 1 ends at position 20, and before backup 2 was made retention had deleted the events up to position 30"));
  EXPECT_EQ(restored(at(20))->head().committed, Position{20});
  EXPECT_EQ(restored(at(40))->head().committed, Position{40});
}

TEST_P(StoreBackup, WhatAKilledRestoreHasLeftIsNotInTheWay) {
  publish(2);
  maker().add(*store_);
  const auto leave = [&] {
    fs::create_directories(target() / "log.new");
    testing::write_file(target() / "log.new" / "data.mdb", "a beginning");
    testing::write_file(target() / "lock", "");
  };
  leave();
  EXPECT_TRUE(fails(restore(at(99)), Code::beyond_end));
  EXPECT_TRUE(is_ok(restore()));
  EXPECT_FALSE(fs::exists(target() / "log.new"));
  leave();
  EXPECT_TRUE(fails(restore(), Code::bad_format, "(log)"));
  fs::remove_all(target());
  leave();
  const auto lock = take_lock(target()).value();
  EXPECT_TRUE(fails(restore(), Code::locked)) << "it still runs";
  EXPECT_TRUE(fs::exists(target() / "log.new" / "data.mdb"));
}

// A row that has more than a third of a page to itself takes three times its bytes, as the rows come in the order of their keys.
TEST(StoreBackupSize, RowsTakeMoreThanTheirBytes) {
  testing::StoreDir dir, repository, other;
  BackupMaker backups(repository.path());
  {
    const auto store = Store::open(dir.options(512 * limits::MiB)).value();
    for (std::uint64_t row = 0; row < 60'000;) {
      BatchMaker maker(*store);
      for (const auto end = row + 5'000; row < end; ++row) maker.put_row(Table::dead, std::string(std::string_view(NumberKey(row))), std::string(1'350, 'd'));
      store->commit(maker.take()).value();
    }
    backups.add(*store);
  }
  fs::remove_all(dir.path() / "log");  // room for the other one
  EXPECT_TRUE(is_ok(restore({backups.path(), backups.backups(), other.path() / "restored", {}, {}})));
}

// Every file, a flip in each part of it, and each file cut off and gone.
TEST_P(StoreBackup, DamageIsFoundAndNotRestored) {
  publish(6);
  maker().add(*store_);
  const auto check = [&]() -> Result<void> {
    const auto& backup = maker().backups().front();
    const auto meta = read_meta(maker().path(), backup);
    if (!meta) return meta.error();
    const auto entries = read_index(maker().path(), backup);
    if (!entries) return entries.error();
    SegmentReader segments(maker().path());
    for (const auto& entry : *entries) {
      if (auto read = segments.read(entry, backup.log_id); !read) return read.error();
    }
    return check_order(*entries, *meta);
  };
  ASSERT_TRUE(is_ok(check()));
  const auto expect_found = [&](const std::string& how) {
    const auto found = check();
    EXPECT_TRUE(fails(found, Code::damaged)) << how;
    EXPECT_TRUE(fails(restore(), Code::damaged)) << how;
    EXPECT_FALSE(fs::exists(target())) << how;
  };
  for (const fs::path& path : {segment_path(maker().path(), 1), backup_path(maker().path(), 1) / "index", backup_path(maker().path(), 1) / "tables"}) {
    const auto bytes = testing::read_file(path);
    ASSERT_GT(bytes.size(), 100u);
    for (std::size_t at = 0; at < bytes.size(); at += 37) {
      auto flipped = bytes;
      flipped[at] = static_cast<char>(flipped[at] ^ (1 << at % 8));
      testing::write_file(path, flipped);
      expect_found(path.string() + " byte " + std::to_string(at));
    }
    for (const std::size_t size : {bytes.size() - 1, bytes.size() / 2, std::size_t{0}}) {
      testing::write_file(path, bytes.substr(0, size));
      expect_found(path.string() + " cut off at " + std::to_string(size));
    }
    fs::remove(path);
    expect_found(path.string() + " missing");
    testing::write_file(path, bytes);
  }
  EXPECT_TRUE(is_ok(restore()));
}

TEST_P(StoreBackup, ARecordOfTheWrongPlaceOrLogIsNotTaken) {
  publish(2);
  const auto record = store_->reader()->records(Position{6}, 1).value().front();
  SegmentWriter segments(maker().path(), 0);
  EXPECT_TRUE(fails(segments.add(Position{7}, record->bytes(), store_->identity().log_id), Code::damaged));
  EXPECT_TRUE(fails(segments.add(Position{6}, record->bytes(), LogId{}), Code::damaged));
  auto damaged = copy_of(record->bytes());
  damaged[140] ^= 1;
  EXPECT_TRUE(fails(segments.add(Position{6}, damaged, store_->identity().log_id), Code::damaged));
  EXPECT_TRUE(is_ok(segments.add(Position{6}, record->bytes(), store_->identity().log_id)));
}

INSTANTIATE_TEST_SUITE_P(Compressions, StoreBackup, ::testing::Values(Compression::none, Compression::zstd));

}  // namespace
}  // namespace bus::store
