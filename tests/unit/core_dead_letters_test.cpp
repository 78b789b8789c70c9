// Goal: what a group gives up on becomes a dead letter with its settlement, or neither; it is found by filter, delivered again
// once, or dropped; all of it outlives a crash. And a key that is held up is found again in the log, however far behind.
// Method: the real core on the real store, driven message by message.
#include <gtest/gtest.h>

#include "broker/core/dead_letters.hpp"
#include "tests/support/harness.hpp"

namespace bus::broker {
namespace {

using namespace std::chrono_literals;
using test::encode;
using test::Harness;

class DeadLetterTest : public ::testing::Test {
 protected:
  DeadLetterTest() {
    bus.hello("p", "alpha");
    member("m");
    create();
  }
  void member(const Peer& peer) { bus.hello(peer); }
  void create() {
    wire::GroupCreateT create;
    create.name = "g";
    create.settings = std::make_unique<wire::GroupSettingsT>();
    create.settings->attempts_max = 2;
    create.settings->retry_delay_ms = 0;
    create.settings->sharing = wire::Sharing::key_ordered;
    bus.ask("m", std::move(create));
    bus.run();
    ASSERT_TRUE(bus.failures("m").empty());
  }
  void edit(wire::DeadLetterPolicy policy) {
    wire::GroupEditT edit;
    edit.name = "g";
    edit.settings = std::make_unique<wire::GroupSettingsT>();
    edit.settings->dead_letter = policy;
    bus.ask("m", std::move(edit));
    bus.run();
    ASSERT_TRUE(bus.failures("m").empty());
  }
  void join(const Peer& peer = "m", std::uint32_t number = 1) {
    bus.send(peer, test::subscribe(number, "g"));
    bus.run();
  }
  void publish(const std::string& key, std::size_t count = 1) {
    std::vector<Buffer> events;
    for (std::size_t at = 0; at < count; ++at) {
      auto one = test::event("t", key);
      events.push_back(encode(one));
    }
    bus.publish("p", next_, events);
    next_ += count;
    bus.run();
  }
  // What has been delivered since the last call, position by position.
  std::vector<std::pair<std::uint64_t, std::uint32_t>> delivered(const Peer& peer = "m") {
    std::vector<std::pair<std::uint64_t, std::uint32_t>> all;
    for (const auto& deliver : bus.take<wire::DeliverT>(peer)) {
      epoch_ = deliver.epoch;
      for (const auto& one : deliver.deliveries) all.emplace_back(one.position(), one.attempt());
    }
    return all;
  }
  void settle(std::uint64_t position, std::uint32_t attempt, wire::Verdict verdict, const std::string& text = "", const Peer& peer = "m") {
    wire::SettleT message;
    message.subscription = 1;
    message.epoch = epoch_;
    message.settlements.emplace_back(position, attempt, 0, verdict);
    if (!text.empty()) {
      message.texts.push_back(std::make_unique<wire::SettlementTextT>());
      message.texts[0]->text = text;
    }
    bus.send(peer, message);
    bus.run();
  }
  template <typename Reply, typename Ask>
  std::optional<Reply> answer(Ask ask) {
    bus.ask("p", std::move(ask));
    bus.run();
    auto replies = bus.take<wire::ReplyT>("p");
    if (replies.empty()) return std::nullopt;
    return std::move(*static_cast<Reply*>(replies.back().answer.value));
  }
  std::vector<std::uint64_t> letters(const std::function<void(wire::DeadLettersRequestT&)>& narrow = {}) {
    wire::DeadLettersRequestT ask;
    ask.group = "g";
    ask.filter = std::make_unique<wire::FilterT>();
    if (narrow) narrow(ask);
    std::vector<std::uint64_t> positions;
    const auto reply = answer<wire::DeadLettersReplyT>(std::move(ask));
    for (const auto& one : reply.value().letters) positions.push_back(one->position);
    return positions;
  }
  wire::DeadLetterReplyT letter(std::uint64_t position) {
    wire::DeadLetterGetT ask;
    ask.group = "g";
    ask.position = position;
    return std::move(*answer<wire::DeadLetterReplyT>(std::move(ask)));
  }
  wire::DeadLettersSettledT treat(std::vector<std::uint64_t> positions, wire::DeadAction action, bool again = false) {
    wire::DeadLettersSettleT ask;
    ask.group = "g";
    ask.positions = std::move(positions);
    ask.action = action;
    ask.again = again;
    return std::move(*answer<wire::DeadLettersSettledT>(std::move(ask)));
  }
  void restart() {
    bus.crash();
    bus.hello("p", "alpha");
    bus.hello("m");
  }
  using Places = std::vector<std::pair<std::uint64_t, std::uint32_t>>;

  Harness bus;
  std::uint64_t next_ = 1, epoch_ = 0;
};

TEST_F(DeadLetterTest, GivesUpAfterSoManyFailuresAndKeepsEachOfThem) {
  join();
  publish("k");
  EXPECT_EQ(delivered(), (Places{{1, 1}}));
  settle(1, 1, wire::Verdict::nack, "no database");
  EXPECT_EQ(delivered(), (Places{{1, 2}}));
  settle(1, 2, wire::Verdict::nack, "no network");
  EXPECT_TRUE(delivered().empty());
  EXPECT_EQ(letters(), (std::vector<std::uint64_t>{1}));
  const auto kept = letter(1);
  EXPECT_EQ(kept.letter->reason, "no network");
  EXPECT_EQ(kept.letter->key, "k");
  EXPECT_EQ(kept.letter->topic, "t");
  EXPECT_EQ(kept.letter->attempt, 2u);
  ASSERT_EQ(kept.failures.size(), 2u);
  EXPECT_EQ(kept.failures[0]->error, "no database");
  EXPECT_EQ(kept.failures[0]->member, "m");
  EXPECT_EQ(kept.failures[1]->attempt, 2u);
}

TEST_F(DeadLetterTest, CountsReturnsApart) {
  join();
  publish("k");
  for (std::uint32_t attempt = 1; attempt <= 5; ++attempt) {
    EXPECT_EQ(delivered(), (Places{{1, attempt}}));
    settle(1, attempt, wire::Verdict::release);
  }
  EXPECT_EQ(delivered(), (Places{{1, 6}}));
  EXPECT_TRUE(letters().empty());
}

TEST_F(DeadLetterTest, TakesAnAttemptThatWasNotAcknowledgedForAFailure) {
  join();
  publish("k");
  for (int attempt = 1; attempt <= 2; ++attempt) {
    delivered();
    bus.advance(limits::ack_wait_default + 1ms);
    bus.send("m", wire::PingT());
    bus.send("p", wire::PingT());
    bus.run();
  }
  EXPECT_EQ(letters(), (std::vector<std::uint64_t>{1}));
  EXPECT_EQ(letter(1).letter->cause, wire::DeadCause::ack_wait);
}

TEST_F(DeadLetterTest, BuriesWithTheSettlementOrNotAtAll) {
  join();
  publish("k");
  delivered();
  wire::SettleT message;
  message.subscription = 1;
  message.epoch = epoch_;
  message.settlements.emplace_back(1, 1, 0, wire::Verdict::reject);
  bus.send("m", message);
  restart();  // before the commit
  EXPECT_TRUE(letters().empty());
  join();
  EXPECT_EQ(delivered(), (Places{{1, 1}})) << "of the attempt before nothing was committed; this one has another epoch";
  settle(1, 1, wire::Verdict::reject, "bad");
  restart();
  EXPECT_EQ(letters(), (std::vector<std::uint64_t>{1}));
  EXPECT_EQ(letter(1).failures.size(), 1u);
  join();
  EXPECT_TRUE(delivered().empty());
}

TEST_F(DeadLetterTest, RedrivesOnceUnlessToldOtherwise) {
  join();
  publish("k");
  delivered();
  settle(1, 1, wire::Verdict::reject, "first");
  EXPECT_EQ(treat({1, 2}, wire::DeadAction::redrive).done, 1u);
  EXPECT_TRUE(letters().empty());
  EXPECT_EQ(delivered(), (Places{{1, 2}}));
  settle(1, 2, wire::Verdict::nack, "second");
  EXPECT_EQ(delivered(), (Places{{1, 3}})) << "it may fail as often as a new one";
  settle(1, 3, wire::Verdict::nack, "third");
  EXPECT_EQ(letter(1).letter->redrives, 1u);
  EXPECT_EQ(letter(1).failures.size(), 3u) << "those of its life before are kept";
  restart();
  const auto refused = treat({1}, wire::DeadAction::redrive);
  ASSERT_EQ(refused.refused.size(), 1u);
  EXPECT_EQ(refused.refused[0].code(), Code::conflict);
  EXPECT_EQ(treat({1}, wire::DeadAction::redrive, true).done, 1u);
  join();
  EXPECT_EQ(delivered(), (Places{{1, 4}}));
  settle(1, 4, wire::Verdict::ack);
  EXPECT_TRUE(letters().empty());
}

TEST_F(DeadLetterTest, StopsTheKeyAndNoOther) {
  edit(wire::DeadLetterPolicy::stop_key);
  join();
  publish("k", 3);
  publish("other");
  EXPECT_EQ(delivered(), (Places{{1, 1}, {4, 1}}));
  settle(1, 1, wire::Verdict::reject, "bad");
  EXPECT_TRUE(letter(1).letter->stopped);
  restart();
  join();
  EXPECT_EQ(delivered(), (Places{{4, 2}}));
  EXPECT_EQ(treat({1}, wire::DeadAction::drop).done, 1u);
  EXPECT_EQ(delivered(), (Places{{2, 1}}));
  settle(2, 1, wire::Verdict::ack);
  EXPECT_EQ(delivered(), (Places{{3, 1}}));
}

TEST_F(DeadLetterTest, SkipsWhatIsToBeSkipped) {
  edit(wire::DeadLetterPolicy::skip);
  join();
  publish("k", 2);
  delivered();
  settle(1, 1, wire::Verdict::reject, "bad");
  EXPECT_EQ(delivered(), (Places{{2, 1}}));
  EXPECT_TRUE(letters().empty());
  wire::GroupsRequestT ask;
  ask.name = "g";
  EXPECT_EQ(answer<wire::GroupsReplyT>(std::move(ask))->groups[0]->skipped, 1u);
}

TEST_F(DeadLetterTest, FindsLettersByWhatTheyAre) {
  join();
  for (const char* key : {"a", "b", "c"}) publish(key);
  delivered();
  settle(1, 1, wire::Verdict::reject, "disk full");
  settle(2, 1, wire::Verdict::reject, "no network");
  bus.advance(1h);
  bus.send("m", wire::PingT());
  bus.hello("p", "alpha");
  settle(3, delivered().back().second, wire::Verdict::reject, "disk gone");
  using List = std::vector<std::uint64_t>;
  EXPECT_EQ(letters([](auto& ask) { ask.reason = "disk"; }).size(), 2u);
  EXPECT_EQ(letters([](auto& ask) { ask.filter->keys = {"b", "nobody"}; }), (List{2}));
  EXPECT_EQ(letters([](auto& ask) { ask.filter->patterns = {"u.*"}; }), (List{}));
  EXPECT_EQ(letters([](auto& ask) { ask.cause = wire::DeadCause::nack; }), (List{}));
  EXPECT_EQ(letters([this](auto& ask) { ask.died_to = nanoseconds(bus.now.wall - 30min); }), (List{1, 2}));
  EXPECT_EQ(letters([](auto& ask) { ask.after = 1; ask.limit = 1; }), (List{2}));
  EXPECT_EQ(letters([](auto& ask) { ask.after = ~std::uint64_t{0}; }), (List{}));
}

TEST_F(DeadLetterTest, GoesWithASeekBeforeIt) {
  join();
  publish("k", 2);
  delivered();
  settle(1, 1, wire::Verdict::reject, "bad");
  delivered();
  wire::GroupSeekT seek;
  seek.name = "g";
  seek.to = wire::Start::start;
  EXPECT_TRUE(answer<wire::SeekReplyT>(std::move(seek)).has_value());
  EXPECT_TRUE(letters().empty());
  restart();
  EXPECT_TRUE(letters().empty());
  join();
  EXPECT_EQ(delivered().at(0).first, 1u);
}

// While the disk is slow, failures do not pile up without end; what was acknowledged does not suffer.
TEST_F(DeadLetterTest, GivesNothingMoreToFailAtWhileFailuresWaitForTheDisk) {
  join();
  wire::GroupEditT edit;
  edit.name = "g";
  edit.settings = std::make_unique<wire::GroupSettingsT>();
  edit.settings->attempts_max = GroupSettings::unlimited;
  bus.ask("m", std::move(edit));
  publish("k");
  std::uint32_t attempt = 1;
  const auto fail = [&] {
    wire::SettleT message;
    message.subscription = 1;
    message.epoch = epoch_;
    message.settlements.emplace_back(1, attempt, 0, wire::Verdict::nack);
    message.texts.push_back(std::make_unique<wire::SettlementTextT>());
    message.texts[0]->text = std::string(limits::error_bytes_max, 'x');
    wire::CreditT credit;
    credit.subscription = 1;
    credit.events = 1;
    credit.bytes = 1000;
    bus.send("m", message);
    bus.send("m", credit);
    bus.core->tick(bus.now);  // and no commit
  };
  std::size_t bytes = 0;
  for (auto got = delivered(); !got.empty(); got = delivered()) {
    attempt = got.back().second;
    fail();
    bytes += limits::error_bytes_max;
    ASSERT_LT(bytes, 2 * limits::failure_bytes_max);
  }
  EXPECT_GT(bytes, limits::failure_bytes_max / 2);
  bus.run();
  EXPECT_FALSE(delivered().empty()) << "the disk has caught up";
}

// A group that is made after another was removed gets nothing of it: not its number, not its letters.
TEST_F(DeadLetterTest, DoNotOutliveTheirGroup) {
  join();
  publish("k");
  delivered();
  settle(1, 1, wire::Verdict::reject, "bad");
  const auto number = bus.core->delivery().groups().at("g")->group->number;
  wire::GroupRemoveT remove;
  remove.name = "g";
  remove.dead_letters = true;
  EXPECT_TRUE(answer<wire::DoneT>(std::move(remove)).has_value());
  create();
  EXPECT_GT(bus.core->delivery().groups().at("g")->group->number, number);
  EXPECT_TRUE(letters().empty());
  restart();
  EXPECT_TRUE(letters().empty());
}

TEST_F(DeadLetterTest, TakesOneAckUpToInAMessage) {
  wire::GroupEditT edit;
  edit.name = "g";
  edit.settings = std::make_unique<wire::GroupSettingsT>();
  edit.settings->sharing = wire::Sharing::round_robin;
  bus.ask("m", std::move(edit));
  join();
  publish("k", 3);
  delivered();
  wire::SettleT message;
  message.subscription = 1;
  message.epoch = epoch_;
  for (const std::uint64_t position : {2, 3}) message.settlements.emplace_back(position, 1, 0, wire::Verdict::ack_up_to);
  bus.send("m", message);
  bus.run();
  const auto settled = bus.take<wire::SettledT>("m");
  ASSERT_EQ(settled.size(), 1u);
  ASSERT_EQ(settled[0].refused.size(), 1u);
  EXPECT_EQ(settled[0].refused[0].code(), Code::malformed);
  EXPECT_EQ(bus.core->delivery().groups().at("g")->group->state.acked(), 2u);
}

// ---- keys in line, through the log

// More than are kept in mind wait behind the first one; all of them come, in order, also for a broker that has just started.
TEST_F(DeadLetterTest, FindsAgainWhatWaitsBeyondWhatItKeepsInMind) {
  join();
  constexpr std::uint64_t count = 3 * limits::lane_waiting_max + 5;
  publish("k", count);
  for (std::uint64_t position = 1; position <= count; ++position) {
    if (position == count / 2) {
      bus.advance(limits::settle_delay);
      bus.run();
      restart();
      join();
    }
    const auto got = delivered();
    ASSERT_EQ(got.size(), 1u);
    ASSERT_EQ(got[0].first, position);
    settle(position, got[0].second, wire::Verdict::ack);
  }
  EXPECT_TRUE(delivered().empty());
  EXPECT_TRUE(bus.core->delivery().groups().at("g")->group->state.lanes().empty());
}

TEST_F(DeadLetterTest, TellsWhoIsHeldUp) {
  join();
  publish("k", 3);
  publish("free");
  wire::GroupPendingT ask;
  ask.name = "g";
  ask.blocking = true;
  const auto reply = answer<wire::PendingReplyT>(std::move(ask));
  ASSERT_EQ(reply->events.size(), 1u);
  EXPECT_EQ(reply->events[0]->key, "k");
  EXPECT_EQ(reply->events[0]->waiting, 2u);
  EXPECT_EQ(reply->events[0]->member, "m");
}

// ---- what makes no sense changes nothing

TEST_F(DeadLetterTest, RefusesWhatMakesNoSense) {
  join();
  publish("k");
  delivered();
  wire::SettleT message;
  message.subscription = 1;
  message.epoch = epoch_;
  message.settlements.emplace_back(1, 1, 0, wire::Verdict::nack);
  message.texts.push_back(std::make_unique<wire::SettlementTextT>());
  message.texts[0]->text = std::string(limits::error_bytes_max + 1, 'x');
  bus.send("m", message);
  EXPECT_EQ(bus.failures("m"), (std::vector{Code::malformed}));
  message.texts[0]->text = std::string(limits::error_bytes_max, 'x');
  message.texts[0]->settlement = 1;
  bus.send("m", message);
  EXPECT_EQ(bus.failures("m"), (std::vector{Code::malformed}));
  message.texts[0]->settlement = 0;
  bus.send("m", message);
  bus.run();
  EXPECT_EQ(delivered(), (Places{{1, 2}})) << "at the limit it is taken";
  EXPECT_EQ(treat({1, ~std::uint64_t{0}, 0}, wire::DeadAction::redrive).refused.size(), 3u);
  wire::DeadLettersSettleT none;
  none.group = "g";
  EXPECT_FALSE(answer<wire::DeadLettersSettledT>(std::move(none)).has_value());
}

}  // namespace
}  // namespace bus::broker
