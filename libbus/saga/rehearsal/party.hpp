// Party is a process that uses the bus: libbus, without its threads and its socket, on a connection to an OwnBroker.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "libbus/saga/rehearsal/own_broker.hpp"
#include "libbus/src/client_core.hpp"
#include "libbus/src/step.hpp"

namespace bus::saga {

class Party {
 public:
  // `name` is that of its publisher, too.
  Party(OwnBroker& broker, std::string name, Now now);
  // The process ends, without a word.
  ~Party();
  Party(const Party&) = delete;
  Party& operator=(const Party&) = delete;

  const std::string& name() const { return name_; }
  // Messages in and out, and deadlines; false: there was nothing.
  bool turn(Now now);
  // A message of the broker.
  void deliver(const broker::Outgoing& message) { arrived_.push_back({message.header, message.body}); }
  const broker::Peer& peer() const { return peer_; }
  SteadyTime due() const { return due_; }
  bool is_ready() const { return core_.is_ready(); }

  using Subscribed = ClientCore::SubscriptionId;
  // In a group that is there, or is made for what matches the filter, with these settings.
  Subscribed subscribe(const std::string& group, std::unique_ptr<wire::FilterT> filter = {}, std::unique_ptr<wire::GroupSettingsT> settings = {});
  // An event that was delivered and not taken.
  std::optional<Event> next(Subscribed subscribed);
  bool has_next(Subscribed subscribed) const;
  void settle(Subscribed subscribed, const Event& event, wire::Verdict verdict, Duration delay = {});

  void request(wire::AskUnion ask, AnswerCallback done) { core_.request(std::move(ask), std::move(done)); }
  // As Client::transact(), of what it acknowledges `event` is one.
  struct Acks {
    Subscribed subscribed = 0;
    const Event* event = nullptr;
  };
  void transact(const StepParts& parts, const std::vector<std::string>& cancels, Acks acks, Now now, StepReceipts::Done done);

 private:
  class Inbox;

  OwnBroker& broker_;
  const std::string name_;
  const std::uint64_t process_;
  Outbox outbox_;
  bool is_open_ = false;
  ClientCore core_;
  broker::Peer peer_;                    // empty: there is no connection
  std::uint64_t connections_ = 0, deaths_seen_ = 0;
  std::deque<std::vector<Frame>> arrived_;
  std::map<Subscribed, std::shared_ptr<Inbox>> inboxes_;
  SteadyTime due_;
};

}  // namespace bus::saga
