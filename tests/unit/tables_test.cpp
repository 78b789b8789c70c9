// Goal: keys order as numbers, and a row is accepted only in its own table, under its own key, as it was written.
// Method: round trips of keys; every flipped bit of a guarded row; rows moved to another key or table.
#include <gtest/gtest.h>

#include "broker/store/tables.hpp"
#include "tests/support/results.hpp"
#include "tests/support/store_dir.hpp"

namespace bus::store {
namespace {

using testing::fails;
using testing::is_ok;

TEST(NumberKey, OrdersAsNumbersDo) {
  const std::uint64_t numbers[] = {0, 1, 255, 256, 0x0102030405060708, ~std::uint64_t{0} - 1, ~std::uint64_t{0}};
  std::string last;
  for (const auto number : numbers) {
    const std::string key(std::string_view{NumberKey(number)});
    EXPECT_LT(last, key);
    EXPECT_EQ(NumberKey::read(key), number);
    last = key;
  }
}

TEST(NumberKey, ReadsEightBytesOnly) {
  EXPECT_EQ(NumberKey::read("1234567"), std::nullopt);
  EXPECT_EQ(NumberKey::read("123456789"), std::nullopt);
}

TEST(GuardedRow, ComesBackAsItWasWritten) {
  for (const std::string value : {"", "v", "a longer value"}) {
    const auto stored = guarded(TableId::topics, "key", value);
    EXPECT_EQ(verified(TableId::topics, "key", stored).value(), value);
  }
}

TEST(GuardedRow, AnyFlippedBitIsDamage) {
  std::string stored = guarded(TableId::topics, "key", "value");
  for (std::size_t bit = 0; bit < stored.size() * 8; ++bit) {
    stored[bit / 8] = static_cast<char>(stored[bit / 8] ^ (1 << bit % 8));
    EXPECT_TRUE(fails(verified(TableId::topics, "key", stored), Code::damaged, "table topics, key 6b6579")) << bit;
    stored[bit / 8] = static_cast<char>(stored[bit / 8] ^ (1 << bit % 8));
  }
}

TEST(GuardedRow, IsDamageUnderAnotherKeyOrTable) {
  const auto stored = guarded(TableId::topics, "key", "value");
  EXPECT_TRUE(fails(verified(TableId::topics, "kez", stored), Code::damaged));
  EXPECT_TRUE(fails(verified(TableId::types, "key", stored), Code::damaged));
  EXPECT_TRUE(fails(verified(TableId::topics, "key", "short"), Code::damaged));
}

class TablesTest : public ::testing::Test {
 protected:
  testing::StoreDir dir_;
  lmdb::Environment env_ = lmdb::Environment::open(dir_.path(), 4 * limits::MiB, lmdb::Access::write).value();
};

TEST_F(TablesTest, RowsComeInTheOrderOfTheirKeysFromAnyKeyOn) {
  auto txn = env_.begin(lmdb::Access::write).value();
  const auto tables = Tables::open(txn, true).value();
  for (const std::uint64_t number : {300, 1, 256}) {
    ASSERT_TRUE(is_ok(tables.put(txn, TableId::groups, NumberKey(number), std::to_string(number))));
  }
  std::string seen;
  const auto gather = [&](auto, auto value) { return seen.append(value).append(" "), Result<void>(); };
  ASSERT_TRUE(is_ok(tables.each(txn, TableId::groups, {}, gather)));
  ASSERT_TRUE(is_ok(tables.each(txn, TableId::groups, NumberKey(2), gather)));
  EXPECT_EQ(seen, "1 256 300 256 300 ");
}

TEST_F(TablesTest, AVisitorsErrorEndsTheWalk) {
  auto txn = env_.begin(lmdb::Access::write).value();
  const auto tables = Tables::open(txn, true).value();
  for (const std::uint64_t number : {1, 2}) ASSERT_TRUE(is_ok(tables.put(txn, TableId::groups, NumberKey(number), "")));
  int visits = 0;
  const auto stop = [&](auto, auto) { return ++visits, Result<void>(Error{Code::conflict, "enough"}); };
  EXPECT_TRUE(fails(tables.each(txn, TableId::groups, {}, stop), Code::conflict));
  EXPECT_EQ(visits, 1);
}

TEST_F(TablesTest, ARowThatIsNotGuardedIsDamage) {
  auto txn = env_.begin(lmdb::Access::write).value();
  const auto tables = Tables::open(txn, true).value();
  ASSERT_TRUE(is_ok(txn.put(tables[TableId::types], "key", "a value without checksum")));
  EXPECT_TRUE(fails(tables.get(txn, TableId::types, "key"), Code::damaged, "table types"));
  EXPECT_EQ(tables.get(txn, TableId::types, "other").value(), std::nullopt);
}

TEST_F(TablesTest, MissingTablesAreNotMade) {
  auto txn = env_.begin(lmdb::Access::write).value();
  EXPECT_TRUE(fails(Tables::open(txn, false), Code::bad_format, "log"));
}

}  // namespace
}  // namespace bus::store
