// What the benchmark clients send, and when.
#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "bench/peers/program.hpp"

namespace bus::bench {

using Bytes = std::span<const char>;

// Payloads are the events' bytes: always the same ones, but noise, so that nothing that compresses gains by it.
class Payloads {
 public:
  explicit Payloads(std::size_t size);

  // Valid as long as this is.
  Bytes next();
  // With the time inside; valid until the next call.
  Bytes next(Time due);
  // The time inside an event of this process.
  static Time due_of(const void* event);

 private:
  std::size_t size_;
  std::vector<char> noise_;
  std::size_t at_ = 0;
  std::vector<char> stamped_;
};

// Pace is an open loop: event n is due at n / rate, however late its predecessors are. Latencies count from there.
class Pace {
 public:
  // Also makes this thread's waits end on time. The first event is due in a moment.
  explicit Pace(double rate);

  Time due(std::uint64_t event) const;

 private:
  Time begun_;
  double rate_;
};

// Until something is there to be read, or the deadline. With -1 for nothing it only waits. True if there is.
bool readable(int fd, Time deadline);

// Tally counts arrivals from several threads up to what is expected.
class Tally {
 public:
  explicit Tally(std::uint64_t expected) : expected_(expected) {}

  void add(std::uint64_t arrived = 1);
  bool complete() const { return arrived_ >= expected_; }
  // Until all are there, or none came for the time. How many did not come.
  std::uint64_t wait(Duration patience);
  // When the last one of all came, or the time now.
  Time completed() const;

 private:
  const std::uint64_t expected_;
  std::atomic<std::uint64_t> arrived_{0};
  std::mutex mutex_;
  std::condition_variable changed_;
  std::atomic<Time> completed_{Time{}};
};

// work(0), work(1) … on a thread each. Throws what the first of them threw, once all have ended.
void on_threads(unsigned count, const std::function<void(unsigned)>& work);

// Stores one event, and returns when it is acknowledged.
using PublishOne = std::function<void(Bytes)>;

// Publishers that each wait for the acknowledgement of an event before the next. `connect` makes one publisher.
Measured publish_each(const Options& options, const std::function<PublishOne()>& connect);

}  // namespace bus::bench
