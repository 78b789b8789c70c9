// Goal: where its publisher asks for it an event is stored once for its source and id, whoever sends it and however late; the answer to
// any other is the receipt of the one that is stored.
// Method: a broker without threads; its commits and reads happen when the test says so.
#include "tests/support/intake_case.hpp"

namespace bus::broker {
namespace {

using test::encode;
using test::event;
using wire::Expect;

class IdsTest : public test::IntakeTest {
 protected:
  static Buffer named(const std::string& id, const std::string& source = "", const std::string& key = "k") {
    auto one = event("a", key);
    one.id = id;
    one.source = source;
    return encode(one);
  }
  // Of each event's own id.
  static wire::PublishT unique(std::uint32_t events = 1) {
    wire::PublishT message;
    for (std::uint32_t at = 0; at < events; ++at) message.conditions.emplace_back(0, at, 0, Expect::unique_id);
    return message;
  }
  wire::PublishResultT publish(const Peer& peer, std::uint64_t first, const std::vector<Buffer>& events, wire::PublishT message) {
    bus.publish(peer, first, events, std::move(message));
    bus.run();
    return result(peer);
  }
  wire::PublishResultT publish(std::uint64_t first, const std::vector<Buffer>& events) {
    return publish("p", first, events, unique(static_cast<std::uint32_t>(events.size())));
  }
  static void expect_receipt(const wire::PublishResultT& result, std::size_t at, std::uint64_t position, std::uint64_t version, bool duplicate) {
    ASSERT_GT(result.receipts.size(), at);
    EXPECT_TRUE(result.refusals.empty());
    EXPECT_EQ(result.receipts[at].position(), position);
    EXPECT_EQ(result.receipts[at].version(), version);
    EXPECT_EQ(result.receipts[at].duplicate(), duplicate);
  }
  std::uint64_t head() const { return number(bus.core->head()); }
};

TEST_F(IdsTest, StoresAnEventOnceForItsId) {
  expect_receipt(publish(1, {named("a"), named("b"), named("a")}), 2, 1, 1, true);
  bus.hello("q", "beta");
  expect_receipt(publish("q", 1, {named("b")}, unique()), 0, 2, 2, true);
  expect_receipt(publish("q", 2, {named("c")}, unique()), 0, 3, 3, false);
  EXPECT_EQ(head(), 3u);
}

TEST_F(IdsTest, KnowsIdsAfterACrashAndACleanStop) {
  publish(1, {named("a"), named("b", "", "")});
  bus.crash();
  bus.hello("p", "alpha");
  expect_receipt(publish(3, {named("b", "", "")}), 0, 2, 0, true);
  expect_receipt(publish(4, {named("c")}), 0, 3, 2, false);
  bus.restart();
  bus.hello("p", "alpha");
  for (std::uint64_t at = 0; at < 3; ++at) expect_receipt(publish(5 + at, {named(std::string(1, static_cast<char>('a' + at)), "", at == 1 ? "" : "k")}), 0, 1 + at, at == 0 ? 1 : at == 1 ? 0 : 2, true);
  EXPECT_EQ(head(), 3u);
}

TEST_F(IdsTest, TellsSourcesApart) {
  publish(1, {named("a", "s"), named("a", "t"), named("a"), named("as")});
  EXPECT_EQ(head(), 4u);
  expect_receipt(publish(5, {named("a", "t")}), 0, 2, 2, true);
}

// Where the source ends and the id begins is part of the name.
TEST_F(IdsTest, TellsWhereTheSourceEnds) {
  const std::string zero(1, '\0');
  publish(1, {named("c", "a" + zero + "b"), named("b" + zero + "c", "a"), named("bc", "a"), named("c", "ab")});
  EXPECT_EQ(head(), 4u);
}

// Ids stand among the keys of a record, and keys are found between them.
TEST_F(IdsTest, StandBesideTheKeysOfARecord) {
  std::uint64_t next = 1;
  for (const std::size_t ids : {15, 16, 17, 63, 64, 65, 300}) {
    std::vector<Buffer> events;
    for (std::size_t at = 0; at < ids; ++at) events.push_back(named(std::to_string(ids) + "-" + std::to_string(at), "", ""));
    for (int again = 0; again < 40; ++again) events.push_back(named(std::to_string(ids) + "+" + std::to_string(again), "", "key-" + std::to_string(again % 20)));
    const auto result = publish(next, events);
    ASSERT_EQ(result.receipts.size(), ids + 40);
    EXPECT_TRUE(result.refusals.empty());
    next += ids + 40;
  }
  bus.crash();
  bus.hello("p", "alpha");
  expect_receipt(publish(next, {named("300+39", "", "key-19")}), 0, next - 1, 14, true);
}

TEST_F(IdsTest, DoesNotLookAtEventsWhosePublisherDidNotAsk) {
  publish("p", 1, {named("a")}, {});
  expect_receipt(publish(2, {named("a")}), 0, 2, 2, false);
  expect_receipt(publish("p", 3, {named("a")}, {}), 0, 3, 3, false);
  expect_receipt(publish(4, {named("a")}), 0, 2, 2, true);
}

// It says that the event is durable, so it waits until it is.
TEST_F(IdsTest, AnswersOnceTheOtherEventIsDurable) {
  bus.hello("q", "beta");
  bus.publish("q", 1, {named("a")}, unique());
  ASSERT_TRUE(bus.take());
  bus.publish("p", 1, {named("a")}, unique());
  EXPECT_TRUE(bus.take<wire::PublishResultT>("p").empty());
  bus.commit();
  bus.run();
  expect_receipt(result(), 0, 1, 1, true);
}

// Its own sequence was refused, and was answered as that at first; now another event has the id, and is not yet durable.
TEST_F(IdsTest, AnswersAResendOnceTheOtherEventIsDurable) {
  auto message = unique();
  message.conditions.emplace_back(7, 0, 0, Expect::version);
  EXPECT_EQ(publish("p", 1, {named("a")}, message).refusals.size(), 1u);
  bus.hello("q", "beta");
  bus.publish("q", 1, {named("a")}, unique());
  ASSERT_TRUE(bus.take());
  bus.publish("p", 1, {named("a")}, message);
  while (bus.read()) {}
  EXPECT_TRUE(bus.take<wire::PublishResultT>("p").empty());
  bus.commit();
  bus.run();
  expect_receipt(result(), 0, 1, 1, true);
}

// Whoever sends an event again after it was stored, though under another sequence, finds its key further than it expects.
TEST_F(IdsTest, PassesOverOtherConditionsOfADuplicate) {
  auto message = unique();
  message.conditions.emplace_back(0, 0, 0, Expect::version);
  expect_receipt(publish("p", 1, {named("a")}, message), 0, 1, 1, false);
  expect_receipt(publish("p", 2, {named("a")}, message), 0, 1, 1, true);
  const auto other = publish("p", 3, {named("b")}, message);
  ASSERT_EQ(other.refusals.size(), 1u);
  EXPECT_EQ(other.refusals[0]->code, Code::conflict);
  expect_receipt(publish(4, {named("b")}), 0, 2, 2, false);  // a refused one has used up no id
}

TEST_F(IdsTest, AnswersASequenceThatIsSentAgainAsTheFirstTime) {
  bus.hello("q", "beta");
  publish("q", 1, {named("a")}, unique());
  const std::vector<Buffer> events = {named("a"), named("b"), bad, named("a")};
  auto message = unique(4);
  for (const bool again : {false, true, true}) {
    if (again) bus.crash(), bus.hello("p", "alpha");
    const auto result = publish("p", 1, events, message);
    ASSERT_EQ(result.receipts.size(), 4u);
    EXPECT_EQ(result.receipts[0].position(), 1u);
    EXPECT_TRUE(result.receipts[0].duplicate());
    EXPECT_EQ(result.receipts[1].position(), 2u);
    EXPECT_EQ(result.receipts[1].duplicate(), again);
    EXPECT_EQ(result.receipts[3].position(), 1u);
    EXPECT_EQ(result.receipts[3].version(), 1u);
    ASSERT_EQ(result.refusals.size(), 1u);
    EXPECT_EQ(result.refusals[0]->sequence, 3u);
  }
  EXPECT_EQ(head(), 2u);
}

TEST_F(IdsTest, RefusesAStepWithAnEventThatIsKnown) {
  publish(1, {named("a")});
  auto message = unique(2);
  message.steps.push_back(std::make_unique<wire::StepT>());
  message.steps[0]->count = 2;
  for (const bool again : {false, true}) {
    const auto result = publish("p", 2, {named("b"), named("a")}, message);
    ASSERT_EQ(result.refusals.size(), 2u);
    EXPECT_EQ(result.refusals[0]->code, again ? Code::refused_before : Code::conflict);
    EXPECT_EQ(result.refusals[1]->code, again ? Code::refused_before : Code::step_refused);
    if (!again) {
      EXPECT_EQ(result.refusals[0]->detail, "the event with the id 'a' is in the log at position 1");
    }
  }
  const auto twice = publish("p", 4, {named("b"), named("b")}, message);
  ASSERT_EQ(twice.refusals.size(), 2u);
  EXPECT_EQ(twice.refusals[0]->code, Code::bad_event);
  EXPECT_EQ(publish("p", 6, {named("b"), named("c")}, message).receipts.at(1).position(), 3u);
}

TEST_F(IdsTest, ReadsIdsThatAreNotInMemory) {
  publish(1, {named("a"), named("b")});
  bus.restart();
  bus.hello("p", "alpha");
  std::size_t reads = 0;
  bus.read_fault = [&](const ReadAsk& ask) {
    reads += std::holds_alternative<ReadKeyHeads>(ask);
    return std::nullopt;
  };
  expect_receipt(publish(3, {named("b")}), 0, 2, 2, true);
  EXPECT_GT(reads, 0u);
}

// Whether it was stored before is not known, so neither a receipt nor a refusal would be true.
TEST_F(IdsTest, GivesABatchBackWhoseIdCannotBeRead) {
  publish(1, {named("a")});
  bus.restart();
  bus.hello("p", "alpha");
  bus.read_fault = [](const ReadAsk& ask) -> std::optional<Error> {
    if (std::holds_alternative<ReadKeyHeads>(ask)) return Error{Code::disk_error, "no"};
    return std::nullopt;
  };
  bus.publish("p", 2, {named("a")}, unique());
  bus.run();
  EXPECT_EQ(bus.failures("p"), std::vector{Code::disk_error});
  bus.read_fault = {};
  expect_receipt(publish(2, {named("a")}), 0, 1, 1, true);
}

TEST_F(IdsTest, RefusesScheduledEventsAndStrangeConditions) {
  auto one = event("a", "k");
  one.deliver_at = nanoseconds(bus.now.wall) + 1'000'000'000;
  const auto result = publish(1, {encode(one)});
  ASSERT_EQ(result.refusals.size(), 1u);
  EXPECT_EQ(result.refusals[0]->code, Code::bad_event);
  auto message = unique();
  message.condition_keys = {"k"};
  message.conditions[0] = {0, 0, 1, Expect::unique_id};
  bus.publish("p", 2, {named("a")}, message);
  bus.run();
  EXPECT_EQ(bus.failures("p"), std::vector{Code::malformed});
  message = unique();
  message.conditions.emplace_back(0, 0, 1, Expect::absent);  // a key that is not named
  bus.publish("p", 2, {named("a")}, message);
  bus.run();
  EXPECT_EQ(bus.failures("p"), std::vector{Code::malformed});
  message = unique();
  message.conditions.push_back(message.conditions[0]);  // said twice is said once
  expect_receipt(publish("p", 2, {named("a")}, message), 0, 1, 1, false);
}

// A commit of as many ids as fit into one, in several records.
TEST_F(IdsTest, StoresAFullBatchOfIds) {
  std::vector<Buffer> events;
  for (std::size_t at = 0; at < 6000; ++at) events.push_back(named(std::to_string(at), "", "key-" + std::to_string(at)));
  expect_receipt(publish(1, events), 5999, 6000, 1, false);
  bus.crash();
  bus.hello("p", "alpha");
  expect_receipt(publish(6001, {events[0], events[3000], events[5999]}), 2, 6000, 1, true);
  EXPECT_EQ(head(), 6000u);
}

}  // namespace
}  // namespace bus::broker
