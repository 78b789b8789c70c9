// Goal: of each publisher's sequence every number is stored once, in order, or refused for good; a batch is taken whole or
// not at all; and nobody sends more than fits.
// Method: a broker without threads; its commits and reads happen when the test says so.
#include <gtest/gtest.h>

#include <algorithm>

#include "tests/support/intake_case.hpp"

namespace bus::broker {
namespace {

using test::encode;
using test::event;
using test::IntakeTest;

TEST_F(IntakeTest, GivesReceiptsOnlyOnceCommitted) {
  bus.publish("p", 1, {good, good});
  ASSERT_TRUE(bus.take());
  EXPECT_TRUE(bus.received("p").empty());
  bus.commit();
  const auto receipts = result();
  ASSERT_EQ(receipts.receipts.size(), 2u);
  EXPECT_EQ(receipts.receipts[1].position(), 2u);
  EXPECT_FALSE(receipts.receipts[1].duplicate());
}

TEST_F(IntakeTest, RefusesOneEventAndTakesTheOthers) {
  bus.publish("p", 1, {good, bad, good});
  bus.run();
  const auto receipts = result();
  ASSERT_EQ(receipts.receipts.size(), 3u);
  EXPECT_EQ(receipts.receipts[1].position(), 0u);
  EXPECT_EQ(receipts.receipts[2].position(), 2u);
  ASSERT_EQ(receipts.refusals.size(), 1u);
  EXPECT_EQ(receipts.refusals[0]->sequence, 2u);
  EXPECT_EQ(receipts.refusals[0]->code, Code::bad_topic);
}

TEST_F(IntakeTest, AnswersAResendWithTheFirstReceipt) {
  bus.publish("p", 1, {encode(event("a", "key")), good});
  bus.run();
  result();
  bus.publish("p", 1, {encode(event("a", "key")), good, good});
  bus.run();
  const auto receipts = result();
  ASSERT_EQ(receipts.receipts.size(), 3u);
  EXPECT_EQ(receipts.receipts[0].position(), 1u);
  EXPECT_EQ(receipts.receipts[0].version(), 1u);
  EXPECT_TRUE(receipts.receipts[0].duplicate());
  EXPECT_FALSE(receipts.receipts[2].duplicate());
  EXPECT_EQ(receipts.receipts[2].position(), 3u);
}

TEST_F(IntakeTest, AnswersAResendOfWhatIsStillBeingCommitted) {
  bus.publish("p", 1, {good});
  bus.take();
  bus.publish("p", 1, {good});
  bus.run();
  const auto results = bus.take<wire::PublishResultT>("p");
  ASSERT_EQ(results.size(), 2u);
  EXPECT_TRUE(results[1].receipts.at(0).duplicate());
  EXPECT_EQ(results[1].receipts.at(0).position(), 1u);
}

TEST_F(IntakeTest, StoresOnceAcrossRestarts) {
  bus.publish("p", 1, {good, bad});
  bus.run();
  for (const bool clean : {false, true}) {
    clean ? bus.restart() : bus.crash();
    EXPECT_EQ(welcome("q", "alpha").last_sequence, 2u);
    bus.hello("q", "alpha");
    bus.publish("q", 1, {good, good});
    bus.run();
    const auto receipts = result("q");
    EXPECT_EQ(receipts.receipts.at(0).position(), 1u);
    EXPECT_EQ(receipts.receipts.at(1).position(), 0u);
    EXPECT_EQ(receipts.refusals.at(0)->code, Code::refused_before);
    EXPECT_EQ(number(bus.core->head()), 1u);
  }
}

TEST_F(IntakeTest, KnowsNothingOfWhatWasNotCommitted) {
  bus.publish("p", 1, {good});
  bus.take();
  bus.crash();
  EXPECT_EQ(welcome("q", "alpha").last_sequence, 0u);
}

TEST_F(IntakeTest, SaysTheLastSequenceOnlyWhenItIsDurable) {
  bus.publish("p", 1, {good});
  bus.take();
  wire::HelloT hello;
  hello.protocol = wire::protocol_version;
  hello.publisher = "alpha";
  bus.send("q", hello);
  EXPECT_TRUE(bus.take<wire::WelcomeT>("q").empty());
  bus.commit();
  EXPECT_EQ(bus.take<wire::WelcomeT>("q").at(0).last_sequence, 1u);
}

TEST_F(IntakeTest, RefusesAGapAndUsesUpNothing) {
  bus.publish("p", 2, {good});
  EXPECT_EQ(bus.failures("p"), std::vector<Code>{Code::sequence_gap});
  bus.publish("p", 1, {good});
  bus.run();
  EXPECT_EQ(result().receipts.at(0).position(), 1u);
}

TEST_F(IntakeTest, FencesWhoeverPublishedBefore) {
  bus.hello("q", "alpha");
  bus.publish("p", 1, {good});
  EXPECT_EQ(bus.failures("p"), std::vector<Code>{Code::publisher_fenced});
  bus.publish("q", 1, {good});
  bus.run();
  EXPECT_EQ(result("q").receipts.at(0).position(), 1u);
}

TEST_F(IntakeTest, NeedsTheFenceOfItsOwnWelcome) {
  wire::PublishT publish;
  publish.first_sequence = publish.count = 1;
  publish.fence = bus.fence("p") + 1;
  bus.send("p", publish, Buffer(good));
  EXPECT_EQ(bus.failures("p"), std::vector<Code>{Code::publisher_fenced});
}

TEST_F(IntakeTest, RefusesABodyThatDoesNotFitItsHeader) {
  wire::PublishT publish;
  publish.first_sequence = 1;
  publish.fence = bus.fence("p");
  for (const std::uint32_t count : {1, 3}) {
    publish.count = count;
    bus.send("p", publish, test::join({good, good}));
    EXPECT_EQ(bus.failures("p"), std::vector<Code>{Code::malformed});
  }
  publish.count = 1;
  bus.send("p", publish, Buffer(good.begin(), good.end() - 8));
  EXPECT_EQ(bus.failures("p"), std::vector<Code>{Code::malformed});
  bus.publish("p", 1, {good});
  bus.run();
  EXPECT_EQ(result().receipts.at(0).position(), 1u) << "nothing was used up";
}

TEST_F(IntakeTest, TakesABatchOfTheMostEventsAndNotOneMore) {
  std::vector<Buffer> events(limits::batch_events_max, test::skipped());
  bus.publish("p", 1, events);
  bus.run();
  EXPECT_EQ(result().receipts.size(), limits::batch_events_max);
  events.push_back(test::skipped());
  bus.publish("p", 1, events);
  EXPECT_EQ(bus.failures("p"), std::vector<Code>{Code::batch_too_large});
}

TEST_F(IntakeTest, AnswersEvenIfEveryEventOfTheLargestBatchIsRefusedInItsOwnWords) {
  std::vector<Buffer> events;
  for (std::size_t at = 0; at < limits::batch_events_max; ++at) {
    // The smallest that can be, and still each has a detail of its own.
    flatbuffers::FlatBufferBuilder builder;
    const std::vector<std::uint8_t> payload;
    const auto topic = "." + std::to_string(at);
    builder.FinishSizePrefixed(wire::CreateEventDirect(builder, topic.c_str(), "t", nullptr, "i", nullptr, nullptr, 0,
                                                       wire::Priority::medium, wire::Encoding::plain, nullptr, nullptr,
                                                       nullptr, nullptr, nullptr, &payload));
    events.emplace_back(builder.GetBufferPointer(), builder.GetBufferPointer() + builder.GetSize());
    events.back().resize(round_up(events.back().size(), 8), 0);
  }
  ASSERT_LE(test::join(events).size(), limits::batch_bytes_max);
  bus.publish("p", 1, events);
  bus.run();
  const auto receipts = result();
  ASSERT_EQ(receipts.refusals.size(), limits::batch_events_max);
  EXPECT_EQ(receipts.refusals.back()->code, Code::bad_topic);
  EXPECT_NE(receipts.refusals.front()->detail, "");
}

TEST_F(IntakeTest, LimitsTheEventsOfAWindow) {
  const std::vector<Buffer> events(limits::batch_events_max, test::skipped());
  bus.publish("p", 1, {good});
  bus.take();  // nothing is answered while this commit lasts
  std::uint64_t next = 2;
  for (; next + events.size() <= limits::window_events; next += events.size()) bus.publish("p", next, events);
  EXPECT_TRUE(bus.failures("p").empty());
  bus.publish("p", next, events);
  EXPECT_EQ(bus.failures("p"), std::vector<Code>{Code::busy});
  bus.run();
  bus.take<wire::PublishResultT>("p");
  bus.publish("p", next, events);
  EXPECT_TRUE(bus.failures("p").empty()) << "the window is open again";
}

// While a first commit is under way, what is published gathers for the next one.
class FullCommit : public IntakeTest {
 protected:
  FullCommit() {
    bus.map_bytes = 256 * limits::MiB;
    bus.fill_ahead_bytes = 64 * limits::MiB;
    bus.crash();
    for (const char* peer : {"p", "q", "r"}) bus.hello(peer, std::string("publisher-") + peer);
    bus.publish("p", 1, {good});
    bus.take();
  }
  // A batch of exactly so many bytes.
  static std::vector<Buffer> batch(std::size_t bytes) {
    std::vector<Buffer> events;
    for (; bytes > limits::MiB; bytes -= limits::MiB / 2) events.push_back(event_of(limits::MiB / 2));
    events.push_back(event_of(bytes));
    return events;
  }
  static Buffer event_of(std::size_t bytes) {
    auto one = event("a.b");
    std::size_t text = 0;
    for (Buffer made = encode(one); made.size() != bytes; made = encode(one)) {
      text += bytes - made.size();
      one.payload = test::notification(std::string(text, 'x'));
    }
    return encode(one);
  }
  // Results that the next commit releases.
  std::size_t commit(const Peer& peer = "p") {
    EXPECT_TRUE(bus.commit());
    return bus.take<wire::PublishResultT>(peer).size();
  }
  static constexpr auto half = limits::commit_bytes_max / 2;
};

TEST_F(FullCommit, TakesAsManyBytesAsItMay) {
  bus.publish("p", 2, batch(half));
  bus.publish("p", 5, batch(half));
  EXPECT_EQ(commit(), 1u) << "the first one";
  EXPECT_EQ(commit(), 2u);
}

TEST_F(FullCommit, LeavesTheRestToTheNextOneAndAnswersEachWithItsOwn) {
  bus.publish("p", 2, batch(half));
  bus.publish("p", 5, batch(half - 8));
  bus.publish("p", 8, {test::skipped(), good});  // 8 bytes would have fitted
  bus.publish("q", 1, {good});                   // does not, either
  EXPECT_EQ(commit(), 1u);
  ASSERT_TRUE(bus.take());
  EXPECT_TRUE(bus.received("p").empty()) << "nothing is on disk yet";
  EXPECT_EQ(commit(), 2u);
  EXPECT_TRUE(bus.received("q").empty());
  ASSERT_TRUE(bus.take());
  bus.commit();
  EXPECT_EQ(bus.take<wire::PublishResultT>("p").at(0).receipts.at(1).position(), 8u);
  EXPECT_EQ(bus.take<wire::PublishResultT>("q").at(0).receipts.at(0).position(), 9u);
  EXPECT_FALSE(bus.commit());
}

TEST_F(FullCommit, IsSharedInTheOrderInWhichTheyCame) {
  for (const std::uint64_t first : {2, 5, 8, 11, 14}) bus.publish("p", first, batch(half));  // for two commits and a half
  bus.publish("q", 1, batch(half));
  bus.publish("r", 1, batch(half));
  EXPECT_EQ(commit(), 1u);
  EXPECT_EQ(commit(), 2u) << "there was room for them when they came";
  EXPECT_EQ(commit(), 2u) << "the first in line";
  EXPECT_EQ(commit("q"), 1u) << "now it stands behind the others";
  EXPECT_EQ(bus.take<wire::PublishResultT>("r").size(), 1u);
  EXPECT_EQ(commit(), 1u);
}

TEST_F(FullCommit, IsNotWaitedForBySessionsThatHaveEnded) {
  bus.publish("p", 2, batch(half));
  bus.publish("p", 5, batch(half));
  bus.publish("q", 1, batch(half));
  bus.publish("r", 1, batch(half));
  bus.core->gone("q");
  EXPECT_EQ(commit(), 1u);
  EXPECT_EQ(commit(), 2u);
  EXPECT_EQ(commit("r"), 1u);
  EXPECT_FALSE(bus.commit());
  EXPECT_TRUE(bus.core->idle());
}

TEST_F(FullCommit, IsNotWaitedForByDuplicates) {
  bus.publish("q", 1, {good});
  EXPECT_EQ(commit(), 1u);
  EXPECT_EQ(commit("q"), 1u);
  bus.publish("p", 2, {good});
  bus.take();
  bus.publish("p", 3, batch(half));
  bus.publish("p", 6, batch(half));
  bus.publish("q", 1, {good});
  EXPECT_TRUE(bus.read());
  EXPECT_TRUE(result("q").receipts.at(0).duplicate());
}

TEST_F(IntakeTest, TakesNothingWhileDraining) {
  bus.core->drain();
  bus.publish("p", 1, {good});
  EXPECT_EQ(bus.failures("p"), std::vector<Code>{Code::shutting_down});
}

TEST_F(IntakeTest, WaitsForColdKeysInThePublishersOrder) {
  bus.publish("p", 1, {encode(event("a", "cold"))});
  bus.run();
  bus.restart();  // keys are in the table now, and nowhere else
  bus.hello("p", "alpha");
  bus.hello("q", "beta");
  bus.publish("p", 2, {encode(event("a", "cold"))});
  bus.publish("p", 3, {good});
  bus.publish("q", 1, {good});
  bus.commit();
  EXPECT_TRUE(bus.received("p").empty()) << "the second waits behind the first";
  EXPECT_EQ(result("q").receipts.at(0).position(), 2u);
  bus.run();
  const auto results = bus.take<wire::PublishResultT>("p");
  ASSERT_EQ(results.size(), 2u);
  EXPECT_EQ(results[0].receipts.at(0).position(), 3u);
  EXPECT_EQ(results[0].receipts.at(0).version(), 2u);
  EXPECT_EQ(results[1].receipts.at(0).position(), 4u);
}

TEST_F(IntakeTest, DropsWhatAnEndedSessionHasParked) {
  bus.publish("p", 1, {encode(event("a", "cold"))});
  bus.run();
  bus.restart();
  bus.hello("p", "alpha");
  bus.publish("p", 2, {encode(event("a", "cold"))});
  bus.core->gone("p");
  bus.run();
  EXPECT_EQ(number(bus.core->head()), 1u);
  EXPECT_EQ(welcome("q", "alpha").last_sequence, 1u);
}

TEST_F(IntakeTest, CountsVersionsAcrossPublishersAndRestarts) {
  bus.hello("q", "beta");
  bus.publish("p", 1, {encode(event("a", "key"))});
  bus.publish("q", 1, {encode(event("b", "key"))});
  bus.run();
  EXPECT_EQ(result("q").receipts.at(0).version(), 2u);
  for (const bool clean : {false, true}) {
    const auto next = number(bus.core->head()) + 1;
    clean ? bus.restart() : bus.crash();
    bus.hello("q", "beta");
    bus.publish("q", next - 1, {encode(event("b", "key"))});
    bus.run();
    EXPECT_EQ(result("q").receipts.at(0).version(), next);
  }
}

// Each key that is saved takes a leaf with it: so with many keys in use the steps lie further apart, up to a bound.
TEST_F(IntakeTest, SavesKeysLessOftenWhereEachStepHasMany) {
  constexpr std::size_t batch_events = limits::checkpoint_step_events;
  std::uint64_t next = 1;
  const auto steps_in = [&](std::size_t events, std::size_t keys) {
    std::size_t steps = 0;
    for (std::size_t done = 0; done < events; done += batch_events) {
      std::vector<Buffer> batch;
      for (std::size_t at = 0; at < batch_events; ++at) batch.push_back(encode(event("a", "key-" + std::to_string((next + at) % keys))));
      bus.publish("p", next, batch);
      next += batch_events;
      const auto taken = bus.core->take_batch(bus.now);
      steps += !taken->keys.empty();
      bus.core->committed(bus.now.steady);
      bus.core->take_outgoing();
    }
    return steps;
  };
  EXPECT_GE(steps_in(50'000, 1'000), 48u) << "one each 1,024 events";
  steps_in(150'000, 150'000);
  EXPECT_LT(steps_in(50'000, 150'000), 25u);
  EXPECT_GE(steps_in(50'000, 150'000), 50'000 / limits::checkpoint_step_events / limits::checkpoint_stretch_max - 1);
}

}  // namespace
}  // namespace bus::broker
