// Goal: whoever publishes while a run is under way does not wait for commits that are retention's alone, nor for a reader thread
// that retention keeps busy; and the run comes to its end all the same.
// Method: as in core_retention_test.cpp, one step at a time.
#include "tests/support/retention_case.hpp"

namespace bus::broker {
namespace {

// A log of `records` small records, of each of which a run removes half.
class RetentionPaceTest : public RetentionCase {
 protected:
  void fill(std::size_t records) {
    for (std::size_t at = 0; at < records; ++at) {
      bus.publish("p", next_, {test::encode(event("stays")), test::encode(event("goes"))});
      next_ += 2;
      bus.run();
    }
    EXPECT_EQ(set(not_older("goes", 1ms)), std::nullopt);
    advance(1s);  // and nobody else is there any more
  }
  void publish_one() {
    bus.publish("p", next_, {test::encode(event("other"))});
    next_ += 1;
  }
  // What a run may do without a commit.
  void go_on() {
    for (int idle = 0; idle < 10;) {
      bus.core->tick(bus.now);
      idle = bus.read() ? 0 : idle + 1;
      if (idle > 0) bus.advance(100us);  // a rest
    }
  }
  std::uint64_t removed() const { return bus.core->state().topics[2].removed_events; }
  static wire::EventT event(const std::string& topic) {
    auto event = test::event(topic);
    event.payload = test::notification("text");
    return event;
  }
};

TEST_F(RetentionPaceTest, AChangeGoesWithACommitOfOthersWhileThereAreAny) {
  constexpr std::uint64_t at_once = limits::retention_trims_max;
  fill(3 * at_once);
  publish_one();
  bus.run();
  bus.ask("op", wire::RetentionRunT());
  for (std::uint64_t round = 1; round <= 3; ++round) {
    go_on();
    EXPECT_FALSE(bus.commit()) << "not for retention alone";
    publish_one();
    EXPECT_TRUE(bus.commit());
    EXPECT_EQ(removed(), round * at_once);
  }
}

TEST_F(RetentionPaceTest, AChangeHasACommitOfItsOwnIfNobodyComesForAWhile) {
  fill(limits::retention_trims_max + 1);
  publish_one();
  bus.run();
  bus.ask("op", wire::RetentionRunT());
  const auto since = bus.now.steady;
  go_on();
  bus.advance(since + RetentionPace::patience - 1ms - bus.now.steady);
  EXPECT_EQ(bus.core->tick(bus.now), bus.now.steady + 1ms) << "the loop is back in time";
  EXPECT_FALSE(bus.commit());
  bus.advance(1ms);
  EXPECT_TRUE(bus.commit());
  EXPECT_EQ(removed(), limits::retention_trims_max);
  go_on();
  EXPECT_FALSE(bus.commit()) << "and so it is with the next one";
}

TEST_F(RetentionPaceTest, ARunDoesNotTarryWhereNobodyElseIs) {
  fill(3);
  bus.ask("op", wire::RetentionRunT());
  bus.run();
  EXPECT_EQ(removed(), 3u);
  EXPECT_FALSE(state().run->running);
}

TEST_F(RetentionPaceTest, ARunRestsAfterAReadFourTimesAsLongAsThatTook) {
  fill(limits::retention_records_read + 1);
  EXPECT_EQ(set(policy("goes")), std::nullopt);
  EXPECT_EQ(set(latest("stays")), std::nullopt);  // for which all records are looked at, in two reads
  bus.ask("op", wire::RetentionRunT());
  bus.core->tick(bus.now);
  const auto first = bus.core->take_reads();
  ASSERT_EQ(first.size(), 1u);
  bus.advance(2ms);
  bus.answer(first);
  EXPECT_EQ(bus.core->tick(bus.now), bus.now.steady + 8ms);
  EXPECT_TRUE(bus.core->take_reads().empty());
  bus.advance(8ms);
  bus.core->tick(bus.now);
  EXPECT_EQ(bus.core->take_reads().size(), 1u);
}

// Or the one publish in a hundred that has to wait longest would wait for it.
TEST_F(RetentionPaceTest, ARunGoesEightTimesAsFastAsTheLogGrowsAndNotSlowerThanSoMuch) {
  constexpr std::size_t events = 250;
  const std::vector<Buffer> record(events, test::encode(event("stays")));
  for (int at = 0; at < 40; ++at) {
    bus.publish("p", next_, record);
    next_ += events;
    bus.run();
  }
  EXPECT_EQ(set(latest("stays")), std::nullopt);
  publish_one();
  bus.run();
  bus.ask("op", wire::RetentionRunT());
  const auto rest_after = [&](Duration took) {
    bus.core->tick(bus.now);
    const auto asked = bus.core->take_reads();
    EXPECT_EQ(asked.size(), 1u);
    bus.advance(took);
    bus.answer(asked);
    return bus.core->tick(bus.now) - bus.now.steady;
  };
  constexpr auto looked = events * limits::retention_records_read;
  EXPECT_EQ(rest_after(1ms), Duration(1s) * looked / RetentionPace::events_a_second);
  bus.advance(50ms);
  for (int at = 0; at < 4; ++at) {  // 20,000 a second
    bus.publish("p", next_, record);
    next_ += events;
    bus.commit();
    bus.commit();
  }
  const auto rest = rest_after(0ms);
  EXPECT_NEAR(std::chrono::duration<double>(rest).count(), double(looked) / (RetentionPace::gain * 20'000), 0.001);
}

// A change that waits is not made if something comes between: a later run makes it.
TEST_F(RetentionPaceTest, AChangeThatWaitsIsNotMadeOnceARuleHasChanged) {
  fill(1);
  publish_one();
  bus.run();
  bus.ask("op", wire::RetentionRunT());
  go_on();
  EXPECT_EQ(hold("goes"), std::nullopt);
  settle_down();
  EXPECT_EQ(removed(), 0u);
  EXPECT_EQ(release("goes"), std::nullopt);
  run();
  EXPECT_EQ(removed(), 1u);
}

TEST_F(RetentionPaceTest, AChangeThatWaitsIsNotMadeOnceAGroupHasBeenMovedBack) {
  fill(2);
  join("g", "goes");
  for (const auto position : delivered()) settle(position, wire::Verdict::ack);
  bus.core->gone("m");
  publish_one();
  bus.run();
  bus.ask("op", wire::RetentionRunT());
  go_on();
  wire::GroupSeekT seek;
  seek.name = "g";
  seek.to = wire::Start::start;
  EXPECT_EQ(refused(std::move(seek)), std::nullopt);
  settle_down();
  EXPECT_EQ(removed(), 0u);
  EXPECT_NE(state().run->trouble.find("a group was moved"), std::string::npos) << state().run->trouble;
}

// Half of what comes goes again, so runs have to remove as much as comes: and whatever others do.
TEST_F(RetentionPaceTest, RunsGainOnThoseWhoPublishAllTheTime) {
  EXPECT_EQ(set(at_most("goes", 100)), std::nullopt);
  std::uint64_t live_most = 0, removed_before = 0, runs = 0;
  const auto live = [this] { return bus.core->state().topics[2].events - removed(); };
  for (int second = 0; second < 1800; ++second) {
    std::vector<Buffer> events;
    for (int at = 0; at < 5; ++at) events.insert(events.end(), {test::encode(event("stays")), test::encode(event("goes"))});
    bus.publish("p", next_, events);
    next_ += events.size();
    for (int step = 0; step < 40; ++step) {
      bus.core->tick(bus.now);
      bus.advance(25ms);
      bus.read();
      bus.commit();
    }
    advance(0ms);
    if (second % 300 != 299) continue;
    live_most = std::max(live_most, live());
    EXPECT_GT(removed(), removed_before) << "in the last 5 minutes";
    removed_before = removed();
    runs = std::max(runs, state().run->number);
  }
  EXPECT_GT(runs, 10u);
  // What comes between the begins of two runs, and while one works.
  EXPECT_LT(live_most, 100u + 3 * 5 * 60) << "of " << bus.core->state().topics[2].events;
}

TEST_F(RetentionPaceTest, ARunEndsOnceTheBrokerIsStopping) {
  fill(400);
  bus.ask("op", wire::RetentionRunT());
  go_on();
  bus.commit();
  ASSERT_TRUE(state().run->running);
  bus.core->drain();
  bus.run();
  EXPECT_TRUE(bus.core->idle());
  EXPECT_LT(removed(), 400u) << "or the test shows nothing";
  EXPECT_NE(state().run->trouble.find("stopping"), std::string::npos) << state().run->trouble;
  advance(2h);
  EXPECT_FALSE(state().run->running) << "and none begins";
  EXPECT_EQ(refused(wire::RetentionRunT()), Code::shutting_down);
}

}  // namespace
}  // namespace bus::broker
