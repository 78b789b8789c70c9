// Goal: an event is stored only if each of its conditions is true of what stands before it, committed or not; one that is refused
// says what the key is at, uses up its sequence, and holds up nobody.
// Method: a broker without threads; its commits and reads happen when the test says so.
#include "tests/support/intake_case.hpp"

namespace bus::broker {
namespace {

using test::encode;
using test::event;
using wire::Expect;

class ConditionsTest : public test::IntakeTest {
 protected:
  // On the event's own key, or a named one.
  static void require(wire::PublishT& message, std::uint32_t at, Expect expect, std::uint64_t version = 0, const std::string& key = "") {
    if (!key.empty()) message.condition_keys.push_back(key);
    message.conditions.emplace_back(version, at, static_cast<std::uint16_t>(key.empty() ? 0 : message.condition_keys.size()), expect);
  }
  static wire::PublishT require(Expect expect, std::uint64_t version = 0, const std::string& key = "") {
    wire::PublishT message;
    require(message, 0, expect, version, key);
    return message;
  }
  wire::PublishResultT publish(std::vector<Buffer> events, wire::PublishT message) {
    const auto first = next;
    next += events.size();
    bus.publish("p", first, events, std::move(message));
    bus.run();
    return result();
  }
  wire::PublishResultT publish_one(const std::string& key, wire::PublishT message) { return publish({encode(event("a", key))}, std::move(message)); }
  void store(const std::string& key, std::size_t events) {
    for (; events > 0; --events) ASSERT_TRUE(publish_one(key, {}).refusals.empty());
  }
  static void expect_conflict(const wire::PublishResultT& result, std::uint64_t version, const std::string& detail) {
    ASSERT_EQ(result.refusals.size(), 1u);
    EXPECT_EQ(result.refusals[0]->code, Code::conflict);
    EXPECT_EQ(result.refusals[0]->version, version);
    EXPECT_EQ(result.refusals[0]->detail, detail);
  }
  Code refused_as_a_whole(std::vector<Buffer> events, wire::PublishT message) {
    bus.publish("p", next, events, std::move(message));
    bus.run();
    const auto codes = bus.failures("p");
    return codes.size() == 1 ? codes[0] : Code::ok;
  }
  std::uint64_t next = 1;
};

TEST_F(ConditionsTest, StoresAtTheVersionThatIsExpected) {
  store("k", 2);
  const auto result = publish_one("k", require(Expect::version, 2));
  EXPECT_TRUE(result.refusals.empty());
  EXPECT_EQ(result.receipts.at(0).version(), 3u);
}

TEST_F(ConditionsTest, SaysWhatTheKeyIsAt) {
  store("k", 2);
  expect_conflict(publish_one("k", require(Expect::version, 7)), 2, "key 'k' is at version 2, not at version 7");
  expect_conflict(publish_one("k", require(Expect::version, 1)), 2, "key 'k' is at version 2, not at version 1");
  expect_conflict(publish_one("k", require(Expect::absent)), 2, "key 'k' is at version 2, and should have no event yet");
  expect_conflict(publish_one("new", require(Expect::exists)), 0, "key 'new' is at version 0, and should have an event");
  EXPECT_EQ(number(bus.core->head()), 2u);
}

TEST_F(ConditionsTest, TakesVersionZeroForAKeyWithoutEvents) {
  EXPECT_TRUE(publish_one("k", require(Expect::version, 0)).refusals.empty());
  expect_conflict(publish_one("k", require(Expect::version, 0)), 1, "key 'k' is at version 1, not at version 0");
  EXPECT_TRUE(publish_one("l", require(Expect::absent)).refusals.empty());
  EXPECT_TRUE(publish_one("l", require(Expect::exists)).refusals.empty());
}

TEST_F(ConditionsTest, LooksAtKeysThatAreOnlyRead) {
  store("lock", 1);
  EXPECT_TRUE(publish_one("k", require(Expect::version, 1, "lock")).refusals.empty());
  expect_conflict(publish_one("k", require(Expect::version, 2, "lock")), 1, "key 'lock' is at version 1, not at version 2");
  EXPECT_TRUE(publish({encode(event("a"))}, require(Expect::exists, 0, "lock")).refusals.empty());  // without a key of its own
}

TEST_F(ConditionsTest, SeesWhatIsStagedBeforeIt) {
  wire::PublishT message = require(Expect::absent);
  require(message, 1, Expect::version, 1);
  require(message, 2, Expect::version, 1);
  const auto result = publish({encode(event("a", "k")), encode(event("a", "k")), encode(event("a", "k"))}, std::move(message));
  EXPECT_EQ(result.receipts.at(1).version(), 2u);
  EXPECT_EQ(result.receipts.at(2).position(), 0u);
  expect_conflict(result, 2, "key 'k' is at version 2, not at version 1");
}

TEST_F(ConditionsTest, SaysNothingOfAConflictBeforeWhatItSawIsDurable) {
  bus.publish("p", 1, {encode(event("a", "k"))});
  bus.hello("q", "beta");
  bus.take<wire::PublishResultT>("p");
  next = 2;
  bus.publish("p", next, {encode(event("a", "k"))});
  ASSERT_TRUE(bus.take());
  bus.publish("q", 1, {encode(event("a", "k"))}, require(Expect::version, 1));
  EXPECT_TRUE(bus.take<wire::PublishResultT>("q").empty());
  bus.run();
  expect_conflict(result("q"), 2, "key 'k' is at version 2, not at version 1");
}

TEST_F(ConditionsTest, WantsAllConditionsOfAnEvent) {
  store("k", 1), store("l", 1);
  wire::PublishT message = require(Expect::version, 1);
  require(message, 0, Expect::version, 1, "l");
  EXPECT_TRUE(publish_one("k", message).refusals.empty());
  expect_conflict(publish_one("k", message), 2, "key 'k' is at version 2, not at version 1");
}

TEST_F(ConditionsTest, ReadsColdKeysFirst) {
  store("k", 3), store("only-read", 1);
  bus.restart();
  bus.hello("p", "alpha");
  wire::PublishT message = require(Expect::version, 3);
  require(message, 0, Expect::exists, 0, "only-read");
  require(message, 0, Expect::absent, 0, "never");
  EXPECT_TRUE(publish_one("k", message).refusals.empty());
}

TEST_F(ConditionsTest, RefusesWhereTheHeadOfAKeyThatIsOnlyReadIsDamaged) {
  store("k", 1), store("lock", 1);
  bus.restart();
  bus.hello("p", "alpha");
  const auto lock = bus.key_hash("lock");
  bus.read_fault = [&](const ReadAsk& ask) -> std::optional<Error> {
    const auto* heads = std::get_if<ReadKeyHeads>(&ask);
    if (heads == nullptr || std::find(heads->keys.begin(), heads->keys.end(), lock) == heads->keys.end()) return std::nullopt;
    return Error{Code::damaged, "a leaf"};
  };
  wire::PublishT message;
  require(message, 1, Expect::exists, 0, "lock");
  const auto result = publish({encode(event("a", "k")), encode(event("a", "k"))}, message);
  EXPECT_EQ(result.receipts.at(0).version(), 2u);
  EXPECT_EQ(result.refusals.at(0)->sequence, 4u);
  EXPECT_EQ(result.refusals.at(0)->code, Code::damaged);
}

TEST_F(ConditionsTest, AnswersAResendWithTheReceiptWhateverTheKeyIsAtNow) {
  ASSERT_TRUE(publish_one("k", require(Expect::absent)).refusals.empty());
  next = 1;
  const auto again = publish_one("k", require(Expect::absent));
  EXPECT_TRUE(again.refusals.empty());
  EXPECT_TRUE(again.receipts.at(0).duplicate());
  EXPECT_EQ(again.receipts.at(0).version(), 1u);
}

TEST_F(ConditionsTest, RefusesForGoodAlsoIfItWouldBeRightLater) {
  expect_conflict(publish_one("k", require(Expect::version, 1)), 0, "key 'k' is at version 0, not at version 1");
  store("k", 1);
  bus.crash();
  bus.hello("p", "alpha");
  next = 1;
  const auto again = publish_one("k", require(Expect::version, 1));
  ASSERT_EQ(again.refusals.size(), 1u);
  EXPECT_EQ(again.refusals[0]->code, Code::refused_before);
  EXPECT_EQ(number(bus.core->head()), 1u);
}

TEST_F(ConditionsTest, DecidesOnAScheduledEventWhenItIsPublished) {
  auto later = event("a", "k");
  later.deliver_at = nanoseconds(bus.now.wall + std::chrono::seconds(10));
  expect_conflict(publish({encode(later)}, require(Expect::exists)), 0, "key 'k' is at version 0, and should have an event");
  EXPECT_TRUE(publish({encode(later)}, require(Expect::absent)).receipts.at(0).scheduled());
  store("k", 1);
  bus.advance(std::chrono::seconds(11));
  bus.run();
  EXPECT_EQ(number(bus.core->head()), 2u);
}

TEST_F(ConditionsTest, RefusesAConditionOnTheKeyOfAnEventWithoutOne) {
  const auto result = publish({encode(event("a"))}, require(Expect::absent));
  EXPECT_EQ(result.refusals.at(0)->code, Code::bad_event);
}

TEST_F(ConditionsTest, SkipsTheConditionsOfAnEventThatIsRefusedAnyway) {
  wire::PublishT message = require(Expect::absent);
  require(message, 1, Expect::absent);
  const auto result = publish({bad, encode(event("a", "k"))}, message);
  EXPECT_EQ(result.refusals.at(0)->code, Code::bad_topic);
  EXPECT_EQ(result.receipts.at(1).version(), 1u);
}

TEST_F(ConditionsTest, TakesAsManyConditionsAsMayBeAndNotOneMore) {
  wire::PublishT message;
  for (std::size_t at = 0; at < limits::conditions_max; ++at) require(message, 0, Expect::absent, 0, "k" + std::to_string(at));
  EXPECT_TRUE(publish_one("k", message).refusals.empty());
  require(message, 0, Expect::absent, 0, "one more");
  EXPECT_EQ(refused_as_a_whole({encode(event("a", "l"))}, message), Code::malformed);
  EXPECT_EQ(number(bus.core->head()), 1u);
}

TEST_F(ConditionsTest, TakesAsManyConditionsInABatchAsMayBeAndNotOneMore) {
  const auto events = limits::batch_conditions_max / limits::conditions_max;
  std::vector<Buffer> batch(events, encode(event("a")));
  wire::PublishT message;
  message.condition_keys.push_back("k");
  for (std::uint32_t at = 0; at < limits::batch_conditions_max; ++at) message.conditions.emplace_back(0, at / limits::conditions_max, 1, Expect::absent);
  EXPECT_TRUE(publish(batch, message).refusals.empty());
  batch.push_back(good);
  message.conditions.emplace_back(0, static_cast<std::uint32_t>(events), 1, Expect::absent);
  EXPECT_EQ(refused_as_a_whole(batch, message), Code::malformed);
}

TEST_F(ConditionsTest, RefusesABatchWhoseConditionsMakeNoSense) {
  const std::vector<Buffer> two{encode(event("a", "k")), encode(event("a", "k"))};
  wire::PublishT beyond = require(Expect::absent), unordered, no_key = require(Expect::absent), unknown = require(Expect::absent), long_key, empty_key, more_keys = require(Expect::absent, 0, "l");
  more_keys.condition_keys.push_back("m");
  require(beyond, 2, Expect::absent);
  require(unordered, 1, Expect::absent), require(unordered, 0, Expect::absent);
  no_key.conditions[0] = {0, 0, 1, Expect::absent};
  unknown.conditions[0] = {0, 0, 0, Expect{9}};
  require(long_key, 0, Expect::absent, 0, std::string(limits::key_bytes_max + 1, 'k'));
  empty_key.condition_keys.push_back("");
  for (const auto& message : {beyond, unordered, no_key, unknown, long_key, empty_key, more_keys}) EXPECT_EQ(refused_as_a_whole(two, message), Code::malformed);
  EXPECT_TRUE(publish(two, require(Expect::absent, 0, std::string(limits::key_bytes_max, 'k'))).refusals.empty());
}

TEST_F(ConditionsTest, FitsTheAnswerOfTheWorstBatchIntoAHeader) {
  std::vector<Buffer> batch(limits::batch_events_max, encode(event("a", "k")));
  ASSERT_GT(batch.size() * batch[0].size(), limits::batch_bytes_max);  // so many cannot come; as many as fit:
  batch.resize(limits::batch_bytes_max / batch[0].size());
  wire::PublishT message;
  for (std::uint32_t at = 0; at < batch.size(); ++at) require(message, at, Expect::exists);
  const auto result = publish(batch, message);
  EXPECT_EQ(result.refusals.size(), batch.size());
  for (const auto& refusal : result.refusals) ASSERT_EQ(refusal->code, Code::conflict);
}

}  // namespace
}  // namespace bus::broker
