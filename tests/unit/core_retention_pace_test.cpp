// Goal: whoever publishes while a run is under way does not wait for commits that are retention's alone, nor for a reader thread
// that retention keeps busy; and the run comes to its end all the same.
// Method: as in core_retention_test.cpp, one step at a time.
#include "tests/support/retention_case.hpp"

namespace bus::broker {
namespace {

// A log of `records` small records, of each of which a run removes half.
class RetentionPace : public RetentionCase {
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
    do bus.core->tick(bus.now);
    while (bus.read());
  }
  std::uint64_t removed() const { return bus.core->state().topics[2].removed_events; }

 private:
  static wire::EventT event(const std::string& topic) {
    auto event = test::event(topic);
    event.payload = test::notification("text");
    return event;
  }
};

TEST_F(RetentionPace, AChangeGoesWithACommitOfOthersWhileThereAreAny) {
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

TEST_F(RetentionPace, AChangeHasACommitOfItsOwnIfNobodyComesForAWhile) {
  fill(limits::retention_trims_max + 1);
  publish_one();
  bus.run();
  bus.ask("op", wire::RetentionRunT());
  go_on();
  bus.advance(Retention::patience - 1ms);
  EXPECT_EQ(bus.core->tick(bus.now), bus.now.steady + 1ms) << "the loop is back in time";
  EXPECT_FALSE(bus.commit());
  bus.advance(1ms);
  EXPECT_TRUE(bus.commit());
  EXPECT_EQ(removed(), limits::retention_trims_max);
  go_on();
  EXPECT_FALSE(bus.commit()) << "and so it is with the next one";
}

TEST_F(RetentionPace, ARunDoesNotTarryWhereNobodyElseIs) {
  fill(3);
  bus.ask("op", wire::RetentionRunT());
  bus.run();
  EXPECT_EQ(removed(), 3u);
  EXPECT_FALSE(state().run->running);
}

TEST_F(RetentionPace, ARunRestsAfterAReadFourTimesAsLongAsThatTook) {
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

// A change that waits is not made if something comes between: a later run makes it.
TEST_F(RetentionPace, AChangeThatWaitsIsNotMadeOnceARuleHasChanged) {
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

TEST_F(RetentionPace, AChangeThatWaitsIsNotMadeOnceAGroupHasBeenMovedBack) {
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

}  // namespace
}  // namespace bus::broker
