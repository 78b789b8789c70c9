// Goal: a log that was compacted is the same log, with what came after the copy, and without what went; and at no instant is there none.
// Method: every row of every table, before and after; copies that are whole, stale, cut off or left over.
#include <gtest/gtest.h>

#include "tests/support/compact_case.hpp"

namespace bus::store {
namespace {

using testing::BatchMaker;
using testing::fails;
using testing::is_ok;
namespace fs = std::filesystem;

class StoreCompact : public testing::CompactCase {
 protected:
  // Records up to before `first` go; in the one that begins there the first body.
  void retain_from(Position first) {
    auto store = dir_.open();
    auto batch = BatchMaker(*store).take();
    for (Position at{1}; at < first;) {
      const auto record = store->reader()->records(at, 1).value().front();
      batch.trim = Trim{record->last(), record->chain_after()};
      batch.changes.push_back({at, nullptr});
      at = record->last() + 1;
    }
    const std::vector<std::uint32_t> body{0};
    batch.changes.push_back({first, store->reader()->records(first, 1).value().front()->without(body)});
    ASSERT_TRUE(is_ok(store->commit(batch)));
  }
};

TEST_F(StoreCompact, IsTheSameLogInFewerBytes) {
  publish(2000);
  retain_from(Position{1501});
  const auto before = rows();
  const auto made = compact().value();
  EXPECT_LT(made.bytes, made.log_bytes * 2 / 3);
  EXPECT_EQ(rows(), before);
  const auto swapped = swap().value();
  ASSERT_TRUE(swapped);
  EXPECT_EQ(swapped->rows, 0u);
  EXPECT_LT(swapped->bytes, swapped->old_bytes * 2 / 3);
  EXPECT_EQ(rows(), before);
  EXPECT_TRUE(is_clean());
  EXPECT_FALSE(swap().value()) << "there is no other";
  publish(10);
  EXPECT_TRUE(dir_.open()->reader()->verify(Position::none, 0, ~std::size_t{0}).value().faults.empty());
}

TEST_F(StoreCompact, TakesWhatCameAfterItAndLosesWhatWent) {
  publish(500);
  ASSERT_TRUE(is_ok(compact()));
  publish(300);
  retain_from(Position{101});
  const auto before = rows();
  EXPECT_GT(swap().value()->rows, 30u);
  EXPECT_EQ(rows(), before);
  EXPECT_TRUE(is_clean());
}

// More than one transaction takes.
TEST_F(StoreCompact, TakesMoreThanACommit) {
  publish(10);
  ASSERT_TRUE(is_ok(compact()));
  auto options = dir_.options(512 * limits::MiB);
  {
    auto store = Store::open(options).value();
    for (int at = 0; at < 90; ++at) {
      BatchMaker maker(*store);
      for (int event = 0; event < 4; ++event) maker.add({.text = std::string(250 * limits::KiB, 'y'), .key = ""});
      maker.set_replay(maker.head().committed + 1, maker.head().batch + 1);
      ASSERT_TRUE(is_ok(store->commit(maker.take())));
    }
  }
  const auto before = rows();
  ASSERT_TRUE(swap_in_compacted(path_, options.map_bytes).value());
  EXPECT_EQ(rows(), before);
}

TEST_F(StoreCompact, ACopyIsMadeWhileTheLogIsOpenAndGoesOn) {
  publish(100);
  auto store = dir_.open();
  ASSERT_TRUE(is_ok(compact()));
  EXPECT_TRUE(fails(swap(), Code::locked));
  BatchMaker maker(*store);
  maker.add({.text = "after", .key = "k"});
  maker.set_replay(maker.head().committed + 1, maker.head().batch + 1);
  ASSERT_TRUE(is_ok(store->commit(maker.take())));
  store.reset();
  const auto before = rows();
  ASSERT_TRUE(swap().value());
  EXPECT_EQ(rows(), before);
}

// Whatever instant a crash leaves: before the exchange, after it, and with the old log half removed.
TEST_F(StoreCompact, GoesOnAfterACrash) {
  publish(100);
  const auto before = rows();
  ASSERT_TRUE(is_ok(compact()));
  fs::create_directory(path_ / "log.compact.new");
  testing::write_file(path_ / "log.compact.new" / "data.mdb", "a beginning");
  fs::rename(path_ / "log", path_ / "x");
  fs::rename(path_ / "log.compact", path_ / "log");
  fs::rename(path_ / "x", path_ / "log.compact");
  EXPECT_FALSE(swap().value()) << "it is in its place";
  EXPECT_EQ(rows(), before);
  EXPECT_TRUE(is_clean());
  ASSERT_TRUE(is_ok(compact()));
  fs::create_directory(path_ / "old");
  fs::rename(path_ / "log", path_ / "old" / "log");
  fs::rename(path_ / "log.compact", path_ / "log");
  fs::create_directory(path_ / "log.compact");
  EXPECT_FALSE(swap().value());
  EXPECT_EQ(rows(), before);
  EXPECT_TRUE(is_clean());
}

TEST_F(StoreCompact, ACopyThatIsCutOffIsNotTaken) {
  publish(100);
  const auto before = rows();
  ASSERT_TRUE(is_ok(compact()));
  const auto data = path_ / "log.compact" / "data.mdb";
  fs::resize_file(data, fs::file_size(data) / 2 / 4096 * 4096);
  EXPECT_TRUE(fails(swap(), Code::damaged, "cut off"));
  fs::remove(data);
  EXPECT_TRUE(fails(swap(), Code::damaged, "cannot find"));
  EXPECT_EQ(rows(), before);
  EXPECT_TRUE(discard_compacted(path_).value());
  EXPECT_FALSE(discard_compacted(path_).value());
  EXPECT_FALSE(swap().value());
}

TEST_F(StoreCompact, AnotherLogsCopyIsNotTaken) {
  publish(10);
  testing::StoreDir other;
  auto options = other.options();
  options.seed[0] = 99;
  Store::open(options).value();
  ASSERT_TRUE(is_ok(compact()));
  fs::remove_all(path_ / "log.compact");
  ASSERT_TRUE(is_ok(write_compacted(other.path(), {})));
  fs::copy(other.path() / "log.compact", path_ / "log.compact");
  EXPECT_TRUE(fails(swap(), Code::bad_format, "not a copy of this log"));
}

TEST_F(StoreCompact, ThereIsNothingToCopy) { EXPECT_TRUE(fails(compact(), Code::not_found)); }

}  // namespace
}  // namespace bus::store
