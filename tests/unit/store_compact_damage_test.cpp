// Goal: a compacted copy that is good is not spoilt by a log that was damaged since, and takes its place also where an older version has made
// it; an error before the exchange changes nothing, and one after it is told.
// Method: rows and pages changed as a disk may; directories that an ordinary user may not read or write.
#include <gtest/gtest.h>

#include <sys/stat.h>
#include <unistd.h>

#include "broker/store/meta.hpp"
#include "broker/store/page_format.hpp"
#include "tests/support/batch_maker.hpp"
#include "tests/support/compact_case.hpp"

namespace bus::store {
namespace {

using testing::AllRows;
using testing::CompactCase;
using testing::fails;
using testing::is_ok;
namespace fs = std::filesystem;

class StoreCompactDamage : public CompactCase {
 protected:
  using Change = std::function<void(lmdb::Transaction& txn, const Tables& tables)>;
  void change(const Change& how) const {
    auto env = lmdb::Environment::open(log_, 64 * limits::MiB, lmdb::Access::write).value();
    auto txn = env.begin(lmdb::Access::write).value();
    const auto tables = Tables::open(txn, false).value();
    how(txn, tables);
    txn.commit().value();
  }
  // As a flipped bit would: the row lacks a new checksum.
  void flip(TableId table, std::string_view key, std::size_t at) const {
    change([&](lmdb::Transaction& txn, const Tables& tables) {
      std::string value(**txn.get(tables[table], key));
      value.at(at) = static_cast<char>(value.at(at) ^ 1);
      txn.put(tables[table], key, value).value();
    });
  }
  // The page that leads to the other pages of a table forgets its last child.
  static void hide_rows(const fs::path& log, TableId table) {
    auto file = testing::read_file(log / "data.mdb");
    const auto at = [&](std::uint64_t number) { return reinterpret_cast<std::uint8_t*>(file.data()) + number * lmdb::page_bytes; };
    const auto even = load<page::Meta>(at(0) + sizeof(page::Header)), odd = load<page::Meta>(at(1) + sizeof(page::Header));
    const auto* tables = at((even.transaction > odd.transaction ? even : odd).main.root);
    for (std::size_t node = sizeof(page::Header); node < load<page::Header>(tables).lower; node += 2) {
      const auto* row = tables + load<std::uint16_t>(tables + node);
      const auto key_bytes = load<page::Node>(row).key_bytes;
      if (std::string_view(reinterpret_cast<const char*>(row + sizeof(page::Node)), key_bytes) != name_of(table)) continue;
      const auto root = load<page::Tree>(row + sizeof(page::Node) + key_bytes).root;
      auto header = load<page::Header>(at(root));
      ASSERT_EQ(header.flags, page::Flag::branch) << "the table has one page";
      header.lower -= 2;
      std::memcpy(at(root), &header, sizeof header);
      testing::write_file(log / "data.mdb", file);
      return;
    }
    FAIL() << "there is no such table";
  }
  // As a version has written it that did not know the table.
  static void leave_out(const fs::path& log, TableId left_out) {
    const auto all = rows_in(log);
    for (const char* name : {"data.mdb", "lock.mdb"}) fs::remove(log / name);
    auto env = lmdb::Environment::open(log, 64 * limits::MiB, lmdb::Access::write).value();
    auto txn = env.begin(lmdb::Access::write).value();
    for (std::size_t id = 0; id < table_ids; ++id) {
      if (static_cast<TableId>(id) == left_out) continue;
      const auto table = txn.open_table(name_of(static_cast<TableId>(id)), true).value();
      for (const auto& [key, value] : all) {
        if (key.first == static_cast<int>(id)) txn.put(table, key.second, value).value();
      }
    }
    txn.commit().value();
  }
  // Neither log nor copy is changed.
  void expect_not_taken(const std::string& why) {
    const auto log = rows(), copy = rows_in(copy_);
    EXPECT_TRUE(fails(swap(), Code::damaged, why));
    EXPECT_EQ(rows(), log);
    EXPECT_EQ(rows_in(copy_), copy);
    EXPECT_FALSE(fs::exists(log_ / "copy"));
  }
  fs::path log_ = path_ / "log", copy_ = path_ / "log.compact";
};

TEST_F(StoreCompactDamage, ADamagedRowDoesNotReplaceAGoodOne) {
  publish(100);
  for (const TableId table : {TableId::keys, TableId::log}) {
    ASSERT_TRUE(is_ok(compact()));
    const auto good = rows();
    const auto key = good.lower_bound({static_cast<int>(table), ""})->first.second;
    flip(table, key, 40);
    expect_not_taken(table == TableId::log ? "record at position 1" : "table keys");
    EXPECT_EQ(rows_in(copy_), good);
    flip(table, key, 40);
    EXPECT_TRUE(swap().value()) << "once it is mended";
    EXPECT_EQ(rows(), good);
  }
}

TEST_F(StoreCompactDamage, WhatBothHaveOfDamageIsNoReason) {
  publish(100);
  flip(TableId::log, NumberKey(Position{11}), 40);
  ASSERT_TRUE(is_ok(compact()));
  const auto before = rows();
  EXPECT_TRUE(swap().value());
  EXPECT_EQ(rows(), before);
}

// A flip in the body of a record leaves its header: the copy keeps its own bytes.
TEST_F(StoreCompactDamage, AGoodBodyStays) {
  publish(100);
  ASSERT_TRUE(is_ok(compact()));
  const auto before = rows();
  flip(TableId::log, NumberKey(Position{11}), 400);
  EXPECT_NE(rows(), before);
  EXPECT_TRUE(swap().value());
  EXPECT_EQ(rows(), before);
}

TEST_F(StoreCompactDamage, HiddenRowsAreNotTakenForErasedOnes) {
  publish(4000);
  change([](lmdb::Transaction& txn, const Tables& tables) {
    for (std::uint64_t row = 0; row < 2000; ++row) tables.put(txn, TableId::dead, NumberKey(row), "a dead letter").value();
  });
  ASSERT_TRUE(is_ok(compact()));
  const auto good = rows();
  hide_rows(log_, TableId::dead);
  ASSERT_LT(rows().size(), good.size());
  expect_not_taken("table dead has");
  hide_rows(log_, TableId::log);
  expect_not_taken("is missing in the log");
  EXPECT_EQ(rows_in(copy_), good);
}

TEST_F(StoreCompactDamage, ACopyThatHidesRowsIsNotTaken) {
  publish(4000);
  ASSERT_TRUE(is_ok(compact()));
  hide_rows(copy_, TableId::log);
  expect_not_taken("table log of the copy has");
}

TEST_F(StoreCompactDamage, ARecordThatIsGoneForNoReasonIsNotErased) {
  publish(100);
  ASSERT_TRUE(is_ok(compact()));
  const NumberKey key(Position{11});
  change([&](lmdb::Transaction& txn, const Tables& tables) { txn.erase(tables[TableId::log], key).value(); });
  expect_not_taken("the record at position 11 is missing in the log");
  change([&](lmdb::Transaction& txn, const Tables& tables) { put_lost(txn, tables, std::vector<LostRange>{{Position{11}, Position{20}}}).value(); });
  const auto before = rows();
  EXPECT_TRUE(swap().value()) << "repair has said that it is lost";
  EXPECT_EQ(rows(), before);
}

// As repair does it: it leaves no position out.
TEST_F(StoreCompactDamage, ARecordThatWentToItsPlaceIsNotMissed) {
  publish(100);
  const auto good = rows();
  const auto record = good.at({static_cast<int>(TableId::log), std::string(std::string_view(NumberKey(Position{11})))});
  for (const std::uint64_t wrong : {15u, 1u << 20}) {
    const auto move = [&](std::uint64_t from, std::uint64_t to) {
      change([&](lmdb::Transaction& txn, const Tables& tables) {
        txn.erase(tables[TableId::log], NumberKey(from)).value();
        txn.put(tables[TableId::log], NumberKey(to), record).value();
      });
    };
    move(11, wrong);
    ASSERT_TRUE(is_ok(compact()));
    move(wrong, 11);
    EXPECT_TRUE(swap().value()) << wrong;
    EXPECT_EQ(rows(), good);
  }
}

TEST_F(StoreCompactDamage, ACopyOfAnOlderVersionIsTaken) {
  publish(100);
  const auto before = rows();
  ASSERT_TRUE(is_ok(compact()));
  leave_out(copy_, TableId::topic_settings);
  EXPECT_TRUE(swap().value());
  EXPECT_EQ(rows(), before);
  leave_out(log_, TableId::schemas);
  ASSERT_TRUE(is_ok(compact()));
  EXPECT_TRUE(swap().value()) << "the log, too, is as the older version has left it";
  EXPECT_EQ(rows(), before);
  publish(10);
}

TEST_F(StoreCompactDamage, TellsHowFarItHasCome) {
  publish(6000);
  ASSERT_TRUE(is_ok(compact()));
  const auto rows_twice = 2 * rows().size();
  std::vector<std::uint64_t> told;
  const auto tell = [&](std::uint64_t done, std::uint64_t most) {
    told.push_back(done);
    EXPECT_LE(done, most);
    EXPECT_EQ(most, rows_twice);
  };
  ASSERT_TRUE(swap_in_compacted(path_, 64 * limits::MiB, tell).value());
  EXPECT_EQ(told.front(), 0u) << "before anything is done";
  EXPECT_GT(told.size(), table_ids);
  EXPECT_TRUE(std::is_sorted(told.begin(), told.end()));
}

// ---- directories

// What root may do others may not: for the life of it this is an ordinary user, and the log is his.
class OrdinaryUser {
 public:
  static constexpr uid_t nobody = 65534;
  explicit OrdinaryUser(const fs::path& dir) {
    if (!is_root_) return;
    for (const auto& entry : fs::recursive_directory_iterator(dir)) give(entry.path());
    give(dir);
    EXPECT_EQ(::seteuid(nobody), 0);
  }
  ~OrdinaryUser() {
    if (is_root_) restore();
  }
  OrdinaryUser(const OrdinaryUser&) = delete;
  OrdinaryUser& operator=(const OrdinaryUser&) = delete;

 private:
  static void restore() { EXPECT_EQ(::seteuid(0), 0); }
  static void give(const fs::path& path) { EXPECT_EQ(::chown(path.c_str(), nobody, nobody), 0); }
  const bool is_root_ = ::geteuid() == 0;
};

TEST_F(StoreCompactDamage, AnExchangeThatMayBeUndoneIsTold) {
  publish(100);
  const auto before = rows();
  ASSERT_TRUE(is_ok(compact()));
  const OrdinaryUser user(path_);
  fs::permissions(path_, fs::perms::owner_write | fs::perms::owner_exec);  // it cannot be opened, so it cannot be synced
  auto swapped = swap().value();
  ASSERT_TRUE(swapped && swapped->unsynced);
  EXPECT_EQ(swapped->unsynced->code, Code::disk_error);
  EXPECT_EQ(rows_in(copy_), before) << "the log that was replaced stays";
  swapped = swap().value();
  EXPECT_TRUE(swapped && swapped->unsynced) << "nor can it be at the next start";
  fs::permissions(path_, fs::perms::owner_all);
  EXPECT_FALSE(swap().value());
  EXPECT_EQ(rows(), before);
  EXPECT_TRUE(is_clean());
}

TEST_F(StoreCompactDamage, AReplacedLogThatCannotBeRemovedIsToldAndNoError) {
  publish(100);
  const auto before = rows();
  ASSERT_TRUE(is_ok(compact()));
  const OrdinaryUser user(path_);
  fs::permissions(log_, fs::perms::owner_read | fs::perms::owner_exec);
  const auto swapped = swap().value();
  ASSERT_TRUE(swapped);
  EXPECT_FALSE(swapped->unsynced);
  EXPECT_TRUE(swapped->left);
  EXPECT_EQ(rows(), before);
  fs::permissions(copy_, fs::perms::owner_all);
  EXPECT_FALSE(swap().value());
  EXPECT_TRUE(is_clean());
}

TEST_F(StoreCompactDamage, WhatRootHasBegunBelongsToTheLogsOwner) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root can give files away";
  publish(100);
  ASSERT_EQ(::chown((log_ / "data.mdb").c_str(), OrdinaryUser::nobody, OrdinaryUser::nobody), 0);
  uid_t owner = 0;
  const auto look = [&](CompactProgress) {
    struct stat info {};
    if (::stat((path_ / "log.compact.new").c_str(), &info) == 0) owner = info.st_uid;
  };
  ASSERT_TRUE(is_ok(write_compacted(path_, look)));
  EXPECT_EQ(owner, OrdinaryUser::nobody) << "while it is written";
}

TEST_F(StoreCompactDamage, DiscardRemovesWhatWasBrokenOff) {
  publish(10);
  fs::create_directory(path_ / "log.compact.new");
  testing::write_file(path_ / "log.compact.new" / "data.mdb", "a beginning");
  EXPECT_TRUE(discard_compacted(path_).value());
  ASSERT_TRUE(is_ok(compact()));
  fs::create_directory(path_ / "log.compact.new");
  EXPECT_TRUE(discard_compacted(path_).value());
  EXPECT_TRUE(is_clean());
  EXPECT_FALSE(discard_compacted(path_).value());
}

}  // namespace
}  // namespace bus::store
