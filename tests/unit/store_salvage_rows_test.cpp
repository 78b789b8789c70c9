// Goal: a salvaged log starts: rows that name what is lost are dropped or given it, numbers and versions that were used are not used
// again, and nothing that somebody has published is taken for a row.
// Method: logs whose rows lack others, salvaged and read through the store.
#include <gtest/gtest.h>

#include "broker/store/page_format.hpp"
#include "broker/store/salvage.hpp"
#include "tests/support/batch_maker.hpp"
#include "tests/support/results.hpp"
#include "tests/support/store_dir.hpp"

namespace bus::store {
namespace {

using testing::BatchMaker;
using testing::fails;
using testing::is_ok;

using lmdb::page_bytes;

class SalvageRows : public ::testing::Test {
 protected:
  // A log of one commit, which `fill` makes.
  template <typename Fill>
  void write(Fill fill) {
    const auto store = dir_.open();
    BatchMaker maker(*store);
    fill(maker);
    store->commit(maker.take()).value();
  }
  SalvageOptions options() const {
    return {dir_.path(), out_.path() / "new", [](Bytes) { return EventNames{"the.topic", "the.type"}; }, {}};
  }
  void change(const std::function<void(lmdb::Transaction&, const Tables&)>& what) const {
    const auto env = lmdb::Environment::open(dir_.path() / "log", 64 * limits::MiB, lmdb::Access::write).value();
    auto txn = env.begin(lmdb::Access::write).value();
    what(txn, Tables::open(txn, false).value());
    txn.commit().value();
  }
  void break_metas() const {
    std::string file = testing::read_file(dir_.data_file());
    for (const std::size_t meta : {0u, 1u}) file[meta * page_bytes + sizeof(page::Header)] ^= 1;
    testing::write_file(dir_.data_file(), file);
  }
  std::unique_ptr<Store> open_new() const {
    auto options = out_.options();
    options.dir = out_.path() / "new";
    return Store::open(options).value();
  }
  static Rows rows(const Store& store, Table table) { return store.reader()->rows({.table = table, .from = {}, .until = {}, .most = 99}).value(); }
  static std::vector<std::string> names(const Store& store, Table table) {
    std::vector<std::string> names;
    for (const auto& [key, value] : rows(store, table)) names.emplace_back(Reader(value).get_string());
    return names;
  }
  static bool has_note(const SalvageReport& report, std::string_view what) {
    return std::any_of(report.notes.begin(), report.notes.end(), [&](const auto& note) { return note.find(what) != std::string::npos; });
  }

  testing::StoreDir dir_, out_;
};

std::string used_up(std::uint32_t publisher, std::uint64_t sequence) {
  return Writer().put(std::uint8_t{1}).put(publisher).put_string(Writer().put(sequence).bytes()).take();
}
std::string schedule_key(std::uint32_t publisher, std::uint64_t sequence) {
  return std::string(NumberKey(7)).append(number_key(publisher)).append(NumberKey(sequence));
}
std::string schedule_row(std::uint32_t topic, std::uint32_t type) { return Writer().put(std::int64_t{0}).put(topic).put(type).put_bytes("the rest").take(); }
std::string group_event_key(std::uint32_t group, std::uint64_t position) { return number_key(group).append(NumberKey(position)); }

TEST_F(SalvageRows, OfAGroupThatIsLostAreDropped) {
  write([](BatchMaker& maker) {
    maker.add({});
    maker.put_row(Table::groups, number_key(1), "a group");
    for (const std::uint32_t group : {1u, 2u}) {
      maker.put_row(Table::open, group_event_key(group, 1), "open");
      maker.put_row(Table::dead, group_event_key(group, 1), "dead");
      maker.put_row(Table::failures, group_event_key(group, 1).append(number_key(1)), "failure");
    }
  });
  const auto report = salvage(options()).value();
  const auto store = open_new();
  for (const Table table : {Table::open, Table::dead, Table::failures}) {
    ASSERT_EQ(rows(*store, table).size(), 1u);
    EXPECT_EQ(key_number(rows(*store, table)[0].first), 1u);
    EXPECT_TRUE(has_note(report, std::string("1 rows of table ") + name_of(id_of(table)) + " are dropped"));
  }
}

// Numbers that no event has, in every table that may name them; and a real name that looks made up.
TEST_F(SalvageRows, NumbersWithoutARowGetNamesOfTheirOwn) {
  write([](BatchMaker& maker) {
    maker.add({});
    maker.put_row(Table::topics, number_key(1), testing::topic_row("lost-2"));
    maker.put_row(Table::publishers, number_key(1), testing::publisher_row("lost-3"));
    maker.put_row(Table::schedule, schedule_key(3, 9), schedule_row(2, 3));
    Writer dead;
    dead.put(std::int64_t{0}).put(std::uint16_t{0});
    for (int count = 0; count < 4; ++count) dead.put(std::uint32_t{0});
    maker.put_row(Table::groups, number_key(1), "a group");
    maker.put_row(Table::dead, group_event_key(1, 1), dead.put(std::uint32_t{4}).put(std::uint32_t{2}).put(std::uint64_t{0}).take());
    maker.set_journal(used_up(5, 77));
  });
  const auto report = salvage(options()).value();
  const auto store = open_new();
  EXPECT_EQ(names(*store, Table::topics), (std::vector<std::string>{"lost-2", "lost-2-2", "lost-3", "lost-4"}));
  EXPECT_EQ(names(*store, Table::types), (std::vector<std::string>{"the.type", "lost-2", "lost-3"}));
  EXPECT_EQ(names(*store, Table::publishers), (std::vector<std::string>{"lost-3", "lost-2", "lost-3-2", "lost-4", "lost-5"}));
  EXPECT_TRUE(has_note(report, "the name of topic 4 is lost"));
  EXPECT_EQ(rows(*store, Table::publishers)[2].second, testing::publisher_row("lost-3-2", 9));
  EXPECT_EQ(rows(*store, Table::publishers)[4].second, testing::publisher_row("lost-5", 77));
}

// The journal is not whole, but what its rows say was used up all the same.
TEST_F(SalvageRows, SequencesOfALostJournalStayUsedUp) {
  write([](BatchMaker& maker) { maker.set_journal(used_up(1, 3)); });
  write([](BatchMaker& maker) {
    maker.add({});
    maker.put_row(Table::publishers, number_key(1), testing::publisher_row("doc", 1));
    maker.set_journal(used_up(1, 8));
  });
  change([](auto& txn, const Tables& tables) { txn.erase(tables[TableId::journal], NumberKey(1)).value(); });
  const auto report = salvage(options()).value();
  EXPECT_TRUE(has_note(report, "sequences of refused or scheduled events may be used again"));
  const auto store = open_new();
  EXPECT_EQ(rows(*store, Table::publishers)[0].second, testing::publisher_row("doc", 8, Position{1}));
  EXPECT_TRUE(is_ok(store->each_journal(store->head().replay_batch, [](auto, auto) { return Result<void>(); })));
}

// What the row has counted is not counted again, and what is lost is not forgotten.
TEST_F(SalvageRows, FiguresGoOnFromTheirRows) {
  write([](BatchMaker& maker) {
    maker.add({.text = "one"});
    maker.add({.text = "two"});
    Writer row;
    row.put_string("the.topic").put(std::uint64_t{40}).put(std::uint64_t{4000}).put(std::uint64_t{1}).put(std::uint64_t{1}).put(std::int64_t{5});
    maker.put_row(Table::topics, number_key(1), row.put(std::uint64_t{1}).put(std::uint64_t{0}).put(std::uint64_t{0}).take());
  });
  salvage(options()).value();
  const auto store = open_new();
  const auto topics = rows(*store, Table::topics);
  Reader reader(topics[0].second);
  reader.get_string();
  EXPECT_EQ(reader.get<std::uint64_t>(), 41u);
  EXPECT_EQ(reader.get<std::uint64_t>(), 4000u + testing::body_of("two").size());
  EXPECT_EQ(reader.get<Position>(), Position{1});
  EXPECT_EQ(reader.get<Position>(), Position{2});
  EXPECT_EQ(store->head().replay_from, Position{3});
}

TEST_F(SalvageRows, ASnapshotAheadOfItsKeyIsDropped) {
  write([](BatchMaker& maker) {
    maker.add({.key = "user-7"});
    for (const std::uint64_t version : {1u, 2u}) maker.put_row(Table::snapshots, key_page_key(maker.hash_of("user-7"), version), "state " + std::to_string(version));
    maker.put_row(Table::snapshots, key_page_key(maker.hash_of("nobody"), 1), "state of nobody");
  });
  const auto report = salvage(options()).value();
  const auto left = rows(*open_new(), Table::snapshots);
  ASSERT_EQ(left.size(), 1u);
  EXPECT_EQ(left[0].second, "state 1");
  EXPECT_TRUE(has_note(report, "2 rows of table snapshots are dropped"));
}

TEST_F(SalvageRows, MoreRangesThanALogCanHoldAreRefused) {
  for (int batch = 0; batch < 5; ++batch) write([&](BatchMaker& maker) { maker.add({.text = "event " + std::to_string(batch)}); });
  change([](auto& txn, const Tables& tables) {
    for (const std::uint64_t position : {2u, 4u}) txn.erase(tables[TableId::log], NumberKey(position)).value();
  });
  // Their bytes lie in free pages.
  std::string file = testing::read_file(dir_.data_file());
  for (const char* text : {"event 1", "event 3"}) {
    for (auto place = file.find(text); place != std::string::npos; place = file.find(text, place + 1)) file[place] ^= 1;
  }
  testing::write_file(dir_.data_file(), file);
  auto few = options();
  few.lost_ranges_max = 1;
  EXPECT_TRUE(fails(salvage(few), Code::bad_format, "more than 1 ranges"));
  EXPECT_EQ(salvage(options()).value().lost.size(), 2u);
}

// A large event lies on pages of its own, and may have bytes that are a leaf of LMDB, with this very number and a row that verifies.
TEST_F(SalvageRows, APageInsideAnEventIsNotALeaf) {
  const std::string marker(page_bytes, 'm');
  std::uint64_t number = 0;
  {
    const testing::StoreDir trial;
    const auto store = trial.open();
    BatchMaker maker(*store);
    maker.add({.text = std::string(3 * page_bytes, 'm')});
    store->commit(maker.take()).value();
    number = testing::read_file(trial.data_file()).find(marker) / page_bytes + 1;
  }
  std::string identity(32, '\7');
  const std::string row = guarded(TableId::meta, "identity", identity);
  std::string leaf(page_bytes, '\0');
  page::Header header{number, 0, page::Flag::leaf, sizeof(page::Header) + 2, static_cast<std::uint16_t>(page_bytes - sizeof(page::Node) - 8 - row.size())};
  const page::Node node{static_cast<std::uint16_t>(row.size()), 0, 0, 8};
  std::memcpy(leaf.data(), &header, sizeof header);
  std::memcpy(leaf.data() + sizeof header, &header.upper, sizeof header.upper);
  std::memcpy(leaf.data() + header.upper, &node, sizeof node);
  std::memcpy(leaf.data() + header.upper + sizeof node, "identity", 8);
  std::memcpy(leaf.data() + header.upper + sizeof node + 8, row.data(), row.size());
  // The value begins behind the header of its first page, the text behind the record's header and its own size.
  const std::size_t before = page_bytes - sizeof(page::Header) - format::header_bytes - 4;
  write([&](BatchMaker& maker) {
    std::string text(3 * page_bytes, 'm');
    maker.add({.text = text.replace(before, page_bytes, leaf)});
  });
  ASSERT_EQ(testing::read_file(dir_.data_file()).find(leaf), number * page_bytes);
  break_metas();
  salvage(options()).value();
  EXPECT_NE(open_new()->identity().log_id[0], 7);
}

}  // namespace
}  // namespace bus::store
