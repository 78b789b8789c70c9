// Goal: each limit of groups, dead letters and the schedule holds at the limit and one beyond.
// Method: the group, or its lines of keys, alone where the way to the limit is long; else the real core on the real store.
#include <gtest/gtest.h>

#include "tests/support/schedule_case.hpp"

namespace bus::broker {
namespace {

const Now now{wall_time(1'000'000'000), SteadyTime{} + 1h};
const MemberId member{1, 1};

// Beyond it nothing is lost, but tried for ever.
TEST(GroupLimits, SoManyDeadLettersAreKept) {
  constexpr std::uint64_t most = limits::dead_letters_max;
  ConsumerGroup group({}, Position{most});
  group.join(member, Credit(10, 1000));
  for (std::uint64_t at = 1; at < most; ++at) group.restore_letter(Position{at}, 1);
  const auto reject = [&](std::uint64_t position) {
    const auto attempt = group.open(Position{position}, {}, Rank::medium, member, 1, now.steady);
    EXPECT_EQ(group.reject(member, Position{position}, attempt, "no", now), Code::ok);
    return group.take_incidents().at(0).fate;
  };
  EXPECT_EQ(reject(most + 1), ConsumerGroup::Incident::Fate::parked);
  EXPECT_EQ(group.letters().size(), most);
  EXPECT_EQ(reject(most + 2), ConsumerGroup::Incident::Fate::retried);
  EXPECT_EQ(group.letters().size(), most);
  const auto later = GroupSettings().retry_delay_max;
  group.tick({now.wall + later - 1ms, now.steady + later - 1ms});
  EXPECT_FALSE(group.has_ready());
  group.tick({now.wall + later, now.steady + later});
  EXPECT_TRUE(group.has_ready());
}

TEST(GroupLimits, AGroupIsMovedSoOften) {
  ConsumerGroup group({}, Position{10});
  for (int seek = 0; seek < 65'535; ++seek) {
    ASSERT_TRUE(group.may_seek()) << seek;
    group.seek(Position{10});
  }
  EXPECT_FALSE(group.may_seek());
}

// A search brings one event at least, and no more than may be kept in mind.
TEST(GroupLimits, SoManyEventsThatWaitAreKeptInMind) {
  KeyLanes lanes;
  std::uint64_t position = 0;
  constexpr std::uint64_t keys = limits::waiting_max / limits::lane_waiting_max;
  for (std::uint64_t key = 1; key <= keys; ++key) {
    lanes.begin({key, key}, Position{++position}, false);
    for (std::size_t at = 0; at < limits::lane_waiting_max; ++at) lanes.note({key, key}, Position{++position}, Rank::medium);
    EXPECT_EQ(lanes.waiting({key, key}).events, limits::lane_waiting_max);
    EXPECT_TRUE(lanes.waiting({key, key}).is_all);
  }
  lanes.note({1, 1}, Position{++position}, Rank::medium);
  EXPECT_FALSE(lanes.waiting({1, 1}).is_all) << "beyond what is kept of a key";
  const Hash128 last{keys + 1, keys + 1};
  lanes.begin(last, Position{++position}, false);
  std::vector<Position> behind;
  for (int at = 0; at < 3; ++at) {
    behind.push_back(Position{++position});
    lanes.note(last, behind.back(), Rank::medium);
  }
  EXPECT_EQ(lanes.waiting(last).events, 0u) << "beyond what is kept of all";
  lanes.done(last);
  const auto search = lanes.begin_search(last);
  ASSERT_TRUE(search);
  lanes.found(last, behind, behind.back());
  lanes.done(last);
  EXPECT_EQ(lanes.next(last).armed, behind[0]);
  EXPECT_EQ(lanes.waiting(last).events, 0u);
  EXPECT_FALSE(lanes.waiting(last).is_all);
  lanes.verify();
}

class LimitsTest : public ScheduleTest {
 protected:
  void create() {
    wire::GroupCreateT create;
    create.name = "g";
    create.settings = std::make_unique<wire::GroupSettingsT>();
    create.settings->in_flight_max = limits::open_max;
    answer<wire::DoneT>(std::move(create));
  }
  // Publishes so many events, and rejects all of them.
  void make_letters(std::size_t count, const std::string& why) {
    const std::vector<Buffer> batch(1000, encode(test::event("t")));
    for (std::size_t left = count; left > 0;) {
      const auto part = std::min<std::size_t>(left, 1000);
      publish({batch.begin(), batch.begin() + static_cast<std::ptrdiff_t>(part)});
      left -= part;
    }
    bus.hello("w");
    auto subscribe = test::subscribe(1, "g");
    subscribe.credit_events = 60'000;
    bus.send("w", subscribe);
    std::vector<wire::Settlement> pending;
    std::uint64_t epoch = 0;
    for (std::size_t dead = 0; dead < count;) {
      bus.run();
      const auto delivers = bus.take<wire::DeliverT>("w");
      ASSERT_FALSE(delivers.empty());
      for (const auto& deliver : delivers) {
        for (const auto& one : deliver.deliveries) pending.emplace_back(one.position(), one.attempt(), 0, wire::Verdict::reject);
        epoch = deliver.epoch;
      }
      dead += pending.size();
      while (!pending.empty()) reject_some(pending, epoch, why);
      wire::CreditT credit;
      credit.subscription = 1;
      credit.events = 60'000;
      credit.bytes = limits::credit_bytes_max;
      bus.send("w", credit);
    }
    bus.run();
    bus.take<wire::DeliverT>("w");
  }
  // As many as fit into one message.
  void reject_some(std::vector<wire::Settlement>& pending, std::uint64_t epoch, const std::string& why) {
    wire::SettleT settle;
    settle.subscription = 1;
    settle.epoch = epoch;
    for (; !pending.empty() && settle.settlements.size() < 256; pending.pop_back()) {
      settle.settlements.push_back(pending.back());
      if (why.empty()) continue;
      settle.texts.push_back(std::make_unique<wire::SettlementTextT>());
      settle.texts.back()->settlement = static_cast<std::uint32_t>(settle.settlements.size() - 1);
      settle.texts.back()->text = why;
    }
    bus.send("w", settle);
  }
  Code seek(std::uint64_t position) {
    wire::GroupSeekT seek;
    seek.name = "g";
    seek.to = wire::Start::position;
    seek.to_value = static_cast<std::int64_t>(position);
    return refusal(std::move(seek));
  }
};

TEST_F(LimitsTest, SoManyDeadLettersGoWithASeekOrAGroup) {
  bus.map_bytes = limits::GiB;
  bus.crash();
  connect();
  create();
  make_letters(limits::letters_moved_max + 1, "");
  wire::GroupRemoveT remove;
  remove.name = "g";
  remove.dead_letters = true;
  EXPECT_EQ(refusal(wire::GroupRemoveT(remove)), Code::group_busy);
  EXPECT_EQ(seek(1), Code::group_busy);
  EXPECT_EQ(seek(2), Code::ok) << "but for the first one";
  EXPECT_EQ(bus.core->delivery().dead_letters(), 1u);
}

// Reasons as long as they may be: a reply is cut where a header would be too large.
TEST_F(LimitsTest, RepliesOfLongTextsComeInParts) {
  create();
  make_letters(1000, std::string(limits::error_bytes_max, 'e'));
  std::uint64_t after = 0, letters = 0, parts = 0;
  do {
    wire::DeadLettersRequestT ask;
    ask.group = "g";
    ask.brief = true;
    ask.after = after;
    const auto reply = answer<wire::DeadLettersReplyT>(std::move(ask));
    letters += reply.letters.size();
    after = reply.more;
    ++parts;
    EXPECT_LE(wire::encode(reply).size(), limits::header_bytes_max);
  } while (after != 0);
  EXPECT_EQ(letters, 1000u);
  EXPECT_GT(parts, 3u);
}

TEST_F(LimitsTest, TheScheduleIsListedInPartsAndCancelledSoManyAtOnce) {
  std::vector<Buffer> events;
  for (std::size_t at = 0; at <= limits::schedule_ids_max; ++at) {
    auto event = test::event(std::string(200, 't'), std::string(250, 'k'));
    event.deliver_at = nanoseconds(bus.now.wall + 1h);
    events.push_back(encode(event));
  }
  publish(events);
  EXPECT_EQ(listed().size(), limits::schedule_ids_max + 1);
  wire::ScheduleRequestT ask;
  EXPECT_LT(answer<wire::ScheduleReplyT>(std::move(ask)).events.size(), limits::schedule_ids_max);
  wire::ScheduleCancelT cancel;
  for (std::uint64_t at = 1; at <= limits::schedule_ids_max + 1; ++at) cancel.ids.push_back(id(at));
  EXPECT_EQ(refusal(wire::ScheduleCancelT(cancel)), Code::bad_request);
  cancel.ids.pop_back();
  EXPECT_EQ(answer<wire::ScheduleCancelledT>(std::move(cancel)).codes, std::vector<Code>(limits::schedule_ids_max, Code::ok));
  EXPECT_EQ(waiting(), 1u);
}

}  // namespace
}  // namespace bus::broker
