// Goal: a position is found in memory, or asked for once and found when it has come; damage is said, never hidden.
// Method: the test is the reader thread.
#include <gtest/gtest.h>

#include "broker/core/log_view.hpp"
#include "tests/support/events.hpp"

namespace bus::broker {
namespace {

store::RecordPtr record(std::uint64_t first, std::size_t events, std::size_t text_bytes = 10) {
  store::RecordBuilder builder;
  auto event = test::event();
  event.payload = test::notification(std::string(text_bytes, 'x'));
  const Buffer body = test::encode(event);
  for (std::size_t at = 0; at < events; ++at) {
    store::Entry entry;
    entry.topic = entry.type = entry.publisher = 1;
    entry.sequence = first + at;
    builder.append(entry, body);
  }
  return builder.seal({{}, Position{first}, wall_time(1), 0, 1});
}

class LogViewTest : public ::testing::Test {
 protected:
  void answer(Result<ReadAnswer> what) {
    auto asked = reads.take();
    ASSERT_EQ(asked.size(), 1u);
    reads.done({asked[0].id, std::move(what)});
  }
  Reads reads;
  int woken = 0;
  LogView log{reads, [this] { ++woken; }};
};

TEST_F(LogViewTest, FindsWhatWasCommittedLast) {
  log.append(record(1, 3));
  log.append(record(4, 2));
  EXPECT_EQ(log.committed(), Position{5});
  EXPECT_EQ((*log.at(Position{3}))->first(), Position{1});
  EXPECT_EQ((*log.at(Position{4}))->first(), Position{4});
  EXPECT_TRUE(reads.take().empty());
}

TEST_F(LogViewTest, AsksOnceForWhatIsNotInMemory) {
  log.start(Position{10});
  EXPECT_TRUE(LogView::pending(log.at(Position{2})));
  EXPECT_TRUE(LogView::pending(log.at(Position{2})));
  answer(ReadAnswer(std::vector<store::RecordPtr>{record(1, 10)}));
  EXPECT_EQ(woken, 1);
  EXPECT_TRUE((*log.at(Position{2}))->holds(Position{2}));
}

TEST_F(LogViewTest, AsksForNoMoreThanItMay) {
  log.start(Position{1000});
  for (std::uint64_t at = 1; at <= 2 * limits::reads_in_flight_max; ++at) EXPECT_TRUE(LogView::pending(log.at(Position{at})));
  EXPECT_EQ(reads.take().size(), limits::reads_in_flight_max);
}

TEST_F(LogViewTest, SaysWhatIsDamaged) {
  log.start(Position{10});
  EXPECT_TRUE(LogView::pending(log.at(Position{2})));
  answer(Error{Code::damaged, "position 2"});
  EXPECT_EQ(woken, 1);
  const auto found = log.at(Position{2});
  ASSERT_FALSE(found.ok());
  EXPECT_EQ(found.error().code, Code::damaged);
  EXPECT_TRUE(LogView::pending(log.at(Position{3}))) << "its neighbours may be good";
}

TEST_F(LogViewTest, ForgetsTheOldestBeyondItsBytes) {
  std::uint64_t next = 1;
  for (std::size_t bytes = 0; bytes < limits::tail_bytes_max + 2 * limits::MiB; bytes += limits::MiB, ++next) {
    log.append(record(next, 1, limits::MiB - 1000));
  }
  EXPECT_TRUE(LogView::pending(log.at(Position{1})));
  EXPECT_FALSE(LogView::pending(log.at(log.committed())));
}

TEST_F(LogViewTest, KeepsWhatItWasAnsweredWithinItsBytes) {
  log.start(Position{100});
  const auto large = limits::MiB - 1000;
  for (std::uint64_t at = 1; at <= limits::cold_bytes_max / limits::MiB + 2; ++at) {
    EXPECT_TRUE(LogView::pending(log.at(Position{at})));
    answer(ReadAnswer(std::vector<store::RecordPtr>{record(at, 1, large)}));
    EXPECT_FALSE(LogView::pending(log.at(Position{at}))) << "evicted before it was seen";
  }
  EXPECT_TRUE(LogView::pending(log.at(Position{1})));
}

TEST(Reads, AnswerThoseWhoAskedAndNobodyElse) {
  Reads reads;
  int answers = 0;
  reads.ask(ReadStat{}, [&](auto) { ++answers; });
  const auto asked = reads.take();
  EXPECT_EQ(reads.pending(), 1u);
  EXPECT_FALSE(reads.done({asked[0].id + 1, Error{}}));
  EXPECT_TRUE(reads.done({asked[0].id, Error{}}));
  EXPECT_FALSE(reads.done({asked[0].id, Error{}}));
  EXPECT_EQ(answers, 1);
}

}  // namespace
}  // namespace bus::broker
