// Goal: who asks for a key is told what is committed of it, wherever that lies, in replies of bounded size that lead to each other;
// never what is only staged.
// Method: a broker without threads; its commits and reads happen when the test says so.
#include "tests/support/intake_case.hpp"

namespace bus::broker {
namespace {

using test::encode;
using test::event;

class KeyRequestsTest : public test::IntakeTest {
 protected:
  KeyRequestsTest() { bus.hello("op"); }
  void store(const std::string& key, std::size_t events, std::size_t bytes = 8) {
    auto one = event("a", key);
    one.payload = test::notification(std::string(bytes, 'x'));
    for (; events > 0; --events) bus.publish("p", next++, {encode(one)});
    bus.run();
  }
  static wire::KeyReadT question(const std::string& key, std::uint64_t from = 0, std::uint32_t limit = 0, bool backwards = false) {
    wire::KeyReadT ask;
    ask.key = key;
    ask.from = from;
    ask.limit = limit;
    ask.backwards = backwards;
    return ask;
  }
  template <typename Ask>
  wire::ReplyT reply(Ask ask) {
    bus.ask("op", std::move(ask));
    bus.run();
    auto replies = bus.take<wire::ReplyT>("op");
    return replies.size() == 1 ? std::move(replies[0]) : wire::ReplyT();
  }
  wire::KeyReadReplyT read(wire::KeyReadT ask) { return std::move(*reply(std::move(ask)).answer.AsKeyReadReply()); }
  std::vector<wire::KeyHead> heads(const std::vector<std::string>& keys) {
    wire::KeyHeadsT ask;
    ask.keys = keys;
    return reply(std::move(ask)).answer.AsKeyHeadsReply()->heads;
  }
  template <typename Ask>
  Code refused(Ask ask) {
    bus.ask("op", std::move(ask));
    bus.run();
    const auto codes = bus.failures("op");
    return codes.size() == 1 ? codes[0] : Code::ok;
  }
  static std::vector<std::uint64_t> versions(const wire::KeyReadReplyT& reply) {
    std::vector<std::uint64_t> versions;
    for (const auto& delivery : reply.deliveries) versions.push_back(delivery.version());
    return versions;
  }
  std::uint64_t next = 1;
};

TEST_F(KeyRequestsTest, SaysWhereKeysAre) {
  store("k", 3), store("l", 1);
  for (const bool restarted : {false, true}) {
    if (restarted) bus.restart(), bus.hello("op");
    const auto found = heads({"k", "never", "l"});
    ASSERT_EQ(found.size(), 3u);
    EXPECT_EQ(found[0].version(), 3u);
    EXPECT_EQ(found[0].position(), 3u);
    EXPECT_EQ(found[1].version(), 0u);
    EXPECT_EQ(found[2].position(), 4u);
  }
}

TEST_F(KeyRequestsTest, SaysNothingBeforeItIsDurable) {
  store("k", 1);
  bus.publish("p", next++, {encode(event("a", "k"))});
  ASSERT_TRUE(bus.take());
  wire::KeyHeadsT ask;
  ask.keys = {"k"};
  bus.ask("op", std::move(ask));
  bus.ask("op", question("k"), 2);
  bus.read();
  EXPECT_TRUE(bus.take<wire::ReplyT>("op").empty());
  bus.run();
  auto replies = bus.take<wire::ReplyT>("op");
  ASSERT_EQ(replies.size(), 2u);
  EXPECT_EQ(replies[0].answer.AsKeyHeadsReply()->heads.at(0).version(), 2u);
  EXPECT_EQ(versions(*replies[1].answer.AsKeyReadReply()), (std::vector<std::uint64_t>{1, 2}));
}

TEST_F(KeyRequestsTest, ReadsTheEventsOfAKeyAmongOthers) {
  for (int at = 0; at < 5; ++at) store("k", 1), store("l", 2);
  bus.ask("op", question("k", 2, 3));
  bus.run();
  const auto& received = bus.received("op");
  const auto& message = received.back();
  const auto& reply = *static_cast<const wire::ReplyT*>(message.message->body.value)->answer.AsKeyReadReply();
  EXPECT_EQ(versions(reply), (std::vector<std::uint64_t>{2, 3, 4}));
  EXPECT_EQ(reply.head->version(), 5u);
  EXPECT_EQ(reply.deliveries[0].position(), 4u);
  EXPECT_EQ(reply.publishers, std::vector<std::string>{"alpha"});
  EXPECT_EQ(message.body, test::join({encode([&] { auto one = event("a", "k"); one.payload = test::notification(std::string(8, 'x')); return one; }()),
                                      encode([&] { auto one = event("a", "k"); one.payload = test::notification(std::string(8, 'x')); return one; }()),
                                      encode([&] { auto one = event("a", "k"); one.payload = test::notification(std::string(8, 'x')); return one; }())}));
  EXPECT_EQ(reply.more, 0u);
}

TEST_F(KeyRequestsTest, LeadsFromReplyToReplyForwardsAndBackwards) {
  store("k", 300, 8000);
  for (const bool backwards : {false, true}) {
    std::vector<std::uint64_t> all;
    std::uint64_t from = 0;
    std::size_t replies = 0;
    do {
      const auto part = read(question("k", from, 0, backwards));
      for (const auto version : versions(part)) all.push_back(version);
      from = part.more;
      ++replies;
    } while (from != 0);
    ASSERT_EQ(all.size(), 300u);
    for (std::uint64_t at = 0; at < 300; ++at) ASSERT_EQ(all[at], backwards ? 300 - at : at + 1);
    EXPECT_GT(replies, 5u);
    EXPECT_LT(replies, 20u);
  }
}

TEST_F(KeyRequestsTest, AnswersWithNothingForAKeyThatIsNotThereOrAVersionToCome) {
  store("k", 2);
  const auto none = read(question("never"));
  EXPECT_EQ(none.head->version(), 0u);
  EXPECT_TRUE(none.deliveries.empty());
  const auto later = read(question("k", 3));
  EXPECT_EQ(later.head->version(), 2u);
  EXPECT_TRUE(later.deliveries.empty());
  EXPECT_EQ(later.more, 0u);
  EXPECT_EQ(versions(read(question("k", 9, 1, true))), std::vector<std::uint64_t>{2});
}

TEST_F(KeyRequestsTest, EndsWhereTheLimitIsReached) {
  store("k", 5);
  EXPECT_EQ(read(question("k", 1, 5)).more, 0u);
  EXPECT_EQ(read(question("k", 1, 4)).more, 0u);
  EXPECT_EQ(versions(read(question("k", 0, 2, true))), (std::vector<std::uint64_t>{5, 4}));
}

TEST_F(KeyRequestsTest, RefusesWhatMakesNoSense) {
  EXPECT_EQ(refused(question("")), Code::bad_key);
  EXPECT_EQ(refused(question(std::string(limits::key_bytes_max + 1, 'k'))), Code::bad_key);
  EXPECT_EQ(refused(question("k", 1, limits::key_limit_max + 1)), Code::bad_request);
  EXPECT_EQ(read(question(std::string(limits::key_bytes_max, 'k'), 1, limits::key_limit_max)).head->version(), 0u);
  wire::KeyHeadsT many;
  EXPECT_EQ(refused(many), Code::bad_request);
  many.keys.assign(limits::key_heads_max + 1, "k");
  EXPECT_EQ(refused(many), Code::bad_request);
  many.keys.pop_back();
  EXPECT_EQ(heads(many.keys).size(), limits::key_heads_max);
}

TEST_F(KeyRequestsTest, SaysWhatCannotBeRead) {
  store("k", 2);
  bus.read_fault = [](const ReadAsk& ask) -> std::optional<Error> {
    if (!std::holds_alternative<ReadKeyEvents>(ask)) return std::nullopt;
    return Error{Code::damaged, "event at position 1"};
  };
  EXPECT_EQ(refused(question("k")), Code::damaged);
  bus.read_fault = {};
  EXPECT_EQ(read(question("k")).deliveries.size(), 2u);
}

}  // namespace
}  // namespace bus::broker
