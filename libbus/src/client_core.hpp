// ClientCore is the client's side of the protocol as a deterministic state machine: no sockets, no threads, no clock.
// Connection drives it with a DEALER socket; tests drive it with a fake network. One thread.
//
//    waiting ──back-off over──> greeting ──Welcome──> ready ──silence, lost()──> waiting
//                                  └──no answer, lost()──> waiting
//    any ──publisher_fenced, log_changed, a Hello refused for good──> failed
//    ready ──close()──> leaving ──Bye answered, lost()──> closed
//
// Every batch stays here until its receipts have come; after each Welcome all of them are sent again, in order, with
// the same sequences and bytes. What is told to callers is told from within receive(), tick(), lost() and close().
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "base/frame.hpp"
#include "bus/client.hpp"
#include "outbox.hpp"
#include "wire/message.hpp"

namespace bus {

// What one subscription is told, in order. ended() is the last call.
class SubscriptionListener {
 public:
  virtual ~SubscriptionListener() = default;
  virtual void started(const Subscription::Started& started) = 0;
  // It goes on after a new connection.
  virtual void resumed() = 0;
  virtual void delivered(std::vector<Event> events) = 0;
  virtual void caught_up(Position position) = 0;
  // Of this session so far: so many events were passed over as removed, the last of them there.
  virtual void trimmed(std::uint64_t events, Position to) = 0;
  virtual void stale(std::size_t acks) = 0;
  // The connection is gone; a group's events that wait here are delivered again, to whomever.
  virtual void interrupted() = 0;
  virtual void ended(Result<void> why) = 0;
};

using AnswerCallback = std::function<void(Result<Client::Answer>)>;
using DoneCallback = std::function<void(Result<void>)>;

class ClientCore {
 public:
  struct Options {
    std::string name;                    // for people
    std::string publisher;               // empty: the broker gives a name
    Duration backoff_min{}, backoff_max{};
    std::uint64_t seed = 0;              // of the jitter
  };
  // What the owner is told besides.
  struct Events {
    std::function<void(const wire::WelcomeT&)> welcomed;
    std::function<void(const Batch&)> answered;      // after its receipts have been told
    std::function<void(const Error&)> failed;        // for good: nothing works any more
  };
  ClientCore(Options options, Events events);

  // ---- the connection. `connect`: open a fresh one and send what take_outgoing() gives; `disconnect`: close it.
  enum class Action { none, connect, disconnect };
  Action take_action();
  struct Outgoing {
    Frame header;
    Frame body;                          // empty: one frame
  };
  std::vector<Outgoing> take_outgoing() { return std::exchange(outgoing_, {}); }
  void receive(const std::vector<Frame>& frames, Now now);
  // The connection broke, or could not be made.
  void lost(const Error& why, SteadyTime now);
  // Deadlines, and whatever gathered; returns when to call again at the latest.
  SteadyTime tick(Now now);
  // Says Bye. What is without an answer is told `closed`; so is all that comes after.
  void close();
  bool is_over() const { return state_ >= State::failed; }
  // The broker has heard the Bye, and all that was said before it; or there is no session.
  bool has_left() const { return is_over() && state_ != State::leaving; }
  // What stood in the way last; ok since the last receipt or Welcome.
  const Error& trouble() const { return trouble_; }

  // ---- publishing
  void publish(Batch batch);
  // tick() does so, too; call it only while is_ready().
  void send_batches(SteadyTime now);
  bool is_ready() const { return state_ == State::ready; }

  // ---- subscriptions, by numbers of the client's own that are never used again
  using SubscriptionId = std::uint32_t;
  SubscriptionId subscribe(wire::SubscribeT what, std::shared_ptr<SubscriptionListener> listener);
  void unsubscribe(SubscriptionId id);
  // Events that were delivered are done with: their credit goes back.
  void consumed(SubscriptionId id, std::uint64_t events, std::uint64_t bytes);
  void settle(SubscriptionId id, std::uint64_t epoch, const wire::Settlement& settlement, const std::string& text = {});
  // Calls back once all settlements so far are durable; `disconnected` if some may have been lost with a connection,
  // said once.
  std::uint64_t flush(SubscriptionId id, DoneCallback done);
  void forget_flush(SubscriptionId id, std::uint64_t flush);

  // ---- requests. Those without a connection wait for one; those on the way when it breaks are `disconnected`.
  std::uint64_t request(wire::AskUnion ask, AnswerCallback done);
  void forget_request(std::uint64_t request) { requests_.erase(request); }

 private:
  enum class State { waiting, greeting, ready, failed, leaving, closed };
  struct Pending {
    Batch batch;
    bool sent = false;
  };
  struct Subscribed {
    wire::SubscribeT what;               // as it would be said now, from where it has come to
    std::shared_ptr<SubscriptionListener> listener;
    bool was_started = false;
    bool is_asked = false;               // in this session
    bool is_answered = false;            // in this session
    bool was_unanswered = false;         // an earlier session ended before its answer: the group may have been made
    std::shared_ptr<const std::string> group;
    std::uint64_t held_events = 0, held_bytes = 0;   // delivered and not consumed
    std::uint64_t owed_events = 0;                   // consumed, credit not given back yet
    std::int64_t owed_bytes = 0;                     // below 0: more is held than was ever given
    std::uint64_t epoch = 0;             // of the settlements below
    std::vector<wire::Settlement> settlements;
    bool has_up_to = false;              // one of them acknowledges all up to it
    std::vector<std::pair<std::uint32_t, std::string>> texts;  // of some of them, by their place
    struct Flush {
      DoneCallback done;
      std::uint64_t settled = 0;         // so many were given before it
    };
    std::map<std::uint64_t, Flush> flushes;
    std::uint64_t settled = 0, confirmed = 0;  // settlements given, and known to be durable
    bool in_doubt = false;               // some may have been lost with a connection, and no flush has said so
  };
  struct Asked {
    wire::AskUnion ask;
    AnswerCallback done;
    bool sent = false;
  };

  void start(SteadyTime now);
  void fail(const Error& why);
  void end_all(const Error& why);
  Duration next_backoff();
  template <typename T>
  void send(const T& message) { outgoing_.push_back({Frame::of(wire::encode(message)), {}}); }

  void dispatch(const wire::Message& message, const std::vector<Frame>& frames, Now now);
  void welcome(const wire::Welcome& message, Now now);
  std::optional<Error> changed(const wire::WelcomeT& now) const;
  void failure(const wire::Failure& message, SteadyTime now);
  void publish_failure(const Error& error, std::uint64_t sequence, SteadyTime now);
  void subscription_failure(const Error& error, SubscriptionId id, std::uint64_t request);
  void results(const wire::PublishResult& message, SteadyTime now);
  void tell(const Batch& batch, const wire::PublishResult& message);
  void deliver(const wire::Deliver& message, const Frame& body, SteadyTime now);
  void started(const wire::Subscribed& message);
  void caught_up(const wire::CaughtUp& message);
  void ended(const wire::SubscriptionEnd& message);
  void settled(const wire::Settled& message);
  void reply(const wire::Reply& message, const std::vector<Frame>& frames);

  void send_requests();
  void send_subscribe(SubscriptionId id, Subscribed& subscribed);
  void send_settlements(SubscriptionId id, Subscribed& subscribed, std::uint64_t request = 0);
  void send_credit(SubscriptionId id, Subscribed& subscribed);
  void heartbeat(SteadyTime now);
  static void doubt(Subscribed& subscribed, const Error& why);
  void forget(SubscriptionId id, const Result<void>& why);
  Subscribed* find(SubscriptionId id);

  Options options_;
  Events events_;
  std::mt19937_64 random_;
  std::string publisher_;                // the name; empty before the broker has given one
  std::uint64_t instance_, attempt_ = 0;
  State state_ = State::waiting;
  Action action_ = Action::none;
  std::vector<Outgoing> outgoing_;
  Error trouble_;
  Error over_;                           // why it is over
  std::optional<wire::WelcomeT> session_;// of the last Welcome
  SteadyTime due_ = SteadyTime::min();   // waiting: end of the back-off; greeting: of patience
  Duration backoff_{};
  SteadyTime heard_, said_;

  std::deque<Pending> pending_;
  std::uint64_t last_submitted_ = 0, last_receipted_ = 0;
  SteadyTime publish_again_ = SteadyTime::min();  // after a refusal of a whole batch
  Duration publish_backoff_{};

  std::map<SubscriptionId, Subscribed> subscriptions_;
  SubscriptionId last_subscription_ = 0;
  std::map<std::uint64_t, Asked> requests_;
  std::uint64_t last_request_ = 0;
};

}  // namespace bus
