// Goal: a commit waits for the publishers that come back at once, as long as that is worth it, and for nobody else.
// Method: a core whose commits take as long as the test says; times are its own.
#include <gtest/gtest.h>

#include "tests/support/intake_case.hpp"

namespace bus::broker {
namespace {

using namespace std::chrono_literals;

class CommitPacerTest : public test::IntakeTest {
 protected:
  static constexpr Duration commit_time = 300us;

  CommitPacerTest() {
    bus.hello("q", "beta");
    bus.hello("r", "gamma");
  }
  void publish(const Peer& peer) { bus.publish(peer, ++last_[peer], {good}); }
  // What is staged is committed; false: the core waits.
  bool commit() {
    if (!bus.take()) return false;
    bus.advance(commit_time);
    return bus.commit();
  }
  // Everybody publishes `after` the receipt, twice: the second time it is known how soon.
  void learn(const std::vector<Peer>& peers, Duration after) {
    for (int time = 0; time < 2; ++time) {
      bus.advance(after);
      for (const Peer& peer : peers) publish(peer);
      while (!commit()) bus.advance(10us);
    }
  }

 private:
  std::map<Peer, std::uint64_t> last_;
};

TEST_F(CommitPacerTest, WaitsForNobodyItDoesNotKnow) {
  publish("p");
  EXPECT_TRUE(commit());
  publish("q");
  EXPECT_TRUE(commit());
}

TEST_F(CommitPacerTest, WaitsForWhoCameBackPromptly) {
  learn({"p", "q"}, 100us);
  publish("r");
  EXPECT_FALSE(bus.take());
  publish("p");
  EXPECT_FALSE(bus.take()) << "q is still to come";
  publish("q");
  EXPECT_TRUE(commit()) << "all are there";
  EXPECT_EQ(number(bus.core->head()), 7u);
}

TEST_F(CommitPacerTest, AsksToBeCalledWhenThePatienceEnds) {
  learn({"p"}, 100us);
  publish("q");
  const auto begun = bus.now.steady;
  EXPECT_EQ(bus.core->tick(bus.now), begun + commit_time);
  bus.advance(commit_time - 1ns);
  EXPECT_FALSE(bus.take());
  bus.advance(1ns);
  EXPECT_TRUE(commit());
}

TEST_F(CommitPacerTest, WaitsOnceForWhoStaysAway) {
  learn({"p"}, 100us);
  publish("q");
  bus.advance(commit_time);
  ASSERT_TRUE(commit());
  publish("q");
  EXPECT_TRUE(commit()) << "p was not there in time and is not waited for again";
  publish("p");
  publish("q");
  ASSERT_TRUE(commit());
  publish("q");
  EXPECT_TRUE(commit()) << "p came back late: it has to show anew that it is prompt";
}

TEST_F(CommitPacerTest, WaitsForNobodyWhoIsSlow) {
  learn({"p"}, commit_time + 1ns);
  publish("q");
  EXPECT_TRUE(commit());
}

TEST_F(CommitPacerTest, WaitsForNobodyWithEventsOnTheWay) {
  learn({"p"}, 100us);
  publish("p");
  ASSERT_TRUE(bus.take());
  publish("p");
  bus.advance(commit_time);
  bus.commit();
  publish("q");
  EXPECT_TRUE(commit()) << "p has an event in this commit already";
}

TEST_F(CommitPacerTest, WaitsForNobodyWhoHasLeft) {
  learn({"p"}, 100us);
  publish("q");
  ASSERT_FALSE(bus.take());
  bus.send("p", wire::ByeT());
  EXPECT_TRUE(commit());
}

TEST_F(CommitPacerTest, WaitsForNobodyWhoseNameWentToAnother) {
  learn({"p"}, 100us);
  publish("q");
  ASSERT_FALSE(bus.take());
  bus.hello("p2", "alpha");
  EXPECT_EQ(bus.take<wire::PublishResultT>("q").size(), 1u);
}

TEST_F(CommitPacerTest, IsNeverPatientForMoreThanAMillisecond) {
  learn({"p"}, 100us);
  publish("p");
  ASSERT_TRUE(bus.take());
  bus.advance(1s);
  bus.commit();
  publish("q");
  bus.advance(CommitPacer::patience_max - 1ns);
  EXPECT_FALSE(bus.take());
  bus.advance(1ns);
  EXPECT_TRUE(commit());
}

TEST_F(CommitPacerTest, WaitsNoMoreWhenAllIsToBeCommitted) {
  learn({"p"}, 100us);
  publish("q");
  EXPECT_FALSE(bus.core->take_batch(bus.now));
  EXPECT_TRUE(bus.core->take_batch(bus.now, true));
}

}  // namespace
}  // namespace bus::broker
