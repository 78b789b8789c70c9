// Goal: bodies that retention removes are gone, and all that the index says of their events stays, the chain first of all; a log
// whose oldest records were deleted knows where it begins, and misses none that were not.
// Method: records with some bodies removed, alone and in the real store; then everything that reads the log.
#include <gtest/gtest.h>

#include "broker/store/meta.hpp"
#include "broker/store/salvage.hpp"
#include "tests/support/batch_maker.hpp"
#include "tests/support/results.hpp"
#include "tests/support/store_dir.hpp"

namespace bus::store {
namespace {

using testing::BatchMaker;
using testing::body_of;
using testing::fails;
using testing::is_ok;

std::string told_at(std::uint64_t position) { return "the event at position " + std::to_string(position) + "."; }

// A log of ten records: positions 1-5, 6-10, … The text of an event names its position; its key is one of seven.
class StoreRetention : public ::testing::TestWithParam<Compression> {
 protected:
  static constexpr std::uint64_t batches = 10, events_per_batch = 5, events = batches * events_per_batch;
  StoreRetention() {
    BatchMaker maker(*store_);
    for (std::uint64_t batch = 0; batch < batches; ++batch) {
      for (std::uint64_t event = 0; event < events_per_batch; ++event) {
        const auto position = number(maker.head().committed) + event + 1;
        maker.add({.text = told_at(position), .key = "key " + std::to_string(position % 7), .unique_id = position % 2 == 0 ? "id " + told_at(position) : ""});
      }
      maker.set_replay(maker.head().committed + 1, maker.head().batch + 1);
      store_->commit(maker.take()).value();
    }
  }
  std::unique_ptr<Store> open() {
    auto options = dir_.options();
    options.compression = GetParam();
    return Store::open(options).value();
  }
  void reopen() {
    store_.reset();
    store_ = open();
  }
  RecordPtr record_at(Position first) const { return store_->reader()->records(first, 1).value().front(); }
  CommitBatch next_batch() const { return BatchMaker(*store_).take(); }
  void remove(Position first, std::vector<std::uint32_t> at) {
    auto batch = next_batch();
    batch.changes.push_back({first, record_at(first)->without(at)});
    ASSERT_TRUE(is_ok(store_->commit(batch)));
  }
  // The records before `first` go.
  void trim(Position first) {
    auto batch = next_batch();
    for (Position at = store_->trim().last + 1; at < first; at = at + events_per_batch) {
      batch.trim = Trim{record_at(at)->last(), record_at(at)->chain_after()};
      batch.changes.push_back({at, nullptr});
    }
    ASSERT_TRUE(is_ok(store_->commit(batch)));
  }
  VerifySlice verify() const { return store_->reader()->verify(Position::none, 0, ~std::size_t{0}).value(); }
  KeyHead head_of(const std::string& key) const {
    const Hash128 hash = BatchMaker(*store_).hash_of(key);
    return *store_->reader()->key_heads(std::span(&hash, 1)).value().front();
  }

  testing::StoreDir dir_;
  std::unique_ptr<Store> store_ = open();
};

TEST_P(StoreRetention, ARecordWithoutSomeBodiesSaysTheSameOfItsEvents) {
  const auto before = record_at(Position{6});
  const auto after = Record::parse(before->without(std::vector<std::uint32_t>{0, 3})->bytes(), Position{6}).value();
  EXPECT_LT(after->bytes().size(), before->bytes().size());
  EXPECT_EQ(after->chain_before(), before->chain_before());
  EXPECT_EQ(after->chain_after(), before->chain_after());
  EXPECT_EQ(after->committed_at(), before->committed_at());
  for (std::uint32_t at = 0; at < before->count(); ++at) {
    EXPECT_FALSE(before->is_removed(at));
    EXPECT_EQ(after->is_removed(at), at == 0 || at == 3) << at;
    EXPECT_TRUE(after->body_intact(at)) << at;
    EXPECT_EQ(after->event_checksum(at), before->event_checksum(at));
    EXPECT_TRUE(after->is_removed(at) || text_of(after->body(at)) == text_of(before->body(at))) << at;
    const Entry was = before->entry(at), is = after->entry(at);
    EXPECT_EQ(is.sequence, was.sequence);
    EXPECT_EQ(is.key->hash, was.key->hash);
    EXPECT_EQ(is.key->version, was.key->version);
    EXPECT_EQ(is.key->previous, was.key->previous);
    EXPECT_EQ(is.unique_id, was.unique_id);
  }
}

TEST_P(StoreRetention, MoreOfARecordMayGoUntilNothingIsLeft) {
  auto record = record_at(Position{1})->without(std::vector<std::uint32_t>{1});
  record = record->without(std::vector<std::uint32_t>{1, 2, 4});
  record = Record::parse(record->without(std::vector<std::uint32_t>{0, 3})->bytes(), Position{1}).value();
  for (std::uint32_t at = 0; at < record->count(); ++at) EXPECT_TRUE(record->is_removed(at));
  EXPECT_EQ(record->chain_after(), record_at(Position{6})->chain_before());
}

TEST_P(StoreRetention, ALogWithRemovedBodiesIsWhole) {
  remove(Position{6}, {0, 3});
  remove(Position{46}, {0, 1, 2, 3, 4});
  for (int life = 0; life < 2; ++life, reopen()) {
    const auto slice = verify();
    EXPECT_TRUE(slice.faults.empty()) << slice.faults.front().what;
    EXPECT_EQ(slice.events, events);
    EXPECT_EQ(slice.removed, 7u);
    EXPECT_EQ(slice.chain, store_->head().chain);
    EXPECT_TRUE(record_at(Position{6})->is_removed(3));
    EXPECT_FALSE(record_at(Position{6})->is_removed(4));
  }
}

TEST_P(StoreRetention, AFlippedBitInWhatStaysIsFound) {
  remove(Position{6}, {0, 3});
  store_.reset();
  std::string file = testing::read_file(dir_.data_file());
  const bool is_plain = GetParam() == Compression::none;
  if (!is_plain) return;  // its text is not in the file
  const auto text = told_at(8);
  for (auto place = file.find(text); place != std::string::npos; place = file.find(text, place + 1)) file[place] = static_cast<char>(file[place] ^ 1);
  testing::write_file(dir_.data_file(), file);
  store_ = open();
  const auto slice = verify();
  ASSERT_EQ(slice.faults.size(), 1u);
  EXPECT_EQ(slice.faults.front().position, Position{8});
}

TEST_P(StoreRetention, ATrimmedLogKnowsWhereItBegins) {
  const auto chain = record_at(Position{16})->chain_before();
  trim(Position{16});
  for (int life = 0; life < 2; ++life, reopen()) {
    EXPECT_EQ(store_->trim().last, Position{15});
    EXPECT_EQ(store_->trim().chain, chain);
    const auto slice = verify();
    EXPECT_TRUE(slice.faults.empty()) << slice.faults.front().what;
    EXPECT_EQ(slice.events, events - 15);
    EXPECT_EQ(store_->reader()->stat().value().first, Position{16});
    EXPECT_EQ(record_at(Position{1})->first(), Position{16});
    EXPECT_EQ(store_->reader()->position_at(WallTime::min()).value(), Position{16});
  }
}

TEST_P(StoreRetention, ARecordThatWasNotTrimmedIsMissed) {
  trim(Position{16});
  // As if a record more had gone: the row says 15 and the log begins at 21.
  auto batch = next_batch();
  batch.trim = Trim{Position{20}, 0};
  batch.changes.push_back({Position{16}, nullptr});
  ASSERT_TRUE(is_ok(store_->commit(batch)));
  const auto slice = verify();
  ASSERT_EQ(slice.faults.size(), 1u);
  EXPECT_EQ(slice.faults.front().position, Position{20});
  EXPECT_EQ(slice.faults.front().what, "the chain is broken after this position");
}

TEST_P(StoreRetention, AnOlderBusdIsToldThatItCannotReadTheLog) {
  const auto format = [&] {
    auto env = lmdb::Environment::open(dir_.path() / "log", 0, lmdb::Access::read).value();
    auto txn = env.begin(lmdb::Access::read).value();
    const auto meta = txn.open_table("meta", false).value();
    return Reader(verified(TableId::meta, "format", **txn.get(meta, "format")).value()).get<std::uint32_t>();
  };
  store_.reset();
  EXPECT_EQ(format(), store_version);
  store_ = open();
  remove(Position{6}, {0});
  store_.reset();
  EXPECT_EQ(format(), store_version_with_removed);
}

TEST_P(StoreRetention, EventsOfAKeyTellWhichVersionsAreGone) {
  // Key 1 has its events at 1, 8, 15, 22, 29, 36, 43 and 50.
  const KeyHead head = head_of("key 1");
  ASSERT_EQ(head.version, 8u);
  remove(Position{6}, {2});
  const auto read = [&](std::uint64_t from, bool backwards) {
    return store_->reader()->key_events({head, from, backwards, 100, 1 << 20, 100}).value();
  };
  EXPECT_EQ(read(1, false).events.size(), 7u);
  EXPECT_EQ(read(1, false).trimmed, 2u);
  EXPECT_EQ(read(3, false).trimmed, 0u);
  EXPECT_EQ(read(8, true).trimmed, 2u);
  EXPECT_EQ(read(8, true).events.size(), 7u);
  trim(Position{16});
  EXPECT_EQ(read(1, false).events.size(), 5u);
  EXPECT_EQ(read(1, false).trimmed, 3u);
  EXPECT_EQ(read(4, false).trimmed, 0u);
  EXPECT_EQ(read(2, true).trimmed, 2u);
}

TEST_P(StoreRetention, IndexesAreReadFromAnyPlace) {
  auto slice = store_->reader()->indexes(Position{8}, 2).value();
  ASSERT_EQ(slice.records.size(), 2u);
  EXPECT_EQ(slice.records.front()->first(), Position{6});
  EXPECT_EQ(slice.next, Position{16});
  slice = store_->reader()->indexes(Position{41}, 100).value();
  EXPECT_EQ(slice.records.size(), 2u);
  EXPECT_EQ(slice.next, Position::none);
  trim(Position{16});
  EXPECT_EQ(store_->reader()->indexes(Position{1}, 1).value().records.front()->first(), Position{16});
}

TEST_P(StoreRetention, ResendsFindTheirReceiptsAmongRemovedEvents) {
  remove(Position{6}, {0, 1, 2, 3, 4});
  const std::vector<std::uint64_t> sequences = {7};
  const auto slice = store_->reader()->find_sequences(1, Position{50}, sequences, 100).value();
  EXPECT_EQ(slice.hits.front().position, Position{7});
  trim(Position{16});
  const auto after = store_->reader()->find_sequences(1, Position{50}, sequences, 100).value();
  EXPECT_EQ(after.open, 1u);
  EXPECT_EQ(after.next, Position::none);
  EXPECT_NE(after.gone.find("was removed"), std::string::npos) << after.gone;
}

// Though the bytes still lie in free pages, and whether trees lead to the log or not.
TEST_P(StoreRetention, SalvageBringsNothingBack) {
  const auto chain = record_at(Position{16})->chain_before();
  remove(Position{21}, {0, 3});
  trim(Position{16});
  store_.reset();
  for (const bool has_trees : {true, false}) {
    if (!has_trees) {
      std::string file = testing::read_file(dir_.data_file());
      for (const std::size_t page : {0u, 1u}) file[page * 4096 + 20] = static_cast<char>(~file[page * 4096 + 20]);
      testing::write_file(dir_.data_file(), file);
    }
    testing::StoreDir out;
    const SalvageOptions options{dir_.path(), out.path() / "new", [](Bytes) { return EventNames{"topic", "type"}; }, {}};
    const auto report = salvage(options).value();
    EXPECT_TRUE(report.lost.empty()) << number(report.lost.front().first) << " to " << number(report.lost.front().last);
    auto found = dir_.options();
    found.dir = options.to;
    store_ = Store::open(found).value();
    EXPECT_EQ(store_->trim().last, Position{15});
    EXPECT_EQ(store_->trim().chain, chain);
    EXPECT_TRUE(record_at(Position{21})->is_removed(0));
    EXPECT_TRUE(record_at(Position{21})->is_removed(3));
    EXPECT_FALSE(record_at(Position{21})->is_removed(1));
    EXPECT_TRUE(verify().faults.empty());
    store_.reset();
  }
}

INSTANTIATE_TEST_SUITE_P(Packed, StoreRetention, ::testing::Values(Compression::none, Compression::lz4, Compression::zstd));

}  // namespace
}  // namespace bus::store
