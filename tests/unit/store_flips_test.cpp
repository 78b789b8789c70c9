// Goal: one flipped bit, in whatever page of the data file, is found and named, or changes nothing that can be read; and never ends
// the process that looks for it.
// Method: a log with pages of every kind; flip one bit at a time, verify as bus-cli does offline, and where nothing is found read all
// of it through LMDB and compare. With BUS_LONG every byte of some pages of each kind has its turn, else a sample.
#include <gtest/gtest.h>
#include <lmdb.h>

#include <cstdlib>
#include <map>
#include <set>

#include "broker/store/offline.hpp"
#include "broker/store/page_format.hpp"
#include "broker/store/page_walk.hpp"
#include "tests/support/batch_maker.hpp"
#include "tests/support/results.hpp"
#include "tests/support/store_dir.hpp"

namespace bus::store {
namespace {

using limits::KiB;
using limits::MiB;
using testing::BatchMaker;
using testing::fails;
using testing::is_ok;

using lmdb::page_bytes;
constexpr std::size_t verify_all = ~std::size_t{0};

enum class Kind { meta, branch, leaf, large, value, free, beyond };
const char* text_of_kind(Kind kind) {
  constexpr std::array names = {"meta", "branch", "leaf", "first page of a value", "page of a value", "free", "beyond the last"};
  return names[static_cast<std::size_t>(kind)];
}

class StoreFlips : public ::testing::Test {
 protected:
  StoreFlips() {
    const auto store = dir_.open();
    BatchMaker maker(*store);
    std::mt19937_64 random(7);
    // Enough for branches, large values of records and of leaves of keys, and free pages: rows that are written again and erased.
    for (int batch = 0; batch < 150; ++batch) {
      const bool is_large = batch % 16 == 0;
      for (int event = 0; event < (is_large ? 30 : 4); ++event) {
        maker.add({.text = testing::random_text(random, is_large ? 200 : 90), .key = "key " + std::to_string(batch * 31 + event)});
      }
      maker.set_journal("journal of " + std::to_string(batch));
      for (int row = 0; row < 3; ++row) maker.put_row(Table::topics, std::to_string(batch * 3 + row), testing::random_text(random, 60));
      if (batch > 20) maker.erase_row(Table::topics, std::to_string((batch - 20) * 3));
      store->commit(maker.take()).value();
    }
  }

  // Every row of every table, and the list of free pages, as LMDB reads them: along the tree, and each row by its key.
  std::string dump() const {
    MDB_env* env = nullptr;
    mdb_env_create(&env);
    mdb_env_set_maxdbs(env, 16);
    std::string text;
    MDB_txn* txn = nullptr;
    if (mdb_env_open(env, (dir_.path() / "log").c_str(), MDB_RDONLY | MDB_NOLOCK, 0640) == 0 && mdb_txn_begin(env, nullptr, MDB_RDONLY, &txn) == 0) {
      dump_table(txn, 0, text);
      for (std::size_t id = 0; id < table_ids; ++id) {
        MDB_dbi table = 0;
        text += name_of(static_cast<TableId>(id));
        if (mdb_dbi_open(txn, name_of(static_cast<TableId>(id)), 0, &table) == 0) dump_table(txn, table, text);
      }
      mdb_txn_abort(txn);
    }
    mdb_env_close(env);
    return text;
  }
  static void dump_table(MDB_txn* txn, MDB_dbi table, std::string& text) {
    MDB_cursor* cursor = nullptr;
    mdb_cursor_open(txn, table, &cursor);
    MDB_val key, value, again;
    for (int status = mdb_cursor_get(cursor, &key, &value, MDB_FIRST); status == 0; status = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) {
      // Which transaction freed a page no longer matters once nobody reads what was before it.
      if (table != 0) text.append(static_cast<const char*>(key.mv_data), key.mv_size);
      text.append("=").append(static_cast<const char*>(value.mv_data), value.mv_size);
      if (table != 0 && (mdb_get(txn, table, &key, &again) != 0 || again.mv_data != value.mv_data)) text.append("NOT FOUND");
    }
    mdb_cursor_close(cursor);
  }

  std::map<Kind, std::vector<std::uint64_t>> pages() const {
    const std::string file = testing::read_file(dir_.data_file());
    const auto at = [&](std::uint64_t number) { return reinterpret_cast<const std::uint8_t*>(file.data()) + number * page_bytes; };
    const auto even = load<page::Meta>(at(0) + sizeof(page::Header)), odd = load<page::Meta>(at(1) + sizeof(page::Header));
    const auto meta = even.transaction > odd.transaction ? even : odd;
    std::map<Kind, std::vector<std::uint64_t>> pages = {{Kind::meta, {0, 1}}};
    const auto used = used_pages();
    for (std::uint64_t number = 2; number * page_bytes < file.size(); ++number) {
      const auto header = load<page::Header>(at(number));
      const bool is_leaf = header.flags == page::Flag::leaf, is_branch = header.flags == page::Flag::branch;
      if (number > meta.last_page) {
        pages[Kind::beyond].push_back(number);
      } else if (!used.contains(number)) {
        pages[Kind::free].push_back(number);
      } else if (const auto value = std::prev(used.upper_bound(number)); header.number == number && (is_leaf || is_branch || header.flags == page::Flag::overflow)) {
        pages[is_leaf ? Kind::leaf : is_branch ? Kind::branch : Kind::large].push_back(*value);
      } else {
        pages[Kind::value].push_back(number);
      }
    }
    return pages;
  }
  // All pages of trees and values, as LMDB's list of free pages leaves them.
  std::set<std::uint64_t> used_pages() const {
    std::set<std::uint64_t> used;
    const auto file = PageFile::open(dir_.data_file()).value();
    const auto found = walk_pages(file, LogValues::skip, {}).value();
    for (std::uint64_t number = 0; number < found.placed.size(); ++number) used.insert(number);
    for (const std::uint64_t number : free_pages()) used.erase(number);
    return used;
  }
  std::vector<std::uint64_t> free_pages() const {
    std::vector<std::uint64_t> pages;
    MDB_env* env = nullptr;
    mdb_env_create(&env);
    MDB_txn* txn = nullptr;
    mdb_env_open(env, (dir_.path() / "log").c_str(), MDB_RDONLY | MDB_NOLOCK, 0640);
    mdb_txn_begin(env, nullptr, MDB_RDONLY, &txn);
    MDB_cursor* cursor = nullptr;
    mdb_cursor_open(txn, 0, &cursor);
    MDB_val key, value;
    while (mdb_cursor_get(cursor, &key, &value, MDB_NEXT) == 0) {
      const auto* list = static_cast<const std::uint64_t*>(value.mv_data);
      pages.insert(pages.end(), list + 1, list + 1 + list[0]);
    }
    mdb_cursor_close(cursor);
    mdb_txn_abort(txn);
    mdb_env_close(env);
    return pages;
  }

  // As `bus-cli log verify --data` does it.
  std::vector<Fault> verify() const {
    const auto pages = verify_pages(dir_.path());
    if (!pages) return {{Position::none, pages.error().detail}};
    if (!pages->faults.empty()) return pages->faults;
    const auto store = Store::open_read_only(dir_.path());
    if (!store) return {{Position::none, store.error().detail}};
    const auto slice = (*store)->reader()->verify(Position::none, 0, verify_all);
    if (!slice) return {{Position::none, slice.error().detail}};
    return slice->faults;
  }

  testing::StoreDir dir_;
};

TEST_F(StoreFlips, AWholeLogHasPagesOfEveryKindAndNoFaults) {
  for (const auto& fault : verify()) ADD_FAILURE() << fault.what;
  const auto kinds = pages();
  EXPECT_EQ(kinds.size(), 7u);
  for (const auto& [kind, numbers] : kinds) EXPECT_FALSE(numbers.empty()) << text_of_kind(kind);
}

TEST_F(StoreFlips, EachIsNamedOrChangesNothing) {
  const bool is_long = std::getenv("BUS_LONG") != nullptr;
  const std::string whole = dump();
  const auto kinds = pages();
  std::mt19937_64 random(11);
  std::fstream file(dir_.data_file(), std::ios::binary | std::ios::in | std::ios::out);
  const auto flip = [&](std::uint64_t at, int bit) {
    file.seekg(static_cast<std::streamoff>(at));
    const char byte = static_cast<char>(file.get() ^ 1 << bit);
    file.seekp(static_cast<std::streamoff>(at));
    file.put(byte).flush();
  };
  std::map<Kind, int> named;
  for (const auto& [kind, numbers] : kinds) {
    const std::size_t pages_most = is_long ? 3 : 4, flips_most = is_long ? page_bytes : 60;
    for (std::size_t turn = 0; turn < std::min(pages_most, numbers.size()); ++turn) {
      const auto number = numbers[kind == Kind::meta || numbers.size() <= pages_most ? turn : random() % numbers.size()];
      for (std::size_t one = 0; one < flips_most; ++one) {
        // The headers and lists of nodes at the begin of a page are few bytes and matter most.
        const std::uint64_t in_page = is_long ? one : one < 40 ? one * (kind == Kind::meta ? 4 : 1) : random() % page_bytes;
        const std::uint64_t at = number * page_bytes + in_page;
        const int bit = static_cast<int>(random() % 8);
        flip(at, bit);
        const auto faults = verify();
        if (faults.empty()) {
          EXPECT_TRUE(dump() == whole) << text_of_kind(kind) << " " << number << ", byte " << in_page << ", bit " << bit;
        } else {
          ++named[kind];
          const bool has_place = faults[0].position != Position::none || faults[0].what.find("page") != std::string::npos ||
                                 faults[0].what.find("table") != std::string::npos || faults[0].what.find("lmdb") != std::string::npos;
          EXPECT_TRUE(has_place) << faults[0].what;
        }
        flip(at, bit);
      }
    }
  }
  EXPECT_TRUE(dump() == whole);
  for (const Kind kind : {Kind::meta, Kind::branch, Kind::leaf, Kind::large, Kind::value}) EXPECT_GT(named[kind], 20) << text_of_kind(kind);
  for (const Kind kind : {Kind::free, Kind::beyond}) EXPECT_EQ(named[kind], 0) << text_of_kind(kind);
  for (const auto& [kind, count] : named) RecordProperty(std::string("named in ") + text_of_kind(kind), count);
}

}  // namespace
}  // namespace bus::store
