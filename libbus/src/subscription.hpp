// The states behind Subscription and Replay: a queue of delivered events between the connection's thread, which fills
// it, and the threads that use them. Credit bounds the queue: an event's credit goes back when it is done with.
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "bus/client.hpp"
#include "connection.hpp"

namespace bus {

// Events in the parcels they came in.
class EventParcels {
 public:
  bool empty() const { return parcels_.empty(); }
  const Event& front() const { return parcels_.front()[next_]; }
  void push(std::vector<Event> events) {
    if (!events.empty()) parcels_.push_back(std::move(events));
  }
  Event pop() {
    Event event = std::move(parcels_.front()[next_]);
    if (++next_ == parcels_.front().size()) {
      parcels_.pop_front();
      next_ = 0;
    }
    return event;
  }
  void clear() {
    parcels_.clear();
    next_ = 0;
  }

 private:
  std::deque<std::vector<Event>> parcels_;
  std::size_t next_ = 0;                 // of the first parcel
};

// EventQueue is what both have in common.
class EventQueue : public SubscriptionListener, public std::enable_shared_from_this<EventQueue> {
 public:
  explicit EventQueue(std::shared_ptr<Connection> connection) : connection_(std::move(connection)) {}

  // Asks the broker and waits for its answer. Errors: what it refused, timed_out, closed.
  Result<void> begin(wire::SubscribeT what);
  // Ends it at the broker, and forgets what waits here.
  void stop();
  // Its two halves: nothing more is handed out; the broker is told.
  void halt();
  void leave();

  void started(const Subscription::Started& started) override;
  void resumed() override;
  void delivered(std::vector<Event> events) override;
  void caught_up(Position position) override;
  void trimmed(std::uint64_t events, Position to) override;
  Trimmed trimmed_so_far() const;
  void stale(std::size_t acks) override { stale_ += acks; }
  void interrupted() override;
  void ended(Result<void> why) override;

 protected:
  // Gives an event's credit back. With the lock, which is given up on the way.
  void done_with(const Event& event, std::unique_lock<std::mutex>& lock);

  std::shared_ptr<Connection> connection_;
  mutable std::mutex mutex_;             // of what follows
  std::condition_variable changed_;
  ClientCore::SubscriptionId id_ = 0;
  std::optional<Subscription::Started> started_;
  std::optional<Result<void>> ended_;
  bool stopped_ = false;                 // by this side
  bool connected_ = true;
  SteadyTime lost_at_;
  EventParcels queue_;
  std::uint64_t done_events_ = 0, done_bytes_ = 0;   // whose credit was not given back yet
  std::uint64_t credit_events_ = 0, credit_bytes_ = 0;
  Position caught_up_ = Position::none;
  Trimmed trimmed_;
  std::uint64_t trimmed_before_ = 0;     // events of these, in earlier sessions; of a group the broker counts them all
  bool is_group_ = false;
  std::atomic<std::uint64_t> stale_{0};
};

struct Subscription::State final : public EventQueue {
  using Callback = std::function<void(Subscription&, const Event&)>;
  // What a service has put into them must not go on the connection's thread.
  struct Callbacks {
    Callback event;
    std::function<void(const Trimmed&)> trimmed;
  };
  State(std::shared_ptr<Connection> connection, const SubscribeOptions& options);
  ~State() override;

  // Only they own the callbacks.
  void start_threads(Callbacks callbacks);
  // `more`: of this subscription more will be settled soon.
  void settle(const Event& event, wire::Verdict verdict, Duration delay, std::string text = {}, bool more = false);
  ClientCore::SubscriptionId number() const;
  // Its events may be settled by a transaction of this connection.
  bool may_transact(const Connection& connection) const { return connection_.get() == &connection && !acks_; }
  static wire::Settlement settlement(const Event& event, wire::Verdict verdict, Duration delay);
  // UTF-8 is cut between characters.
  static std::string cut(std::string text);
  Result<void> flush(Duration deadline);
  void close(SteadyTime deadline);
  Result<void> wait();
  Started first() const;
  Position caught_up_to() const;
  std::uint64_t stale_acks() const { return stale_; }

 private:
  void work(const Callbacks& callbacks);
  void tell_trimmed(const Callbacks& callbacks, std::unique_lock<std::mutex>& lock);
  void returned();
  void call(const Callback& callback, const Event& event, bool more);

  const bool acks_;                      // by itself
  const unsigned concurrency_;
  unsigned running_ = 0;                 // callbacks
  Trimmed told_trimmed_;
  bool leaves_ = false;                  // closed by a callback: the last one that runs tells the broker
  std::vector<std::thread> threads_;
};

struct Replay::State final : public EventQueue {
  State(std::shared_ptr<Connection> connection, wire::SubscribeT what) : EventQueue(std::move(connection)), what_(std::move(what)) {}
  Result<std::optional<Event>> read();
  Result<std::optional<Event>> read(SteadyTime deadline);
  Position caught_up_to() const;

 private:
  Result<void> begin_once();
  std::optional<Result<std::optional<Event>>> take(std::unique_lock<std::mutex>& lock);

  wire::SubscribeT what_;
  Position told_ = Position::none;       // a reader with a deadline knows that all up to here was read
  bool begun_ = false;
  std::optional<Error> failed_;          // it never began
};

// The messages for these options.
wire::SubscribeT subscribe_message(const SubscribeOptions& options);
wire::SubscribeT subscribe_message(const ReplayOptions& options);

}  // namespace bus
