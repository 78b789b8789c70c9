// Goal: whatever breaks in a data file, each event that is still whole in it comes into the new log, at its own position, and what is
// missing is known there as lost.
// Method: break a copy of a log in one way, salvage it, and compare both through the store.
#include <gtest/gtest.h>

#include <set>

#include "broker/store/page_format.hpp"
#include "broker/store/page_walk.hpp"
#include "broker/store/salvage.hpp"
#include "tests/support/batch_maker.hpp"
#include "tests/support/results.hpp"
#include "tests/support/store_dir.hpp"

namespace bus::store {
namespace {

using limits::MiB;
using testing::BatchMaker;
using testing::fails;
using testing::is_ok;

using lmdb::page_bytes;

class StoreSalvage : public ::testing::TestWithParam<Compression> {
 protected:
  static constexpr int batches = 120, events_per_batch = 5;
  static constexpr std::uint64_t events = batches * events_per_batch;
  StoreSalvage() {
    auto options = dir_.options();
    options.compression = GetParam();
    const auto store = Store::open(options).value();
    BatchMaker maker(*store);
    for (int batch = 0; batch < batches; ++batch) {
      for (int event = 0; event < events_per_batch; ++event) {
        const auto position = static_cast<std::uint64_t>(batch * events_per_batch + event + 1);
        maker.add({.text = text_at(position), .key = "key " + std::to_string(position % 7), .topic = 1 + static_cast<std::uint32_t>(position % 3),
                   .unique_id = position == events ? "id of the last one" : ""});
      }
      if (batch == 0) {
        for (std::uint32_t topic = 1; topic <= 3; ++topic) maker.put_row(Table::topics, number_key(topic), testing::topic_row("topic-" + std::to_string(topic)));
        maker.put_row(Table::types, number_key(1), Writer().put_string("type").take());
        maker.put_row(Table::publishers, number_key(1), testing::publisher_row("doc"));
      }
      maker.put_row(Table::groups, number_key(1), "cursor at " + std::to_string(batch));
      maker.set_journal("journal of " + std::to_string(batch));
      if (batch == batches / 2) maker.set_replay(Position{events / 4}, batches / 4);
      store->commit(maker.take()).value();
    }
    head_ = store->head();
    identity_ = store->identity();
    keys_ = maker.keys();
  }
  // Words that pack well, so that the setting is not without effect.
  static std::string text_at(std::uint64_t position) {
    std::string text = "the event at position " + std::to_string(position) + ".";
    for (int word = 0; word < 40; ++word) text += " more of the same";
    return text;
  }

  void change(const std::function<void(std::string& file)>& how) {
    std::string file = testing::read_file(dir_.data_file());
    how(file);
    testing::write_file(dir_.data_file(), file);
  }
  // The number of each page with these flags that a tree still leads to.
  std::vector<std::uint64_t> pages(std::uint16_t flags, TableId table) const {
    std::set<std::uint64_t> found;
    const auto file = PageFile::open(dir_.data_file()).value();
    const auto take = [&](const PageRow& row) {
      if (row.table == table) found.insert(row.at / page_bytes);
    };
    walk_pages(file, LogValues::skip, take).value();
    std::vector<std::uint64_t> pages;
    for (const std::uint64_t number : found) {
      std::array<std::uint8_t, page_bytes> bytes;
      if (file.read(number * page_bytes, bytes) && load<page::Header>(bytes.data()).flags == flags) pages.push_back(number);
    }
    return pages;
  }

  SalvageReport salvage_from(const std::filesystem::path& from) {
    SalvageOptions options{from, out_.path() / "new", [](Bytes body) { return EventNames{"topic of " + std::to_string(body.size()), "type of it"}; }, {}};
    options.now = WallTime{} + std::chrono::seconds(1'772'000'000);
    return salvage(options).value();
  }
  std::unique_ptr<Store> open_new() const {
    auto options = dir_.options();
    options.dir = out_.path() / "new";
    return Store::open(options).value();
  }
  // Every position has its event, but those that are lost, which say so; and the log verifies.
  void expect_all_but(Store& store, const std::vector<LostRange>& lost) {
    const auto reader = store.reader();
    const auto slice = reader->verify(Position::none, 0, ~std::size_t{0}).value();
    for (const auto& fault : slice.faults) ADD_FAILURE() << number(fault.position) << " " << fault.what;
    EXPECT_EQ(slice.last, head_.committed);
    EXPECT_EQ(slice.chain, head_.chain);
    for (Position position{1}; position <= head_.committed; position = position + 1) {
      const bool is_gone = std::any_of(lost.begin(), lost.end(), [&](auto& range) { return range.first <= position && position <= range.last; });
      const auto records = reader->records(position, 1);
      if (is_gone) {
        EXPECT_TRUE(fails(records, Code::damaged, "missing")) << number(position);
      } else if (!is_gone) {
        ASSERT_TRUE(is_ok(records)) << number(position);
        const Record& record = *records->front();
        ASSERT_TRUE(record.holds(position)) << number(position);
        const Bytes body = record.body(static_cast<std::uint32_t>(position - record.first()));
        EXPECT_EQ(copy_of(body), testing::body_of(text_at(number(position)))) << number(position);
      }
    }
  }
  void expect_the_rest(const Store& store) {
    EXPECT_EQ(store.identity().log_id, identity_.log_id);
    EXPECT_EQ(store.identity().secret, identity_.secret);
    EXPECT_EQ(store.identity().history, 1'772'000'000u) << "another one each time";
    EXPECT_EQ(store.identity().epoch, identity_.epoch + 1);
    std::vector<Hash128> hashes;
    for (const auto& [hash, head] : keys_) hashes.push_back(hash);
    const auto heads = store.reader()->key_heads(hashes).value();
    for (std::size_t at = 0; at < hashes.size(); ++at) {
      ASSERT_TRUE(heads[at].has_value());
      EXPECT_EQ(heads[at]->position, keys_.at(hashes[at]).position);
      EXPECT_EQ(heads[at]->version, keys_.at(hashes[at]).version);
    }
  }
  // As of the head, so that nothing has to be counted at the start.
  void expect_figures(const Store& store) const {
    EXPECT_EQ(store.head().replay_from, head_.committed + 1);
    std::uint32_t number = 0;
    is_ok(store.each_row(Table::topics, [&](std::string_view, std::string_view value) {
      Reader reader(value);
      EXPECT_EQ(reader.get_string(), "topic-" + std::to_string(++number));
      EXPECT_EQ(reader.get<std::uint64_t>(), events / 3);
      reader.get<std::uint64_t>();
      EXPECT_EQ(reader.get<std::uint64_t>(), number == 1 ? 3 : number - 1);
      EXPECT_GT(reader.get<std::uint64_t>(), events - 3);
      return Result<void>();
    }));
    EXPECT_EQ(number, 3u);
    const auto publishers = store.reader()->rows({.table = Table::publishers, .from = {}, .until = {}, .most = 9}).value();
    ASSERT_EQ(publishers.size(), 1u);
    EXPECT_EQ(publishers[0].second, testing::publisher_row("doc", events, Position{events}));
  }
  std::string rows(const Store& store, Table table) const {
    std::string text;
    const auto take = [&](std::string_view key, std::string_view value) {
      text.append(hexadecimal(bytes_of(key))).append("=").append(value).append(" ");
      return Result<void>();
    };
    EXPECT_TRUE(is_ok(store.each_row(table, take)));
    return text;
  }
  // A new log goes on as any other.
  void expect_it_goes_on(Store& store) {
    BatchMaker maker(store);
    EXPECT_EQ(maker.add({.text = "after it"}), head_.committed + 1);
    EXPECT_TRUE(is_ok(store.commit(maker.take())));
    EXPECT_TRUE(is_ok(store.reader()->records(head_.committed + 1, 1)));
  }
  static Result<void> visit(std::uint64_t, std::string_view) { return {}; }

  testing::StoreDir dir_, out_;
  Head head_;
  Identity identity_;
  std::map<Hash128, KeyHead> keys_;
};

TEST_P(StoreSalvage, AWholeLogComesOverAsItIs) {
  const std::string groups = rows(*dir_.open(), Table::groups);
  identity_.epoch += 1;
  const auto report = salvage_from(dir_.path());
  EXPECT_EQ(report.events, events);
  EXPECT_EQ(report.last, head_.committed);
  EXPECT_TRUE(report.lost.empty() && report.notes.empty() && report.faults.empty());
  const auto store = open_new();
  expect_all_but(*store, {});
  expect_the_rest(*store);
  EXPECT_EQ(rows(*store, Table::groups), groups);
  expect_figures(*store);
  EXPECT_TRUE(is_ok(store->each_journal(store->head().replay_batch, visit)));
  expect_it_goes_on(*store);
}

// A broken leaf of the log hides many records from LMDB; all of them still lie in the file.
// The newest meta page is broken: the other one leads to what was before the last commit, whose records lie in the file all the same.
TEST_P(StoreSalvage, WithoutTheNewestMetaPageTheLastCommitIsSaidToBeInDoubt) {
  change([](std::string& file) {
    const auto at = [&](std::size_t page) { return load<page::Meta>(reinterpret_cast<const std::uint8_t*>(file.data()) + page * page_bytes + sizeof(page::Header)).transaction; };
    file[(at(0) > at(1) ? 0 : page_bytes) + sizeof(page::Header)] ^= 1;
  });
  const auto report = salvage_from(dir_.path());
  EXPECT_EQ(report.last, head_.committed);
  EXPECT_TRUE(report.lost.empty());
  ASSERT_FALSE(report.notes.empty());
  EXPECT_NE(report.notes[0].find("may be missing"), std::string::npos) << report.notes[0];
  expect_all_but(*open_new(), {});
}

// Copies of the row in free pages are older: positions that were given out must not be given out again.
TEST_P(StoreSalvage, AnOlderHeadDoesNotMoveTheEndBack) {
  change([this](std::string& file) {
    for (const std::uint64_t number : pages(page::Flag::leaf, TableId::meta)) file[number * page_bytes + 7] ^= 1;
  });
  const auto report = salvage_from(dir_.path());
  EXPECT_EQ(report.last, head_.committed);
  EXPECT_TRUE(std::any_of(report.notes.begin(), report.notes.end(), [](const auto& note) { return note.find("later ones may be missing") != std::string::npos; }));
  expect_all_but(*open_new(), {});
}

// Neither the head nor the last record is left, but keys, publishers and groups know of its events.
TEST_P(StoreSalvage, WhatRowsNameIsNotGivenOutAgain) {
  const Position last_record = head_.committed - (events_per_batch - 1);
  change([&](std::string& file) {
    for (const std::uint64_t number : pages(page::Flag::leaf, TableId::meta)) file[number * page_bytes + 7] ^= 1;
    std::string mark(8, '\0');
    std::memcpy(mark.data(), identity_.log_id.data() + 8, 8);
    mark.append(reinterpret_cast<const char*>(&last_record), 8);
    std::size_t found = 0;
    for (auto place = file.find(mark); place != std::string::npos; place = file.find(mark, place + 1), ++found) file[place + 8] ^= 64;
    ASSERT_GE(found, 1u);
  });
  const auto report = salvage_from(dir_.path());
  EXPECT_EQ(report.last, head_.committed);
  ASSERT_EQ(report.lost.size(), 1u);
  EXPECT_EQ(report.lost[0].first, last_record);
  EXPECT_TRUE(fails(open_new()->reader()->records(last_record, 1), Code::damaged, "missing"));
}

TEST_P(StoreSalvage, RecordsThatNoTreeLeadsToAreFound) {
  change([this](std::string& file) {
    const auto leaves = pages(page::Flag::leaf, TableId::log);
    for (const std::uint64_t number : leaves) file[number * page_bytes + offsetof(page::Header, number) + 7] ^= 1;
    // The roots, too: no tree is left at all.
    for (const std::size_t meta : {0u, 1u}) file[meta * page_bytes] ^= 1;
  });
  const auto report = salvage_from(dir_.path());
  EXPECT_FALSE(report.faults.empty());
  const auto store = open_new();
  EXPECT_EQ(store->identity().secret, identity_.secret);
  EXPECT_NE(rows(*store, Table::topics).find("topic-2"), std::string::npos);
  EXPECT_NE(rows(*store, Table::publishers).find("doc"), std::string::npos);
  EXPECT_EQ(store->head().replay_from, head_.committed + 1);
  EXPECT_TRUE(is_ok(store->each_record(Position{1}, [](const Record&) { return Result<void>(); })));
}

TEST_P(StoreSalvage, BrokenMetaPagesCostNoEvent) {
  change([](std::string& file) {
    for (const std::size_t meta : {0u, 1u}) file[meta * page_bytes + sizeof(page::Header)] ^= 1;
  });
  const auto report = salvage_from(dir_.data_file());
  EXPECT_TRUE(report.lost.empty());
  EXPECT_FALSE(report.notes.empty());
  const auto store = open_new();
  expect_all_but(*store, {});
  expect_the_rest(*store);
  EXPECT_NE(rows(*store, Table::topics).find("topic-3"), std::string::npos);
  EXPECT_TRUE(is_ok(store->each_journal(store->head().replay_batch, visit)));
  expect_it_goes_on(*store);
}

// A transaction writes its pages, then the meta page. This one died between: its records verify, and follow the head by the chain.
TEST_P(StoreSalvage, WhatWasNeverCommittedIsNotTaken) {
  const std::string before = testing::read_file(dir_.data_file()).substr(0, 2 * page_bytes);
  {
    auto options = dir_.options();
    options.compression = GetParam();
    const auto store = Store::open(options).value();
    BatchMaker maker(*store);
    maker.add({.text = text_at(events + 1)});
    store->commit(maker.take()).value();
  }
  change([&](std::string& file) { file.replace(0, before.size(), before); });
  const auto report = salvage_from(dir_.path());
  EXPECT_EQ(report.last, head_.committed);
  EXPECT_EQ(report.events, events);
  EXPECT_TRUE(report.lost.empty() && report.notes.empty() && report.faults.empty());
  expect_all_but(*open_new(), {});
}

// Only the event whose bytes are wrong is lost.
TEST_P(StoreSalvage, ADamagedEventIsLostAndItsNeighboursAreNot) {
  if (GetParam() != Compression::none) GTEST_SKIP() << "the text of an event is not found in packed bytes";
  change([&](std::string& file) {
    const auto mark = text_at(303).substr(0, 26);
    std::size_t found = 0;
    for (auto place = file.find(mark); place != std::string::npos; place = file.find(mark, place + 1), ++found) file[place + 24] ^= 1;
    ASSERT_GE(found, 1u);
  });
  const auto report = salvage_from(dir_.path());
  ASSERT_EQ(report.lost.size(), 1u);
  EXPECT_EQ(report.lost[0].first, Position{303});
  EXPECT_EQ(report.lost[0].last, Position{303});
  EXPECT_EQ(report.events, events - 1);
  const auto store = open_new();
  expect_all_but(*store, report.lost);
  expect_the_rest(*store);
  EXPECT_TRUE(is_ok(store->each_record(Position{1}, [](const Record&) { return Result<void>(); })));
  expect_it_goes_on(*store);
}

TEST_P(StoreSalvage, ACutOffFileIsRefusedAndWhatIsLeftOfItIsTaken) {
  // Packed, half of so small a file may have no copy of the identity.
  const std::uint64_t kept = GetParam() == Compression::none ? 4 : 7;
  const std::uint64_t used = dir_.open()->space().used_bytes;
  std::filesystem::resize_file(dir_.data_file(), used * kept / 8 / page_bytes * page_bytes);
  const auto opened = Store::open(dir_.options());
  ASSERT_TRUE(fails(opened, Code::damaged, "the last whole record in it ends at position "));
  const auto report = salvage_from(dir_.path());
  EXPECT_GT(report.events, 0u);
  if (kept == 4) { EXPECT_LT(report.events, events); }
  const auto store = open_new();
  const auto slice = store->reader()->verify(Position::none, 0, ~std::size_t{0}).value();
  EXPECT_EQ(slice.events, report.events);
  for (const auto& fault : slice.faults) ADD_FAILURE() << fault.what;
  EXPECT_EQ(slice.lost.size(), report.lost.size());
}

// An event is bytes that somebody has chosen: what looks like a record in it is none.
TEST(StoreSalvageForged, ARecordInsideAnEventIsNotTaken) {
  const testing::StoreDir dir, out;
  {
    const auto store = dir.open();
    BatchMaker maker(*store);
    RecordBuilder builder;
    const Buffer body = testing::body_of("forged");
    Entry entry{1, 1, 0, 0, checksum(body), 1, 1, Position::none, std::nullopt};
    builder.append(entry, body);
    const auto forged = builder.seal({store->identity().log_id, Position{9}, WallTime(), 0, 9});
    std::string text;
    for (int copy = 0; copy < 40; ++copy) text.append(std::string(static_cast<std::size_t>(2 * copy), 'x')).append(text_of(forged->bytes()));
    maker.add({.text = text});
    store->commit(maker.take()).value();
  }
  const auto report = salvage({dir.path(), out.path() / "new", [](Bytes) { return EventNames(); }, {}}).value();
  EXPECT_EQ(report.records, 1u);
  EXPECT_EQ(report.last, Position{1});
}

// Names that no row has any more stand in the events.
TEST(StoreSalvageNames, LostNamesAreTakenFromEvents) {
  const testing::StoreDir dir, out;
  {
    const auto store = dir.open();
    BatchMaker maker(*store);
    maker.add({.text = "a", .topic = 2, .type = 1});
    store->commit(maker.take()).value();
  }
  const auto report = salvage({dir.path(), out.path() / "new", [](Bytes) { return EventNames{"the.topic", "the.type"}; }, {}}).value();
  auto options = out.options();
  options.dir = out.path() / "new";
  const auto store = Store::open(options).value();
  std::vector<std::string> names;
  for (const Table table : {Table::topics, Table::types, Table::publishers}) {
    store->each_row(table, [&](auto, std::string_view value) {
      names.emplace_back(Reader(value).get_string());
      return Result<void>();
    }).value();
  }
  EXPECT_EQ(names, (std::vector<std::string>{"lost-1", "the.topic", "the.type", "lost-1"}));
  EXPECT_EQ(report.notes.size(), 2u);
}

TEST(StoreSalvageRefused, WhatIsNoLogAndWhereOneIs) {
  const testing::StoreDir dir, out;
  const auto names = [](Bytes) { return EventNames(); };
  EXPECT_TRUE(fails(salvage({dir.path(), out.path(), names, {}}), Code::not_found, "there is no log"));
  dir.open().reset();
  testing::write_file(dir.path() / "zeros", std::string(64 * page_bytes, '\0'));
  EXPECT_TRUE(fails(salvage({dir.path() / "zeros", out.path(), names, {}}), Code::bad_format, "no identity"));
  EXPECT_TRUE(fails(salvage({dir.path(), dir.path() / "log", names, {}}), Code::bad_format, "other files"));
  out.open().reset();
  EXPECT_TRUE(fails(salvage({dir.path(), out.path(), names, {}}), Code::bad_format, "has a log"));
  const auto store = dir.open();
  EXPECT_TRUE(fails(salvage({dir.path(), out.path() / "new", names, {}}), Code::locked, ""));
  EXPECT_TRUE(fails(salvage({dir.data_file(), out.path() / "new", names, {}}), Code::locked, ""));
}

INSTANTIATE_TEST_SUITE_P(Packing, StoreSalvage, ::testing::Values(Compression::none, Compression::zstd),
                         [](const auto& one) { return one.param == Compression::none ? "none" : "zstd"; });

}  // namespace
}  // namespace bus::store
