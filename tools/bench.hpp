// What `bus-cli bench` measures, one number at a time. Every bench stores events of topic `bench` in the broker's log.
#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "bus/client.hpp"
#include "tools/output.hpp"

namespace bus::tools {

struct BenchOptions {
  std::uint64_t count = 200'000;       // events of a round
  std::size_t size = 256;              // bytes of one event as it is stored
  std::size_t window = 16u << 20;      // bytes published and not yet receipted
  unsigned rounds = 5;
  double rate = 1000;                  // e2e: events a second
  std::filesystem::path data;          // floor: a directory on the same disk as the log
  bool floor = false;
  Duration patience;                   // without any answer
};

// Nanoseconds each, sorted by percentiles().
using Latencies = std::vector<std::int64_t>;
Json percentiles(Latencies& latencies);
double median(std::vector<double> values);

// BenchPublisher publishes equal events of a given size and waits for all of their receipts.
class BenchPublisher {
 public:
  // Publishes one event to learn what the envelope takes. Throws Failed.
  BenchPublisher(const BenchOptions& options, Client& client);

  // Seconds from the first publish to the last receipt. Throws Failed if one is refused or none comes.
  double publish_all();
  // At options.rate. Each event's `time` is when it was due, so that being late counts. Latencies of receipts.
  Latencies publish_paced();

  std::size_t event_bytes() const { return event_bytes_; }

 private:
  const NewEvent& next();
  void fill(std::size_t text_bytes);
  void take(const Result<Receipt>& receipt);
  bool over() const;
  void settle();

  const BenchOptions& options_;
  Client& client_;
  NewEvent event_;
  std::uint64_t made_ = 0;
  std::size_t event_bytes_ = 0;
  std::atomic<std::uint64_t> answered_{0};
  std::atomic<bool> refused_{false};
  std::mutex mutex_;
  std::optional<Error> refusal_;       // the first
};

// What one round of publishing wrote, so that the floor can write the same.
struct Written {
  std::uint64_t commits = 0, records = 0, record_bytes = 0;
};

// BenchFloor appends records to an LMDB file of its own, as fast as this disk goes with durable commits.
class BenchFloor {
 public:
  // Makes a directory in `dir` and takes it away at the end. Throws Failed.
  explicit BenchFloor(const std::filesystem::path& dir);
  ~BenchFloor();
  BenchFloor(const BenchFloor&) = delete;
  BenchFloor& operator=(const BenchFloor&) = delete;

  // Seconds. Throws Failed.
  double append(const Written& written);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace bus::tools
