// Goal: a rehearsal plays a saga as its script says, on its own clock, the same each time.
// Method: small sagas of local and remote steps.
#include "bus/saga_rehearsal.hpp"

#include <gtest/gtest.h>

namespace bus::saga {
namespace {

const Action nothing = [](const Context&) { return Value(); };

Step undone(const std::string& name) { return std::move(Step(name).run(nothing).compensate(nothing)); }

TEST(Rehearsal, PlaysASagaToItsEnd) {
  Rehearsal rehearsal(std::move(Definition("plan").step(undone("a")).step(undone("b"))));
  EXPECT_TRUE(rehearsal.start("1"));
  EXPECT_FALSE(rehearsal.start("1"));
  rehearsal.run();
  EXPECT_EQ(rehearsal.status("1"), "completed");
  EXPECT_EQ(rehearsal.history("1"),
            "    +0.000s  SagaStarted\n"
            "    +0.000s  StepStarted a attempt 1\n"
            "    +0.000s  StepReply a attempt 1\n"
            "    +0.000s  StepCompleted a attempt 1\n"
            "    +0.000s  StepStarted b attempt 1\n"
            "    +0.000s  StepReply b attempt 1\n"
            "    +0.000s  StepCompleted b attempt 1\n"
            "    +0.000s  SagaCompleted\n");
}

}  // namespace
}  // namespace bus::saga
