// Goal: whatever the network, the disk, the clients and the operators do, and whenever the broker dies, what it promised
// stays true: every receipt, every position, every ack it confirmed; and once the faults stop, everything comes to its end.
// Method: the real core and the real store on one thread with a simulated network and clock, many short runs, each from a
// seed; a ledger checks what is committed and said. BUS_SEEDS sets how many runs, BUS_SEED runs just one.
// The canaries break something on purpose: a checker that does not notice is no checker.
#include <gtest/gtest.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>

#include "tests/sim/world.hpp"

namespace bus::sim {
namespace {

std::uint64_t current_seed = 0;
Ledger::Steps steps;  // of all runs

// A failed BUS_CHECK ends the process: say of which seed.
void say_seed(int) {
  std::fprintf(stderr, "aborted in the run of BUS_SEED=%llu\n", static_cast<unsigned long long>(current_seed));
}

std::uint64_t number_from(const char* name, std::uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text != nullptr ? std::strtoull(text, nullptr, 10) : otherwise;
}

const broker::PayloadTypes& types() {
  static const broker::PayloadTypes types;
  return types;
}

std::string run(std::uint64_t seed, Fault fault = Fault::none) try {
  current_seed = seed;
  World world(types(), seed, fault);
  world.run();
  steps.stored += world.steps().stored;
  steps.conflicts += world.steps().conflicts;
  steps.stale += world.steps().stale;
  return "";
} catch (const Violation& violation) {
  return violation.what();
}

TEST(Simulation, KeepsItsPromises) {
  std::signal(SIGABRT, say_seed);
  const auto only = number_from("BUS_SEED", 0);
  const auto seeds = number_from("BUS_SEEDS", 1000);
  for (auto seed = only != 0 ? only : 1; seed <= (only != 0 ? only : seeds); ++seed) {
    ASSERT_EQ(run(seed), "") << "to run it again: BUS_SEED=" << seed;
  }
  if (only != 0 || seeds < 50) return;
  std::printf("steps: %llu stored, %llu in conflict, %llu stale\n", static_cast<unsigned long long>(steps.stored),
              static_cast<unsigned long long>(steps.conflicts), static_cast<unsigned long long>(steps.stale));
  EXPECT_TRUE(steps.stored > seeds && steps.conflicts > seeds / 10 && steps.stale > seeds / 10) << "too few steps to prove anything";
}

class Canary : public ::testing::TestWithParam<Fault> {};

TEST_P(Canary, IsNoticed) {
  for (std::uint64_t seed = 1; seed <= 50; ++seed) {
    if (!run(seed, GetParam()).empty()) return;
  }
  FAIL() << "50 runs with this fault were taken for good ones";
}

INSTANTIATE_TEST_SUITE_P(Simulation, Canary,
                         ::testing::Values(Fault::early_report, Fault::forgotten_commit, Fault::lost_delivery,
                                           Fault::swapped_messages, Fault::changed_byte));

}  // namespace
}  // namespace bus::sim
