// The service's side of remote steps: takes commands from a topic, does or undoes what they ask for, and replies.
//
//   auto client = bus::Client::connect({.publisher = "blockchain"}).value();
//   auto service = bus::saga::Service::start(client, "blockchain.commands", {{"update_blockchain", {.run = record, .undo = roll_back}}}).value();
//   service.wait().value();
//
// A reply is stored in the transaction that acknowledges its command: there is never one without the other. A command whose service ended on the way
// comes again, to any service of the group, and its work is done again, with the same idempotency key. So that its effect is there once, keep the key
// where the effect is, and write both in one transaction; when the key is there already, return what was made the first time:
//
//   bus::saga::Done record(const bus::saga::Context& command) {
//     auto step = database.begin();
//     if (auto made = step.find(command.idempotency_key())) return bus::saga::Value{.text = *made};
//     auto id = step.insert_record(command.input());
//     step.insert_key(command.idempotency_key(), id);
//     step.commit();
//     return bus::saga::Value{.text = id};
//   }
//
// Where the effect is elsewhere, hand the key on, or ask there before doing it again. An undo has a key of its own; it has to bear that there is
// nothing to undo, as a step that has taken too long is undone, too.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>

#include "bus/client.hpp"
#include "bus/saga.hpp"

namespace bus::saga {

// What a service does for a step. Each runs on a thread of the service, may wait, and may be called again with the same idempotency key.
struct ServiceStep {
  Action run;
  Action undo = {};                      // null: nothing asks for it, as the step has no compensation
};
// By the step's name.
using ServiceSteps = std::map<std::string, ServiceStep, std::less<>>;

struct ServiceOptions {
  std::string group = {};                // of all processes of this service; empty: named as the topic
  unsigned concurrency = 16;             // functions that run at a time
  // A command whose service has gone silent goes to another one after this time. While a function runs it is extended, however long that takes.
  Duration ack_wait = 30s;               // 100 ms to 24 h
  // What did not work, on a thread of the service. It must not throw.
  std::function<void(const Error&)> on_trouble = {};
};

// Works until it is closed. Movable; the client must outlive it. Thread-safe.
//
// Commands of one saga are done one at a time, in their order, by whichever process of the group, so an undo does not overtake what it undoes. Those of
// different sagas are done side by side. When a process has lost its connection, or the broker was started again, its command may go to another process while
// it still works: where that matters, do nothing whose undo is on record, and look in the transaction that has the effect. A topic belongs to one service, as
// each of its groups answers every command.
//
// Besides what the functions return, a command is answered as failed with these codes, which a retry policy may name:
//
//   unknown_step   there is no function for it, which may be in a newer version of the service
//   timeout        it came after its deadline, and was not done this time: the saga has gone on. Whether an earlier delivery of it had its effect
//                  nobody knows, so the step is undone like one that has taken too long. Of one that ends after its deadline the result is sent; it
//                  counts if the step succeeded and has not ended yet, and else it only stays on record
//   too_large      the value is too large for an event
//
// A command that cannot be answered, as its reply topic is none for example, becomes a dead letter of the group.
class BUS_API Service {
 public:
  // Makes the group, from the start of the log, or joins it. Errors: bad_argument (no step, a step without a function, or options out of their bounds),
  // those of Client::subscribe(): group_mismatch if it is there with other settings.
  static Result<Service> start(Client& client, const std::string& topic, ServiceSteps steps, ServiceOptions options = {});
  Service(Service&&) noexcept;
  Service& operator=(Service&&) noexcept;
  // close()
  ~Service();
  // Waits until it is closed (ok), or an error has ended it, such as group_removed. Not for functions of steps.
  Result<void> wait();
  // Waits for the functions that run. What it had not begun goes to others. Not for functions of steps.
  void close();

 private:
  struct Impl;
  explicit Service(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace bus::saga
