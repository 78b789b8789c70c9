// How long things took, as percentiles.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <memory>

namespace bus::bench {

struct Percentile {
  const char* name;                    // "p50"
  double microseconds;
};

// Latencies is a histogram of durations, in constant space however many there are. Not thread-safe: one for each thread,
// and merge() at the end.
//
// Between 100 ns and 100 s a percentile is within 0.2 % of the truth, rounded to nanoseconds. What is shorter or longer is counted, too, and
// shows as the exact minimum or maximum.
class Latencies {
 public:
  Latencies();
  ~Latencies();
  Latencies(Latencies&&) noexcept;
  Latencies& operator=(Latencies&&) noexcept;

  void add(std::chrono::nanoseconds latency);
  void merge(const Latencies& other);

  std::uint64_t count() const { return count_; }
  // The shortest latency that `part` (0 to 1) of all do not exceed; 0 and 1 are exact. Zero without any.
  std::chrono::nanoseconds at(double part) const;
  // p50, p90, p99, p999, p9999 and max.
  std::array<Percentile, 6> percentiles() const;

 private:
  struct Bins;

  std::unique_ptr<Bins> bins_;
  std::uint64_t count_ = 0;
  std::chrono::nanoseconds shortest_ = std::chrono::nanoseconds::max();
  std::chrono::nanoseconds longest_{0};
};

}  // namespace bus::bench
