// Goal: what a group has settled can be given to it again, as another attempt, durably, in the order of its key, and kept from
// retention; what has not been settled, is not of the group, or is gone, is refused by name and stays as it is.
// Method: the real core on the real store, driven message by message; and the group alone where a limit is far.
#include "tests/support/retention_case.hpp"
#include "tests/support/results.hpp"

namespace bus::broker {
namespace {

using Places = std::vector<std::pair<std::uint64_t, std::uint32_t>>;
using Refused = std::vector<std::pair<std::uint64_t, Code>>;

class GroupReplayTest : public RetentionCase {
 protected:
  void create(wire::Sharing sharing = wire::Sharing::round_robin) {
    wire::GroupCreateT create;
    create.name = "g";
    create.filter = std::make_unique<wire::FilterT>();
    create.filter->patterns = {"a"};
    create.settings = std::make_unique<wire::GroupSettingsT>();
    create.settings->sharing = sharing;
    ASSERT_EQ(refused(std::move(create)), std::nullopt);
  }
  void join(std::uint32_t credit = 2000) {
    bus.hello("m");
    auto member = test::subscribe(1, "g");
    member.credit_events = credit;
    member.credit_bytes = 16 << 20;
    bus.send("m", member);
    bus.run();
  }
  wire::GroupReplayT ask_for(std::vector<std::uint64_t> positions) {
    wire::GroupReplayT ask;
    ask.name = "g";
    ask.positions = std::move(positions);
    return ask;
  }
  wire::GroupReplayedT replay(std::vector<std::uint64_t> positions) { return answer<wire::GroupReplayedT>(ask_for(std::move(positions))); }
  Refused refusals(std::vector<std::uint64_t> positions) { return refusals_of(replay(std::move(positions))); }
  static Refused refusals_of(const wire::GroupReplayedT& reply) {
    Refused all;
    for (const auto& one : reply.refused) all.emplace_back(one.position(), one.code());
    return all;
  }
  // Since the last call, with their attempts.
  Places attempts(const Peer& peer = "m") {
    Places all;
    for (const auto& deliver : bus.take<wire::DeliverT>(peer)) {
      epoch_ = deliver.epoch;
      for (const auto& one : deliver.deliveries) all.emplace_back(one.position(), one.attempt());
    }
    return all;
  }
  std::optional<Code> settle_attempt(std::uint64_t position, std::uint32_t attempt, wire::Verdict verdict = wire::Verdict::ack, std::uint32_t delay_ms = 0) {
    wire::SettleT message;
    message.subscription = 1;
    message.epoch = epoch_;
    message.settlements.emplace_back(position, attempt, delay_ms, verdict);
    message.request = ++requests_;
    bus.send("m", message);
    bus.run();
    for (const auto& one : bus.received("m")) {
      const auto* settled = one.message->body.AsSettled();
      if (settled == nullptr || settled->request != requests_) continue;
      return settled->refused.empty() ? std::nullopt : std::optional(settled->refused[0].code());
    }
    return Code::timed_out;
  }
  // Whatever is delivered, until nothing is.
  void ack_all() {
    for (auto places = attempts(); !places.empty(); places = attempts()) {
      wire::SettleT message;
      message.subscription = 1;
      message.epoch = epoch_;
      message.request = ++requests_;
      for (const auto& [position, attempt] : places) message.settlements.emplace_back(position, attempt, 0, wire::Verdict::ack);
      wire::CreditT credit;
      credit.subscription = 1;
      credit.events = static_cast<std::uint32_t>(places.size());
      credit.bytes = 1 << 20;
      bus.send("m", message);
      bus.send("m", credit);
      bus.run();
    }
  }
  void publish_and_settle(std::size_t count, const std::string& key = "") {
    publish("a", count, key);
    join();
    ack_all();
    ASSERT_EQ(group().open, 0u);
  }
  wire::GroupInfoT group() {
    wire::GroupsRequestT ask;
    ask.name = "g";
    return std::move(*answer<wire::GroupsReplyT>(std::move(ask)).groups.at(0));
  }
  void crash() {
    bus.crash();
    greet();
  }

  std::uint64_t requests_ = 0;           // of the member
};

TEST_F(GroupReplayTest, GivesASettledEventAgainAsAnotherAttempt) {
  create();
  publish_and_settle(3);
  EXPECT_EQ(group().floor, 3u);
  const auto reply = replay({2});
  EXPECT_EQ(reply.done, 1u);
  EXPECT_TRUE(reply.refused.empty());
  EXPECT_EQ(group().floor, 1u);
  EXPECT_EQ(group().open, 1u);
  EXPECT_EQ(attempts(), (Places{{2, 2}}));
  EXPECT_EQ(settle_attempt(2, 1), Code::stale_ack) << "the attempt before";
  EXPECT_EQ(settle_attempt(2, 2), std::nullopt);
  EXPECT_EQ(group().floor, 3u);
}

// However often it is given again, and however often it has failed before: no ack of an older attempt settles it.
TEST_F(GroupReplayTest, NeverGivesAnAttemptTwice) {
  create();
  publish_and_settle(1);
  std::uint32_t last = 1;
  for (int round = 0; round < 5; ++round) {
    ASSERT_EQ(replay({1}).done, 1u);
    auto places = attempts();
    ASSERT_EQ(places.size(), 1u);
    ASSERT_GT(places[0].second, last);
    for (std::uint32_t old = 1; old <= last; ++old) EXPECT_EQ(settle_attempt(1, old), Code::stale_ack);
    EXPECT_EQ(settle_attempt(1, places[0].second, wire::Verdict::release), std::nullopt);
    places = attempts();
    last = places.at(0).second;
    EXPECT_EQ(settle_attempt(1, last), std::nullopt);
  }
}

TEST_F(GroupReplayTest, MayFailAsOftenAsANewOne) {
  create();
  publish_and_settle(1);
  wire::GroupEditT edit;
  edit.name = "g";
  edit.settings = std::make_unique<wire::GroupSettingsT>();
  edit.settings->attempts_max = 2;
  edit.settings->retry_delay_ms = 0;
  ASSERT_EQ(refused(std::move(edit)), std::nullopt);
  replay({1});
  EXPECT_EQ(attempts(), (Places{{1, 2}}));
  settle_attempt(1, 2, wire::Verdict::nack);
  EXPECT_EQ(attempts(), (Places{{1, 3}}));
  EXPECT_EQ(group().dead_letters, 0u);
  settle_attempt(1, 3, wire::Verdict::nack);
  EXPECT_EQ(group().dead_letters, 1u);
}

TEST_F(GroupReplayTest, IsDurableOnceItIsAnswered) {
  create();
  publish_and_settle(3);
  bus.ask("op", ask_for({1}));
  bus.core->tick(bus.now);
  EXPECT_TRUE(bus.read());
  EXPECT_TRUE(bus.take<wire::ReplyT>("op").empty()) << "before the commit nothing is said";
  crash();
  EXPECT_EQ(group().open, 0u);
  EXPECT_EQ(replay({1, 3}).done, 2u);
  crash();
  EXPECT_EQ(group().open, 2u);
  EXPECT_EQ(group().floor, 0u);
  bus.restart();
  greet();
  EXPECT_EQ(group().open, 2u) << "from the rows of a checkpoint";
  join();
  EXPECT_EQ(attempts(), (Places{{1, 2}, {3, 2}}));
}

TEST_F(GroupReplayTest, RefusesWhatIsNotSettled) {
  create();
  publish("a", 5, "k");
  join();
  attempts();
  settle_attempt(1, 1, wire::Verdict::ack);
  settle_attempt(2, 1, wire::Verdict::nack, 60'000);
  settle_attempt(3, 1, wire::Verdict::reject);
  EXPECT_EQ(refusals({1, 2, 3, 4}), (Refused{{2, Code::conflict}, {3, Code::conflict}, {4, Code::conflict}}));
  EXPECT_EQ(group().open, 4u);
  EXPECT_EQ(refusals({1}), (Refused{{1, Code::conflict}})) << "it is open since";
  EXPECT_EQ(group().dead_letters, 1u);
}

TEST_F(GroupReplayTest, RefusesWhatIsNotOfTheGroup) {
  create();
  publish_and_settle(2);
  publish("b", 1);
  EXPECT_EQ(refusals({0, 1, 3, 4, ~std::uint64_t{0}}), (Refused{{0, Code::not_found}, {3, Code::not_found}, {4, Code::not_found}, {~std::uint64_t{0}, Code::not_found}}));
  wire::GroupEditT edit;
  edit.name = "g";
  edit.filter = std::make_unique<wire::FilterT>();
  edit.filter->keys = {"k"};
  ASSERT_EQ(refused(std::move(edit)), std::nullopt);
  EXPECT_EQ(refusals({2}), (Refused{{2, Code::not_found}})) << "its key is another";
  publish("a", 1, "k");
  ack_all();
  EXPECT_EQ(replay({4}).done, 1u);
}

TEST_F(GroupReplayTest, LooksIntoTheEventForWhatTheFilterAsks) {
  create();
  wire::GroupEditT edit;
  edit.name = "g";
  edit.filter = std::make_unique<wire::FilterT>();
  edit.filter->attributes.push_back(std::make_unique<wire::AttributeFilterT>());
  edit.filter->attributes[0]->name = "ward";
  ASSERT_EQ(refused(std::move(edit)), std::nullopt);
  auto with = test::event("a");
  with.attributes.push_back(std::make_unique<wire::AttributeT>());
  with.attributes[0]->name = "ward";
  bus.publish("p", 1, {test::encode(test::event("a")), test::encode(with)});
  join();
  ack_all();
  EXPECT_EQ(refusals({1, 2}), (Refused{{1, Code::not_found}}));
}

// One that the scan has not come to, as nobody has room for it, comes by itself.
TEST_F(GroupReplayTest, RefusesWhatTheGroupHasNotComeTo) {
  create();
  publish("a", 3);
  join(1);
  EXPECT_EQ(attempts(), (Places{{1, 1}}));
  EXPECT_EQ(refusals({2, 3}), (Refused{{2, Code::not_found}, {3, Code::not_found}}));
}

TEST_F(GroupReplayTest, KeepsTheOrderOfItsKey) {
  create(wire::Sharing::key_ordered);
  publish_and_settle(2, "k");
  publish("a", 2, "k");
  publish("a", 1, "other");
  EXPECT_EQ(attempts(), (Places{{3, 1}, {5, 1}}));
  EXPECT_EQ(refusals({2, 4, 1}), (Refused{{4, Code::conflict}})) << "it waits in line";
  EXPECT_TRUE(attempts().empty()) << "one of a key at a time";
  settle_attempt(3, 1);
  EXPECT_EQ(attempts(), (Places{{1, 2}}));
  crash();
  join();
  for (const std::uint64_t position : {1, 2, 4}) {
    const auto places = attempts();
    const auto at = std::find_if(places.begin(), places.end(), [](const auto& place) { return place.first != 5; });
    ASSERT_NE(at, places.end());
    EXPECT_EQ(at->first, position);
    settle_attempt(position, at->second);
  }
}

TEST_F(GroupReplayTest, RefusesWhatHasExpired) {
  create();
  auto event = test::event("a");
  event.expires_at = nanoseconds(bus.now.wall + 5s);
  bus.publish("p", 1, {test::encode(event), test::encode(event)});
  join();
  ack_all();
  EXPECT_EQ(replay({1}).done, 1u);
  ack_all();
  advance(5s);
  EXPECT_EQ(refusals({2}), (Refused{{2, Code::not_found}}));
  EXPECT_EQ(group().expired, 0u);
}

TEST_F(GroupReplayTest, FindsEventsOfManyRecords) {
  create();
  for (int at = 0; at < 30; ++at) publish("a", 1, "", std::string(100'000, 'x'));
  join();
  ack_all();
  crash();  // so that nothing is in memory
  EXPECT_EQ(replay({30, 1, 17, 17, 2}).done, 4u) << "in any order; one that is named twice is open by then";
  join();
  EXPECT_EQ(delivered(), (std::vector<std::uint64_t>{1, 2, 17, 30}));
}

TEST_F(GroupReplayTest, GoesOnBehindWhatCannotBeRead) {
  create();
  for (int at = 0; at < 30; ++at) publish("a", 1, "", std::string(100'000, 'x'));
  join();
  ack_all();
  bus.read_fault = [](const ReadAsk& ask) -> std::optional<Error> {
    const auto* records = std::get_if<ReadRecords>(&ask);
    if (records == nullptr || records->from != Position{15}) return std::nullopt;
    return Error{Code::damaged, "of the test"};
  };
  EXPECT_EQ(refusals({1, 15, 30}), (Refused{{15, Code::damaged}}));
  EXPECT_EQ(group().open, 2u);
}

// ---- limits

TEST_F(GroupReplayTest, TakesSoManyPositionsAtOnce) {
  create();
  publish_and_settle(limits::letters_settled_max + 1);
  EXPECT_EQ(refused(ask_for({})), Code::bad_request);
  EXPECT_EQ(refused(ask_for(range(1, limits::letters_settled_max + 1))), Code::bad_request);
  EXPECT_EQ(group().open, 0u);
  EXPECT_EQ(replay(range(1, limits::letters_settled_max)).done, limits::letters_settled_max);
  EXPECT_EQ(group().open, limits::letters_settled_max);
  auto other = ask_for({1});
  other.name = "nobody";
  EXPECT_EQ(refused(std::move(other)), Code::unknown_group);
}

TEST(ConsumerGroupReplay, KeepsNoMoreOpenThanItMay) {
  GroupSettings settings;
  settings.in_flight_max = limits::open_max;
  const MemberId member{1, 1};
  const SteadyTime now{};
  ConsumerGroup group(settings, Position{1});
  group.join(member, {});
  for (std::uint64_t at = 2; at <= limits::open_max; ++at) {
    group.add_credit(member, 1, 10);
    group.open(Position{at}, {}, Rank::medium, member, 1, now);
  }
  EXPECT_EQ(group.replay(Position{1}, {}, Rank::medium), Code::ok) << "the last one that has room";
  group.ack(member, Position{2}, 1);
  EXPECT_EQ(group.replay(Position{2}, {}, Rank::low), Code::ok);
  EXPECT_EQ(group.next_ready(Rank::low), Position{2}) << "it keeps its rank";
  group.add_credit(member, 1, 10);
  group.open(Position{1}, {}, Rank::medium, member, 1, now);
  group.advance(Position{limits::open_max + 1});
  EXPECT_EQ(group.replay(Position{limits::open_max + 1}, {}, Rank::medium), Code::group_busy);
  group.verify();
}

// ---- while others are at it

TEST_F(GroupReplayTest, TellsThatTheGroupWasMovedMeanwhile) {
  create();
  publish_and_settle(3);
  bus.ask("op", ask_for({3}), 1);
  wire::GroupSeekT seek;
  seek.name = "g";
  seek.to = wire::Start::end;
  bus.ask("op", std::move(seek), 2);
  bus.run();
  EXPECT_EQ(bus.failures("op"), (std::vector{Code::conflict}));
  EXPECT_EQ(group().open, 0u);
  bus.ask("op", ask_for({3}), 3);
  wire::GroupRemoveT remove;
  remove.name = "g";
  bus.ask("op", std::move(remove), 4);
  bus.run();
  EXPECT_EQ(bus.failures("op"), (std::vector{Code::unknown_group}));
}

// Or a crash would bring back a group of which somebody was told that there is none.
TEST_F(GroupReplayTest, ThatThereIsNoGroupIsDurable) {
  create();
  wire::GroupRemoveT remove;
  remove.name = "g";
  bus.ask("op", std::move(remove), 1);
  bus.ask("op", ask_for({1}), 2);
  wire::GroupsRequestT ask;
  ask.name = "g";
  bus.ask("op", std::move(ask), 3);
  bus.core->tick(bus.now);
  for (const auto& one : bus.received("op")) EXPECT_EQ(one.message->body.AsFailure(), nullptr);
  bus.run();
  EXPECT_EQ(bus.failures("op"), (std::vector{Code::unknown_group, Code::unknown_group}));
}

TEST_F(GroupReplayTest, IsKeptFromRetention) {
  create();
  publish_and_settle(3);
  EXPECT_EQ(replay({2}).done, 1u);
  ASSERT_EQ(set(at_most("a", 1)), std::nullopt);
  run();
  EXPECT_EQ(left(), range(2, 3)) << "what lies behind the floor waits, too";
  EXPECT_EQ(refusals({1}), (Refused{{1, Code::trimmed}}));
  EXPECT_EQ(attempts(), (Places{{2, 2}}));
  settle_attempt(2, 2);
  run();
  EXPECT_EQ(left(), range(3, 3));
  EXPECT_EQ(refusals({2, 3}), (Refused{{2, Code::trimmed}}));
}

// A run that is long changes records in every commit, and would keep others from being given for as long as it takes.
TEST_F(GroupReplayTest, GivesWhatRetentionDoesNotTouchWhileItIsAtWork) {
  create();
  publish_and_settle(1);
  for (int record = 0; record < 400; ++record) publish(record % 2 == 0 ? "b" : "c", 3, "", std::string(20'000, 'x'));
  ASSERT_EQ(set(at_most("b", 1)), std::nullopt);
  bus.ask("op", wire::RetentionRunT(), 7);
  bus.ask("op", ask_for({1}), 8);
  std::optional<wire::GroupReplayedT> reply;
  for (int turn = 0; turn < 60 && !reply; ++turn) {
    bus.now.steady += 110ms;             // a change that waits for a commit of others has one of its own
    bus.core->tick(bus.now);
    bus.read();
    bus.commit();
    for (auto& one : bus.take<wire::ReplyT>("op")) {
      if (one.request == 8) reply = std::move(*one.answer.AsGroupReplayed());
    }
  }
  ASSERT_TRUE(reply.has_value());
  EXPECT_EQ(reply->done, 1u);
  EXPECT_TRUE(state().run->running) << "or the test shows nothing";
  settle_down();
}

// Of changes so long ago nobody knows any more which records they were of.
TEST_F(GroupReplayTest, ReadsAgainWhatWasReadOverMoreCommitsThanChangesAreKeptFor) {
  create();
  publish_and_settle(1);
  for (int record = 0; record < 4; ++record) publish("b", 1);
  ASSERT_EQ(set(at_most("b", 1)), std::nullopt);
  bus.ask("op", ask_for({1}), 8);
  const auto slow = bus.core->take_reads();
  ASSERT_EQ(slow.size(), 1u);
  bus.ask("op", wire::RetentionRunT(), 7);
  for (int commits = 0; commits < 300; ++commits) publish("c", 1);
  ASSERT_GT(topic("b").removed_events, 0u) << "or the test shows nothing";
  bus.answer(slow);
  bus.core->tick(bus.now);
  const auto again = bus.core->take_reads();
  ASSERT_EQ(again.size(), 1u);
  bus.answer(again);
  bus.run();
  auto replies = bus.take<wire::ReplyT>("op");
  ASSERT_FALSE(replies.empty());
  ASSERT_NE(replies.back().answer.AsGroupReplayed(), nullptr);
  EXPECT_EQ(replies.back().answer.AsGroupReplayed()->done, 1u);
}

// Whatever retention has done by then: it has read the event, or keeps the change for the next commit, or has committed it.
TEST_F(GroupReplayTest, GivesNothingThatRetentionIsRemoving) {
  create();
  publish_and_settle(1);
  ASSERT_EQ(set(at_most("a", 1)), std::nullopt);
  std::size_t given = 0, trimmed = 0;
  for (int steps = 0; steps < 20; ++steps) {
    const auto first = next_;
    publish("a", 3);
    ack_all();
    bus.ask("op", wire::RetentionRunT(), 7);
    for (int step = 0; step < steps; ++step) {
      bus.advance(RetentionPace::patience);
      bus.core->tick(bus.now);
      bus.read();
      if (step % 4 == 3) bus.commit();
    }
    bus.take<wire::ReplyT>("op");
    bus.ask("op", ask_for({first, first + 1, first + 2}), 8);
    bus.run();
    auto replies = bus.take<wire::ReplyT>("op");
    ASSERT_FALSE(replies.empty());
    const auto* reply = replies.back().answer.AsGroupReplayed();
    ASSERT_NE(reply, nullptr);
    settle_down();
    const auto kept = left();
    const auto refused = refusals_of(*reply);
    for (auto position = first; position < next_; ++position) {
      const bool is_there = std::find(kept.begin(), kept.end(), position) != kept.end();
      const bool is_gone = std::find(refused.begin(), refused.end(), std::pair(position, Code::trimmed)) != refused.end();
      EXPECT_NE(is_there, is_gone) << "position " << position << ", after " << steps << " steps";
    }
    const auto again = attempts();
    EXPECT_EQ(again.size(), reply->done);
    for (const auto& [position, attempt] : again) settle_attempt(position, attempt);
    given += reply->done - 1;
    trimmed += refused.size();
    bus.send("m", wire::PingT());
    run();
  }
  EXPECT_GT(given, 0u);
  EXPECT_GT(trimmed, 0u);
}

}  // namespace
}  // namespace bus::broker
