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
  // One reader at a time, unless the test says who.
  Result<store::RecordPtr> at(std::uint64_t position, LogView::ReaderId reader = 1) { return log.at(Position{position}, reader); }
  void waits(std::uint64_t position, LogView::ReaderId reader) { EXPECT_TRUE(LogView::pending(at(position, reader))); }
  // Answers what was asked for so far, with one event each; returns the positions.
  std::vector<std::uint64_t> answer_all() {
    std::vector<std::uint64_t> positions;
    for (const auto& request : reads.take()) {
      positions.push_back(number(std::get<ReadRecords>(request.ask).from));
      reads.done({request.id, ReadAnswer(std::vector<store::RecordPtr>{record(positions.back(), 1)})});
    }
    return positions;
  }
  Reads reads;
  int woken = 0;
  LogView log{reads, [this] { ++woken; }};
};

TEST_F(LogViewTest, FindsWhatWasCommittedLast) {
  log.append(record(1, 3));
  log.append(record(4, 2));
  EXPECT_EQ(log.committed(), Position{5});
  EXPECT_EQ((*at(3))->first(), Position{1});
  EXPECT_EQ((*at(4))->first(), Position{4});
  EXPECT_TRUE(reads.take().empty());
}

TEST_F(LogViewTest, AsksOnceForWhatIsNotInMemory) {
  log.start(Position{10});
  EXPECT_TRUE(LogView::pending(at(2)));
  EXPECT_TRUE(LogView::pending(at(2)));
  answer(ReadAnswer(std::vector<store::RecordPtr>{record(1, 10)}));
  EXPECT_EQ(woken, 1);
  EXPECT_TRUE((*at(2))->holds(Position{2}));
}

TEST_F(LogViewTest, AsksForNoMoreThanItMay) {
  log.start(Position{1000});
  for (std::uint64_t reader = 1; reader <= limits::reads_in_flight_max + 1; ++reader) EXPECT_TRUE(LogView::pending(at(reader, reader)));
  EXPECT_EQ(reads.take().size(), limits::reads_in_flight_max);
}

// The log begins later than what is asked for: the reader goes on from there, and does not ask again.
TEST_F(LogViewTest, GivesTheFirstThatIsLeftForWhatWasTrimmed) {
  log.start(Position{10});
  EXPECT_TRUE(LogView::pending(at(2)));
  answer(ReadAnswer(std::vector<store::RecordPtr>{record(5, 6)}));
  const auto found = at(2);
  ASSERT_TRUE(found.ok() && *found != nullptr);
  EXPECT_EQ((*found)->first(), Position{5});
  EXPECT_TRUE(reads.take().empty());
}

// A log without records may have a head: nobody waits for them for ever.
TEST_F(LogViewTest, SaysThatNothingIsThere) {
  log.start(Position{10});
  EXPECT_TRUE(LogView::pending(at(2)));
  answer(ReadAnswer(std::vector<store::RecordPtr>()));
  const auto found = at(2);
  ASSERT_FALSE(found.ok());
  EXPECT_EQ(found.error().code, Code::damaged);
  EXPECT_TRUE(reads.take().empty());
}

TEST_F(LogViewTest, SaysWhatIsDamaged) {
  log.start(Position{10});
  EXPECT_TRUE(LogView::pending(at(2)));
  answer(Error{Code::damaged, "position 2"});
  EXPECT_EQ(woken, 1);
  const auto found = at(2);
  ASSERT_FALSE(found.ok());
  EXPECT_EQ(found.error().code, Code::damaged);
  EXPECT_TRUE(LogView::pending(at(3))) << "its neighbours may be good";
}

TEST_F(LogViewTest, ForgetsTheOldestBeyondItsBytes) {
  std::uint64_t next = 1;
  for (std::size_t bytes = 0; bytes < limits::tail_bytes_max + 2 * limits::MiB; bytes += limits::MiB, ++next) {
    log.append(record(next, 1, limits::MiB - 1000));
  }
  EXPECT_TRUE(LogView::pending(at(1)));
  EXPECT_FALSE(LogView::pending(at(number(log.committed()))));
}

TEST_F(LogViewTest, KeepsWhatItWasAnsweredWithinItsBytes) {
  log.start(Position{100});
  const auto large = limits::MiB - 1000;
  for (std::uint64_t next = 1; next <= limits::cold_bytes_max / limits::MiB + 2; ++next) {
    EXPECT_TRUE(LogView::pending(at(next)));
    answer(ReadAnswer(std::vector<store::RecordPtr>{record(next, 1, large)}));
    EXPECT_FALSE(LogView::pending(at(next))) << "evicted before it was seen";
  }
  EXPECT_TRUE(LogView::pending(at(1)));
}

// ---- many readers

constexpr auto places = limits::reads_in_flight_max;

TEST_F(LogViewTest, EveryReaderComesOnHoweverManyThereAre) {
  constexpr std::uint64_t readers = 40, rounds = 30, apart = 1000;
  constexpr auto patience = (readers + places - 1) / places;  // rounds until all who are before one have had their place
  log.start(Position{readers * apart});
  std::vector<std::uint64_t> read(readers), last_round(readers);
  for (std::uint64_t round = 0; round < rounds; ++round) {
    for (std::uint64_t reader = 0; reader < readers; ++reader) {
      for (; !LogView::pending(at(reader * apart + read[reader] + 1, reader)); ++read[reader]) last_round[reader] = round;
      EXPECT_LE(round - last_round[reader], patience) << reader;
    }
    EXPECT_EQ(answer_all().size(), places) << "nobody is idle";
  }
}

TEST_F(LogViewTest, APlaceIsFreeOnceItsReaderHasReadWhatCame) {
  log.start(Position{1000});
  for (std::uint64_t reader = 1; reader <= places + 2; ++reader) waits(reader, reader);
  EXPECT_EQ(answer_all().size(), places);
  EXPECT_TRUE(answer_all().empty()) << "what came was not looked at, and must not be pushed out by more";
  EXPECT_FALSE(LogView::pending(at(1, 1)));
  EXPECT_TRUE(answer_all().empty()) << "it may read on in what came";
  EXPECT_TRUE(LogView::pending(at(500, 1)));
  EXPECT_EQ(answer_all(), std::vector<std::uint64_t>{places + 1}) << "the first in line";
  log.leave(2);
  EXPECT_EQ(answer_all(), std::vector<std::uint64_t>{places + 2});
  log.leave(3);
  EXPECT_EQ(answer_all(), std::vector<std::uint64_t>{500});
}

TEST_F(LogViewTest, WhoLeavesTheLineIsNotReadFor) {
  log.start(Position{1000});
  for (std::uint64_t reader = 1; reader <= places + 2; ++reader) waits(reader, reader);
  log.leave(places + 1);
  answer_all();
  log.leave(1);
  EXPECT_EQ(answer_all(), std::vector<std::uint64_t>{places + 2});
}

TEST_F(LogViewTest, AsksForNoMoreThanItMayWhenReadersComeAndGo) {
  log.start(Position{1000});
  for (std::uint64_t reader = 1; reader <= 10 * places; ++reader) {
    waits(reader, reader);
    log.leave(reader);
  }
  waits(999, 999);
  EXPECT_EQ(answer_all().size(), places) << "they cannot be called back";
  EXPECT_EQ(answer_all(), std::vector<std::uint64_t>{999});
}

TEST_F(LogViewTest, AReaderThatWasMovedWaitsForItsNewPositionOnly) {
  log.start(Position{1000});
  for (std::uint64_t reader = 1; reader <= places + 1; ++reader) waits(reader, reader);
  waits(700, 1);           // its read is on its way
  waits(800, places + 1);  // in line
  EXPECT_EQ(answer_all().size(), places);
  waits(700, 1);
  EXPECT_EQ(answer_all(), std::vector<std::uint64_t>{700}) << "it kept its place";
  log.leave(2);
  EXPECT_EQ(answer_all(), std::vector<std::uint64_t>{800});
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
