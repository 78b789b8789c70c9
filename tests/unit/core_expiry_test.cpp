// Goal: no group delivers an event that has expired, neither at first nor again; it is counted, and holds up nothing. A plain
// subscription reads the log as it is.
// Method: the real core on the real store, driven message by message.
#include "tests/support/schedule_case.hpp"

namespace bus::broker {
namespace {

class ExpiryTest : public ScheduleTest {
 protected:
  Buffer until(Duration life, const std::string& topic = "t", const std::string& key = "") {
    auto event = test::event(topic, key);
    event.expires_at = nanoseconds(bus.now.wall + life);
    return encode(event);
  }
  void create(wire::Sharing sharing = wire::Sharing::round_robin) {
    wire::GroupCreateT create;
    create.name = "g";
    create.settings = std::make_unique<wire::GroupSettingsT>();
    create.settings->sharing = sharing;
    answer<wire::DoneT>(std::move(create));
  }
  void join(std::uint32_t credit = 1000) {
    auto member = test::subscribe(1, "g");
    member.credit_events = credit;
    bus.send("m", member);
    bus.run();
  }
  std::vector<std::uint64_t> delivered() {
    std::vector<std::uint64_t> all;
    for (const auto& deliver : bus.take<wire::DeliverT>("m")) {
      epoch_ = deliver.epoch;
      for (const auto& one : deliver.deliveries) all.push_back(one.position());
    }
    return all;
  }
  void settle(std::uint64_t position, wire::Verdict verdict, std::uint32_t delay_ms = 0) {
    wire::SettleT message;
    message.subscription = 1;
    message.epoch = epoch_;
    message.settlements.emplace_back(position, 1, delay_ms, verdict);
    bus.send("m", message);
    bus.run();
  }
  wire::GroupInfoT group() {
    wire::GroupsRequestT ask;
    ask.name = "g";
    return std::move(*answer<wire::GroupsReplyT>(std::move(ask)).groups.at(0));
  }

  std::uint64_t epoch_ = 0;
};

TEST_F(ExpiryTest, WhatHasExpiredIsCountedAndNotDelivered) {
  create();
  publish({until(5s), until(10s), encode(test::event())});
  bus.advance(5s);
  join();
  EXPECT_EQ(delivered(), (std::vector<std::uint64_t>{2, 3}));
  EXPECT_EQ(group().expired, 1u);
  settle(2, wire::Verdict::ack);
  settle(3, wire::Verdict::ack);
  pass(1s);
  bus.crash();
  connect();
  EXPECT_EQ(group().expired, 1u);
  EXPECT_EQ(group().lag, 0u);
  EXPECT_EQ(log().size(), 3u) << "a plain subscription reads the log as it is";
}

TEST_F(ExpiryTest, IsDeliveredUntilTheVeryMoment) {
  create();
  publish({until(5s), until(5s)});
  bus.advance(5s - 1ns);
  join(1);
  EXPECT_EQ(delivered(), (std::vector<std::uint64_t>{1}));
  bus.advance(1ns);
  settle(1, wire::Verdict::ack);
  wire::CreditT more;
  more.subscription = 1;
  more.events = 1;
  more.bytes = 1000;
  bus.send("m", more);
  bus.run();
  EXPECT_EQ(delivered(), (std::vector<std::uint64_t>{}));
  EXPECT_EQ(group().expired, 1u);
}

TEST_F(ExpiryTest, OneThatFailedAndExpiresIsNotTriedAgain) {
  create();
  join();
  publish({until(5s)});
  EXPECT_EQ(delivered(), (std::vector<std::uint64_t>{1}));
  settle(1, wire::Verdict::nack, 6000);
  pass(6s);
  EXPECT_EQ(delivered(), (std::vector<std::uint64_t>{}));
  const auto info = group();
  EXPECT_EQ(info.expired, 1u);
  EXPECT_EQ(info.open, 0u);
  EXPECT_EQ(info.lag, 0u);
}

TEST_F(ExpiryTest, AnExpiredOneDoesNotHoldUpItsKey) {
  create(wire::Sharing::key_ordered);
  join();
  publish({encode(test::event("t", "k")), until(5s, "t", "k"), encode(test::event("t", "k"))});
  EXPECT_EQ(delivered(), (std::vector<std::uint64_t>{1}));
  bus.advance(5s);
  settle(1, wire::Verdict::ack);
  EXPECT_EQ(delivered(), (std::vector<std::uint64_t>{3}));
  EXPECT_EQ(group().expired, 1u);
}

}  // namespace
}  // namespace bus::broker
