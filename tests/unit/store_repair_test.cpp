// Goal: a log with damaged or missing records goes on in place: what is intact is served, the rest is known as lost, every byte that is
// taken out lies aside, and neither sequences nor versions come again.
// Method: damage a log in one way, repair it, and read all of it through the store; then the same with flipped bits.
#include <gtest/gtest.h>

#include <random>

#include "broker/store/offline.hpp"
#include "broker/store/page_format.hpp"
#include "broker/store/page_walk.hpp"
#include "broker/store/repair.hpp"
#include "tests/support/batch_maker.hpp"
#include "tests/support/results.hpp"
#include "tests/support/store_dir.hpp"

namespace bus::store {
namespace {

using testing::BatchMaker;
using testing::fails;
using testing::is_ok;

using lmdb::page_bytes;

// Twelve records of five events; the replay zone begins at position 31.
class StoreRepair : public ::testing::TestWithParam<Compression> {
 protected:
  static constexpr std::uint64_t batches = 12, events_per_batch = 5, events = batches * events_per_batch;
  StoreRepair() {
    auto options = dir_.options();
    options.compression = GetParam();
    const auto store = Store::open(options).value();
    BatchMaker maker(*store);
    for (std::uint64_t batch = 0; batch < batches; ++batch) {
      for (std::uint64_t event = 1; event <= events_per_batch; ++event) {
        const auto position = batch * events_per_batch + event;
        maker.add({.text = text_at(position), .key = "key " + std::to_string(position % 7)});
      }
      if (batch == 0) {
        maker.put_row(Table::topics, number_key(1), testing::topic_row("the.topic"));
        maker.put_row(Table::types, number_key(1), Writer().put_string("type").take());
        maker.put_row(Table::publishers, number_key(1), testing::publisher_row("doc"));
      }
      if (batch == batches / 2 - 1) maker.set_replay(Position{events / 2 + 1}, batch);
      maker.set_journal("a journal");
      auto commit = maker.take();
      if (batch >= batches / 2) commit.keys.clear();  // as of a checkpoint before it
      store->commit(commit).value();
    }
    head_ = store->head();
    identity_ = store->identity();
    keys_ = maker.keys();
  }
  static std::string text_at(std::uint64_t position) {
    std::string text = "the event at position " + std::to_string(position) + ".";
    for (int word = 0; word < 30; ++word) text += " more of the same";
    return text;
  }

  void change(const std::function<void(std::string& stored)>& how, std::uint64_t first) const {
    const auto env = lmdb::Environment::open(dir_.path() / "log", 64 * limits::MiB, lmdb::Access::write).value();
    auto txn = env.begin(lmdb::Access::write).value();
    const auto table = txn.open_table("log", false).value();
    std::string stored(*txn.get(table, NumberKey(first)).value());
    how(stored);
    is_ok(stored.empty() ? txn.erase(table, NumberKey(first)) : txn.put(table, NumberKey(first), stored));
    txn.commit().value();
  }
  std::string stored_at(std::uint64_t first) const {
    std::string bytes;
    change([&](std::string& stored) { bytes = stored; }, first);
    return bytes;
  }
  void damage_index(std::uint64_t first) const {
    change([](std::string& stored) { stored[60] ^= 1; }, first);
  }
  // Of a packed record all bodies go.
  void damage_body(std::uint64_t position) const {
    change([&](std::string& stored) {
      if (GetParam() != Compression::none) return void(stored.back() ^= 1);
      stored[stored.find(text_at(position)) + 9] ^= 1;
    }, (position - 1) / events_per_batch * events_per_batch + 1);
  }
  void remove(std::uint64_t first) const {
    change([](std::string& stored) { stored.clear(); }, first);
  }

  std::filesystem::path aside() const { return dir_.path() / "aside"; }
  RepairReport run(bool dry_run = false) const {
    RepairOptions options;
    options.dir = dir_.path();
    options.aside = aside();
    options.dry_run = dry_run;
    return repair(options).value();
  }
  static std::vector<std::pair<std::uint64_t, std::uint64_t>> ranges(const std::vector<LostRange>& lost) {
    std::vector<std::pair<std::uint64_t, std::uint64_t>> ranges;
    for (const auto& range : lost) ranges.emplace_back(number(range.first), number(range.last));
    return ranges;
  }
  // The log verifies, starts, serves all but these positions, and a second run finds nothing.
  void expect_all_but(const std::function<bool(std::uint64_t)>& is_lost) const {
    EXPECT_TRUE(run().damages.empty());
    EXPECT_TRUE(verify_pages(dir_.path()).value().faults.empty());
    const auto store = dir_.open();
    const auto reader = store->reader();
    const auto slice = reader->verify(Position::none, 0, ~std::size_t{0}).value();
    for (const auto& fault : slice.faults) ADD_FAILURE() << number(fault.position) << " " << fault.what;
    EXPECT_TRUE(is_ok(store->each_record(store->head().replay_from, [](const Record&) { return Result<void>(); })));
    EXPECT_EQ(store->head().chain, head_.chain);
    for (std::uint64_t position = 1; position <= events; ++position) {
      const auto records = reader->records(Position{position}, 1);
      if (is_lost(position)) {
        EXPECT_TRUE(fails(records, Code::damaged, "missing")) << position;
        continue;
      }
      ASSERT_TRUE(is_ok(records)) << position;
      const Record& record = *records->front();
      ASSERT_TRUE(record.holds(Position{position})) << position;
      EXPECT_EQ(copy_of(record.body(static_cast<std::uint32_t>(Position{position} - record.first()))), testing::body_of(text_at(position)));
    }
  }
  // As if nothing had been lost: no key or publisher begins again.
  void expect_counted() const {
    const auto store = dir_.open();
    EXPECT_EQ(store->head().replay_from, head_.committed + 1);
    for (const auto& [hash, head] : keys_) {
      const auto found = store->reader()->key_heads({&hash, 1}).value();
      ASSERT_TRUE(found[0].has_value());
      EXPECT_EQ(found[0]->version, head.version);
    }
    const auto publishers = store->reader()->rows({.table = Table::publishers, .from = {}, .until = {}, .most = 9}).value();
    ASSERT_EQ(publishers.size(), 1u);
    Reader reader(publishers[0].second);
    reader.get_string();
    reader.get<std::uint8_t>();
    reader.get<std::uint64_t>();
    EXPECT_EQ(reader.get<std::uint64_t>(), events);
  }

  testing::StoreDir dir_;
  Head head_;
  Identity identity_;
  std::map<Hash128, KeyHead> keys_;
};

TEST_P(StoreRepair, OfAWholeLogThereIsNothingToDo) {
  const auto report = run();
  EXPECT_TRUE(report.damages.empty() && report.left.empty() && report.notes.empty());
  EXPECT_EQ(report.last, head_.committed);
  EXPECT_FALSE(std::filesystem::exists(aside()));
  EXPECT_EQ(dir_.open()->head().replay_from, Position{events / 2 + 1});
}

TEST_P(StoreRepair, ADamagedBodyIsLostAndItsNeighboursAreNot) {
  damage_body(13);
  const std::string stored = stored_at(11);
  const auto report = run();
  ASSERT_EQ(report.damages.size(), 1u);
  const auto& damage = report.damages[0];
  const bool is_packed = GetParam() != Compression::none;
  EXPECT_EQ(damage.first, Position{11});
  EXPECT_EQ(damage.last, Position{15});
  EXPECT_EQ(damage.kept, is_packed ? 0u : 4u);
  EXPECT_EQ(ranges(damage.lost), (std::vector<std::pair<std::uint64_t, std::uint64_t>>{is_packed ? std::pair(11u, 15u) : std::pair(13u, 13u)}));
  EXPECT_EQ(damage.topics, std::vector<std::string>{"the.topic"});
  EXPECT_EQ(testing::read_file(aside() / damage.file), stored);
  EXPECT_NE(testing::read_file(aside() / "report.txt").find("positions 11 to 15: "), std::string::npos);
  EXPECT_NE(testing::read_file(aside() / "report.ndjson").find("\"file\":\"record-11.bin\""), std::string::npos);
  EXPECT_TRUE(report.left.empty() && report.notes.empty());
  expect_all_but([&](auto position) { return is_packed ? position >= 11 && position <= 15 : position == 13; });
}

TEST_P(StoreRepair, ADamagedIndexCostsTheRecord) {
  damage_index(6);
  const auto report = run();
  ASSERT_EQ(report.damages.size(), 1u);
  EXPECT_EQ(ranges(report.damages[0].lost), (std::vector<std::pair<std::uint64_t, std::uint64_t>>{{6, 10}}));
  EXPECT_TRUE(report.damages[0].topics.empty());
  expect_all_but([](auto position) { return position >= 6 && position <= 10; });
}

// Or who sends an event again that was stored before the lost part would be told to try once more, for ever.
TEST_P(StoreRepair, AChainThatLeadsIntoWhatIsLostEndsThere) {
  damage_index(6);
  const std::vector<std::uint64_t> before{3}, after{12};
  {
    const auto store = dir_.open();
    EXPECT_TRUE(fails(store->reader()->find_sequences(1, Position{20}, before, 100), Code::damaged));
  }
  run();
  const auto store = dir_.open();
  const auto slice = store->reader()->find_sequences(1, Position{20}, before, 100).value();
  EXPECT_EQ(slice.open, 1u);
  EXPECT_NE(slice.gone.find("log repair"), std::string::npos) << slice.gone;
  EXPECT_EQ(store->reader()->find_sequences(1, Position{20}, after, 100).value().hits[0].position, Position{12});
}

TEST_P(StoreRepair, WhatIsMissingIsKnownAsLost) {
  remove(16);
  remove(56);
  const auto report = run();
  ASSERT_EQ(report.damages.size(), 2u);
  EXPECT_TRUE(report.damages[0].file.empty() && report.damages[1].file.empty());
  expect_all_but([](auto position) { return (position >= 16 && position <= 20) || position >= 56; });
}

TEST_P(StoreRepair, ARecordUnderAWrongKeyGoesToItsPlace) {
  const std::string stored = stored_at(21);
  {
    const auto env = lmdb::Environment::open(dir_.path() / "log", 64 * limits::MiB, lmdb::Access::write).value();
    auto txn = env.begin(lmdb::Access::write).value();
    const auto table = txn.open_table("log", false).value();
    txn.erase(table, NumberKey(21)).value();
    txn.put(table, NumberKey(23), stored).value();
    txn.commit().value();
  }
  const auto report = run();
  ASSERT_EQ(report.damages.size(), 1u);
  EXPECT_TRUE(report.damages[0].lost.empty());
  expect_all_but([](auto) { return false; });
}

// busd counts from replay_from on: it cannot start, and says what can be done.
TEST_P(StoreRepair, WhatTheStartNeedsIsCountedBeforeItGoes) {
  damage_body(44);
  remove(36);
  {
    const auto store = dir_.open();
    EXPECT_TRUE(fails(store->each_record(store->head().replay_from, [](const Record&) { return Result<void>(); }), Code::damaged, "bus-cli log repair"));
  }
  const auto report = run();
  EXPECT_EQ(report.damages.size(), 2u);
  ASSERT_EQ(report.notes.size(), 1u);
  EXPECT_NE(report.notes[0].find("positions 36 to 40"), std::string::npos) << report.notes[0];
  expect_counted();
  const bool is_packed = GetParam() != Compression::none;
  expect_all_but([&](auto position) { return (position >= 36 && position <= 40) || (is_packed ? position >= 41 && position <= 45 : position == 44); });
}

// The last events of keys and of the publisher are lost; the index still tells which they were.
TEST_P(StoreRepair, VersionsAndSequencesOfLostEventsStayUsed) {
  for (std::uint64_t position = 56; position <= 60; ++position) damage_body(position);
  EXPECT_TRUE(run().notes.empty());
  expect_counted();
}

TEST_P(StoreRepair, ADryRunChangesNothing) {
  damage_body(13);
  damage_index(41);
  remove(26);
  const std::string before = testing::read_file(dir_.data_file());
  const auto dry = run(true);
  EXPECT_EQ(testing::read_file(dir_.data_file()), before);
  EXPECT_FALSE(std::filesystem::exists(aside()));
  EXPECT_TRUE(dry.left.empty());
  const auto report = run();
  ASSERT_EQ(dry.damages.size(), 3u);
  ASSERT_EQ(report.damages.size(), 3u);
  for (std::size_t at = 0; at < 3; ++at) EXPECT_EQ(ranges(dry.damages[at].lost), ranges(report.damages[at].lost));
  EXPECT_EQ(dry.notes, report.notes);
}

// A file that a broken-off run has left is not overwritten.
TEST_P(StoreRepair, WhatLiesAsideStays) {
  damage_index(6);
  std::filesystem::create_directory(aside());
  testing::write_file(aside() / "record-6.bin", "of an earlier run");
  EXPECT_EQ(run().damages[0].file, "record-6-2.bin");
  EXPECT_EQ(testing::read_file(aside() / "record-6.bin"), "of an earlier run");
}

TEST_P(StoreRepair, WhatItCannotMendIsRefusedOrTold) {
  RepairOptions options{dir_.path(), aside(), false, {}};
  remove(6);
  remove(16);
  options.lost_ranges_max = 1;
  EXPECT_TRUE(fails(repair(options), Code::bad_format, "more than 1 ranges"));
  {
    const auto store = dir_.open();
    EXPECT_TRUE(fails(repair(options), Code::locked, ""));
  }
  std::string file = testing::read_file(dir_.data_file());
  std::string broken = file;
  broken[0] = static_cast<char>(broken[0] ^ 1);
  testing::write_file(dir_.data_file(), broken);
  EXPECT_TRUE(fails(repair(options), Code::damaged, "bus-cli log salvage"));
  testing::write_file(dir_.data_file(), file);
  const testing::StoreDir empty;
  EXPECT_TRUE(fails(repair({empty.path(), aside(), false, {}}), Code::not_found, "there is no log"));
  // A row of another table.
  {
    const auto env = lmdb::Environment::open(dir_.path() / "log", 64 * limits::MiB, lmdb::Access::write).value();
    auto txn = env.begin(lmdb::Access::write).value();
    txn.put(txn.open_table("types", false).value(), number_key(1), "not a row").value();
    txn.commit().value();
  }
  const auto report = run();
  EXPECT_EQ(report.damages.size(), 2u);
  ASSERT_EQ(report.left.size(), 1u);
  EXPECT_NE(report.left[0].what.find("table types"), std::string::npos);
}

// Whatever bit of a record flips, repair leaves a log that verifies and starts, in which all other records are as they were.
TEST_P(StoreRepair, AnyFlippedBitOfARecordCostsThatRecordAtMost) {
  const std::string whole = testing::read_file(dir_.data_file());
  const std::string stored = stored_at(31);
  std::mt19937_64 random(5);
  int repaired = 0;
  for (int turn = 0; turn < 60; ++turn) {
    testing::write_file(dir_.data_file(), whole);
    std::error_code ignored;
    std::filesystem::remove_all(aside(), ignored);
    const std::size_t at = turn < 30 ? static_cast<std::size_t>(turn) * 5 : random() % stored.size();
    change([&](std::string& bytes) { bytes[at] = static_cast<char>(bytes[at] ^ 1 << random() % 8); }, 31);
    const auto report = run();
    EXPECT_EQ(report.damages.size(), 1u) << at;
    EXPECT_TRUE(report.left.empty()) << at << " " << report.left[0].what;
    repaired += report.damages.size() == 1 && !report.damages[0].lost.empty();
    const auto store = dir_.open();
    const auto reader = store->reader();
    EXPECT_TRUE(is_ok(store->each_record(store->head().replay_from, [](const Record&) { return Result<void>(); }))) << at;
    for (std::uint64_t position = 1; position <= events; ++position) {
      const auto records = reader->records(Position{position}, 1);
      if (records) {
        const Record& record = *records->front();
        EXPECT_EQ(copy_of(record.body(static_cast<std::uint32_t>(Position{position} - record.first()))), testing::body_of(text_at(position))) << at;
      } else {
        EXPECT_TRUE(position >= 31 && position <= 35) << at << " " << position;
      }
    }
  }
  EXPECT_GT(repaired, 50);
}

INSTANTIATE_TEST_SUITE_P(Packing, StoreRepair, ::testing::Values(Compression::none, Compression::zstd),
                         [](const auto& one) { return one.param == Compression::none ? "none" : "zstd"; });

}  // namespace
}  // namespace bus::store
