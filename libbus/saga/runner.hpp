// Runner is what a worker does with one event: it decides what follows from what came to an instance, or runs the function of a local step.
// It has no thread, clock or connection of its own: a Worker has it work on a Client, the test kit on a broker in its own process.
//
//   event of decisions_group() ──decide_on()──> { decisions, commands, timers, ack }     one transaction, on condition of the key's version
//   event of actions_group() ──begin(), run()──> reply() ──> { StepReply, ack }           one transaction
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "bus/client.hpp"
#include "bus/saga.hpp"
#include "libbus/saga/state_cache.hpp"

namespace bus::saga {

// What happens together or not at all. The event that is at hand is acknowledged with it.
struct FollowUp {
  std::optional<Condition> condition;
  std::vector<NewEvent> events;
  std::vector<std::string> cancels;      // schedule ids
  bool settles = true;
};

// The bus, as it gave the event that is at hand.
class Bus {
 public:
  virtual ~Bus() = default;
  virtual WallTime now() = 0;
  // As Client::fold_key().
  virtual Result<void> fold_key(const std::string& key, std::uint64_t from, const std::function<void(const Event&)>& fold) = 0;
  // As Client::transact(), and waits.
  virtual Result<std::vector<Receipt>> transact(const Event& event, const FollowUp& what) = 0;
  // Acknowledges it, sooner or later.
  virtual void ack(const Event& event) = 0;
};

// Thread-safe. Errors: those of the bus, after which the event should be given back. That somebody else has it by now is none.
class Runner {
 public:
  Runner(Definition definition, std::size_t cached_bytes) : definition_(std::move(definition)), hash_(definition_.hash()), cache_(cached_bytes) {}

  const Definition& definition() const { return definition_; }
  Result<void> decide_on(const Event& event, Bus& bus);

  // One attempt at a local step, or at undoing it.
  struct Attempt {
    std::shared_ptr<const Cached> saga;
    const Step* step = nullptr;
    std::uint32_t number = 0;
    bool is_undo = false;
  };
  // Nothing: it is not wanted any more, or none of a local step; it was acknowledged.
  Result<std::optional<Attempt>> begin(const Event& event, Bus& bus);
  // Runs the function.
  static Done run(const Attempt& attempt);
  // With it the attempt is over, for whoever else may have the event by now, too. False: it is with somebody else, who replies.
  Result<bool> reply(const Event& event, const Attempt& attempt, const Done& outcome, Bus& bus) const;

 private:
  // The state as of the event at least, or as of the key's head.
  enum class UpTo { event, head };
  Result<std::shared_ptr<const Cached>> load(const Event& event, UpTo up_to, Bus& bus);
  struct Try {
    UpTo up_to = UpTo::event;            // the head most often
    bool cancels = true;                 // timers that are of no use any more
  };
  Result<void> decide_once(const Event& event, Try how, Bus& bus);
  bool keep(const std::string& key, Cached& next, const std::vector<NewEvent>& events, const std::vector<Receipt>& receipts);

  Definition definition_;
  std::string hash_;
  StateCache cache_;
};

}  // namespace bus::saga
