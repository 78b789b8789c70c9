// What the benchmark clients of all systems share: the command line, and the one JSON object that each prints.
//
// Exit codes: 0 measured; 1 failed, and stderr says what to do; 2 wrong usage; 3 the system has no such thing.
#pragma once

#include <nlohmann/json.hpp>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "bench/latencies.hpp"

namespace bus::bench {

using Json = nlohmann::ordered_json;
using Duration = std::chrono::nanoseconds;
using Time = std::chrono::steady_clock::time_point;

inline Time now() { return std::chrono::steady_clock::now(); }
inline std::int64_t milliseconds(Duration duration) { return std::chrono::ceil<std::chrono::milliseconds>(duration).count(); }

struct Options {
  std::string server;                  // host:port, or the path of a socket
  std::uint64_t count = 100'000;       // events
  std::size_t size = 256;              // bytes of one
  double rate = 1000;                  // e2e: events a second
  unsigned publishers = 1;             // publish-each
  unsigned subscribers = 4;            // fanout
  std::optional<unsigned> window;      // events published and not yet acknowledged
  std::optional<unsigned> batch;       // events asked for at once
  unsigned transaction = 0;            // publish: events that are stored all or none; 0: each for itself
  bool ack_together = false;           // consume: one command acknowledges a batch
  bool in_memory = false;
  Duration patience = std::chrono::seconds(60);  // without any progress

  std::string host() const;            // Throws Failed.
  int port() const;                    // Throws Failed.
};

// Ends the program with exit code 1. The text says what happened and what to do.
struct Failed : std::runtime_error {
  using runtime_error::runtime_error;
};

// Ends the program with exit code 3.
struct CannotDo : std::runtime_error {
  using runtime_error::runtime_error;
};

struct Measured {
  Duration took{0};
  std::uint64_t lost = 0;              // were to come and did not
  std::optional<Latencies> latency;    // of what the workload is about
  std::optional<Latencies> receipt;    // e2e: of acknowledgements to the publisher
  Json settings = Json::object();      // what else matters
  std::string acknowledged;            // if other than the system's
};

struct Workload {
  std::string name;
  std::function<Measured(const Options&)> run;
};

// The options that are not for all systems.
struct Extras {
  bool transaction = false;
  bool ack_together = false;
  bool in_memory = false;
};

struct System {
  std::string name;
  std::string acknowledged;            // what an acknowledgement means, in a short sentence
  Extras extras;
  std::vector<Workload> workloads;
};

// All of main.
int run(int argc, char** argv, const System& system);

// A thing of a C library with the function that frees it.
template <typename Thing, auto release>
struct Release {
  void operator()(Thing* thing) const { release(thing); }
};
template <typename Thing, auto release>
using Owned = std::unique_ptr<Thing, Release<Thing, release>>;

}  // namespace bus::bench
