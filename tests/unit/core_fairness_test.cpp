// Goal: a group or member that is slow, does not read, settles nothing or fails at everything slows no other, nor publishers; and
// groups that catch up with a long log let the others through.
// Method: the real core on the real store. What somebody waits is counted in turns of the loop, which are bounded in work.
#include <gtest/gtest.h>

#include "tests/support/harness.hpp"

namespace bus::broker {
namespace {

using namespace std::chrono_literals;
using test::Harness;

class FairnessTest : public ::testing::Test {
 protected:
  FairnessTest() { bus.hello("p", "alpha"); }
  void publish(std::size_t count, const std::string& topic = "t") {
    for (std::size_t left = count; left > 0;) {
      const auto part = std::min<std::size_t>(left, 1000);
      std::vector<Buffer> events;
      for (std::size_t at = 0; at < part; ++at) events.push_back(test::encode(test::event(topic, "k" + std::to_string(at % 50))));
      bus.publish("p", next_, events);
      next_ += part;
      left -= part;
      bus.run();
    }
    bus.take<wire::PublishResultT>("p");
  }
  void join(const Peer& peer, const std::string& group, std::uint32_t credit, const std::string& pattern = ">") {
    bus.hello(peer);
    auto member = test::subscribe(1, group, wire::Start::start);
    member.filter = std::make_unique<wire::FilterT>();
    member.filter->patterns = {pattern};
    member.credit_events = credit;
    member.settings = std::make_unique<wire::GroupSettingsT>();
    member.settings->in_flight_max = limits::open_max;
    bus.send(peer, member);
  }
  std::size_t received(const Peer& peer) {
    std::size_t count = 0;
    for (const auto& deliver : bus.take<wire::DeliverT>(peer)) count += deliver.deliveries.size();
    return count;
  }
  // Turns of the loop until the peer has so many events more.
  int turns_until(const Peer& peer, std::size_t events) {
    for (int turns = 1; turns < 10'000; ++turns) {
      bus.core->tick(bus.now);
      bus.read();
      bus.commit();
      const auto now = received(peer);
      events -= std::min(events, now);
      if (events == 0) return turns;
    }
    ADD_FAILURE() << "never";
    return 0;
  }

  Harness bus;
  std::uint64_t next_ = 1;
};

TEST_F(FairnessTest, GroupsThatSettleNothingSlowNobody) {
  join("fast", "fast", 60'000);
  bus.run();
  std::vector<Buffer> events(500, test::encode(test::event("t")));
  bus.publish("p", next_, events);
  next_ += 500;
  const auto alone = turns_until("fast", 500);
  for (int at = 0; at < 50; ++at) join("slow" + std::to_string(at), "slow" + std::to_string(at), 10);
  bus.run();
  bus.publish("p", next_, events);
  next_ += 500;
  EXPECT_EQ(turns_until("fast", 500), alone);
  EXPECT_EQ(bus.take<wire::PublishResultT>("p").size(), 2u);
}

TEST_F(FairnessTest, AMemberThatDoesNotReadSlowsNobody) {
  join("fast", "fast", 60'000);
  join("deaf", "deaf", 60'000);
  bus.run();
  bus.reads["deaf"] = false;
  publish(20'000);
  bus.run();
  EXPECT_EQ(received("fast"), 20'000u);
  EXPECT_EQ(bus.take<wire::PublishResultT>("p").size(), 0u) << "all were answered as they came";
}

TEST_F(FairnessTest, AGroupThatFailsAtEverythingSlowsNobody) {
  join("fast", "fast", 60'000);
  join("bad", "bad", 60'000);
  publish(2000);
  EXPECT_EQ(received("fast"), 2000u);
  for (int round = 0; round < 5; ++round) {
    for (const auto& deliver : bus.take<wire::DeliverT>("bad")) {
      wire::SettleT message;
      message.subscription = 1;
      message.epoch = deliver.epoch;
      for (const auto& one : deliver.deliveries) message.settlements.emplace_back(one.position(), one.attempt(), 1, wire::Verdict::nack);
      bus.send("bad", message);
    }
    bus.advance(10ms);
    publish(100);
    EXPECT_EQ(received("fast"), 100u);
  }
}

// Each turn looks at 65,536 rows at most, and a group at 16,384 of them: so nobody waits longer than the others take for that.
TEST_F(FairnessTest, GroupsThatCatchUpLetOthersThrough) {
  publish(60'000);
  join("live", "live", 1000, "live");
  bus.run();
  constexpr int groups = 40;
  for (int at = 0; at < groups; ++at) join("behind" + std::to_string(at), "behind" + std::to_string(at), 1, "nothing");
  bus.core->tick(bus.now);
  bus.commit();
  bus.publish("p", next_++, {test::encode(test::event("live"))});
  constexpr int together = limits::pump_rows_max / limits::turn_rows_max;
  EXPECT_LE(turns_until("live", 1), 4 + groups / together);
}

}  // namespace
}  // namespace bus::broker
