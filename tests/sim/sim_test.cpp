// Goal: whatever the network, the disk, the clients and the operators do, and whenever the broker dies, what it promised
// stays true: every receipt, every position, every ack it confirmed, every event that retention has to keep; and once the faults
// stop, everything comes to its end, and what has to go is gone.
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
Ledger::Figures figures;  // of all runs

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
  figures += world.figures();
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
  if (only != 0 || seeds < 300) return;
  const auto n = [](std::uint64_t count) { return static_cast<unsigned long long>(count); };
  std::printf("steps: %llu stored, %llu without events, %llu in conflict, %llu stale; %llu ids known; snapshots: %llu kept, %llu pruned, %llu erased; "
              "cancels: %llu done, %llu late\n", n(figures.steps), n(figures.without_events), n(figures.conflicts), n(figures.stale), n(figures.known_ids),
              n(figures.snapshots), n(figures.pruned), n(figures.erased), n(figures.cancels), n(figures.late));
  std::printf("retention: %llu removed, %llu of records that were deleted, %llu as later ones have their keys; kept at the end: %llu for legal holds, %llu for groups; "
              "%llu notices, %llu resends of which nobody knew any more\n", n(figures.removed), n(figures.trimmed), n(figures.latest), n(figures.held), n(figures.for_groups), n(figures.told_trimmed), n(figures.unknown));
  std::printf("backups: %llu made, %llu restored\n", n(figures.backups), n(figures.restored));
  EXPECT_TRUE(figures.backups > seeds / 5 * 2 && figures.restored > seeds / 3) << "too few backups";
  EXPECT_TRUE(figures.removed > seeds && figures.trimmed > seeds / 2 && figures.latest > seeds && figures.told_trimmed > seeds) << "too little was removed";
  EXPECT_TRUE(seeds < 2000 || figures.unknown > seeds / 500) << "too few resends of what was deleted";
  EXPECT_TRUE(figures.held > seeds / 2 && figures.for_groups > seeds / 100) << "too little was kept";
  EXPECT_TRUE(figures.steps > seeds && figures.conflicts > seeds / 10 && figures.stale > seeds / 10) << "too few steps to prove anything";
  EXPECT_TRUE(figures.without_events > seeds / 10 && figures.cancels > seeds / 20 && figures.late > seeds / 10) << "too few cancels";
  EXPECT_GT(figures.known_ids, seeds) << "too few ids that were stored before";
  EXPECT_TRUE(figures.snapshots > seeds && figures.pruned > seeds / 10 && figures.erased > seeds / 50) << "too few snapshots";
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
