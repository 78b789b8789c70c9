// Subscriber takes the events of one subscription, prints each or runs a command for it, and acknowledges it after
// that: what `bus-cli sub` does. Events come on the subscription's thread; run() is the verb's own.
#pragma once

#include <atomic>
#include <exception>
#include <mutex>
#include <optional>
#include <set>
#include <string>

#include "bus/client.hpp"
#include "tools/interrupts.hpp"
#include "tools/output.hpp"
#include "tools/schemas.hpp"

namespace bus::tools {

struct SubscriberOptions {
  SubscribeOptions subscription;
  Format format = Format::text;
  std::uint64_t count = 0;             // 0: no end
  bool until_end = false;              // end at the head of the beginning
  std::optional<Duration> idle_exit;
  std::string command;                 // run for each event; empty: print it
  Duration patience;                   // for the last acknowledgements
};

class Subscriber {
 public:
  // `schemas` and `client` live longer.
  Subscriber(SubscriberOptions options, Client& client, Schemas& schemas);

  // Until one of the ends that were asked for, a signal, or an error. Returns false if events were left unacknowledged
  // because the command failed for them. Throws Failed and ClosedPipe.
  bool run();

 private:
  bool grouped() const { return !options_.subscription.group.empty(); }
  void take(Subscription& subscription, const Event& event);
  void deliver(Subscription& subscription, const Event& event);
  void print(const Event& event);
  void execute(Subscription& subscription, const Event& event);
  void stop(std::exception_ptr why);
  bool is_over(Subscription& subscription);
  Duration time_left();
  void wait_for_end(Subscription& subscription);
  void finish(Subscription& subscription);

  SubscriberOptions options_;
  Client& client_;
  Schemas& schemas_;
  Items items_;
  std::atomic<Duration> ack_wait_;      // of the group, until it is known the shortest: while a command runs, more time is asked for
  Bell bell_;
  std::atomic<bool> stopped_{false};
  std::mutex mutex_;                   // of what follows
  std::exception_ptr failure_;
  std::uint64_t taken_ = 0;
  bool working_ = false;
  SteadyTime last_;                    // an event was done
  std::set<Position> failed_;          // positions the command failed for, and did not do since
};

}  // namespace bus::tools
