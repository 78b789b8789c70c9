// Goal: what belongs to one step is stored and settled together or not at all: in one commit, whatever part of it is at fault,
// whoever dies when; and sent again it is answered as it was the first time.
// Method: a broker without threads; its commits and reads happen when the test says so.
#include "tests/support/intake_case.hpp"

namespace bus::broker {
namespace {

using test::encode;
using test::event;
using wire::Expect;

class StepsTest : public test::IntakeTest {
 protected:
  StepsTest() {
    bus.hello("source", "source");
    bus.publish("source", 1, {encode(event("in", "u")), encode(event("in", "u")), encode(event("in", "u"))});
    bus.run();
    join();
  }
  // The member of a group, which holds positions 1 to 3.
  void join() {
    auto message = test::subscribe(1, "g", made_group ? wire::Start::unspecified : wire::Start::start);
    if (!made_group) message.filter = std::make_unique<wire::FilterT>(), message.filter->patterns = {"in"};
    made_group = true;
    bus.send("p", message);
    bus.run();
    for (const auto& delivery : bus.take<wire::DeliverT>("p")) {
      epoch = delivery.epoch;
      for (const auto& one : delivery.deliveries) attempts[one.position()] = one.attempt();
    }
  }
  wire::PublishT step(std::uint32_t first, std::uint32_t count) {
    wire::PublishT message;
    add_step(message, first, count);
    return message;
  }
  static wire::StepT& add_step(wire::PublishT& message, std::uint32_t first, std::uint32_t count) {
    message.steps.push_back(std::make_unique<wire::StepT>());
    message.steps.back()->first = first;
    message.steps.back()->count = count;
    return *message.steps.back();
  }
  void settle(wire::StepT& step, std::uint64_t position, wire::Verdict verdict = wire::Verdict::ack) {
    if (step.settles.empty()) {
      step.settles.push_back(std::make_unique<wire::SettleT>());
      step.settles.back()->subscription = 1;
      step.settles.back()->epoch = epoch;
    }
    step.settles.back()->settlements.emplace_back(position, attempts[position], 0, verdict);
  }
  wire::PublishResultT publish(std::uint64_t first, const std::vector<Buffer>& events, const wire::PublishT& message) {
    bus.publish("p", first, events, message);
    bus.run();
    return result();
  }
  static std::vector<Code> codes(const wire::PublishResultT& result) {
    std::vector<Code> codes;
    for (const auto& refusal : result.refusals) codes.push_back(refusal->code);
    return codes;
  }
  std::uint64_t open() { return bus.core->delivery().groups().at("g")->group->state.open_count(); }
  const Buffer out = encode(event("out", "k"));
  bool made_group = false;
  std::uint64_t epoch = 0;
  std::map<std::uint64_t, std::uint32_t> attempts;
};

TEST_F(StepsTest, StoresAndSettlesInOneCommit) {
  wire::PublishT message = step(0, 2);
  settle(*message.steps[0], 1), settle(*message.steps[0], 2, wire::Verdict::reject);
  bus.publish("p", 1, {out, out}, message);
  ASSERT_TRUE(bus.take());
  EXPECT_TRUE(bus.take<wire::PublishResultT>("p").empty());
  bus.commit();
  const auto done = result();
  EXPECT_TRUE(done.refusals.empty());
  EXPECT_EQ(done.receipts.at(1).position(), 5u);
  bus.crash();
  EXPECT_EQ(open(), 1u);
  EXPECT_EQ(number(bus.core->head()), 5u);
}

TEST_F(StepsTest, LeavesNothingOfAStepThatWasNotCommitted) {
  wire::PublishT message = step(0, 1);
  settle(*message.steps[0], 1);
  bus.publish("p", 1, {out}, message);
  bus.crash();
  bus.hello("p", "alpha");
  attempts.clear();
  join();
  EXPECT_EQ(attempts.size(), 3u);
  EXPECT_EQ(number(bus.core->head()), 3u);
}

TEST_F(StepsTest, FailsAsAWholeWithOneStaleAck) {
  wire::PublishT message = step(0, 2);
  settle(*message.steps[0], 1), settle(*message.steps[0], 3);
  ++attempts[3];
  message.steps[0]->settles[0]->settlements[1] = {3, attempts[3], 0, wire::Verdict::ack};
  const auto done = publish(1, {out, out, out}, message);
  EXPECT_EQ(codes(done), (std::vector{Code::stale_ack, Code::step_refused}));
  EXPECT_EQ(done.receipts.at(2).position(), 4u);  // which is not in the step
  EXPECT_EQ(open(), 3u);
}

TEST_F(StepsTest, FencesAWorkerThatHasLostItsEvent) {
  for (int seconds = 0; seconds <= 31; seconds += 10) {
    bus.advance(std::chrono::seconds(10));
    bus.send("p", wire::PingT());
    bus.run();
  }
  wire::PublishT message = step(0, 1);
  settle(*message.steps[0], 1);
  EXPECT_EQ(codes(publish(1, {out}, message)), std::vector{Code::stale_ack});
  bus.crash();
  bus.hello("p", "alpha");
  join();
  message = step(0, 1);
  settle(*message.steps[0], 1);
  message.steps[0]->settles[0]->epoch = epoch - 1;
  EXPECT_EQ(codes(publish(2, {out}, message)), std::vector{Code::stale_ack});
  EXPECT_EQ(number(bus.core->head()), 3u);
}

TEST_F(StepsTest, FailsAsAWholeWithOneConflict) {
  wire::PublishT message = step(0, 3);
  settle(*message.steps[0], 1);
  message.condition_keys = {"u"};
  message.conditions.emplace_back(2, 1, 1, Expect::version);
  const auto done = publish(1, {out, out, out}, message);
  EXPECT_EQ(codes(done), (std::vector{Code::step_refused, Code::conflict, Code::step_refused}));
  EXPECT_EQ(done.refusals.at(1)->version, 3u);
  EXPECT_EQ(done.refusals.at(0)->detail, "event 2 of its step was refused");
  EXPECT_EQ(open(), 3u);
  EXPECT_EQ(number(bus.core->head()), 3u);
}

TEST_F(StepsTest, LooksAtKeysAsTheyAreBeforeTheStep) {
  wire::PublishT message = step(0, 2);
  for (const std::uint32_t at : {0, 1}) message.conditions.emplace_back(0, at, 0, Expect::absent);
  EXPECT_TRUE(publish(1, {out, out}, message).refusals.empty());
  EXPECT_EQ(number(bus.core->head()), 5u);
}

TEST_F(StepsTest, FailsAsAWholeWithOneBadEvent) {
  wire::PublishT message = step(1, 2);
  settle(*message.steps[0], 1);
  const auto done = publish(1, {out, out, bad, out}, message);
  EXPECT_EQ(codes(done), (std::vector{Code::step_refused, Code::bad_topic}));
  EXPECT_EQ(done.receipts.at(0).position(), 4u);
  EXPECT_EQ(done.receipts.at(3).position(), 5u);
  EXPECT_EQ(open(), 3u);
}

TEST_F(StepsTest, FailsAsAWholeWithOneEventGivenUp) {
  EXPECT_EQ(codes(publish(1, {out, test::skipped()}, step(0, 2))), (std::vector{Code::step_refused, Code::skipped}));
}

TEST_F(StepsTest, AnswersAResendAsTheFirstTimeAndSettlesNothingAgain) {
  wire::PublishT message = step(0, 2);
  settle(*message.steps[0], 1);
  ASSERT_TRUE(publish(1, {out, out}, message).refusals.empty());
  bus.crash();
  bus.hello("p", "alpha");
  join();
  const auto again = publish(1, {out, out}, message);
  EXPECT_TRUE(again.refusals.empty());
  EXPECT_TRUE(again.receipts.at(0).duplicate() && again.receipts.at(1).duplicate());
  EXPECT_EQ(again.receipts.at(1).position(), 5u);
  EXPECT_EQ(open(), 2u);
  EXPECT_EQ(number(bus.core->head()), 5u);
}

TEST_F(StepsTest, RefusesForGood) {
  wire::PublishT message = step(0, 2);
  settle(*message.steps[0], 1);
  message.steps[0]->settles[0]->epoch = epoch + 1;
  EXPECT_EQ(codes(publish(1, {out, out}, message)), (std::vector{Code::stale_ack, Code::step_refused}));
  message.steps[0]->settles[0]->epoch = epoch;
  EXPECT_EQ(codes(publish(1, {out, out}, message)), (std::vector{Code::refused_before, Code::refused_before}));
  EXPECT_EQ(open(), 3u);
}

TEST_F(StepsTest, RefusesTheRestOfAStepOfWhichAPartWasSentBefore) {
  ASSERT_TRUE(publish(1, {out}, {}).refusals.empty());
  wire::PublishT message = step(0, 3);
  settle(*message.steps[0], 1);
  const auto done = publish(1, {out, out, out}, message);
  EXPECT_TRUE(done.receipts.at(0).duplicate());
  EXPECT_EQ(codes(done), (std::vector{Code::bad_event, Code::step_refused}));
  EXPECT_EQ(open(), 3u);
}

TEST_F(StepsTest, SetsTimersOrNone) {
  auto later = event("out", "k");
  later.deliver_at = nanoseconds(bus.now.wall + std::chrono::seconds(10));
  wire::PublishT message = step(0, 2);
  message.conditions.emplace_back(7, 0, 0, Expect::version);
  EXPECT_EQ(codes(publish(1, {out, encode(later)}, message)), (std::vector{Code::conflict, Code::step_refused}));
  EXPECT_EQ(bus.core->scheduled(), 0u);
  const auto done = publish(3, {out, encode(later)}, step(0, 2));
  EXPECT_TRUE(done.receipts.at(1).scheduled());
  bus.advance(std::chrono::seconds(11));
  bus.run();
  EXPECT_EQ(number(bus.core->head()), 5u);
}

TEST_F(StepsTest, KeepsRetriesAndReasonsOfWhatItSettles) {
  wire::PublishT message = step(0, 1);
  settle(*message.steps[0], 1, wire::Verdict::nack), settle(*message.steps[0], 2, wire::Verdict::reject), settle(*message.steps[0], 3, wire::Verdict::release);
  auto& texts = message.steps[0]->settles[0]->texts;
  texts.push_back(std::make_unique<wire::SettlementTextT>());
  texts[0]->settlement = 1;
  texts[0]->text = "no such patient";
  ASSERT_TRUE(publish(1, {out}, message).refusals.empty());
  wire::DeadLettersRequestT ask;
  ask.group = "g";
  bus.ask("p", std::move(ask));
  bus.run();
  auto replies = bus.take<wire::ReplyT>("p");
  const auto& letters = replies.at(0).answer.AsDeadLettersReply()->letters;
  ASSERT_EQ(letters.size(), 1u);
  EXPECT_EQ(letters[0]->position, 2u);
  EXPECT_EQ(letters[0]->reason, "no such patient");
}

TEST_F(StepsTest, TakesAsManyEventsAsMayBeAndNotOneMore) {
  std::vector<Buffer> events(limits::step_events_max + 1, out);
  bus.publish("p", 1, events, step(0, limits::step_events_max + 1));
  EXPECT_EQ(bus.failures("p"), std::vector{Code::malformed});
  EXPECT_TRUE(publish(1, events, step(0, limits::step_events_max)).refusals.empty());
}

TEST_F(StepsTest, RefusesABatchWhoseStepsMakeNoSense) {
  wire::PublishT overlapping = step(0, 2), empty = step(0, 0), beyond = step(1, 2), up_to = step(0, 1), twice = step(0, 1), unordered = step(0, 1), many = step(0, 1);
  add_step(overlapping, 1, 1);
  settle(*up_to.steps[0], 1, wire::Verdict::ack_up_to);
  settle(*twice.steps[0], 1), settle(*twice.steps[0], 1);
  settle(*unordered.steps[0], 2), settle(*unordered.steps[0], 1);
  for (std::uint64_t position = 1; position <= limits::step_settlements_max + 1; ++position) settle(*many.steps[0], position);
  auto asking = step(0, 1);
  settle(*asking.steps[0], 1);
  asking.steps[0]->settles[0]->request = 7;
  auto two = step(0, 1);
  settle(*two.steps[0], 1);
  two.steps[0]->settles.push_back(std::make_unique<wire::SettleT>());
  two.steps[0]->settles.back()->subscription = 1;
  for (const auto& message : {overlapping, empty, beyond, up_to, twice, unordered, many, asking, two}) {
    bus.publish("p", 1, {out, out}, message);
    EXPECT_EQ(bus.failures("p"), std::vector{Code::malformed});
  }
  EXPECT_EQ(open(), 3u);
  EXPECT_EQ(number(bus.core->head()), 3u);
}

TEST_F(StepsTest, SettlesNoMoreInOneBatchThanOneMayCopy) {
  wire::PublishT message;
  const std::uint32_t steps = limits::settlements_max / limits::step_settlements_max + 1;
  for (std::uint32_t at = 0; at < steps; ++at) {
    auto& step = add_step(message, at, 1);
    for (std::uint64_t position = 1; position <= limits::step_settlements_max; ++position) settle(step, position);
  }
  std::vector<Buffer> events(steps, out);
  bus.publish("p", 1, events, message);
  EXPECT_EQ(bus.failures("p"), std::vector{Code::malformed});
  message.steps.pop_back();
  events.pop_back();
  EXPECT_EQ(publish(1, events, message).refusals.size(), steps - 1) << "most of those positions are not there";
}

TEST_F(StepsTest, RefusesToSettleForASubscriptionThatIsNotThere) {
  wire::PublishT message = step(0, 1);
  settle(*message.steps[0], 1);
  message.steps[0]->settles[0]->subscription = 9;
  EXPECT_EQ(codes(publish(1, {out}, message)), std::vector{Code::unknown_subscription});
  bus.send("p", test::subscribe(2));
  bus.run();
  message.steps[0]->settles[0]->subscription = 2;  // a plain one
  EXPECT_EQ(codes(publish(2, {out}, message)), std::vector{Code::unknown_subscription});
}

}  // namespace
}  // namespace bus::broker
