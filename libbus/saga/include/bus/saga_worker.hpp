// Runs sagas on the log: any number of workers, in any number of processes. An instance is run by one of them at a time; if that one dies, another
// goes on where the log says it was.
//
//   auto client = bus::Client::connect({.endpoint = "ipc:///run/bus/bus.sock", .publisher = "sagas-1"}).value();
//   auto worker = bus::saga::Worker::start(client, entry).value();
//   auto starter = bus::saga::Starter::open(client, entry).value();
//   auto started = starter.start("user-7/2024-06-13", input).value();
//
// A step is logged before it is done and its result after it, so a worker that dies in between has it done again, with the same idempotency key:
// nothing is done without being logged, and what is logged as done is not done again.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "bus/client.hpp"
#include "bus/saga.hpp"

namespace bus::saga {

// Another definition of the name, which has no worker now: its instances, where some have not ended, wait for one.
struct LeftAlone {
  std::string definition, hash;          // the first 8 digits of it
};

struct WorkerOptions {
  unsigned decisions = 16;               // instances that it decides on at a time
  unsigned actions = 16;                 // functions of steps that it runs at a time
  std::size_t cached_bytes = 24u << 20;  // of states of instances that are on their way; others are read again when they go on
  // What did not work and will be tried again; on a thread of the worker. It must not throw.
  std::function<void(const Error&)> on_trouble = {};
  // Called by start() for each of these. This worker leaves their instances alone; `bus-cli saga ls` has them. It must not throw.
  std::function<void(const LeftAlone&)> on_left_alone = {};
};

// Says to the bus what sagas of this name are, and makes the groups that their events wait in. Done before, it changes nothing. Errors: those of
// Definition::check() and of Client::request().
BUS_API Result<void> register_definition(Client& client, const Definition& definition);

struct Instance {
  std::string saga_id;                   // "DEFINITION/BUSINESS_ID", the key of its events
  bool is_new = false;                   // false: there was one of this id, and it stays as it is
};
// Starts sagas of one definition. Movable; the client must outlive it. Thread-safe.
class BUS_API Starter {
 public:
  // Registers the definition, so that no instance is there before what runs it knows of it. `patience`: how long start() waits for a receipt; 0: for ever.
  static Result<Starter> open(Client& client, Definition definition, Duration patience = 30s);
  // `business_id`: 1 to 150 bytes; whoever starts with the same gets the same instance. Errors: bad_argument (the id, or an input of another type
  // than the definition's), those of Client::publish(), timed_out (it may be there, so ask again with the same id).
  Result<Instance> start(const std::string& business_id, const Value& input = {}, const std::string& user_id = "");

 private:
  Starter(Client& client, Definition definition, Duration patience) : client_(&client), definition_(std::move(definition)), hash_(definition_.hash()), patience_(patience) {}
  Client* client_;
  Definition definition_;
  std::string hash_;
  Duration patience_;
};

// Works until it is closed. Movable; the client must outlive it. Thread-safe.
class BUS_API Worker {
 public:
  // Registers the definition. Errors: as of register_definition() and Client::subscribe().
  static Result<Worker> start(Client& client, Definition definition, WorkerOptions options = {});
  Worker(Worker&&) noexcept;
  Worker& operator=(Worker&&) noexcept;
  // close()
  ~Worker();
  // Waits until it is closed (ok), or an error has ended it, such as group_removed or publisher_fenced. Not for functions of steps.
  Result<void> wait();
  // Waits for the functions that run, and for the broker to have what they came to: where it is away, close the client first. What it had not begun
  // goes to others. Not for functions of steps or other callbacks of the client, and neither is the destructor.
  void close();

 private:
  struct Impl;
  explicit Worker(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

inline constexpr std::size_t business_id_bytes_max = 150;

}  // namespace bus::saga
