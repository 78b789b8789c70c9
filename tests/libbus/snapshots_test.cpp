// Goal: a service gets back the state that it saved, whoever was killed when: snapshot and event of one step are both there or none,
// and what load() makes of a key is what all of its events say. An event with a unique id is stored once, however often it is sent.
// Method: clients of a real busd count in keys: the state after the event of version n is the text n.
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "bus/transaction.hpp"
#include "tests/support/broker_process.hpp"
#include "tests/support/connected.hpp"

namespace bus::test {
namespace {

using suoke::realtime::SystemNotification;

NewSnapshot state_of(const std::string& key, std::uint64_t version, std::uint32_t keep = 2) {
  return {key, version, "suoke.realtime.SystemNotification", note("", "", std::to_string(version)).payload, keep};
}

// The event that makes the version, and what it leads to.
Transaction count(const std::string& key, std::uint64_t version) {
  Transaction step;
  step.publish(note("counted", key, std::to_string(version))).snapshot(state_of(key, version));
  return step;
}

std::string text_of(const Event& event) { return event.as<SystemNotification>().value()->title()->str(); }

struct Loaded {
  std::uint64_t version = 0, restored = 0, folded = 0;
  std::string state;
};

Loaded load(Client& client, const std::string& key, std::uint64_t up_to = Client::latest, bool is_usable = true) {
  Loaded loaded;
  const auto restore = [&](const Event& snapshot) {
    loaded.restored = snapshot.version();
    if (is_usable) loaded.state = text_of(snapshot);
    return is_usable;
  };
  const auto fold = [&](const Event& event) {
    ++loaded.folded;
    loaded.state = text_of(event);
  };
  loaded.version = client.load(key, restore, fold, up_to).value();
  return loaded;
}

class SnapshotsTest : public ::testing::Test {
 protected:
  BrokerProcess broker;
  Client client = connect(broker.endpoint(), "counter");
  Code code_of(const Transaction& step) {
    const auto done = client.transact(step).get();
    return done ? Code::ok : done.error().code;
  }
};

TEST_F(SnapshotsTest, LoadsWhatComesAfterTheSnapshot) {
  for (std::uint64_t version = 1; version <= 30; ++version) {
    const auto done = version % 10 == 0 ? client.transact(count("k", version)).get() : client.transact(Transaction().publish(note("counted", "k", std::to_string(version)))).get();
    ASSERT_TRUE(done) << done.error().detail;
    ASSERT_EQ(done->size(), 1u);  // no receipt for the snapshot
    EXPECT_EQ((*done)[0].version, version);
  }
  client.transact(Transaction().publish(note("counted", "k", "31"))).get().value();
  const Loaded now = load(client, "k");
  EXPECT_EQ(now.version, 31u);
  EXPECT_EQ(now.restored, 30u);
  EXPECT_EQ(now.folded, 1u);
  EXPECT_EQ(now.state, "31");
  const Loaded before = load(client, "k", 25);
  EXPECT_EQ(before.version, 25u);
  EXPECT_EQ(before.restored, 20u);
  EXPECT_EQ(before.folded, 5u);
  EXPECT_EQ(before.state, "25");
  EXPECT_EQ(load(client, "k", 20).folded, 0u);
  const auto until = std::chrono::steady_clock::now() + patience;  // of the three the last two are kept; the other goes soon
  while (load(client, "k", 19).restored != 0 && std::chrono::steady_clock::now() < until) std::this_thread::yield();
  EXPECT_EQ(load(client, "k", 19).folded, 19u);
  EXPECT_EQ(load(client, "k", 100).version, 31u);
  EXPECT_EQ(load(client, "k", Client::latest, false).folded, 31u);
  EXPECT_EQ(load(client, "never").version, 0u);
  EXPECT_EQ(load(client, "k", 0).version, 0u);
  EXPECT_EQ(client.erase_snapshots("k").value(), 2u);
  EXPECT_EQ(load(client, "k").folded, 31u);
  EXPECT_EQ(client.snapshot("k").value(), std::nullopt);
}

TEST_F(SnapshotsTest, RefusesWhatIsNone) {
  client.transact(Transaction().publish(note("counted", "k", "1"))).get().value();
  EXPECT_EQ(code_of(Transaction()), Code::bad_argument);
  EXPECT_EQ(code_of(Transaction().snapshot(state_of("k", 0))), Code::bad_argument);
  EXPECT_EQ(code_of(Transaction().snapshot(state_of("", 1))), Code::bad_key);
  EXPECT_EQ(code_of(Transaction().snapshot(state_of("k", 1, 0))), Code::bad_argument);
  EXPECT_EQ(code_of(Transaction().snapshot(state_of("k", 1, 65))), Code::bad_argument);
  EXPECT_EQ(code_of(Transaction().snapshot(state_of("k", 2))), Code::conflict);
  auto unknown = state_of("k", 1);
  unknown.type = "no.such.Type";
  EXPECT_EQ(code_of(Transaction().snapshot(unknown)), Code::unknown_type);
  auto broken = state_of("k", 1);
  broken.state.resize(3);
  EXPECT_EQ(code_of(Transaction().publish(note("counted", "k", "2")).snapshot(broken)), Code::bad_payload);
  EXPECT_EQ(client.snapshot("k").value(), std::nullopt);
  EXPECT_EQ(client.key_head("k").value().version, 1u);  // nor was the event of that step stored
  EXPECT_EQ(code_of(Transaction().snapshot(state_of("k", 1, 64)).require(Condition::at(1, "k"))), Code::ok);
  EXPECT_EQ(code_of(Transaction().snapshot(state_of("k", 1)).require(Condition::at(7, "k"))), Code::conflict);
}

TEST_F(SnapshotsTest, StoresAUniqueIdOnce) {
  auto event = note("paid", "k");
  event.id = "payment-7";
  event.conditions = {Condition::unique_id(), Condition::absent()};
  const auto first = client.publish(event).get().value();
  EXPECT_FALSE(first.duplicate);
  auto other = connect(broker.endpoint());
  broker.kill();
  broker.start();
  for (int again = 0; again < 2; ++again) {
    const auto receipt = other.publish(event).get().value();
    EXPECT_TRUE(receipt.duplicate);
    EXPECT_EQ(receipt.position, first.position);
    EXPECT_EQ(receipt.version, 1u);
  }
  EXPECT_EQ(code_of(Transaction().publish(event)), Code::conflict);
  EXPECT_EQ(code_of(Transaction().publish(note("paid", "k")).require(Condition::unique_id())), Code::bad_argument);
  event.conditions[0].key = "k";
  EXPECT_EQ(client.publish(event).get().error().code, Code::bad_argument);
  EXPECT_EQ(client.key_head("k").value().version, 1u);
}

// busd is killed while steps are on their way. Whatever of them took effect, state and events say the same.
TEST_F(SnapshotsTest, AgreeWithTheirEventsThroughKills) {
  constexpr std::uint64_t workers = 4, kills = 5, versions = 400;
  std::vector<std::jthread> threads;
  std::atomic<std::uint64_t> counted{0};
  for (std::uint64_t worker = 0; worker < workers; ++worker) {
    threads.emplace_back([&, worker] {
      auto own = connect(broker.endpoint(), "worker-" + std::to_string(worker));
      const auto key = "key-" + std::to_string(worker);
      for (std::uint64_t version = 1; version <= versions; ++version) {
        const auto done = own.transact(count(key, version).require(Condition::at(version - 1, key))).get();
        ASSERT_TRUE(done) << done.error().detail;
        ASSERT_EQ((*done)[0].version, version);
        ++counted;
      }
    });
  }
  for (std::uint64_t kill = 1; kill <= kills; ++kill) {
    while (counted < kill * workers * versions / (kills + 1)) std::this_thread::yield();
    broker.kill();
    broker.start();
  }
  threads.clear();
  for (std::uint64_t worker = 0; worker < workers; ++worker) {
    const auto key = "key-" + std::to_string(worker);
    const Loaded quick = load(client, key), whole = load(client, key, Client::latest, false);
    EXPECT_EQ(quick.restored, versions);
    EXPECT_EQ(quick.state, std::to_string(versions));
    EXPECT_EQ(whole.folded, versions);
    EXPECT_EQ(whole.state, quick.state);
    EXPECT_EQ(load(client, key, versions - 1).restored, versions - 1);
    // Two are kept; others go soon after.
    const auto until = std::chrono::steady_clock::now() + patience;
    while (load(client, key, versions - 2).restored != 0 && std::chrono::steady_clock::now() < until) std::this_thread::yield();
    EXPECT_EQ(load(client, key, versions - 2).restored, 0u);
  }
}

}  // namespace
}  // namespace bus::test
