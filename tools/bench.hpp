// What `bus-cli bench` measures, one number at a time. Every bench stores events in the broker's log,
// of topic `bench` if they are made here.
#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "bench/latencies.hpp"
#include "bus/client.hpp"
#include "tools/exit_code.hpp"
#include "tools/output.hpp"

namespace bus::tools {

using bench::Latencies;
struct Globals;

struct BenchOptions {
  std::uint64_t count = 200'000;       // events of a round
  std::size_t size = 256;              // bytes of one event as it is stored
  std::size_t window = 16u << 20;      // bytes published and not yet receipted
  unsigned rounds = 5;
  std::uint64_t keys = 1000, topics = 1;  // pub: that the events go to, in turn
  std::filesystem::path recorded;      // pub: a file with full events to publish in turn; empty: events are made
  std::uint32_t in_flight = 8192;      // sub: events delivered and not acknowledged yet
  double rate = 1000;                  // e2e: events a second
  unsigned publishers = 8;             // each
  unsigned subscribers = 100;          // fanout
  std::filesystem::path data;          // floor: a directory on the same disk as the log
  bool floor = false;
  std::filesystem::path base;          // what the same bench printed before; empty: nothing to compare with
  double max_regress = 10;             // percent that a figure may be worse than there
  Duration patience;                   // without any answer
};

Client connect(const Globals& globals, const BenchOptions& options);

Json percentiles(const Latencies& latencies);
double median(std::vector<double> values);
double rounded(double value);

// Prints what was measured. With options.base also how it differs from there: Exit::failed if a figure is worse by more
// than it may be. Throws Failed if the base cannot be read, or was measured otherwise.
Exit report(Format format, const BenchOptions& options, Json result);

// BenchEvents makes events of equal bytes, of several keys and topics in turn, or repeats those of a file. A value: each
// publisher has its copy.
class BenchEvents {
 public:
  // Publishes one event to learn what the envelope takes, or reads the file whole. Throws Failed.
  BenchEvents(const BenchOptions& options, Client& client);

  const NewEvent& next();
  void set_time(WallTime time) { event_.time = time; }
  // Of each; 0: they differ.
  std::size_t event_bytes() const { return event_bytes_; }

 private:
  void fill(std::size_t text_bytes);

  std::uint64_t keys_, topics_, first_key_, first_topic_;
  NewEvent event_;
  std::uint64_t made_ = 0;
  std::size_t event_bytes_ = 0;
  std::vector<NewEvent> recorded_;
};

// BenchPublisher publishes events and waits for all of their receipts.
class BenchPublisher {
 public:
  BenchPublisher(const BenchOptions& options, Client& client, BenchEvents events)
      : options_(options), client_(client), events_(std::move(events)) {}

  // Seconds from the first publish to the last receipt. Throws Failed if one is refused or none comes.
  double publish_all();
  // At options.rate. Each event's `time` is when it was due, so that being late counts. Latencies of receipts.
  Latencies publish_paced();

 private:
  void take(const Result<Receipt>& receipt);
  bool over() const;
  void settle();

  const BenchOptions& options_;
  Client& client_;
  BenchEvents events_;
  std::atomic<std::uint64_t> answered_{0};
  std::atomic<bool> refused_{false};
  std::mutex mutex_;
  std::optional<Error> refusal_;       // the first
};

// What was written to the log so far.
struct Written {
  std::uint64_t commits = 0, records = 0, record_bytes = 0, event_bytes = 0;
};
Written written_so_far(Client& client);
Written operator-(const Written& after, const Written& before);

// Many clients at once, each with a connection and threads of its own.
Exit bench_each(const Globals& globals, const BenchOptions& options);
Exit bench_fanout(const Globals& globals, const BenchOptions& options);

}  // namespace bus::tools
