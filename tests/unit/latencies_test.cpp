// Goal: percentiles are within 0.2 % of the truth, nothing that was added is missing, and merging loses nothing.
// Method: compare with the sorted list of the same latencies.
#include "bench/latencies.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <string>
#include <utility>
#include <vector>

namespace bus::bench {
namespace {

using namespace std::chrono_literals;
using std::chrono::nanoseconds;

constexpr double error_max = 0.002;

// From 100 ns to 100 s, as many in each decade.
std::vector<nanoseconds> some_of_every_size(unsigned count, unsigned seed) {
  std::mt19937_64 random(seed);
  std::uniform_real_distribution<double> exponents(2, 11);
  std::vector<nanoseconds> all;
  for (unsigned at = 0; at < count; ++at) all.emplace_back(static_cast<std::int64_t>(std::pow(10, exponents(random))));
  return all;
}

Latencies histogram_of(const std::vector<nanoseconds>& all) {
  Latencies latencies;
  for (const auto latency : all) latencies.add(latency);
  return latencies;
}

nanoseconds truth(std::vector<nanoseconds> all, double part) {
  std::sort(all.begin(), all.end());
  const auto rank = static_cast<std::size_t>(std::ceil(part * static_cast<double>(all.size())));
  return all[std::max<std::size_t>(rank, 1) - 1];
}

void expect_near(nanoseconds measured, nanoseconds expected) {
  const auto expected_ns = static_cast<double>(expected.count());
  const double rounding = 0.5;
  EXPECT_NEAR(static_cast<double>(measured.count()), expected_ns, expected_ns * error_max + rounding);
}

TEST(Latencies, AreWithinTheErrorAtEveryPart) {
  const auto all = some_of_every_size(100'000, 1);
  const auto latencies = histogram_of(all);
  EXPECT_EQ(latencies.count(), all.size());
  for (const double part : {0.0, 0.001, 0.1, 0.25, 0.5, 0.9, 0.99, 0.999, 0.9999, 1.0}) {
    SCOPED_TRACE(part);
    expect_near(latencies.at(part), truth(all, part));
  }
}

TEST(Latencies, AreWithinTheErrorAtEverySize) {
  for (nanoseconds latency = 100ns; latency < 100s; latency += latency / 100 + 1ns) {
    Latencies latencies;
    latencies.add(1ns);                // so that neither end is the answer
    latencies.add(latency);
    latencies.add(1000s);
    expect_near(latencies.at(0.5), latency);
  }
}

TEST(Latencies, KeepBothEndsExactly) {
  const auto latencies = histogram_of({1'234'567ns, 7'654'321ns, 3ms, 3ms});
  EXPECT_EQ(latencies.at(0), 1'234'567ns);
  EXPECT_EQ(latencies.at(1), 7'654'321ns);
  EXPECT_EQ(latencies.percentiles().back().microseconds, 7654.321);
}

TEST(Latencies, CountWhatIsBeyondTheBins) {
  const auto latencies = histogram_of({-5ns, 0ns, 7ns, 1ms, 200s, 300s});
  EXPECT_EQ(latencies.count(), 6u);
  EXPECT_EQ(latencies.at(0), 0ns);
  expect_near(latencies.at(0.6), 1ms);
  EXPECT_EQ(latencies.at(0.8), 300s);
  EXPECT_EQ(latencies.at(1), 300s);
}

TEST(Latencies, MergedAreAsIfAddedToOne) {
  auto few = some_of_every_size(5'000, 2);
  few.insert(few.end(), {42ns, 400s});  // both ends
  const auto many = some_of_every_size(20'000, 3);
  auto all = few;
  all.insert(all.end(), many.begin(), many.end());
  const auto one = histogram_of(all);
  for (const auto& [first, second] : {std::pair(few, many), std::pair(many, few)}) {
    Latencies merged;
    for (const auto& part : {first, {}, second}) merged.merge(histogram_of(part));
    EXPECT_EQ(merged.count(), one.count());
    for (const double part : {0.0, 0.1, 0.5, 0.9, 0.999, 1.0}) EXPECT_EQ(merged.at(part), one.at(part)) << part;
  }
}

TEST(Latencies, OfNothingAreZero) {
  const Latencies latencies;
  EXPECT_EQ(latencies.count(), 0u);
  for (const auto& percentile : latencies.percentiles()) EXPECT_EQ(percentile.microseconds, 0) << percentile.name;
}

TEST(Latencies, NameTheirPercentilesInOrder) {
  std::vector<nanoseconds> all;
  for (int at = 1; at <= 100'000; ++at) all.emplace_back(at * 1us);
  const auto percentiles = histogram_of(all).percentiles();
  const std::vector<std::pair<std::string, double>> expected = {
      {"p50", 50'000}, {"p90", 90'000}, {"p99", 99'000}, {"p999", 99'900}, {"p9999", 99'990}, {"max", 100'000}};
  ASSERT_EQ(percentiles.size(), expected.size());
  for (std::size_t at = 0; at < expected.size(); ++at) {
    EXPECT_EQ(percentiles[at].name, expected[at].first);
    EXPECT_NEAR(percentiles[at].microseconds, expected[at].second, expected[at].second * error_max);
  }
}

}  // namespace
}  // namespace bus::bench
