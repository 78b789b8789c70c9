// CompactCase is a log of which compacted copies are made and taken. For tests of the store.
#pragma once

#include <gtest/gtest.h>

#include <map>

#include "broker/store/compact.hpp"
#include "broker/store/tables.hpp"
#include "tests/support/batch_maker.hpp"
#include "tests/support/results.hpp"
#include "tests/support/store_dir.hpp"

namespace bus::testing {

using AllRows = std::map<std::pair<int, std::string>, std::string>;

class CompactCase : public ::testing::Test {
 protected:
  void publish(std::size_t count, std::size_t bytes = 300) {
    auto store = dir_.open();
    for (std::size_t done = 0; done < count; done += 10) {
      BatchMaker maker(*store);
      for (int event = 0; event < 10; ++event) maker.add({.text = std::string(bytes, 'x'), .key = "key " + std::to_string(event)});
      maker.set_replay(maker.head().committed + 1, maker.head().batch + 1);
      ASSERT_TRUE(is_ok(store->commit(maker.take())));
    }
  }
  static AllRows rows_in(const fs::path& log) {
    using namespace store;
    auto env = lmdb::Environment::open(log, 0, lmdb::Access::read).value();
    auto txn = env.begin(lmdb::Access::read).value();
    const auto tables = Tables::open_present(txn).value();
    AllRows rows;
    for (int id = 0; id < static_cast<int>(table_ids); ++id) {
      if (!tables.has(static_cast<TableId>(id))) continue;
      auto cursor = txn.cursor(tables[static_cast<TableId>(id)]).value();
      for (bool more = cursor.first().value(); more; more = cursor.next().value()) rows[{id, std::string(cursor.key())}] = cursor.value();
    }
    return rows;
  }
  AllRows rows() const { return rows_in(path_ / "log"); }
  Result<std::optional<store::SwappedIn>> swap() const { return store::swap_in_compacted(path_, 64 * limits::MiB); }
  Result<store::Compacted> compact() const { return store::write_compacted(path_, {}); }
  bool is_clean() const { return !fs::exists(path_ / "log.compact") && !fs::exists(path_ / "log.compact.new") && !fs::exists(path_ / "log" / "copy"); }

  StoreDir dir_;
  fs::path path_ = dir_.path();
};

}  // namespace bus::testing
