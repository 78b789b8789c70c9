// Goal: after a restore to a position between two backups no sequence that was used up is given out again, and none that is in the log is
// stored twice or called refused.
// Method: the real core on a log that is restored while the broker is down.
#include <gtest/gtest.h>

#include "broker/store/backup_restore.hpp"
#include "tests/support/backup_maker.hpp"
#include "tests/support/schedule_case.hpp"

namespace bus::broker {
namespace {

class RestoreTest : public ScheduleTest {
 protected:
  void back_up() {
    bus.crash([&](const auto& data) { maker_.add(*open(data)); });
    connect();
  }
  void restore(std::uint64_t position) {
    bus.crash([&](const auto& data) {
      std::filesystem::remove_all(data);
      store::restore({maker_.path(), maker_.backups(), data, {0, Position{position}, {}}, {}}).value();
    });
    wire::HelloT hello;
    hello.protocol = wire::protocol_version;
    hello.client = hello.publisher = "alpha";
    bus.send("q", hello);
    bus.run();
    last_sequence_ = bus.take<wire::WelcomeT>("q").back().last_sequence;
    connect();
  }
  // Sent once more: stored before, as one of the schedule.
  void expect_known(std::uint64_t sequence) {
    const auto result = publish({in(5s)}, sequence);
    ASSERT_TRUE(result.refusals.empty()) << result.refusals[0]->detail;
    ASSERT_EQ(result.receipts.size(), 1u);
    EXPECT_TRUE(result.receipts[0].duplicate() && result.receipts[0].scheduled());
  }

  std::uint64_t last_sequence_ = 0;   // as the restored log says

 private:
  std::unique_ptr<store::Store> open(const std::filesystem::path& data) const {
    store::Options options;
    options.dir = data;
    options.map_bytes = bus.map_bytes;
    options.fill_ahead_bytes = bus.fill_ahead_bytes;
    return store::Store::open(options).value();
  }
  testing::StoreDir repository_;
  testing::BackupMaker maker_{repository_.path()};
};

// 1 is in the base, 2 was scheduled after it and has come out.
TEST_F(RestoreTest, WhatCameOutOfTheScheduleIsUsedUp) {
  publish({encode(test::event("now"))});
  back_up();
  publish({in(5s, "later")});
  pass(5s);
  publish({encode(test::event("behind"))});
  back_up();
  restore(2);
  EXPECT_EQ(last_sequence_, 2u);
  expect_known(2);
  publish({encode(test::event("behind"))}, 3);
  EXPECT_EQ(log(), (std::vector<Line>{{"now", 1, 0}, {"later", 2, 0}, {"behind", 3, 0}}));
}

// One with a higher sequence came before it.
TEST_F(RestoreTest, WhatCameOutOfTheScheduleIsNotCalledRefused) {
  publish({encode(test::event("now"))});
  back_up();
  publish({in(5s, "later")});
  publish({encode(test::event("before"))});
  pass(5s);
  publish({encode(test::event("behind"))});
  back_up();
  restore(3);
  EXPECT_EQ(last_sequence_, 3u);
  expect_known(2);
  EXPECT_EQ(log(), (std::vector<Line>{{"now", 1, 0}, {"before", 3, 0}, {"later", 2, 0}}));
}

// It waited in the base, too.
TEST_F(RestoreTest, WhatWaitedInTheBaseComesOutOnce) {
  publish({in(5s, "later"), in(9s, "last")});
  back_up();
  pass(5s);
  publish({encode(test::event("behind"))});
  back_up();
  restore(1);
  EXPECT_EQ(last_sequence_, 2u);
  expect_known(1);
  expect_known(2);
  pass(10s);
  EXPECT_EQ(log(), (std::vector<Line>{{"later", 1, 0}, {"last", 2, 0}}));
}

}  // namespace
}  // namespace bus::broker
