// Goal: whatever pages of a data file are broken, a salvaged log has no event but those that were committed, each at its own position,
// verifies without a fault, and does not end before the one it comes from; or it says what is in doubt.
// Method: a log in which a transaction died between its pages and its meta page, and others followed; any pages of it are overwritten, by
// seed; salvage, and compare each event.
#include <gtest/gtest.h>

#include <cstdlib>
#include <random>

#include "broker/store/salvage.hpp"
#include "tests/support/batch_maker.hpp"
#include "tests/support/results.hpp"
#include "tests/support/store_dir.hpp"

namespace bus::store {
namespace {

using testing::BatchMaker;
using testing::is_ok;

using lmdb::page_bytes;

std::string committed_at(std::uint64_t position) { return "committed at " + std::to_string(position) + std::string(position % 9 * 300, 'c'); }

class SalvageDamage : public ::testing::Test {
 protected:
  SalvageDamage() {
    for (int batch = 0; batch < 30; ++batch) commit(1 + batch % 7);
    {
      const std::string metas = testing::read_file(dir_.data_file()).substr(0, 2 * page_bytes);
      const auto store = dir_.open();
      BatchMaker maker(*store);
      for (int event = 0; event < 120; ++event) maker.add({.text = "never committed " + std::to_string(event) + std::string(8000, 'n')});
      store->commit(maker.take()).value();
      std::string file = testing::read_file(dir_.data_file());
      testing::write_file(dir_.data_file(), file.replace(0, metas.size(), metas));
    }
    for (int batch = 0; batch < 30; ++batch) commit(1 + batch % 5);
    whole_ = testing::read_file(dir_.data_file());
    used_ = dir_.open()->space().used_bytes / page_bytes;
    whole_ = testing::read_file(dir_.data_file());
  }
  void commit(int events) {
    const auto store = dir_.open();
    BatchMaker maker(*store);
    for (int event = 0; event < events; ++event) maker.add({.text = committed_at(++last_)});
    store->commit(maker.take()).value();
  }

  // How many events the new log has.
  std::uint64_t expect_committed_events_only() {
    const testing::StoreDir out;
    const auto salvaged = salvage({dir_.path(), out.path() / "new", [](Bytes) { return EventNames{"a.topic", "a.type"}; }, {}});
    if (!salvaged) {
      EXPECT_NE(salvaged.error().detail.find("no identity"), std::string::npos) << salvaged.error().detail;
      return 0;
    }
    const auto says = [&](std::string_view what) {
      return std::any_of(salvaged->notes.begin(), salvaged->notes.end(), [&](const auto& note) { return note.find(what) != std::string::npos; });
    };
    const bool is_doubtful = says("nothing after them confirms");
    EXPECT_TRUE(salvaged->last == Position{last_} || says("may be missing")) << number(salvaged->last);
    auto options = out.options();
    options.dir = out.path() / "new";
    const auto store = Store::open(options).value();
    const auto reader = store->reader();
    const auto slice = reader->verify(Position::none, 0, ~std::size_t{0}).value();
    for (const auto& fault : slice.faults) ADD_FAILURE() << number(fault.position) << " " << fault.what;
    std::uint64_t events = 0;
    for (Position position{1}; position <= salvaged->last; position = position + 1) {
      const auto records = reader->records(position, 1);
      if (!records) continue;
      const Record& record = *records->front();
      EXPECT_TRUE(record.holds(position));
      const auto body = copy_of(record.body(static_cast<std::uint32_t>(position - record.first())));
      const bool is_committed = number(position) <= last_ && body == testing::body_of(committed_at(number(position)));
      EXPECT_TRUE(is_committed || is_doubtful) << number(position);
      events += is_committed;
    }
    return events;
  }

  testing::StoreDir dir_;
  std::uint64_t last_ = 0, used_ = 0;
  std::string whole_;
};

TEST_F(SalvageDamage, WhatDiedIsStillInTheFileAndIsNotTaken) {
  EXPECT_NE(whole_.find("never committed 100"), std::string::npos);
  EXPECT_EQ(expect_committed_events_only(), last_);
  // Without any tree the chain leads back from the head.
  std::string file = whole_;
  for (const std::size_t meta : {0u, 1u}) file[meta * page_bytes] ^= 1;
  testing::write_file(dir_.data_file(), file);
  EXPECT_EQ(expect_committed_events_only(), last_);
}

TEST_F(SalvageDamage, AnyBrokenPagesCostOnlyWhatLiesInThem) {
  const int turns = std::getenv("BUS_LONG") != nullptr ? 400 : 25;
  std::uint64_t least = last_;
  for (int turn = 0; turn < turns; ++turn) {
    SCOPED_TRACE("seed " + std::to_string(turn));
    std::mt19937_64 random(static_cast<std::uint64_t>(turn));
    std::string file = whole_;
    for (std::uint64_t broken = random() % 20; broken > 0; --broken) {
      const auto page = random() % used_;
      if (random() % 2 == 0) file.replace(page * page_bytes, page_bytes, page_bytes, '\0');
      else file[page * page_bytes + random() % page_bytes] ^= static_cast<char>(1 << random() % 8);
    }
    if (turn % 4 == 0) file[random() % 2 * page_bytes + 16] ^= 1;
    testing::write_file(dir_.data_file(), file);
    least = std::min(least, expect_committed_events_only());
  }
  EXPECT_LT(least, last_);
}

}  // namespace
}  // namespace bus::store
