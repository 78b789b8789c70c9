// Goal: a step takes events out of the schedule with all the rest of it, or with nothing; of a step and whatever else wants such an event one
// wins, and the other learns of it. A step without events takes effect once, too.
// Method: a broker without threads; its commits and reads happen when the test says so.
#include "tests/support/schedule_case.hpp"

namespace bus::broker {
namespace {

using test::event;
using wire::Expect;

class CancelsTest : public ScheduleTest {
 protected:
  // A step of the batch's events from `first` on; of none if count is 0.
  static wire::StepT& add_step(wire::PublishT& message, std::uint32_t first, std::uint32_t count, const std::vector<std::uint64_t>& cancels) {
    auto& step = *message.steps.emplace_back(std::make_unique<wire::StepT>());
    step.first = first;
    step.count = std::max<std::uint32_t>(count, 1);
    step.without_events = count == 0;
    for (const auto sequence : cancels) step.cancels.push_back(id(sequence));
    return step;
  }
  static wire::PublishT step(std::uint32_t count, const std::vector<std::uint64_t>& cancels) {
    wire::PublishT message;
    add_step(message, 0, count, cancels);
    return message;
  }
  wire::PublishResultT result(const Peer& peer = "p") {
    auto results = bus.take<wire::PublishResultT>(peer);
    EXPECT_EQ(results.size(), 1u);
    return results.empty() ? wire::PublishResultT() : std::move(results[0]);
  }
  wire::PublishResultT send(const std::vector<Buffer>& events, const wire::PublishT& message, std::uint64_t first = 0) {
    if (first == 0) first = std::exchange(next_, next_ + events.size());
    bus.publish("p", first, events, message);
    bus.run();
    return result();
  }
  static std::vector<Code> codes(const wire::PublishResultT& result) {
    std::vector<Code> codes;
    for (const auto& refusal : result.refusals) codes.push_back(refusal->code);
    return codes;
  }
  using Codes = std::vector<Code>;
  std::uint64_t head() const { return number(bus.core->head()); }
  const Buffer out = encode(event("out", "k"));
  const Buffer none = test::skipped();
};

// ---- cancels

TEST_F(CancelsTest, AreOneWithTheirStep) {
  publish({in(10s), in(10s), in(10s)});
  EXPECT_EQ(codes(send({out, out}, step(2, {1, 3}))), Codes());
  EXPECT_EQ(waiting(), 1u);
  bus.crash();
  connect();
  EXPECT_EQ(waiting(), 1u);
  pass(11s);
  EXPECT_EQ(log(), (std::vector<Line>{{"out", 4, 1}, {"out", 5, 2}, {"t", 2, 0}}));
  EXPECT_EQ(answer<wire::ScheduleGetReplyT>(about<wire::ScheduleGetT>(1)).fate, wire::ScheduleFate::cancelled);
}

TEST_F(CancelsTest, ChangeNothingWhereTheStepFails) {
  publish({in(10s), in(10s)});
  auto conflicting = step(1, {1});
  conflicting.conditions.emplace_back(7, 0, 0, Expect::version);
  EXPECT_EQ(codes(send({out}, conflicting)), Codes{Code::conflict});
  auto stale = step(1, {1});
  auto& settle = *stale.steps[0]->settles.emplace_back(std::make_unique<wire::SettleT>());
  settle.subscription = 9;
  settle.settlements.emplace_back(1, 1, 0, wire::Verdict::ack);
  EXPECT_EQ(codes(send({out}, stale)), Codes{Code::unknown_subscription});
  EXPECT_EQ(codes(send({out, encode(event("a..b"))}, step(2, {1}))), (Codes{Code::step_refused, Code::bad_topic}));
  EXPECT_EQ(waiting(), 2u);
  pass(11s);
  EXPECT_EQ(log(), (std::vector<Line>{{"t", 1, 0}, {"t", 2, 0}}));
}

TEST_F(CancelsTest, LeaveNothingOfAStepThatWasNotCommitted) {
  publish({in(10s)});
  bus.publish("p", 2, {out}, step(1, {1}));
  while (bus.read()) {}
  bus.crash();
  connect();
  EXPECT_EQ(waiting(), 1u);
  EXPECT_EQ(head(), 0u);
}

TEST_F(CancelsTest, RefuseAStepWhoseEventDoesNotWaitAndSayWhatBecameOfIt) {
  publish({in(10s), in(20s), in(20s), in(90s)});
  EXPECT_EQ(cancel({2}), Codes{Code::ok});
  pass(11s);
  const auto refused = [&](const wire::PublishT& message) {
    const auto done = send({out, out}, message);
    EXPECT_EQ(codes(done), (Codes{Code::not_scheduled, Code::step_refused}));
    return done.refusals.empty() ? "" : done.refusals[0]->detail;
  };
  EXPECT_EQ(refused(step(2, {4, 1})), "event 'alpha/1' was due before, and is in the log at position 1");
  EXPECT_EQ(refused(step(2, {4, 2})), "event 'alpha/2' was cancelled before");
  EXPECT_EQ(refused(step(2, {4, 77})), "event 'alpha/77' is not in the schedule, nor was lately");
  auto nobody = step(2, {4});
  nobody.steps[0]->cancels.push_back(id(1, "nobody"));
  EXPECT_EQ(refused(nobody), "event 'nobody/1' is not in the schedule, nor was lately");
  EXPECT_EQ(waiting(), 2u);
  EXPECT_EQ(head(), 1u);
  EXPECT_EQ(codes(send({out, out}, step(2, {4, 3}))), Codes());
}

// What is due is staged first, and not yet committed, when the step comes.
TEST_F(CancelsTest, LoseAgainstWhatIsStagedAsDue) {
  publish({in(10s)});
  bus.advance(10s);
  bus.core->tick(bus.now);
  while (bus.read()) {}
  bus.publish("p", 2, {out}, step(1, {1}));
  bus.run();
  EXPECT_EQ(codes(result()), Codes{Code::not_scheduled});
  EXPECT_EQ(log(), (std::vector<Line>{{"t", 1, 0}}));
}

// The step holds the schedule already when the event is due.
TEST_F(CancelsTest, WinAgainstWhatIsDueAfterThem) {
  publish({in(10s), in(10s)});
  bus.publish("p", 3, {out}, step(1, {1}));
  bus.advance(10s);
  bus.core->tick(bus.now);
  while (bus.read()) {}  // all that is to be read before the commit
  bus.run();
  EXPECT_EQ(codes(result()), Codes());
  EXPECT_EQ(log(), (std::vector<Line>{{"out", 3, 1}, {"t", 2, 0}}));
}

TEST_F(CancelsTest, HaveOneWinnerAmongStepsAndOperators) {
  publish({in(10s), in(10s), in(10s)});
  bus.hello("q", "beta");
  bus.publish("p", 4, {out}, step(1, {1, 2}));
  bus.publish("q", 1, {out}, step(1, {2, 3}));
  wire::ScheduleCancelT ask;
  ask.ids.push_back(id(1));
  ask.ids.push_back(id(3));
  bus.ask("m", std::move(ask));
  bus.run();
  EXPECT_EQ(codes(result()), Codes());
  EXPECT_EQ(codes(result("q")), Codes{Code::not_scheduled});
  auto replies = bus.take<wire::ReplyT>("m");
  EXPECT_EQ(replies.at(0).answer.AsScheduleCancelled()->codes, (Codes{Code::conflict, Code::ok}));
  EXPECT_EQ(waiting(), 0u);
}

TEST_F(CancelsTest, HaveOneWinnerAmongStepsOfABatch) {
  publish({in(10s), in(10s)});
  wire::PublishT message;
  add_step(message, 0, 1, {1});
  add_step(message, 1, 1, {1, 2});
  add_step(message, 2, 1, {2});
  const auto done = send({out, out, out}, message);
  EXPECT_EQ(codes(done), Codes{Code::not_scheduled});
  EXPECT_EQ(done.refusals[0]->sequence, 4u);
  EXPECT_EQ(head(), 2u);
  EXPECT_EQ(waiting(), 0u);
}

TEST_F(CancelsTest, AreNotDoneAgainWithAResend) {
  publish({in(10s), in(10s)});
  EXPECT_EQ(codes(send({out}, step(1, {1}))), Codes());
  bus.crash();
  connect();
  const auto again = send({out}, step(1, {1}), 3);
  EXPECT_EQ(codes(again), Codes());
  EXPECT_TRUE(again.receipts.at(0).duplicate());
  EXPECT_EQ(codes(send({out}, step(1, {1}))), Codes{Code::not_scheduled});
  EXPECT_EQ(codes(send({out}, step(1, {1}), 4)), Codes{Code::refused_before});
}

// A publisher that is gone while its batch holds the schedule, or waits for it, holds up nobody.
TEST_F(CancelsTest, GoWithTheirSession) {
  publish({in(10s), in(10s)});
  for (const bool has_turn : {false, true}) {
    bus.hello("q", "beta");
    bus.hello("r", "gamma");
    bus.publish("q", 1, {out}, step(1, {1}));
    if (has_turn) bus.publish("r", 1, {out}, step(1, {2}));
    const Peer gone = has_turn ? "r" : "q";
    bus.send(gone, wire::ByeT());
    bus.run();
    bus.take<wire::PublishResultT>("q");
  }
  pass(11s);
  EXPECT_EQ(log(), (std::vector<Line>{{"out", 1, 1}, {"t", 2, 0}}));
}

TEST_F(CancelsTest, WaitForRowsThatCannotBeReadNow) {
  publish({in(10s)});
  auto code = Code::disk_error;
  bus.read_fault = [&](const ReadAsk& ask) -> std::optional<Error> {
    if (code == Code::ok || !std::holds_alternative<ReadRowsOf>(ask)) return std::nullopt;
    return Error{code, "table schedule_ids"};
  };
  bus.publish("p", 2, {out}, step(1, {1}));
  bus.run();
  EXPECT_EQ(bus.failures("p"), Codes{Code::disk_error}) << "given back";
  code = Code::damaged;
  wire::PublishT message = step(1, {1});
  EXPECT_EQ(codes(send({out, out}, message, 2)), Codes{Code::damaged}) << "the other is in no step";
  code = Code::ok;
  EXPECT_EQ(codes(send({out}, step(1, {1}), 4)), Codes());
  EXPECT_EQ(waiting(), 0u);
}

// A key that must be read first, while the step holds the schedule or before, is waited for.
TEST_F(CancelsTest, WaitForKeys) {
  publish({in(10s)});
  send({out}, {});
  bus.restart();
  connect();
  const auto done = send({out}, step(1, {1}));
  EXPECT_EQ(codes(done), Codes());
  EXPECT_EQ(done.receipts.at(0).version(), 2u);
  EXPECT_EQ(waiting(), 0u);
}

TEST_F(CancelsTest, AreAsManyAsMayBeAndNotOneMore) {
  std::vector<Buffer> events(limits::schedule_ids_max, in(10s));
  publish(events);
  std::vector<std::uint64_t> all;
  for (std::uint64_t sequence = 1; sequence <= limits::schedule_ids_max; ++sequence) all.push_back(sequence);
  wire::PublishT two = step(1, all), many = step(1, all), twice = step(1, {1, 1}), unnamed = step(1, {0});
  add_step(two, 1, 1, {1});
  many.steps[0]->cancels.push_back(id(limits::schedule_ids_max + 1));
  auto nobody = step(1, {});
  nobody.steps[0]->cancels.push_back(id(1, ""));
  for (const auto& message : {two, many, twice, unnamed, nobody}) {
    bus.publish("p", next_, {out, out}, message);
    EXPECT_EQ(bus.failures("p"), Codes{Code::malformed});
  }
  EXPECT_EQ(waiting(), limits::schedule_ids_max);
  EXPECT_EQ(codes(send({out}, step(1, all))), Codes());
  EXPECT_EQ(waiting(), 0u);
}

// ---- steps without events

TEST_F(CancelsTest, NeedNoEvent) {
  publish({in(10s)});
  const auto done = send({none}, step(0, {1}));
  EXPECT_EQ(codes(done), Codes());
  ASSERT_EQ(done.receipts.size(), 1u);
  EXPECT_EQ(done.receipts[0].position(), 0u);
  EXPECT_FALSE(done.receipts[0].duplicate() || done.receipts[0].scheduled());
  EXPECT_EQ(waiting(), 0u);
  EXPECT_EQ(head(), 0u);
  for (const bool restart : {false, true}) {
    restart ? bus.restart() : bus.crash();
    connect();
    const auto again = send({none}, step(0, {1}), 2);
    EXPECT_EQ(codes(again), Codes());
    EXPECT_TRUE(again.receipts.at(0).duplicate());
  }
  EXPECT_EQ(codes(send({none}, step(0, {1}))), Codes{Code::not_scheduled});
  EXPECT_EQ(codes(send({none}, step(0, {1}), 3)), Codes{Code::refused_before});
  EXPECT_EQ(codes(send({none, out}, step(0, {}), 4)), Codes()) << "its sequence is used up, and the next one follows";
}

TEST_F(CancelsTest, AStepWithoutEventsSettlesOnConditionsAndOnce) {
  send({encode(event("in", "k")), encode(event("in", "k"))}, {});
  bus.send("p", test::subscribe(1, "g", wire::Start::start));
  bus.run();
  const auto epoch = bus.take<wire::DeliverT>("p").at(0).epoch;
  const auto open = [&] { return bus.core->delivery().groups().at("g")->group->state.open_count(); };
  auto message = step(0, {});
  auto& settle = *message.steps[0]->settles.emplace_back(std::make_unique<wire::SettleT>());
  settle.subscription = 1;
  settle.epoch = epoch;
  settle.settlements.emplace_back(1, 1, 0, wire::Verdict::ack);
  message.condition_keys = {"k"};
  message.conditions.emplace_back(3, 0, 1, Expect::version);
  const auto conflict = send({none}, message);
  EXPECT_EQ(codes(conflict), Codes{Code::conflict});
  EXPECT_EQ(conflict.refusals.at(0)->version, 2u);
  EXPECT_EQ(open(), 2u);
  message.conditions[0] = {2, 0, 1, Expect::version};
  EXPECT_EQ(codes(send({none}, message)), Codes());
  EXPECT_EQ(open(), 1u);
  const auto again = send({none}, message, 4);
  EXPECT_EQ(codes(again), Codes());
  EXPECT_TRUE(again.receipts.at(0).duplicate());
  EXPECT_EQ(codes(send({none}, message)), Codes{Code::not_delivered}) << "under another sequence it is another step";
  bus.crash();
  EXPECT_EQ(open(), 1u);
}

TEST_F(CancelsTest, RefuseWhatIsNoStepWithoutEvents) {
  wire::PublishT two = step(0, {}), snapshot = step(0, {});
  two.steps[0]->count = 2;
  snapshot.snapshots.emplace_back(1, 0, 1);
  bus.publish("p", 1, {none, none}, two);
  bus.publish("p", 1, {none}, snapshot);
  bus.publish("p", 1, {out}, step(0, {}));
  EXPECT_EQ(bus.failures("p"), Codes(3, Code::malformed));
  auto own_key = step(0, {}), unique = step(0, {});
  own_key.conditions.emplace_back(1, 0, 0, Expect::version);
  unique.conditions.emplace_back(0, 0, 0, Expect::unique_id);
  EXPECT_EQ(codes(send({none}, own_key)), Codes{Code::bad_event});
  EXPECT_EQ(codes(send({none}, unique)), Codes{Code::bad_event});
  EXPECT_EQ(codes(send({none}, {})), Codes{Code::skipped}) << "outside of a step it is what it always was";
}

// What became of the steps of old sequences is not kept for ever.
TEST_F(CancelsTest, WhatBecameOfOldStepsIsForgotten) {
  send({none}, step(0, {}));
  const std::vector<Buffer> many(limits::batch_events_max, none);
  for (std::uint64_t sent = 0; sent <= limits::window_events; sent += many.size()) send(many, {});
  send({none}, step(0, {}));
  const auto old = send({none}, step(0, {}), 1);
  EXPECT_EQ(codes(old), Codes{Code::refused_before});
  EXPECT_TRUE(send({none}, step(0, {}), next_ - 1).receipts.at(0).duplicate());
}

}  // namespace
}  // namespace bus::broker
