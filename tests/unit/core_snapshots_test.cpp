// Goal: a snapshot is kept whole or not at all, of a version that its key has; the last ones stay, the others go; it is found by version, and
// comes as it was saved.
// Method: a broker without threads; its commits and reads happen when the test says so.
#include "tests/support/intake_case.hpp"

namespace bus::broker {
namespace {

using test::encode;
using test::event;
using wire::Expect;

class SnapshotsTest : public test::IntakeTest {
 protected:
  SnapshotsTest() { bus.hello("op"); }
  static Buffer state(const std::string& key, const std::string& text) {
    auto one = event("", key);
    one.payload = test::notification(text);
    return encode(one);
  }
  static wire::PublishT of_version(std::uint64_t version, std::uint32_t at = 0, std::uint32_t keep = 2) {
    wire::PublishT message;
    message.snapshots.emplace_back(version, at, keep);
    return message;
  }
  wire::PublishResultT publish(const std::vector<Buffer>& events, wire::PublishT message) {
    const auto first = next;
    next += events.size();
    return publish_at(first, events, std::move(message));
  }
  wire::PublishResultT publish_at(std::uint64_t first, const std::vector<Buffer>& events, wire::PublishT message) {
    bus.publish("p", first, events, std::move(message));
    bus.run();
    return result();
  }
  void store(const std::string& key, std::size_t events) {
    for (; events > 0; --events) ASSERT_TRUE(publish({encode(event("a", key))}, {}).refusals.empty());
  }
  void save(const std::string& key, std::uint64_t version, const std::string& text, std::uint32_t keep = 2) {
    const auto saved = publish({state(key, text)}, of_version(version, 0, keep));
    ASSERT_TRUE(saved.refusals.empty()) << saved.refusals[0]->detail;
    EXPECT_EQ(saved.receipts.at(0).position(), 0u);
    EXPECT_EQ(saved.receipts.at(0).version(), version);
  }
  struct Found {
    std::uint64_t version = 0;
    std::string text;
    bool operator==(const Found&) const = default;
  };
  // Version 0: there is none.
  Found find(const std::string& key, std::uint64_t up_to = 0) {
    wire::SnapshotGetT ask;
    ask.key = key;
    ask.version = up_to;
    bus.ask("op", std::move(ask));
    bus.run();
    const auto& received = bus.received("op");
    if (received.empty() || received.back().message->body.type != wire::Body::Reply) {
      EXPECT_EQ(bus.failures("op"), std::vector{Code::not_found});
      return {};
    }
    const auto* reply = received.back().message->body.AsReply()->answer.AsSnapshotReply();
    const auto* envelope = wire::trusted_event(received.back().body);
    const auto* payload = flatbuffers::GetRoot<suoke::realtime::SystemNotification>(envelope->payload()->data());
    Found found{reply->version, payload->title()->str()};
    EXPECT_EQ(envelope->key()->str(), key);
    EXPECT_EQ(reply->bytes, envelope->payload()->size());
    bus.take<wire::ReplyT>("op");
    return found;
  }
  Code refused(const std::vector<Buffer>& events, wire::PublishT message) {
    const auto result = publish(events, std::move(message));
    return result.refusals.size() == 1 ? result.refusals[0]->code : Code::ok;
  }
  std::uint64_t head() const { return number(bus.core->head()); }
  std::uint64_t next = 1;
  friend void PrintTo(const Found& found, std::ostream* out) { *out << found.version << ' ' << found.text.substr(0, 32); }
};

TEST_F(SnapshotsTest, FindsTheLastOneUpToAVersion) {
  store("k", 9), store("l", 1);
  save("k", 3, "three"), save("k", 7, "seven"), save("l", 1, "other");
  EXPECT_EQ(head(), 10u);
  for (const bool crashed : {false, true}) {
    if (crashed) bus.crash(), bus.hello("op");
    EXPECT_EQ(find("k"), (Found{7, "seven"}));
    EXPECT_EQ(find("k", 9), (Found{7, "seven"}));
    EXPECT_EQ(find("k", 7), (Found{7, "seven"}));
    EXPECT_EQ(find("k", 6), (Found{3, "three"}));
    EXPECT_EQ(find("k", 2), Found());
    EXPECT_EQ(find("l"), (Found{1, "other"}));
    EXPECT_EQ(find("never"), Found());
  }
}

TEST_F(SnapshotsTest, KeepsTheLastOnesOfAKey) {
  store("k", 9), store("l", 9);
  for (std::uint64_t version = 1; version <= 9; ++version) save("k", version, std::to_string(version), 3), save("l", version, "l", 1);
  for (std::uint64_t version = 9; version >= 7; --version) EXPECT_EQ(find("k", version), (Found{version, std::to_string(version)}));
  EXPECT_EQ(find("k", 6), Found());
  EXPECT_EQ(find("l", 8), Found());
  save("k", 9, "better", 3);  // in the place of the other
  EXPECT_EQ(find("k"), (Found{9, "better"}));
  save("k", 2, "late", 3);  // older than those that are kept
  EXPECT_EQ(find("k", 6), Found());
}

TEST_F(SnapshotsTest, TakesVersionsThatTheKeyHas) {
  store("k", 2);
  EXPECT_EQ(refused({state("k", "s")}, of_version(3)), Code::conflict);
  EXPECT_EQ(refused({state("new", "s")}, of_version(1)), Code::conflict);
  EXPECT_EQ(find("k"), Found());
  save("k", 2, "s");
  // In a batch that brings the event, too.
  EXPECT_TRUE(publish({encode(event("a", "k")), state("k", "t")}, of_version(3, 1)).refusals.empty());
  EXPECT_EQ(find("k"), (Found{3, "t"}));
}

TEST_F(SnapshotsTest, BelongsToItsStep) {
  store("k", 1);
  const auto step = [](wire::PublishT message, std::uint32_t count) {
    message.steps.push_back(std::make_unique<wire::StepT>());
    message.steps[0]->count = count;
    return message;
  };
  const std::vector<Buffer> events = {encode(event("a", "k")), encode(event("a", "k")), state("k", "three")};
  auto too_far = publish(events, step(of_version(4, 2), 3));
  ASSERT_EQ(too_far.refusals.size(), 3u);
  EXPECT_EQ(too_far.refusals[0]->code, Code::conflict);
  EXPECT_EQ(too_far.refusals[0]->detail, "key 'k' is at version 1, and the snapshot is of version 4");
  EXPECT_EQ(head(), 1u);
  auto wrong = step(of_version(3, 2), 3);
  wrong.conditions.emplace_back(7, 0, 0, Expect::version);
  EXPECT_EQ(publish(events, wrong).refusals.size(), 3u);
  EXPECT_EQ(find("k"), Found());
  EXPECT_TRUE(publish(events, step(of_version(3, 2), 3)).refusals.empty());
  EXPECT_EQ(find("k"), (Found{3, "three"}));
  // One before the events of its step sees none of them.
  EXPECT_EQ(publish({state("k", "s"), encode(event("a", "k"))}, step(of_version(4, 0), 2)).refusals.size(), 2u);
}

TEST_F(SnapshotsTest, IsNotThereBeforeItsCommit) {
  store("k", 1);
  bus.publish("p", next, {state("k", "s")}, of_version(1));
  ASSERT_TRUE(bus.take());
  EXPECT_TRUE(bus.take<wire::PublishResultT>("p").empty());
  EXPECT_EQ(find("k"), Found());
  bus.commit();
  bus.run();
  EXPECT_EQ(find("k"), (Found{1, "s"}));
  bus.publish("p", next + 1, {state("k", "t")}, of_version(1));
  bus.crash();
  bus.hello("op");
  EXPECT_EQ(find("k"), (Found{1, "s"}));
}

TEST_F(SnapshotsTest, AnswersASequenceThatIsSentAgainAsTheFirstTime) {
  store("k", 1);
  const std::vector<Buffer> events = {state("k", "s"), encode(event("a", "k")), state("k", "t")};
  wire::PublishT message = of_version(1, 0, 1);
  message.snapshots.emplace_back(9, 2, 1);
  const auto first = next;
  for (const bool again : {false, true, true}) {
    if (again) bus.crash(), bus.hello("p", "alpha"), bus.hello("op");
    const auto result = publish_at(first, events, message);
    ASSERT_EQ(result.receipts.size(), 3u);
    EXPECT_EQ(result.receipts[0].version(), 1u);
    EXPECT_EQ(result.receipts[0].duplicate(), again);
    EXPECT_EQ(result.receipts[1].position(), 2u);
    ASSERT_EQ(result.refusals.size(), 1u);
    EXPECT_EQ(result.refusals[0]->sequence, first + 2);
    EXPECT_EQ(result.refusals[0]->code, again ? Code::refused_before : Code::conflict);
  }
  next = first + 3;
  save("k", 2, "newer", 1);  // the one before is gone, and its answer stays
  bus.crash(), bus.hello("p", "alpha");
  EXPECT_EQ(publish_at(first, events, message).receipts.at(0).version(), 1u);
}

// While one batch is with the committer, the next has another snapshot of the key.
TEST_F(SnapshotsTest, KeepsTheLastOnesOfAKeyThatComeInARow) {
  store("k", 9);
  for (std::uint64_t version = 1; version <= 9; ++version) {
    ASSERT_TRUE(bus.take() || version == 1);
    bus.publish("p", next++, {state("k", std::to_string(version))}, of_version(version, 0, 2));
    if (version > 1) bus.commit();
  }
  bus.run();
  EXPECT_EQ(find("k"), (Found{9, "9"}));
  EXPECT_EQ(find("k", 8), (Found{8, "8"}));
  EXPECT_EQ(find("k", 7), Found());
}

TEST_F(SnapshotsTest, ErasesWhatIsStaged) {
  store("k", 1);
  bus.publish("p", next, {state("k", "wrong")}, of_version(1));
  wire::SnapshotsEraseT ask;
  ask.key = "k";
  bus.ask("op", std::move(ask));
  bus.run();
  EXPECT_EQ(bus.take<wire::ReplyT>("op").size(), 1u);
  EXPECT_EQ(find("k"), Found());
}

// What is pruned was read while the erase was staged: it knows nothing of what was saved behind that.
TEST_F(SnapshotsTest, KeepsAnOlderOneThatIsSavedAfterAnErase) {
  store("k", 5);
  save("k", 4, "a", 1);
  bus.publish("p", next++, {state("k", "b")}, of_version(5, 0, 1));
  ASSERT_TRUE(bus.take());
  wire::SnapshotsEraseT ask;
  ask.key = "k";
  bus.ask("op", std::move(ask));
  while (bus.read()) {}
  bus.commit();
  bus.publish("p", next++, {state("k", "c")}, of_version(4, 0, 1));
  bus.run();
  bus.take<wire::ReplyT>("op");
  EXPECT_EQ(find("k"), (Found{4, "c"}));
}

TEST_F(SnapshotsTest, RefusesWhatIsNone) {
  store("k", 1);
  auto with_topic = event("a", "k"), without_key = event(""), unknown = event("", "k"), scheduled = event("", "k"), broken = event("", "k");
  unknown.type = "no.such.Type";
  scheduled.deliver_at = nanoseconds(bus.now.wall) + 1'000'000'000;
  broken.payload = {1, 2, 3};
  EXPECT_EQ(refused({encode(with_topic)}, of_version(1)), Code::bad_event);
  EXPECT_EQ(refused({encode(without_key)}, of_version(1)), Code::bad_event);
  EXPECT_EQ(refused({encode(unknown)}, of_version(1)), Code::unknown_type);
  EXPECT_EQ(refused({encode(scheduled)}, of_version(1)), Code::bad_topic);
  EXPECT_EQ(refused({encode(broken)}, of_version(1)), Code::bad_payload);
  EXPECT_EQ(refused({state("k", "s")}, {}), Code::bad_topic);  // an event without topic, and no snapshot
  auto unique = of_version(1);
  unique.conditions.emplace_back(0, 0, 0, Expect::unique_id);
  EXPECT_EQ(refused({state("k", "s")}, unique), Code::bad_event);
  EXPECT_EQ(find("k"), Found());
  auto out_of_order = of_version(1, 1);
  out_of_order.snapshots.emplace_back(1, 1, 1);
  for (auto& message : std::vector{of_version(0), of_version(1, 0, 0), of_version(1, 0, limits::snapshots_max + 1), of_version(1, 2), out_of_order}) {
    bus.publish("p", next, {state("k", "s"), state("k", "t")}, message);
    bus.run();
    EXPECT_EQ(bus.failures("p"), std::vector{Code::malformed});
  }
  save("k", 1, "s", limits::snapshots_max);
}

TEST_F(SnapshotsTest, ErasesThoseOfOneKey) {
  store("k", 3), store("l", 1);
  save("k", 1, "a"), save("k", 3, "b"), save("l", 1, "c");
  for (const std::uint64_t count : {2, 0}) {
    wire::SnapshotsEraseT ask;
    ask.key = "k";
    bus.ask("op", std::move(ask));
    bus.run();
    EXPECT_EQ(bus.take<wire::ReplyT>("op").at(0).answer.AsSnapshotsErased()->count, count);
  }
  EXPECT_EQ(find("k"), Found());
  EXPECT_EQ(find("l"), (Found{1, "c"}));
  for (const std::string& key : {std::string(), std::string(limits::key_bytes_max + 1, 'k')}) {
    wire::SnapshotsEraseT ask;
    ask.key = key;
    bus.ask("op", std::move(ask));
    wire::SnapshotGetT get;
    get.key = key;
    bus.ask("op", std::move(get), 2);
    bus.run();
    EXPECT_EQ(bus.failures("op"), (std::vector{Code::bad_key, Code::bad_key}));
  }
}

// The largest that there is, and that its pages are given back.
TEST_F(SnapshotsTest, KeepsLargeStates) {
  store("k", 40);
  const std::string large(limits::event_bytes_max - 1000, 'x');
  for (std::uint64_t version = 1; version <= 40; ++version) save("k", version, large, 1);
  EXPECT_EQ(find("k"), (Found{40, large}));
}

}  // namespace
}  // namespace bus::broker
