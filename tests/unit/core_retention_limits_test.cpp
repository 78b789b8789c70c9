// Goal: retention under bad input, damage, a full disk, and what operators do while it runs.
// Method: as in core_retention_test.cpp.
#include "tests/support/retention_case.hpp"
#include "tests/support/results.hpp"

namespace bus::broker {
namespace {

using limits::KiB;

using RetentionLimits = RetentionCase;

TEST_F(RetentionLimits, RefusesWhatMakesNoSense) {
  EXPECT_EQ(set(policy("a..b")), Code::bad_pattern);
  EXPECT_EQ(set(not_older("a", limits::retention_age_max)), std::nullopt);
  EXPECT_EQ(set(not_older("a", limits::retention_age_max + 1ms)), Code::bad_settings);
  auto one = policy("a");
  one.max_age_ms = ~std::uint64_t{0};
  EXPECT_EQ(set(one), Code::bad_settings);
  one = policy("a");
  one.latest_after_ms = 1;
  EXPECT_EQ(set(one), Code::bad_settings);
  EXPECT_EQ(refused(wire::RetentionSetT{}), Code::bad_request);
  EXPECT_EQ(refused(wire::LegalHoldSetT{}), Code::bad_request);
  EXPECT_EQ(hold("a", "", ""), Code::bad_settings);
  EXPECT_EQ(hold("a", "", std::string(limits::hold_reason_bytes_max, 'r')), std::nullopt);
  EXPECT_EQ(hold("a", "", std::string(limits::hold_reason_bytes_max + 1, 'r')), Code::bad_settings);
  EXPECT_EQ(hold("", "k"), Code::bad_pattern);
  EXPECT_EQ(hold("a", std::string(limits::key_bytes_max + 1, 'k')), Code::bad_key);
  EXPECT_EQ(state().policies.size(), 1u);
  EXPECT_EQ(state().holds.size(), 1u);
}

TEST_F(RetentionLimits, HasSoManyPoliciesAndHolds) {
  for (std::size_t number = 0; number < limits::retention_policies_max; ++number) ASSERT_EQ(set(at_most("t" + std::to_string(number), 1)), std::nullopt);
  EXPECT_EQ(set(at_most("more", 1)), Code::bad_settings);
  EXPECT_EQ(set(at_most("t7", 2)), std::nullopt);
  wire::RetentionSetT again;
  again.policy = std::make_unique<wire::RetentionPolicyT>(at_most("t7", 2));
  bus.ask("op", std::move(again));
  bus.run();
  EXPECT_EQ(bus.take<wire::ReplyT>("op").size(), 1u) << "nothing changes, and nothing is committed: it is answered all the same";
  for (std::size_t number = 0; number < limits::legal_holds_max; ++number) ASSERT_EQ(hold("t" + std::to_string(number)), std::nullopt);
  EXPECT_EQ(hold("more"), Code::bad_settings);
}

// Or all would be old at once, and gone for good before anybody has seen that the clock is wrong.
TEST_F(RetentionLimits, AClockThatJumpsAheadIsNotBelieved) {
  publish("a", 1);
  ASSERT_EQ(set(not_older("a", 48h)), std::nullopt);
  bus.now.wall += 240h;
  publish("a", 1);  // and has a commit by it
  run();
  EXPECT_EQ(left(), range(1, 2));
  advance(11h);
  run();
  EXPECT_EQ(left(), range(1, 2)) << "a day, and twice as long as has passed since the start";
  advance(1h + 1min);
  run();
  EXPECT_EQ(left(), range(2, 2));
  advance(240h);  // in all this time the clock was right
  run();
  publish("a", 1);
  bus.now.wall += 200h;
  publish("a", 1);
  run();
  EXPECT_EQ(left(), range(3, 4)) << "what it was not ahead in this time is no credit";
  const auto wall = std::exchange(bus.now.wall, WallTime());
  run();
  bus.now.wall = wall;
  advance(26h);
  run();
  EXPECT_EQ(left(), range(4, 4)) << "nor does it stay where it was for a moment";
}

// Or a crash would take back what somebody was told.
TEST_F(RetentionLimits, WhatIsToldIsDurable) {
  wire::RetentionSetT set;
  set.policy = std::make_unique<wire::RetentionPolicyT>(at_most("a", 1));
  bus.ask("op", wire::RetentionSetT(set), 1);
  bus.ask("op", wire::RetentionRequestT(), 2);
  wire::RetentionRemoveT remove;
  remove.pattern = "a";
  bus.ask("op", wire::RetentionRemoveT(remove), 3);
  bus.ask("op", std::move(remove), 4);
  bus.core->tick(bus.now);
  for (const auto& one : bus.received("op")) {
    EXPECT_EQ(one.message->body.AsReply(), nullptr);
    EXPECT_EQ(one.message->body.AsFailure(), nullptr);
  }
  bus.run();
  std::vector<std::uint64_t> order;
  for (const auto& one : bus.received("op")) {
    if (const auto* reply = one.message->body.AsReply()) order.push_back(reply->request);
    if (const auto* failure = one.message->body.AsFailure()) order.push_back(failure->request);
  }
  EXPECT_EQ(order, (std::vector<std::uint64_t>{1, 2, 3, 4}));
}

TEST_F(RetentionLimits, LeavesADamagedRecordAsItIs) {
  publish("a", 3);
  publish("a", 3);
  publish("a", 3);
  ASSERT_EQ(set(at_most("a", 1)), std::nullopt);
  bus.read_fault = [](const ReadAsk& ask) -> std::optional<Error> {
    const auto* without = std::get_if<ReadWithout>(&ask);
    if (without == nullptr || without->first != Position{4}) return std::nullopt;
    return Error{Code::damaged, "the record at position 4"};
  };
  const auto reply = run();
  EXPECT_EQ(reply.run->trouble, "the record at position 4");
  bus.read_fault = {};
  EXPECT_EQ(left(), (std::vector<std::uint64_t>{4, 5, 6, 9}));
}

// The file is as large as it may be; what retention frees takes new events, again and again.
TEST_F(RetentionLimits, SpaceIsUsedAgain) {
  const std::string text(100 * KiB, 'x');
  auto one = policy("a");
  one.max_bytes = bus.map_bytes / 4;
  ASSERT_EQ(set(one), std::nullopt);
  for (std::size_t published = 0; published < 3 * bus.map_bytes / 2; published += 5 * text.size()) {
    publish("a", 5, "", text);
    ASSERT_FALSE(bus.core->log_full()) << published;
    if (published / text.size() % 50 == 0) run();
  }
}

// A log that is full already has room again.
TEST_F(RetentionLimits, AFullLogHasRoomAgain) {
  const std::string text(100 * KiB, 'x');
  while (!bus.core->log_full()) {
    std::vector<Buffer> events(5, test::encode([&] { auto event = test::event("a"); event.payload = test::notification(text); return event; }()));
    bus.publish("p", next_, events);
    bus.run();
    const auto failures = bus.failures("p");
    if (failures.empty()) next_ += events.size();
    ASSERT_TRUE(failures.empty() || failures.front() == Code::log_full) << static_cast<int>(failures.front()) << " at " << next_;
  }
  const auto before = left().size();
  auto one = policy("a");
  one.max_events = 20;
  ASSERT_EQ(set(one), std::nullopt);
  for (int tries = 0; tries < 5 && bus.core->log_full(); ++tries) {
    run();
    advance(2s);
    bus.fill_ahead();
  }
  ASSERT_FALSE(bus.core->log_full());
  for (std::size_t published = 0; published < before / 3; published += 5) {
    publish("a", 5, "", text);
    ASSERT_FALSE(bus.core->log_full()) << published << " of " << before;
    run();
  }
}

// A hold that comes while a run is under way is not too late for what has not been committed.
TEST_F(RetentionLimits, AHoldEndsTheRunThatIsUnderWay) {
  for (int commit = 0; commit < 10; ++commit) publish("a", 5);
  ASSERT_EQ(set(policy("a")), std::nullopt);
  settle_down();
  ASSERT_EQ(set(at_most("a", 1)), std::nullopt);
  begin_run();
  ASSERT_EQ(hold("a"), std::nullopt);
  const auto kept = left().size();
  EXPECT_GT(kept, 1u);
  run();
  EXPECT_EQ(left().size(), kept);
}

// However often, and whatever lies before it.
TEST_F(RetentionLimits, ADamagedRecordCostsNoOtherOnes) {
  publish("old", 1);
  for (int commit = 0; commit < 4; ++commit) publish("a", 3);  // 2-4, 5-7, 8-10, 11-13
  ASSERT_EQ(set(at_most("a", 5)), std::nullopt);
  bus.read_fault = [](const ReadAsk& ask) -> std::optional<Error> {
    const auto* without = std::get_if<ReadWithout>(&ask);
    if (without == nullptr || without->first != Position{2}) return std::nullopt;
    return Error{Code::damaged, "the record at position 2"};
  };
  for (int round = 0; round < 3; ++round) {
    EXPECT_EQ(run().run->trouble, "the record at position 2");
    EXPECT_EQ(topic("a").first, 2u);
  }
  bus.read_fault = {};
  EXPECT_EQ(left("a"), (std::vector<std::uint64_t>{2, 3, 4, 9, 10, 11, 12, 13}));
}

// A group that is moved back has what it is moved back to, if that was there when it was.
TEST_F(RetentionLimits, AGroupThatIsMovedDuringARunKeepsWhatComesAgain) {
  join("g", "a");
  for (int commit = 0; commit < 10; ++commit) publish("a", 5);
  const auto all = delivered();
  for (const auto position : all) settle(position, wire::Verdict::ack);
  ASSERT_EQ(set(at_most("a", 1)), std::nullopt);
  begin_run();
  wire::GroupSeekT seek;
  seek.name = "g";
  seek.to = wire::Start::position;
  seek.to_value = 1;
  bus.ask("op", std::move(seek));
  const auto before = bus.core->state().topics[1].removed_events;
  EXPECT_GT(before, 0u);
  EXPECT_LT(before, 45u);
  settle_down();
  EXPECT_LE(bus.core->state().topics[1].removed_events, before + 5) << "the one that was staged already";
  EXPECT_EQ(left().size(), 50 - bus.core->state().topics[1].removed_events);
  EXPECT_EQ(delivered().size(), left().size());
}

TEST_F(RetentionLimits, ADryRunPutsNothingOff) {
  publish("a", 3);
  ASSERT_EQ(set(at_most("a", 1)), std::nullopt);
  for (int turn = 0; turn < 8; ++turn) {
    advance(limits::retention_interval / 4);
    EXPECT_EQ(set(at_most("a", 1)), std::nullopt);  // as it is already
    if (left().size() == 1) return;
    run(true);
  }
  FAIL() << "no run has begun by itself";
}

// More than lie between two rows of key_pages.
TEST_F(RetentionLimits, AKeyIsReadPastAllThatWasRemovedOfIt) {
  for (int commit = 0; commit < 20; ++commit) publish("a", 20, "k");
  auto one = policy("a");
  one.latest_per_key = true;
  ASSERT_EQ(hold("b"), std::nullopt);
  ASSERT_EQ(set(one), std::nullopt);
  run();
  ASSERT_EQ(left(), range(400, 400));
  publish("a", 3, "k");
  std::vector<std::uint64_t> versions;
  std::uint64_t trimmed = 0;
  wire::KeyReadT read;
  read.key = "k";
  read.skip_trimmed = true;
  for (read.from = 1; read.from != 0;) {
    const auto reply = answer<wire::KeyReadReplyT>(wire::KeyReadT(read));
    for (const auto& delivery : reply.deliveries) versions.push_back(delivery.version());
    trimmed = std::max(trimmed, reply.trimmed);
    read.from = reply.more;
  }
  EXPECT_EQ(versions, range(400, 403));
  EXPECT_EQ(trimmed, 399u);
  read.from = 400;
  read.skip_trimmed = false;
  EXPECT_EQ(answer<wire::KeyReadReplyT>(wire::KeyReadT(read)).deliveries.size(), 4u);
  read.from = 399;
  EXPECT_EQ(refused(wire::KeyReadT(read)), Code::trimmed);
}

}  // namespace
}  // namespace bus::broker
