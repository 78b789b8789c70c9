// Goal: damage on disk is found, named by its place, and never given out as good.
// Method: commit, close, flip bytes of data.mdb or change rows behind the store's back, open again and look.
#include <gtest/gtest.h>

#include "broker/store/meta.hpp"
#include "broker/store/offline.hpp"
#include "broker/store/record_format.hpp"
#include "broker/store/tables.hpp"
#include "tests/support/batch_maker.hpp"
#include "tests/support/results.hpp"
#include "tests/support/store_dir.hpp"

namespace bus::store {
namespace {

using limits::MiB;
using testing::BatchMaker;
using testing::fails;
using testing::is_ok;

// A closed log of ten records: positions 1-5, 6-10, … The text of an event names its position.
class StoreDamage : public ::testing::Test {
 protected:
  static constexpr int batches = 10, events_per_batch = 5;
  StoreDamage() {
    const auto store = dir_.open();
    BatchMaker maker(*store);
    for (int batch = 0; batch < batches; ++batch) {
      for (int event = 0; event < events_per_batch; ++event) {
        const auto position = number(maker.head().committed) + static_cast<std::uint64_t>(event) + 1;
        maker.add({.text = text_at(position), .key = "key " + std::to_string(position % 7)});
      }
      maker.set_journal("journal of " + std::to_string(batch + 1));
      for (int row = 0; row < 3; ++row) maker.put_row(Table::topics, std::to_string(row), row_text(row, batch));
      store->commit(maker.take()).value();
    }
  }
  static std::string text_at(std::uint64_t position) { return "the event at position " + std::to_string(position) + "."; }
  static std::string row_text(int row, int batch) {
    return "row " + std::to_string(row) + " of batch " + std::to_string(batch) + ".";
  }

  // Flips one bit in every place of the file that begins with `text`.
  void flip(std::string_view text, std::size_t at = 0) {
    std::string file = testing::read_file(dir_.data_file());
    std::size_t found = 0;
    for (auto place = file.find(text); place != std::string::npos; place = file.find(text, place + 1), ++found) {
      file[place + at] = static_cast<char>(file[place + at] ^ 1);
    }
    ASSERT_GT(found, 0u) << text;
    testing::write_file(dir_.data_file(), file);
  }
  // Where a stored record begins in the file.
  std::string header_text(Position first) {
    format::Header header;
    std::string text(reinterpret_cast<const char*>(&header), 8);
    const auto seed = dir_.options().seed;
    text.append(reinterpret_cast<const char*>(seed.data()), 16);
    return text.append(reinterpret_cast<const char*>(&first), 8);
  }
  void change(const std::function<Result<void>(lmdb::Transaction&, const Tables&)>& what) {
    const auto env = lmdb::Environment::open(dir_.path() / "log", 64 * MiB, lmdb::Access::write).value();
    auto txn = env.begin(lmdb::Access::write).value();
    const auto tables = Tables::open(txn, false).value();
    ASSERT_TRUE(is_ok(what(txn, tables)));
    ASSERT_TRUE(is_ok(txn.commit()));
  }
  VerifySlice verify() {
    store_.reset();
    store_ = Store::open_read_only(dir_.path()).value();
    return store_->reader()->verify(Position::none, 0, ~std::size_t{0}).value();
  }
  Result<void> visit_records() const {
    return store_->each_record(Position{1}, [](const Record&) { return Result<void>(); });
  }
  // One fault, which names that position and says this.
  void expect_fault(std::uint64_t position, const std::string& what) {
    const auto slice = verify();
    ASSERT_EQ(slice.faults.size(), 1u);
    EXPECT_EQ(number(slice.faults[0].position), position);
    EXPECT_NE(slice.faults[0].what.find(what), std::string::npos) << slice.faults[0].what;
  }

  testing::StoreDir dir_;
  std::unique_ptr<Store> store_;
};

TEST_F(StoreDamage, ACleanLogHasNoFaults) {
  const auto slice = verify();
  EXPECT_TRUE(slice.faults.empty());
  EXPECT_EQ(slice.records, 10u);
  EXPECT_EQ(slice.events, 50u);
  EXPECT_EQ(slice.next, Position::none);
  EXPECT_EQ(slice.chain, store_->head().chain);
}

TEST(StoreVerify, AnEmptyLogHasNoFaults) {
  const testing::StoreDir dir;
  const auto store = dir.open();
  EXPECT_TRUE(store->reader()->verify(Position::none, 0, 1).value().faults.empty());
}

TEST_F(StoreDamage, AnEmptiedLogIsNoticed) {
  change([](auto& txn, auto& tables) -> Result<void> {
    for (std::uint64_t first = 1; first < 50; first += 5) txn.erase(tables[TableId::log], NumberKey(first)).value();
    return {};
  });
  const auto slice = verify();
  ASSERT_GE(slice.faults.size(), 1u);
  EXPECT_NE(slice.faults[0].what.find("ends at 0, its head at 50"), std::string::npos) << slice.faults[0].what;
}

TEST_F(StoreDamage, VerifyingInSlicesSeesTheSame) {
  flip(text_at(23));
  store_ = Store::open_read_only(dir_.path()).value();
  VerifySlice slice;
  std::uint64_t records = 0, faults = 0, slices = 0;
  do {
    slice = store_->reader()->verify(slice.next, slice.chain, 1).value();
    records += slice.records;
    faults += slice.faults.size();
    ++slices;
  } while (slice.next != Position::none);
  EXPECT_EQ(records, 10u);
  EXPECT_EQ(faults, 1u);
  EXPECT_GE(slices, 10u);
}

TEST_F(StoreDamage, AFlippedBitOfABodyIsNamedByItsPosition) {
  flip(text_at(23), 5);
  expect_fault(23, "body");
}

TEST_F(StoreDamage, ADamagedEventIsNeverGivenOutAsGood) {
  flip(text_at(23), 5);
  store_ = dir_.open();
  const auto reader = store_->reader();
  const auto before = reader->records(Position{1}, 64 * MiB).value();
  ASSERT_EQ(before.size(), 4u);
  EXPECT_EQ(before.back()->last(), Position{20});
  EXPECT_TRUE(fails(reader->records(Position{21}, 64 * MiB), Code::damaged, "position 23"));
  EXPECT_EQ(reader->records(Position{26}, 64 * MiB).value().size(), 5u);
}

TEST_F(StoreDamage, AFlippedBitOfAnIndexIsNamedByItsRecord) {
  const std::string header = header_text(Position{21});
  flip(header, 64);  // the chain before the record
  expect_fault(21, "checksum");
  EXPECT_TRUE(fails(visit_records(), Code::damaged, "21"));
}

TEST_F(StoreDamage, ARecordOfTheWrongSizeIsNotRead) {
  flip(header_text(Position{21}), offsetof(format::Header, record_bytes) + 2);
  expect_fault(21, "size");
}

TEST_F(StoreDamage, AFlippedBitOfARowIsNamedByTableAndKey) {
  flip(row_text(2, batches - 1));
  expect_fault(0, "table topics, key 32");
  const auto visited = store_->each_row(Table::topics, [](auto, auto) { return Result<void>(); });
  EXPECT_TRUE(fails(visited, Code::damaged, "key 32"));
}

TEST_F(StoreDamage, AFlippedBitOfTheJournalIsNamedByItsBatch) {
  flip("journal of 4");
  expect_fault(0, "table journal, key 0000000000000004");
}

TEST_F(StoreDamage, AFlippedBitOfTheHeadStopsTheOpening) {
  const auto head = [&] {
    store_ = Store::open_read_only(dir_.path()).value();
    return std::exchange(store_, nullptr)->head();
  }();
  flip(Writer().put(head.batch).put(head.committed).put(nanoseconds(head.committed_at)).bytes(), 8);
  EXPECT_TRUE(fails(Store::open(dir_.options()), Code::damaged, "table meta"));
}

TEST_F(StoreDamage, ALostRecordIsNamedByItsPositions) {
  change([](auto& txn, auto& tables) { return txn.erase(tables[TableId::log], NumberKey(Position{21})); });
  const auto slice = verify();
  ASSERT_GE(slice.faults.size(), 1u);
  EXPECT_EQ(slice.faults[0].position, Position{21});
  EXPECT_NE(slice.faults[0].what.find("positions 21 to 25 are missing"), std::string::npos);
  const auto reader = store_->reader();
  EXPECT_EQ(reader->records(Position{1}, 64 * MiB).value().size(), 4u);
  EXPECT_TRUE(fails(reader->records(Position{23}, 64 * MiB), Code::damaged, "21 to 25"));
  EXPECT_TRUE(fails(visit_records(), Code::damaged, "21 to 25"));
}

TEST_F(StoreDamage, ALostEndOfTheLogIsNoticed) {
  change([](auto& txn, auto& tables) { return txn.erase(tables[TableId::log], NumberKey(Position{46})); });
  const auto slice = verify();
  ASSERT_GE(slice.faults.size(), 1u);
  EXPECT_EQ(slice.faults[0].position, Position{46});
  EXPECT_NE(slice.faults[0].what.find("ends at 45"), std::string::npos);
  EXPECT_TRUE(fails(visit_records(), Code::damaged, "46 to 50"));
}

TEST_F(StoreDamage, ALostRowOfTheJournalIsNoticed) {
  const std::string whole = testing::read_file(dir_.data_file());
  for (const std::uint64_t lost : {1, 4, 10}) {
    testing::write_file(dir_.data_file(), whole);
    change([&](auto& txn, auto& tables) { return txn.erase(tables[TableId::journal], NumberKey(lost)); });
    store_ = Store::open_read_only(dir_.path()).value();
    const auto visited = store_->each_journal(1, [](auto, auto) { return Result<void>(); });
    EXPECT_TRUE(fails(visited, Code::damaged, "batch " + std::to_string(lost)));
    store_.reset();
  }
}

TEST_F(StoreDamage, ARecordOfAnotherLogIsNamed) {
  const testing::StoreDir other;
  auto options = other.options();
  options.seed.fill(9);
  auto store = Store::open(options).value();
  BatchMaker maker(*store);
  for (int batch = 0; batch < batches; ++batch) {
    for (int event = 0; event < events_per_batch; ++event) maker.add({});
    ASSERT_TRUE(is_ok(store->commit(maker.take())));
  }
  const auto foreign = store->reader()->records(Position{21}, 1).value()[0];
  change([&](auto& txn, auto& tables) {
    return txn.put(tables[TableId::log], NumberKey(Position{21}), text_of(foreign->bytes()));
  });
  const auto slice = verify();
  ASSERT_GE(slice.faults.size(), 2u);
  EXPECT_NE(slice.faults[0].what.find("another log"), std::string::npos);
  EXPECT_NE(slice.faults[1].what.find("chain"), std::string::npos);
}

TEST_F(StoreDamage, AReplacedEventBreaksTheChain) {
  store_ = dir_.open();
  const auto old = store_->reader()->records(Position{21}, 1).value()[0];
  const LogId log_id = store_->identity().log_id;
  store_.reset();
  RecordBuilder builder;
  for (std::uint32_t at = 0; at < old->count(); ++at) {
    const Buffer body = testing::body_of("forged");
    Entry entry = old->entry(at);
    entry.checksum = checksum(body);
    builder.append(entry, body);
  }
  const auto forged = builder.seal({log_id, old->first(), old->committed_at(), old->chain_before(), old->batch()});
  change([&](auto& txn, auto& tables) {
    return txn.put(tables[TableId::log], NumberKey(Position{21}), text_of(forged->bytes()));
  });
  expect_fault(25, "chain");
}

// Whatever record it lies in: only the one chain that the log had there is taken.
TEST_F(StoreDamage, EachHeadThatTheLogHadIsProven) {
  store_ = Store::open_read_only(dir_.path()).value();
  const auto reader = store_->reader();
  std::uint64_t chain = 0;
  const auto records = reader->records(Position{1}, 64 * MiB).value();
  for (const auto& record : records) {
    for (std::uint32_t at = 0; at < record->count(); ++at) {
      const Position position = record->first() + at;
      chain = chain_fold(chain, number(position), record->event_checksum(at));
      const auto slice = reader->verify(position + 1, chain, ~std::size_t{0}).value();
      EXPECT_TRUE(slice.faults.empty()) << number(position) << ": " << slice.faults[0].what;
      EXPECT_EQ(slice.events, 50 - number(position));
      EXPECT_EQ(slice.last, Position{50});
      const auto other = reader->verify(position + 1, chain ^ 1, ~std::size_t{0}).value();
      ASSERT_EQ(other.faults.size(), 1u) << number(position);
      EXPECT_EQ(other.faults[0].position, position);
    }
  }
  EXPECT_EQ(chain, store_->head().chain);
}

TEST_F(StoreDamage, AHeadBeyondTheEndIsNoticed) {
  store_ = Store::open_read_only(dir_.path()).value();
  const auto slice = store_->reader()->verify(Position{52}, store_->head().chain, ~std::size_t{0}).value();
  ASSERT_GE(slice.faults.size(), 1u);
  EXPECT_EQ(slice.last, Position{50});
}

// What is known to be gone is no fault, and its neighbours are read; a read of it says which positions are missing.
TEST_F(StoreDamage, ALostRangeIsAGapThatIsKnown) {
  for (const auto& [erased, first, last] : {std::tuple{21, 21, 25}, std::tuple{46, 46, 50}}) {
    change([&, erased = erased](auto& txn, auto& tables) { return txn.erase(tables[TableId::log], NumberKey(std::uint64_t(erased))); });
    EXPECT_GE(verify().faults.size(), 1u);
    store_.reset();
    const std::vector<LostRange> lost = {{Position{21}, Position{25}}, {Position{46}, Position{50}}};
    const auto known = erased == 21 ? std::span(lost).first(1) : std::span(lost);
    change([&](auto& txn, auto& tables) { return put_lost(txn, tables, known); });
    const auto slice = verify();
    EXPECT_TRUE(slice.faults.empty()) << slice.faults[0].what;
    EXPECT_EQ(slice.lost.size(), known.size());
    EXPECT_TRUE(is_ok(visit_records()));
    const auto missing = "positions " + std::to_string(first) + " to " + std::to_string(last) + " are missing";
    EXPECT_TRUE(fails(store_->reader()->records(Position{static_cast<std::uint64_t>(first) + 2}, 64 * MiB), Code::damaged, missing));
    EXPECT_EQ(store_->reader()->records(Position{26}, 64 * MiB).value().front()->first(), Position{26});
    store_.reset();
  }
}

// A gap next to one that is known is a fault.
TEST_F(StoreDamage, MoreThanTheLostRangeIsAFault) {
  change([](auto& txn, auto& tables) -> Result<void> {
    const std::vector<LostRange> lost = {{Position{21}, Position{25}}};
    put_lost(txn, tables, lost).value();
    txn.erase(tables[TableId::log], NumberKey(Position{21})).value();
    return txn.erase(tables[TableId::log], NumberKey(Position{26}));
  });
  const auto slice = verify();
  ASSERT_GE(slice.faults.size(), 1u);
  EXPECT_EQ(slice.faults[0].what, "positions 21 to 30 are missing");
  EXPECT_TRUE(fails(visit_records(), Code::damaged, "21 to 30"));
}

// Searching by time does not stop in a gap, whatever time is looked for.
TEST_F(StoreDamage, TimesAreFoundAcrossAGap) {
  change([](auto& txn, auto& tables) -> Result<void> {
    for (const std::uint64_t first : {11, 16, 21, 26, 31}) txn.erase(tables[TableId::log], NumberKey(first)).value();
    return {};
  });
  store_ = Store::open_read_only(dir_.path()).value();
  const auto reader = store_->reader();
  const auto before = reader->records(Position{6}, 1).value()[0]->committed_at();
  const auto after = reader->records(Position{36}, 1).value()[0]->committed_at();
  EXPECT_EQ(reader->position_at(before).value(), Position{6});
  EXPECT_EQ(reader->position_at(after).value(), Position{36});
  EXPECT_EQ(reader->position_at(after + std::chrono::nanoseconds(1)).value(), Position{41});
}

TEST_F(StoreDamage, DisorderAmongTheHeadsOfKeysIsNoticed) {
  change([](auto& txn, auto& tables) {
    const KeyHead heads[] = {{{5, 5}, Position{1}, 1}, {{4, 4}, Position{2}, 1}};
    return tables.put(txn, TableId::keys, std::string(16, '\0'),
                      std::string_view(reinterpret_cast<const char*>(heads), sizeof heads));
  });
  expect_fault(0, "table keys");
}

// ---- a log that begins or ends with what is lost

TEST_F(StoreDamage, ALostBeginIsDamagedAndATrimmedOneIsNot) {
  change([](auto& txn, const Tables& tables) { return txn.erase(tables[TableId::log], NumberKey(1)); });
  {
    const auto store = dir_.open();
    EXPECT_TRUE(fails(store->reader()->records(Position{1}, 1), Code::damaged, "positions 1 to 5 are missing"));
    EXPECT_TRUE(fails(store->each_record(Position{1}, [](const Record&) { return Result<void>(); }), Code::damaged, "positions 1 to 5 are missing"));
  }
  change([](auto& txn, const Tables& tables) { return put_trim(txn, tables, {Position{5}, 0}); });
  {
    const auto store = dir_.open();
    EXPECT_EQ(store->reader()->records(Position{1}, 1).value().front()->first(), Position{6});
  }
  change([](auto& txn, const Tables& tables) {
    const LostRange lost{Position{1}, Position{5}};
    if (auto put = put_trim(txn, tables, {}); !put) return put;
    return put_lost(txn, tables, {&lost, 1});
  });
  const auto store = dir_.open();
  const auto reader = store->reader();
  EXPECT_TRUE(fails(reader->records(Position{1}, 1), Code::damaged, "positions 1 to 5 are missing"));
  EXPECT_TRUE(fails(reader->records(Position{5}, 1), Code::damaged, "positions 5 to 5 are missing"));
  EXPECT_EQ(reader->records(Position{6}, 1).value().front()->first(), Position{6});
}

TEST_F(StoreDamage, ALogWithoutRecordsSaysThatTheyAreMissing) {
  change([](auto& txn, const Tables& tables) {
    for (std::uint64_t position = 1; position <= batches * events_per_batch; position += events_per_batch) {
      if (auto erased = txn.erase(tables[TableId::log], NumberKey(position)); !erased) return erased;
    }
    return Result<void>();
  });
  const auto store = dir_.open();
  const auto reader = store->reader();
  EXPECT_TRUE(fails(reader->records(Position{3}, 1), Code::damaged, "positions 3 to 50 are missing"));
  EXPECT_TRUE(reader->records(Position{51}, 1).value().empty());
  EXPECT_EQ(reader->find_priority(Position{3}, 7, 10).value().next, Position{51});
}

// Whoever looks for the next event of a priority does not look again from where he was.
TEST_F(StoreDamage, ASearchGoesOnBehindALostEnd) {
  change([](auto& txn, const Tables& tables) { return txn.erase(tables[TableId::log], NumberKey(46)); });
  const auto store = dir_.open();
  const auto slice = store->reader()->find_priority(Position{46}, 7, 10).value();
  EXPECT_FALSE(slice.is_found);
  EXPECT_EQ(slice.next, Position{51});
}

// ---- offline, where the pages are broken, too

TEST_F(StoreDamage, LostRangesAreNoFaultOfBrokenPages) {
  change([](auto& txn, const Tables& tables) {
    const LostRange lost{Position{11}, Position{15}};
    if (auto put = put_lost(txn, tables, {&lost, 1}); !put) return put;
    return txn.erase(tables[TableId::log], NumberKey(11));
  });
  flip(row_text(2, batches - 1), 3);
  std::string file = testing::read_file(dir_.data_file());
  file[0] = static_cast<char>(file[0] ^ 1);  // of a meta page
  testing::write_file(dir_.data_file(), file);
  const auto slice = verify_pages(dir_.path()).value();
  ASSERT_FALSE(slice.faults.empty());
  for (const auto& fault : slice.faults) EXPECT_EQ(fault.what.find("are missing"), std::string::npos) << fault.what;
  ASSERT_EQ(slice.lost.size(), 1u);
  EXPECT_EQ(slice.lost[0].first, Position{11});
}

}  // namespace
}  // namespace bus::store
