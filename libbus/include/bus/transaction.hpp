// One atomic step: events to any topics and keys, under conditions, snapshots, scheduled events that are cancelled, and the settlement of
// the events it comes from. All of it takes effect, or nothing.
//
//   auto subscription = client.subscribe({.group = "risk", .ack = bus::AckMode::manual}, [&](auto& subscription, auto& event) {
//     bus::Transaction step;
//     step.require(bus::Condition::at(version, "user-7")).publish(assess(event)).ack(subscription, event);
//     auto done = client.transact(step).get();
//   });
#pragma once

#include <future>
#include <memory>
#include <string>
#include <vector>

#include "bus/client.hpp"

namespace bus {

class Connection;

// A value that gathers what is to happen; Client::transact() makes it happen. Not thread-safe.
class BUS_API Transaction {
 public:
  // Of a key as it is before the step, which has to be named. With those that the events bring, 16 at most.
  Transaction& require(Condition condition);
  // One that is scheduled sets a timer.
  Transaction& publish(NewEvent event);
  // The state of a key, as it is with the events of the transaction: of a version that the key has by then, else conflict. Events
  // and snapshots are 1,024 together at most; without any the transaction settles or cancels, and has no receipts.
  Transaction& snapshot(NewSnapshot snapshot);
  // Takes an event out of the schedule: Receipt::schedule_id names it, whoever scheduled it. If it does not wait any more, as it was due or
  // cancelled before, or never did, nothing of the transaction happens: not_scheduled, and the error tells which. It waits from when its own receipt is
  // there. Each once, 1,024 at most.
  Transaction& cancel(std::string schedule_id);
  // As those of Subscription, which must be one of the client's own with AckMode::manual; anything else is bad_argument. If one of them is stale, as somebody
  // else has the event by now, nothing of the transaction happens. Each event once, 1,024 at most.
  Transaction& ack(const Subscription& subscription, const Event& event);
  Transaction& nack(const Subscription& subscription, const Event& event, Duration delay = 0ms, std::string error = "");
  Transaction& reject(const Subscription& subscription, const Event& event, std::string error);
  Transaction& release(const Subscription& subscription, const Event& event);

 private:
  friend class Client;
  struct Settling {
    std::shared_ptr<Subscription::State> subscription;
    std::uint64_t epoch = 0;
    wire::Settlement settlement;
    std::string text;
  };
  Transaction& settle(const Subscription& subscription, const Event& event, wire::Verdict verdict, Duration delay, std::string text);
  Result<std::vector<wire::SettleT>> settles(const Connection& connection) const;
  std::future<Result<std::vector<Receipt>>> begin(Connection& connection) const;

  std::vector<Condition> conditions_;
  std::vector<NewEvent> events_;
  std::vector<NewSnapshot> snapshots_;
  std::vector<std::string> cancels_;
  std::vector<Settling> settlings_;
};

}  // namespace bus
