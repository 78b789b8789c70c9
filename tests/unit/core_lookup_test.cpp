// Goal: what must be looked up before a batch is stored is found however far back it is, without holding up others; and if
// it cannot be read, nothing is said that may be untrue.
// Method: a broker without threads; its reads happen, and fail, when the test says so.
#include <algorithm>

#include "tests/support/intake_case.hpp"

namespace bus::broker {
namespace {

using test::encode;
using test::event;
using test::IntakeTest;

// One record for each event: the walk to the first one leads through all of them.
class LongChain : public IntakeTest {
 protected:
  LongChain() {
    for (std::uint64_t sequence = 1; sequence <= limits::chain_records_max + 1; ++sequence) {
      bus.publish("p", sequence, {good});
      bus.run();
    }
    bus.take<wire::PublishResultT>("p");
  }
};

TEST_F(LongChain, IsWalkedInOneReadAsFarAsOneMayGo) {
  bus.publish("p", 2, {good});
  EXPECT_TRUE(bus.read());
  EXPECT_EQ(result().receipts.at(0).position(), 2u);
}

TEST_F(LongChain, IsWalkedInSeveralReadsBeyondAndOthersReadInBetween) {
  bus.hello("op");
  bus.publish("p", 1, {good, good});
  auto first = bus.core->take_reads();
  ASSERT_EQ(first.size(), 1u);
  wire::EventGetT ask;
  ask.position = 7;
  bus.ask("op", std::move(ask));
  bus.answer(std::move(first));
  EXPECT_TRUE(bus.received("p").empty()) << "one record is left to look into";
  auto second = bus.core->take_reads();
  ASSERT_EQ(second.size(), 2u);
  EXPECT_TRUE(std::holds_alternative<ReadRecords>(second[0].ask)) << "the operator came first";
  EXPECT_EQ(std::get<ReadSequences>(second[1].ask).sequences, std::vector<std::uint64_t>{1});
  bus.answer(std::move(second));
  const auto receipts = result();
  EXPECT_EQ(receipts.receipts.at(0).position(), 1u);
  EXPECT_EQ(receipts.receipts.at(1).position(), 2u);
  EXPECT_EQ(bus.take<wire::ReplyT>("op").size(), 1u);
}

TEST_F(LongChain, IsLeftWhenTheSessionThatAskedHasEnded) {
  bus.publish("p", 1, {good});
  EXPECT_TRUE(bus.read());
  bus.core->gone("p");
  EXPECT_TRUE(bus.read()) << "the part that was asked for already";
  EXPECT_FALSE(bus.read());
}

TEST_F(LongChain, IsWalkedAnewForTheSessionThatTookOver) {
  bus.publish("p", 1, {good});
  bus.hello("q", "alpha");  // takes over, and sends the same again
  bus.publish("q", 1, {good});
  bus.run();
  EXPECT_EQ(result("q").receipts.at(0).position(), 1u);
  EXPECT_EQ(bus.core->head(), Position{limits::chain_records_max + 1});
}

TEST_F(LongChain, GivesTheBatchBackIfAPartOfItCannotBeRead) {
  bus.publish("p", 1, {good, good});
  EXPECT_TRUE(bus.read());
  const auto asked = bus.core->take_reads();
  ASSERT_EQ(asked.size(), 1u);
  bus.core->read_done({asked[0].id, Error{Code::damaged, "position 1"}});
  EXPECT_EQ(bus.failures("p"), std::vector<Code>{Code::damaged}) << "the second is a duplicate, but the first may be or not";
  bus.publish("p", 1, {good, good});
  bus.run();
  const auto receipts = result();
  EXPECT_EQ(receipts.receipts.at(0).position(), 1u);
  EXPECT_EQ(receipts.receipts.at(1).position(), 2u);
}

// ---- look-ups that fail

TEST_F(IntakeTest, GivesBackAResendOfWhichItCannotReadWhatBecameOfIt) {
  bus.publish("p", 1, {good, bad});
  bus.run();
  result();
  bus.read_fault = [](const ReadAsk& ask) {
    return std::holds_alternative<ReadSequences>(ask) ? std::optional(Error{Code::damaged, "position 1"}) : std::nullopt;
  };
  bus.publish("p", 1, {good, bad, good});
  bus.publish("p", 4, {good});
  bus.run();
  EXPECT_TRUE(bus.core->idle());
  const auto failures = bus.take<wire::FailureT>("p");
  ASSERT_EQ(failures.size(), 2u);
  EXPECT_EQ(failures[0].code, Code::damaged);
  EXPECT_EQ(failures[0].sequence, 1u);
  EXPECT_EQ(failures[0].detail, "position 1");
  EXPECT_EQ(failures[1].code, Code::sequence_gap);
  EXPECT_EQ(failures[1].sequence, 4u);
  EXPECT_EQ(number(bus.core->head()), 1u) << "nothing behind it is stored";

  bus.read_fault = {};
  bus.publish("p", 1, {good, bad, good});
  bus.publish("p", 4, {good});
  bus.run();
  const auto results = bus.take<wire::PublishResultT>("p");
  ASSERT_EQ(results.size(), 2u);
  EXPECT_TRUE(results[0].receipts.at(0).duplicate());
  ASSERT_EQ(results[0].refusals.size(), 1u);
  EXPECT_EQ(results[0].refusals[0]->code, Code::refused_before);
  EXPECT_EQ(results[0].receipts.at(2).position(), 2u);
  EXPECT_EQ(results[1].receipts.at(0).position(), 3u);
}

TEST_F(IntakeTest, GivesBackTheWindowWithTheBatch) {
  bus.publish("p", 1, {good});
  bus.run();
  result();
  bus.read_fault = [](const ReadAsk&) { return std::optional(Error{Code::damaged, ""}); };
  const std::vector<Buffer> events(limits::batch_events_max, test::skipped());
  for (std::size_t sent = 0; sent <= limits::window_events; sent += events.size()) {
    bus.publish("p", 1, events);
    bus.run();
    EXPECT_EQ(bus.failures("p"), std::vector<Code>{Code::damaged});
  }
}

TEST_F(IntakeTest, RefusesEventsOfADamagedKeyAndNoOthers) {
  const Buffer torn = encode(event("a", "torn")), fine = encode(event("a", "fine")), fair = encode(event("a", "fair"));
  bus.publish("p", 1, {torn, fine, fair});
  bus.run();
  bus.restart();
  bus.read_fault = [&](const ReadAsk& ask) -> std::optional<Error> {
    const auto* heads = std::get_if<ReadKeyHeads>(&ask);
    const bool asked = heads != nullptr && std::count(heads->keys.begin(), heads->keys.end(), bus.key_hash("torn")) > 0;
    return asked ? std::optional(Error{Code::damaged, "table keys"}) : std::nullopt;
  };
  bus.hello("p", "alpha");
  bus.hello("q", "beta");
  bus.publish("p", 4, {fine, torn, fair, good});
  bus.publish("q", 1, {fair});
  bus.run();
  const auto receipts = result();
  ASSERT_EQ(receipts.receipts.size(), 4u);
  ASSERT_EQ(receipts.refusals.size(), 1u);
  EXPECT_EQ(receipts.refusals[0]->sequence, 5u);
  EXPECT_EQ(receipts.refusals[0]->code, Code::damaged);
  EXPECT_EQ(receipts.receipts[0].version(), 2u);
  EXPECT_NE(receipts.receipts[3].position(), 0u);
  EXPECT_EQ(result("q").receipts.at(0).version() + receipts.receipts[2].version(), 2u + 3u);
}

TEST_F(IntakeTest, GivesBackABatchIfAKeyCannotBeReadJustNow) {
  bus.publish("p", 1, {encode(event("a", "key"))});
  bus.run();
  bus.restart();
  bus.read_fault = [](const ReadAsk&) { return std::optional(Error{Code::disk_error, "not now"}); };
  bus.hello("p", "alpha");
  bus.publish("p", 2, {encode(event("a", "key"))});
  bus.publish("p", 3, {good});
  bus.run();
  EXPECT_EQ(bus.failures("p"), (std::vector<Code>{Code::disk_error, Code::sequence_gap}));
  bus.read_fault = {};
  bus.publish("p", 2, {encode(event("a", "key"))});
  bus.run();
  EXPECT_EQ(result().receipts.at(0).version(), 2u);
}

}  // namespace
}  // namespace bus::broker
