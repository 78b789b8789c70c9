// Goal: what leaves a transaction is durable or undone, and each failure of LMDB has the code its header promises.
// Method: real environments in memory: aborted and committed transactions, a full map, files that are not LMDB's.
#include <gtest/gtest.h>

#include "broker/store/lmdb.hpp"
#include "tests/support/results.hpp"
#include "tests/support/store_dir.hpp"

namespace bus::store::lmdb {
namespace {

using testing::fails;
using testing::is_ok;

class LmdbTest : public ::testing::Test {
 protected:
  Environment open(Access access = Access::write) {
    return Environment::open(dir_.path(), 1 * limits::MiB, access).value();
  }
  testing::StoreDir dir_;
};

TEST_F(LmdbTest, ACommittedRowIsThereAfterReopening) {
  {
    const auto env = open();
    auto txn = env.begin(Access::write).value();
    ASSERT_TRUE(is_ok(txn.put(txn.open_table("t", true).value(), "key", "value")));
    ASSERT_TRUE(is_ok(txn.commit()));
  }
  const auto env = open(Access::read);
  auto txn = env.begin(Access::read).value();
  EXPECT_EQ(txn.get(txn.open_table("t", false).value(), "key").value(), "value");
}

TEST_F(LmdbTest, AnAbandonedTransactionChangesNothing) {
  const auto env = open();
  { (void)env.begin(Access::write).value().open_table("t", true).value(); }
  auto txn = env.begin(Access::read).value();
  EXPECT_TRUE(fails(txn.open_table("t", false), Code::not_found));
}

TEST_F(LmdbTest, AReaderSeesItsOwnSnapshot) {
  const auto env = open();
  auto write = env.begin(Access::write).value();
  const Dbi table = write.open_table("t", true).value();
  ASSERT_TRUE(is_ok(write.put(table, "key", "old")));
  ASSERT_TRUE(is_ok(write.commit()));

  const auto before = env.begin(Access::read).value();
  auto next = env.begin(Access::write).value();
  ASSERT_TRUE(is_ok(next.put(table, "key", "new")));
  ASSERT_TRUE(is_ok(next.commit()));
  EXPECT_EQ(before.get(table, "key").value(), "old");
  EXPECT_EQ(env.begin(Access::read).value().get(table, "key").value(), "new");
}

TEST_F(LmdbTest, ACursorStandsOnRowsInOrder) {
  const auto env = open();
  auto txn = env.begin(Access::write).value();
  const Dbi table = txn.open_table("t", true).value();
  for (const char* key : {"b", "d", "f"}) ASSERT_TRUE(is_ok(txn.put(table, key, key)));
  auto cursor = txn.cursor(table).value();
  EXPECT_TRUE(cursor.seek("c").value());
  EXPECT_EQ(cursor.key(), "d");
  EXPECT_TRUE(cursor.previous().value());
  EXPECT_EQ(cursor.value(), "b");
  EXPECT_FALSE(cursor.previous().value());
  EXPECT_TRUE(cursor.last().value());
  EXPECT_EQ(cursor.key(), "f");
  EXPECT_FALSE(cursor.next().value());
  EXPECT_FALSE(cursor.seek("g").value());
}

TEST_F(LmdbTest, AppendingOutOfOrderIsDamage) {
  const auto env = open();
  auto txn = env.begin(Access::write).value();
  const Dbi table = txn.open_table("t", true).value();
  ASSERT_TRUE(is_ok(txn.put(table, "b", "", Place::end)));
  EXPECT_TRUE(fails(txn.put(table, "a", "", Place::end), Code::damaged));
}

TEST_F(LmdbTest, ErasingWhatIsNotThereIsNoError) {
  const auto env = open();
  auto txn = env.begin(Access::write).value();
  EXPECT_TRUE(is_ok(txn.erase(txn.open_table("t", true).value(), "nothing")));
}

TEST_F(LmdbTest, CountsChangesAndPagesOfLargeValues) {
  const auto env = open();
  auto txn = env.begin(Access::write).value();
  const Dbi table = txn.open_table("t", true).value();
  ASSERT_TRUE(is_ok(txn.put(table, "small", std::string(100, 'x'))));
  EXPECT_EQ(txn.large_pages(), 0u);
  ASSERT_TRUE(is_ok(txn.put(table, "two pages", std::string(2 * page_bytes - 16, 'x'))));
  EXPECT_EQ(txn.large_pages(), 2u);
  EXPECT_EQ(txn.stat(table).value().overflow_pages, 2u);
  ASSERT_TRUE(is_ok(txn.put(table, "one byte more", std::string(2 * page_bytes - 15, 'x'))));
  EXPECT_EQ(txn.large_pages(), 5u);
  EXPECT_EQ(txn.stat(table).value().overflow_pages, 5u);
  EXPECT_EQ(txn.changes(), 3u);
}

// Whatever LMDB moves to pages of its own is counted: what is not counted is not reserved.
TEST_F(LmdbTest, NeverCountsFewerLargePagesThanLmdbTakes) {
  const auto env = Environment::open(dir_.path(), 64 * limits::MiB, Access::write).value();
  for (const std::size_t key_bytes : {std::size_t{8}, std::size_t{16}, std::size_t{500}}) {
    auto txn = env.begin(Access::write).value();
    const Dbi table = txn.open_table("t", true).value();
    for (std::size_t bytes = 1; bytes < 9'000; bytes += 7) {
      std::string key = std::to_string(bytes);
      key.resize(key_bytes, '.');
      ASSERT_TRUE(is_ok(txn.put(table, key, std::string(bytes, 'x'))));
      ASSERT_GE(txn.large_pages(), txn.stat(table).value().overflow_pages) << key_bytes << " " << bytes;
    }
  }
}

TEST_F(LmdbTest, AFullMapIsLogFull) {
  const auto env = open();
  auto txn = env.begin(Access::write).value();
  const Dbi table = txn.open_table("t", true).value();
  EXPECT_TRUE(fails(txn.put(table, "key", std::string(2 * limits::MiB, 'x')), Code::log_full));
}

TEST_F(LmdbTest, AFileOfSomebodyElseIsBadFormat) {
  testing::write_file(dir_.path() / "data.mdb", std::string(8 * page_bytes, 'x'));
  EXPECT_TRUE(fails(Environment::open(dir_.path(), 1 * limits::MiB, Access::write), Code::bad_format));
}

TEST_F(LmdbTest, AMissingDirectoryIsADiskError) {
  EXPECT_TRUE(fails(Environment::open(dir_.path() / "nowhere", 0, Access::read), Code::disk_error, "nowhere"));
}

}  // namespace
}  // namespace bus::store::lmdb
