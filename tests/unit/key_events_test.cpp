// Goal: the events of a key are read from any version, both ways, in as many parts as it takes; what that costs grows with what is
// read, not with the log or the key.
// Method: the real store on a directory in memory, with batches made as the core makes them, against a list of what was put in.
#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "tests/support/batch_maker.hpp"
#include "tests/support/results.hpp"
#include "tests/support/store_dir.hpp"

namespace bus::store {
namespace {

using testing::BatchMaker;
using testing::body_of;
using testing::is_ok;

class KeyEventsTest : public ::testing::Test {
 protected:
  void commit() { ASSERT_TRUE(is_ok(store->commit(maker.take()))); }
  // So many more of the key, each in a record of its own, with another one's before it.
  void fill(std::uint64_t events, const std::string& key = "anna") {
    for (; events > 0; --events) {
      maker.add({.text = "other", .key = "other"});
      const auto text = key + std::to_string(positions[key].size() + 1);
      positions[key].push_back(maker.add({.text = text, .key = key}));
      commit();
    }
  }
  KeyRange range(std::uint64_t from, std::size_t events_max, bool backwards = false) {
    return {maker.keys().at(maker.hash_of("anna")), from, backwards, events_max, 1 << 20, limits::chain_records_max};
  }
  static std::vector<std::uint64_t> versions(const KeyEvents& found) {
    std::vector<std::uint64_t> versions;
    for (const auto& event : found.events) versions.push_back(event.version);
    return versions;
  }
  static std::vector<std::uint64_t> from_to(std::uint64_t first, std::uint64_t last) {
    std::vector<std::uint64_t> numbers;
    for (auto at = first; first <= last ? at <= last : at >= last; first <= last ? ++at : --at) numbers.push_back(at);
    return numbers;
  }
  void expect_true_events(const KeyEvents& found) {
    for (const auto& event : found.events) {
      EXPECT_EQ(event.position, positions["anna"].at(event.version - 1));
      EXPECT_EQ(event.body, body_of("anna" + std::to_string(event.version)));
    }
  }

  testing::StoreDir dir;
  std::unique_ptr<Store> store = dir.open();
  std::unique_ptr<LogReader> reader = store->reader();
  BatchMaker maker{*store};
  std::map<std::string, std::vector<Position>> positions;
};

TEST_F(KeyEventsTest, ReadsForwardsFromAnyVersion) {
  fill(300);
  for (const std::uint64_t from : {1, 2, 63, 64, 65, 150, 299, 300}) {
    const auto found = reader->key_events(range(from, 5)).value();
    EXPECT_EQ(versions(found), from_to(from, std::min<std::uint64_t>(from + 4, 300))) << from;
    EXPECT_EQ(found.next.position, Position::none);
    expect_true_events(found);
  }
  EXPECT_TRUE(reader->key_events(range(301, 5)).value().events.empty());
}

TEST_F(KeyEventsTest, ReadsBackwardsFromAnyVersion) {
  fill(300);
  for (const std::uint64_t from : {300, 299, 150, 64, 5, 4, 1}) {
    const auto found = reader->key_events(range(from, 5, true)).value();
    EXPECT_EQ(versions(found), from_to(from, from >= 5 ? from - 4 : 1)) << from;
    EXPECT_EQ(found.next.position == Position::none, from <= 5);
    expect_true_events(found);
  }
}

TEST_F(KeyEventsTest, LooksIntoNoMoreThanAPageAndWhatIsRead) {
  fill(1000);
  for (std::uint64_t from = 1; from <= 1000; from += 7) {
    auto wanted = range(from, 1);
    wanted.records_max = limits::key_page_events;
    EXPECT_EQ(versions(reader->key_events(wanted).value()), std::vector<std::uint64_t>{from});
  }
}

TEST_F(KeyEventsTest, FindsWithoutPagesWhatAnOlderVersionHasWritten) {
  maker.writes_key_pages = false;
  fill(200);
  maker.writes_key_pages = true;
  fill(10);
  auto wanted = range(3, 5);
  std::size_t parts = 1;
  auto found = reader->key_events(wanted).value();
  for (; found.next.position != Position::none; ++parts) {
    EXPECT_TRUE(found.events.empty());
    wanted.start = found.next;
    found = reader->key_events(wanted).value();
  }
  EXPECT_EQ(parts, 4u);
  EXPECT_EQ(versions(found), from_to(3, 7));
  expect_true_events(found);
}

TEST_F(KeyEventsTest, GoesOnBackwardsWhereItsRecordsWereSpent) {
  fill(200);
  auto wanted = range(200, 1000, true);
  std::vector<std::uint64_t> all;
  while (true) {
    const auto found = reader->key_events(wanted).value();
    EXPECT_LE(found.events.size(), limits::chain_records_max);
    expect_true_events(found);
    for (const auto version : versions(found)) all.push_back(version);
    if (found.next.position == Position::none) break;
    wanted.start = found.next;
    wanted.from = found.next.version;
  }
  EXPECT_EQ(all, from_to(200, 1));
}

TEST_F(KeyEventsTest, KeepsToTheBytesAndGivesOneEventAtLeast) {
  fill(20);
  auto wanted = range(5, 100);
  wanted.bytes_max = 1;
  EXPECT_EQ(versions(reader->key_events(wanted).value()), from_to(5, 5));
  wanted.bytes_max = 3 * body_of("anna5").size();
  EXPECT_EQ(versions(reader->key_events(wanted).value()), from_to(5, 7));
  wanted.backwards = true;
  const auto found = reader->key_events(wanted).value();
  EXPECT_EQ(versions(found), from_to(5, 3));
  EXPECT_EQ(found.next.version, 2u);
  wanted.bytes_max = 1;
  EXPECT_EQ(versions(reader->key_events(wanted).value()), from_to(5, 5));
}

TEST_F(KeyEventsTest, ReadsManyEventsOfOneRecord) {
  for (int at = 1; at <= 100; ++at) positions["anna"].push_back(maker.add({.text = "anna" + std::to_string(at), .key = "anna"}));
  commit();
  std::uint64_t next = 1;
  while (next <= 100) {
    const auto found = reader->key_events(range(next, 1000)).value();
    ASSERT_FALSE(found.events.empty());
    expect_true_events(found);
    EXPECT_EQ(versions(found), from_to(next, found.events.back().version));
    next = found.events.back().version + 1;
  }
  EXPECT_EQ(versions(reader->key_events(range(100, 1000, true)).value()), from_to(100, 1));
}

TEST_F(KeyEventsTest, ReadsPackedRecords) {
  for (const auto compression : {Compression::lz4, Compression::zstd}) {
    testing::StoreDir other;
    auto options = other.options();
    options.compression = compression;
    const auto packed = Store::open(options).value();
    BatchMaker packing{*packed};
    const std::string text(1000, 'x');
    for (int at = 0; at < 100; ++at) packing.add({.text = text, .key = "anna"});
    ASSERT_TRUE(is_ok(packed->commit(packing.take())));
    const auto found = packed->reader()->key_events({packing.keys().at(packing.hash_of("anna")), 42, false, 2, 1 << 20, 1}).value();
    ASSERT_EQ(versions(found), from_to(42, 43));
    EXPECT_EQ(found.events[0].body, body_of(text));
  }
}

TEST_F(KeyEventsTest, ReadsAtRandomAsTheListSays) {
  const auto seed = std::random_device()();
  SCOPED_TRACE(seed);
  std::mt19937_64 random(seed);
  for (int at = 0; at < 500; ++at) {
    const auto key = "k" + std::to_string(random() % 5);
    const auto text = key + "-" + std::to_string(positions[key].size() + 1);
    positions[key].push_back(maker.add({.text = text, .key = key}));
    if (random() % 3 == 0) commit();
  }
  commit();
  for (int at = 0; at < 500; ++at) {
    const auto& [key, list] = *std::next(positions.begin(), static_cast<std::ptrdiff_t>(random() % positions.size()));
    const auto from = random() % list.size() + 1, most = random() % 20 + 1;
    const bool backwards = random() % 2 == 0;
    const auto found = reader->key_events({maker.keys().at(maker.hash_of(key)), from, backwards, most, 1 << 20, 1000}).value();
    const auto last = backwards ? (from >= most ? from - most + 1 : 1) : std::min<std::uint64_t>(from + most - 1, list.size());
    ASSERT_FALSE(found.events.empty());
    const auto end = backwards ? last : std::min(last, found.events.back().version);  // of a page
    ASSERT_EQ(versions(found), from_to(from, end));
    ASSERT_TRUE(end == last || has_key_page(maker.hash_of(key), end));
    for (const auto& event : found.events) {
      ASSERT_EQ(event.position, list[event.version - 1]);
      ASSERT_EQ(event.body, body_of(key + "-" + std::to_string(event.version)));
    }
  }
}

TEST_F(KeyEventsTest, RefusesAStartThatIsNotOfTheKey) {
  fill(3);
  auto wanted = range(1, 5);
  wanted.start.position = Position{1};  // of another
  EXPECT_EQ(reader->key_events(wanted).error().code, Code::damaged);
}

TEST_F(KeyEventsTest, ReadsOnWhereTheRowOfAPageIsNotOne) {
  fill(100);
  const auto hash = maker.hash_of("anna");
  std::uint64_t version = 30;
  while (!has_key_page(hash, version)) ++version;
  maker.put_row(Table::key_pages, key_page_key(hash, version), "short");
  fill(1);
  auto wanted = range(version, 3);
  wanted.records_max = 1000;
  const auto found = reader->key_events(wanted).value();
  EXPECT_EQ(versions(found), from_to(version, version + 2));
  expect_true_events(found);
}

TEST_F(KeyEventsTest, NoticesAPageThatLeadsToAnotherVersion) {
  fill(100);
  const auto hash = maker.hash_of("anna");
  std::uint64_t version = 30;
  while (!has_key_page(hash, version)) ++version;
  const Position wrong = positions["anna"][version - 5];
  maker.put_row(Table::key_pages, key_page_key(hash, version), std::string(reinterpret_cast<const char*>(&wrong), sizeof wrong));
  fill(1);
  EXPECT_EQ(reader->key_events(range(version - 2, 3)).error().code, Code::damaged);
}

TEST_F(KeyEventsTest, HasOnePageForEachSixtyFourVersionsOfAKey) {
  fill(200);
  const auto rows = reader->rows({.table = Table::key_pages, .from = {}, .until = {}, .most = 100}).value();
  const auto hash = maker.hash_of("anna");
  std::size_t found = 0;
  for (std::uint64_t version = 1; version <= 200; ++version) {
    if (!has_key_page(hash, version)) continue;
    const auto row = std::find_if(rows.begin(), rows.end(), [&](const auto& one) { return one.first == key_page_key(hash, version); });
    ASSERT_NE(row, rows.end());
    EXPECT_EQ(load<Position>(bytes_of(row->second).data()), positions["anna"][version - 1]);
    ++found;
  }
  EXPECT_TRUE(found == 3 || found == 4) << found;
}

}  // namespace
}  // namespace bus::store
