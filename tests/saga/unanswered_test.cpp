// Goal: what a command asks for is done once, however often it comes before its reply is on record, and what is kept for that has a limit.
// Method: an Unanswered by hand.
#include "libbus/saga/unanswered.hpp"

#include <gtest/gtest.h>

#include <thread>

namespace bus::saga {
namespace {

class UnansweredCommands : public ::testing::Test {
 protected:
  Unanswered unanswered;
  int times = 0;

  // How often anything was done by then.
  std::string once(std::uint64_t position) {
    return std::get<Value>(unanswered.once(Position{position}, [this] { return Value{"", {}, std::to_string(++times)}; })).text;
  }
};

TEST_F(UnansweredCommands, AreDoneOnce) {
  EXPECT_EQ(once(1), "1");
  EXPECT_EQ(once(2), "2");
  EXPECT_EQ(once(1), "1");
  EXPECT_EQ(once(2), "2");
}

TEST_F(UnansweredCommands, AreForgottenOnceTheyAreAnswered) {
  EXPECT_EQ(once(1), "1");
  unanswered.forget(Position{1});
  EXPECT_EQ(once(1), "2");
  unanswered.forget(Position{7});
}

TEST_F(UnansweredCommands, ThatComeMeanwhileWaitForWhatIsBeingDone) {
  std::promise<void> begun, end;
  std::thread first([&] {
    unanswered.once(Position{1}, [&] {
      begun.set_value();
      end.get_future().wait();
      return Value{"", {}, "the first one's"};
    });
  });
  begun.get_future().wait();
  auto second = std::async(std::launch::async, [&] { return once(1); });
  end.set_value();
  EXPECT_EQ(second.get(), "the first one's");
  first.join();
}

TEST_F(UnansweredCommands, AreKeptUpToALimitTheLatestOnes) {
  for (std::uint64_t position = 1; position <= Unanswered::most; ++position) once(position);
  EXPECT_EQ(once(1), "1");
  once(Unanswered::most + 1);
  EXPECT_EQ(once(2), "2");
  EXPECT_EQ(once(1), std::to_string(Unanswered::most + 2));
}

// Whoever waits for it would wait in vain.
TEST_F(UnansweredCommands, ThatAreBeingDoneAreKeptBeyondTheLimit) {
  unanswered.once(Position{1}, [this] {
    for (std::uint64_t position = 2; position <= 2 * Unanswered::most; ++position) once(position);
    return Value{"", {}, "at last"};
  });
  EXPECT_EQ(once(1), "at last");
}

}  // namespace
}  // namespace bus::saga
