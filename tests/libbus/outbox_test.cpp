// Goal: the outbox numbers events without a hole, keeps batches within their limits, and never holds more than its window.
// Method: an Outbox by hand, with a fake clock.
#include <gtest/gtest.h>

#include "base/limits.hpp"
#include "src/outbox.hpp"

namespace bus {
namespace {

using namespace std::chrono_literals;

constexpr SteadyTime start{};

class OutboxTest : public ::testing::Test {
 protected:
  OutboxTest() { outbox.open({1 << 20, 100'000}, 0); }
  Result<std::uint64_t> add(std::size_t bytes = 8, std::optional<std::uint64_t> sequence = std::nullopt, SteadyTime now = start) {
    const Buffer event(bytes, 1);
    ReceiptCallback done = [](const Result<Receipt>&) {};
    return outbox.add({event}, done, sequence, now);
  }
  Outbox outbox;
};

TEST_F(OutboxTest, ContinuesAfterThePublishersLastSequence) {
  outbox.open({1 << 20, 100}, 41);
  EXPECT_EQ(add().value(), 42u);
  EXPECT_EQ(add().value(), 43u);
  const auto batch = outbox.take(start, 0ms);
  ASSERT_TRUE(batch.has_value());
  EXPECT_EQ(batch->first_sequence, 42u);
  EXPECT_EQ(batch->last_sequence(), 43u);
  EXPECT_EQ(batch->body.bytes.size(), 16u);
}

TEST_F(OutboxTest, SendsAtOnceWhileFewAreOnTheWayAndGathersAfterThat) {
  std::vector<Batch> on_the_way;
  for (std::size_t at = 0; at < Outbox::batches_ahead; ++at) {
    add().value();
    EXPECT_TRUE(outbox.is_ready());
    on_the_way.push_back(*outbox.take(start, 0ms));
  }
  add().value();
  add().value();
  EXPECT_FALSE(outbox.is_ready());
  EXPECT_FALSE(outbox.take(start, 0ms).has_value());
  outbox.answered(on_the_way[0]);
  EXPECT_EQ(outbox.take(start, 0ms)->done.size(), 2u);
}

TEST_F(OutboxTest, SendsAFullBatchWhateverIsOnTheWay) {
  for (std::size_t at = 0; at < Outbox::batches_ahead; ++at) {
    add().value();
    outbox.take(start, 0ms);
  }
  for (std::size_t bytes = 0; bytes < Outbox::batch_bytes_target; bytes += 1024) add(1024).value();
  const auto batch = outbox.take(start, 0ms);
  ASSERT_TRUE(batch.has_value());
  EXPECT_EQ(batch->body.bytes.size(), Outbox::batch_bytes_target);
}

TEST_F(OutboxTest, LetsAnEventLinger) {
  add(8, std::nullopt, start + 1ms).value();
  EXPECT_FALSE(outbox.take(start + 5ms, 10ms).has_value());
  EXPECT_EQ(outbox.due(10ms), start + 11ms);
  EXPECT_TRUE(outbox.take(start + 11ms, 10ms).has_value());
}

TEST_F(OutboxTest, SendsWhatACallerLeavesOutAsGivenUp) {
  add(8, 3).value();
  const auto batch = outbox.take(start, 0ms);
  EXPECT_EQ(batch->first_sequence, 1u);
  ASSERT_EQ(batch->done.size(), 3u);
  EXPECT_FALSE(batch->done[0]);
  EXPECT_FALSE(batch->done[1]);
  EXPECT_TRUE(batch->done[2]);
  EXPECT_EQ(load<std::uint64_t>(batch->body.bytes.data()), 0u);
}

TEST_F(OutboxTest, SendsSequencesThatWereUsedBeforeWithoutFillingIn) {
  outbox.open({1 << 20, 100}, 10);
  add(8, 2).value();
  add(8, 5).value();
  add(8, 12).value();
  std::vector<std::pair<std::uint64_t, std::size_t>> batches;
  while (auto batch = outbox.take(start, 0ms)) {
    batches.emplace_back(batch->first_sequence, batch->done.size());
    outbox.answered(*batch);
  }
  EXPECT_EQ(batches, (std::vector<std::pair<std::uint64_t, std::size_t>>{{2, 1}, {5, 1}, {11, 2}}));
}

TEST_F(OutboxTest, RefusesSequencesThatDoNotRiseOrLeaveOutTooMany) {
  EXPECT_EQ(add(8, 0).error().code, Code::bad_argument);
  add(8, 5).value();
  EXPECT_EQ(add(8, 5).error().code, Code::bad_argument);
  EXPECT_EQ(add(8, 4).error().code, Code::bad_argument);
  EXPECT_EQ(add(8, 6 + Outbox::skip_max + 1).error().code, Code::bad_argument);
  EXPECT_EQ(add().value(), 6u) << "nothing was taken by what was refused";
}

TEST_F(OutboxTest, HoldsNoMoreThanItsWindow) {
  outbox.open({100, 3}, 0);
  EXPECT_TRUE(outbox.has_room(1000)) << "an empty window takes any event";
  add(48).value();
  EXPECT_TRUE(outbox.has_room(52));
  EXPECT_FALSE(outbox.has_room(53));
  add(8).value();
  add(8).value();
  EXPECT_FALSE(outbox.has_room(8)) << "three events are three events";
  outbox.answered(*outbox.take(start, 0ms));
  EXPECT_TRUE(outbox.has_room(100));
  EXPECT_EQ(outbox.events(), 0u);
}

TEST_F(OutboxTest, KeepsABatchWithinItsLimits) {
  outbox.open({1 << 30, 1 << 20}, 0);
  for (std::size_t at = 0; at <= limits::batch_events_max; ++at) add(0).value();
  EXPECT_EQ(outbox.take(start, 0ms)->done.size(), limits::batch_events_max);
  EXPECT_EQ(outbox.take(start, 0ms)->done.size(), 1u);
  add(Outbox::batch_bytes_target - 8).value();
  add(limits::event_bytes_max + 8).value();
  add(limits::batch_bytes_max - 8).value();
  while (const auto batch = outbox.take(start, 0ms)) EXPECT_LE(batch->body.bytes.size(), limits::batch_bytes_max);
}

class OutboxStepTest : public OutboxTest {
 protected:
  void add_step(std::size_t events, std::size_t bytes = 8, std::size_t settlements = 0, std::size_t cancels = 0) {
    const std::vector<Buffer> bodies(events, Buffer(bytes, 2));
    std::vector<Outbox::Item> items;
    for (const auto& body : bodies) items.push_back({body, conditions});
    std::vector<wire::SettleT> settles(settlements > 0 ? 1 : 0);
    for (std::uint64_t at = 1; at <= settlements; ++at) settles[0].settlements.emplace_back(at, 1, 0, wire::Verdict::ack);
    BatchStep step{0, 0, std::move(settles)};
    step.cancels.resize(cancels);
    outbox.add_step(items, std::move(step), [](const Result<Receipt>&) {}, start);
  }
  std::vector<Condition> conditions;
};

TEST_F(OutboxStepTest, TravelsInOneBatchWithWhatComesBeforeAndAfterIt) {
  add().value();
  conditions = {Condition::at(3), Condition::absent("other")};
  add_step(2, 8, 1);
  conditions.clear();
  add_step(1);
  const auto batch = outbox.take(start, 0ms);
  ASSERT_TRUE(batch.has_value());
  EXPECT_EQ(batch->done.size(), 4u);
  ASSERT_EQ(batch->steps.size(), 2u);
  EXPECT_EQ(batch->steps[0].first, 1u);
  EXPECT_EQ(batch->steps[0].count, 2u);
  EXPECT_EQ(batch->steps[0].settles.size(), 1u);
  EXPECT_EQ(batch->steps[1].first, 3u);
  ASSERT_EQ(batch->conditions.size(), 4u);
  EXPECT_EQ(batch->conditions[0].event(), 1u);
  EXPECT_EQ(batch->conditions[3].event(), 2u);
  EXPECT_EQ(batch->conditions[0].key(), 0u);
  EXPECT_EQ(batch->condition_keys, (std::vector<std::string>{"other", "other"}));
  EXPECT_EQ(batch->conditions[3].key(), 2u);
}

TEST_F(OutboxStepTest, IsNeverSplitOverBatches) {
  outbox.open({1 << 30, 1 << 20}, 0);
  for (std::size_t at = 1; at < limits::batch_events_max; ++at) add(0).value();
  add_step(2, 0);
  EXPECT_EQ(outbox.take(start, 0ms)->steps.size(), 0u);
  EXPECT_EQ(outbox.take(start, 0ms)->steps.at(0).count, 2u);
  add(100 * 1024).value();
  add_step(2, limits::batch_bytes_max / 2 / 8 * 8);
  EXPECT_EQ(outbox.take(start, 0ms)->done.size(), 1u);
  EXPECT_EQ(outbox.take(start, 0ms)->done.size(), 2u);
}

TEST_F(OutboxStepTest, BeginsAnotherBatchWhereTheHeaderWouldBeTooLarge) {
  for (int step = 0; step < 20; ++step) add_step(1, 8, limits::step_settlements_max);
  std::size_t steps = 0;
  for (int batch = 0; batch < 20 && steps < 20; ++batch) {
    const auto taken = outbox.take_all();
    for (const auto& one : taken) {
      std::size_t bytes = 0;
      for (const auto& each : one.steps) bytes += header_bytes(each);
      EXPECT_LE(bytes, limits::step_header_bytes_max);
      steps += one.steps.size();
    }
  }
  EXPECT_EQ(steps, 20u);
}

TEST_F(OutboxStepTest, BeginsAnotherBatchWhereOneWouldCancelTooMany) {
  add_step(1, 8, 0, limits::schedule_ids_max - 1);
  add_step(1, 8, 0, 1);
  add_step(1, 8, 0, 1);
  add_step(1, 8, 0, limits::schedule_ids_max);
  std::vector<std::size_t> steps;
  for (const auto& batch : outbox.take_all()) steps.push_back(batch.steps.size());
  EXPECT_EQ(steps, (std::vector<std::size_t>{2, 1, 1}));
}

TEST_F(OutboxStepTest, UsesSequencesThatNobodyNamesAgain) {
  add(8, 5).value();
  add_step(2);
  EXPECT_EQ(add(8, 6).error().code, Code::bad_argument) << "it would be answered with the step's receipt";
  EXPECT_EQ(add(8, 8).value(), 8u);
}

TEST_F(OutboxTest, NamesTheOldestSequenceWithoutAReceipt) {
  EXPECT_EQ(outbox.oldest_sequence(), 0u);
  add().value();
  EXPECT_EQ(outbox.oldest_sequence(), 1u);
  const auto first = outbox.take(start, 0ms);
  add().value();
  EXPECT_EQ(outbox.oldest_sequence(), 1u);
  outbox.answered(*first);
  EXPECT_EQ(outbox.oldest_sequence(), 2u);
}

}  // namespace
}  // namespace bus
