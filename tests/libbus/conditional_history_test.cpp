// Goal: the checker of conditions_test finds what no order of events explains, and nothing else.
// Method: a small history that is right, and for each way to be wrong the same history with one thing forged.
#include "tests/libbus/conditional_history.hpp"

#include <gtest/gtest.h>

namespace bus::test {
namespace {

// Keys 1 and 2. Instants are plain numbers; `at` a position is also the event's place in the log, from 1.
class ConditionalHistoryTest : public ::testing::Test {
 protected:
  static Need at(std::uint32_t key, std::uint64_t version) { return {key, Wanted::version, version}; }
  void stored(std::uint32_t key, std::vector<Need> needs, std::uint64_t version, std::int64_t called, std::int64_t answered) {
    const auto position = log.size() + 1;
    log.push_back({++last_id, position, key, version});
    operations.push_back({last_id, key, std::move(needs), called, answered, Outcome::stored, version, position, 0});
  }
  void conflict(std::vector<Need> needs, std::uint32_t about, std::uint64_t version, std::int64_t called, std::int64_t answered) {
    operations.push_back({++last_id, needs.at(0).key, std::move(needs), called, answered, Outcome::conflict, version, 0, about});
  }
  void seen(std::uint32_t key, std::uint64_t version, std::int64_t called, std::int64_t answered) {
    operations.push_back({++last_id, key, {}, called, answered, Outcome::seen, version, 0, 0});
  }
  // Version 1 of key 1 is certain from 20 on, version 2 from 40, version 3 from 60; key 2 has version 1 from 60 on.
  void write_some() {
    stored(1, {at(1, 0)}, 1, 10, 20);
    stored(1, {at(1, 1)}, 2, 30, 40);
    stored(2, {at(2, 0), at(1, 2)}, 1, 45, 60);
    stored(1, {at(1, 2), {2, Wanted::exists, 0}}, 3, 50, 60);
  }
  std::string fault() const {
    const auto faults = ConditionalHistory(operations, log).faults(1);
    return faults.empty() ? "" : faults[0];
  }
  void expect_fault(const std::string& part) const { EXPECT_NE(fault().find(part), std::string::npos) << "'" << fault() << "'"; }

  std::vector<Operation> operations;
  std::vector<Logged> log;
  std::uint64_t last_id = 0;
};

TEST_F(ConditionalHistoryTest, IsFineWhereOneOrderExplainsAll) {
  write_some();
  conflict({at(1, 0)}, 1, 1, 15, 32);
  conflict({at(1, 1)}, 1, 2, 41, 42);
  conflict({at(1, 2), at(2, 5)}, 2, 1, 46, 59);
  conflict({{2, Wanted::absent, 0}}, 2, 1, 55, 70);
  conflict({{2, Wanted::exists, 0}}, 2, 0, 45, 46);
  seen(1, 2, 41, 48);
  seen(3, 0, 1, 100);
  EXPECT_EQ(fault(), "");
}

TEST_F(ConditionalHistoryTest, AllowsOverlappingOperationsEitherOrder) {
  stored(1, {}, 1, 10, 100);
  stored(1, {}, 2, 5, 90);
  EXPECT_EQ(fault(), "");
}

TEST_F(ConditionalHistoryTest, AllowsWhatIsUnknownToBeStoredOrNotAndNeverAnswered) {
  write_some();
  operations[3].outcome = Outcome::unknown;
  operations.push_back({99, 1, {at(1, 3)}, 70, 0, Outcome::unknown, 0, 0, 0});
  EXPECT_EQ(fault(), "");
  operations[3].needs = {at(1, 7)};
  expect_fault("not as it wanted it");
}

TEST_F(ConditionalHistoryTest, FindsTwoSuccessesAtOneVersion) {
  write_some();
  operations.push_back({99, 1, {at(1, 1)}, 30, 40, Outcome::stored, 2, 2, 0});
  expect_fault("operation 99 has a receipt for version 2 of key 1, and the log does not have it");
}

TEST_F(ConditionalHistoryTest, FindsAVersionThatTheLogHasTwice) {
  write_some();
  log[1].version = 1;
  expect_fault("the log has version 1 of key 1 where version 2 belongs");
}

TEST_F(ConditionalHistoryTest, FindsALostVersion) {
  write_some();
  log.erase(log.begin() + 1);
  expect_fault("the log has version 3 of key 1 where version 2 belongs");
}

TEST_F(ConditionalHistoryTest, FindsALostLastEvent) {
  write_some();
  log.pop_back();
  expect_fault("the log does not have it");
}

TEST_F(ConditionalHistoryTest, FindsAnEventThatIsStoredTwiceOrByNobody) {
  write_some();
  log.push_back({1, 5, 1, 4});
  expect_fault("event 1 is in the log twice");
  log.back().id = 77;
  expect_fault("event 77 is in the log, and nobody published it");
}

TEST_F(ConditionalHistoryTest, FindsARefusedEventInTheLog) {
  write_some();
  operations[1].outcome = Outcome::refused;
  expect_fault("operation 2 was refused, and is in the log");
}

TEST_F(ConditionalHistoryTest, FindsAReceiptForAnotherPlace) {
  write_some();
  operations[3].position = 9;
  expect_fault("the log has it as version 3 of key 1 at 4");
}

TEST_F(ConditionalHistoryTest, FindsSuccessesAgainstTheOrderOfTime) {
  stored(1, {}, 1, 50, 60);
  stored(1, {}, 2, 30, 40);
  expect_fault("was known before");
}

TEST_F(ConditionalHistoryTest, FindsSuccessesOfTwoKeysAgainstTheOrderOfTime) {
  stored(1, {}, 1, 50, 60);
  stored(2, {}, 1, 30, 40);
  expect_fault("was known before");
}

TEST_F(ConditionalHistoryTest, FindsASuccessAgainstItsCondition) {
  write_some();
  operations[1].needs = {at(1, 0)};
  expect_fault("operation 2 was stored although key 1 was not as it wanted it");
}

TEST_F(ConditionalHistoryTest, FindsASuccessAgainstAConditionOnAnotherKey) {
  write_some();
  operations[2].needs[1] = at(1, 3);
  expect_fault("operation 3 was stored although key 1");
  operations[2].needs[1] = {2, Wanted::exists, 0};
  expect_fault("operation 3 was stored although key 2");
}

TEST_F(ConditionalHistoryTest, FindsAVersionBeforeItsTime) {
  write_some();
  conflict({at(1, 0)}, 1, 2, 15, 25);
  expect_fault("was known before");
}

TEST_F(ConditionalHistoryTest, FindsAVersionThatWasOverAlready) {
  write_some();
  conflict({at(1, 0)}, 1, 1, 41, 42);
  expect_fault("not yet known after");
}

TEST_F(ConditionalHistoryTest, FindsAVersionThatNeverWas) {
  write_some();
  conflict({at(1, 0)}, 1, 4, 15, 100);
  expect_fault("saw version 4 of key 1, which never was");
}

TEST_F(ConditionalHistoryTest, FindsAConflictThatReportsWhatWasExpected) {
  write_some();
  conflict({at(1, 2)}, 1, 2, 41, 42);
  expect_fault("was refused as it wanted it");
}

TEST_F(ConditionalHistoryTest, FindsAConflictAboutAKeyThatWasNotNamed) {
  write_some();
  conflict({at(1, 2)}, 2, 1, 41, 100);
  expect_fault("was refused as it wanted it");
}

TEST_F(ConditionalHistoryTest, FindsAConflictAlthoughTheConditionHeldThroughout) {
  write_some();
  conflict({at(1, 3)}, 1, 2, 61, 70);
  expect_fault("not yet known after");
}

TEST_F(ConditionalHistoryTest, FindsAConflictWhoseOtherConditionWasNotMetAtTheSameTime) {
  write_some();
  conflict({at(1, 1), at(2, 5)}, 2, 1, 10, 100);
  expect_fault("not together with the rest");
}

// Each by itself could be; the second saw what was over when the first had its answer.
TEST_F(ConditionalHistoryTest, FindsTwoThatSawTheVersionGoBackwards) {
  stored(1, {}, 1, 10, 100);
  conflict({at(1, 5)}, 1, 1, 20, 30);
  conflict({at(1, 5)}, 1, 0, 31, 40);
  expect_fault("not yet known after");
}

TEST_F(ConditionalHistoryTest, FindsAHeadThatIsBehind) {
  write_some();
  seen(1, 1, 41, 42);
  expect_fault("not yet known after");
}

}  // namespace
}  // namespace bus::test
