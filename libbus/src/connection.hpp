// Connection runs a ClientCore on a thread of its own, over a Dealer, and is the thread-safe door to it. A Client owns
// it together with the subscriptions and replays that came from it.
//
//   callers ──publish()──> Outbox ──┐
//           ──post()──> commands ───┴──> [ thread: ClientCore, Dealer ] ──> callbacks, listeners
//
// One thread at a time drives core and dealer: whoever holds the turn. As a rule that is the thread; while it sleeps, a
// caller that publishes sends for itself, which saves waking it. Callbacks and listeners run on the thread only. They may
// publish, but must not wait.
#pragma once

#include <condition_variable>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "client_core.hpp"
#include "dealer.hpp"
#include "step.hpp"

namespace bus {

// Far enough away for any deadline, and near enough to be added to a time.
inline constexpr Duration forever = std::chrono::hours(24 * 365);

class Connection {
 public:
  explicit Connection(const ClientOptions& options);
  ~Connection();
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  // Waits for the first Welcome. Errors: timed_out, or why the broker refused.
  Result<ServerInfo> open();

  // ---- publishing
  enum class WhenFull { wait, refuse };
  // Error: nothing was taken, and `done` is as it was; otherwise it is moved from.
  Result<void> publish(const NewEvent& event, std::optional<std::uint64_t> sequence, ReceiptCallback& done, WhenFull when_full);
  // One step, with what is settled and cancelled; `done` is called for each event, and then for each snapshot, or once if there are
  // none. Errors as of publish() and encode_step().
  Result<void> transact(const StepParts& step, BatchStep with, const ReceiptCallback& done);
  // Until all that was published before has its answer.
  Unknown flush(Duration deadline);
  // From now on publish() answers `closed`, also to those who wait for room in it.
  void stop_publishing();

  // ---- everything else. False: the connection is over, and the command will not run.
  using Command = std::function<void(ClientCore&)>;
  enum class When { now, after_published };  // what was published before goes first, lingering or not: it may need what the command ends
  bool post(Command command, When when = When::now);
  // Settlements are frequent: they travel without a command each. `more`: others will follow soon, so that this one may
  // wait for them, for about a millisecond.
  struct Settling {
    ClientCore::SubscriptionId subscription;
    std::uint64_t epoch;
    wire::Settlement settlement;
    std::string text = {};
  };
  void settle(Settling settling, bool more);

  // Ends the thread: Bye is said, and everything open is told `closed`. Idempotent. Called on the thread itself it does
  // not wait for its end; the next call, or the destructor, does.
  void close();
  // How long a caller's request may take; 0: for ever.
  Duration request_timeout() const { return options_.request_timeout; }
  bool on_thread() const { return std::this_thread::get_id() == thread_.get_id(); }

 private:
  struct Posted {
    Command command;
    When when;
  };
  ClientCore::Events events();
  void welcomed(const wire::WelcomeT& welcome);
  void run();
  void take_commands(SteadyTime now);
  void take_batches(SteadyTime now, Duration linger);
  void send_soon(std::unique_lock<std::mutex>& lock);
  bool send_for_itself();
  void receive(Now now);
  void act(Now now);
  void send_all();
  void say_bye();
  SteadyTime take_turn();
  std::optional<std::chrono::milliseconds> fall_asleep(SteadyTime until);
  void wake();
  bool has_work() const;
  Result<void> wait_for_room(std::unique_lock<std::mutex>& lock, std::size_t bytes, std::size_t events, WhenFull when_full);

  const ClientOptions options_;
  WakeUp wake_up_;

  // Of whoever has the turn. Taken before mutex_; with mutex_, only tried.
  std::mutex turn_;
  ClientCore core_;
  std::unique_ptr<Dealer> dealer_;
  std::vector<ClientCore::Outgoing> unsent_;
  bool is_backlogged_ = false;           // more is there to receive than one turn takes
  bool has_settled_ = false;             // this turn

  // Shared.
  mutable std::mutex mutex_;
  std::condition_variable changed_;      // room in the window, an answer, a Welcome, the end
  Outbox outbox_;
  std::vector<Posted> commands_;
  std::vector<Settling> settlings_;
  Needs known() const { return {server_->knows_conditions, server_->knows_snapshots, server_->knows_cancels}; }
  std::optional<ServerInfo> server_;
  std::optional<Error> over_;            // why nothing works any more
  Error trouble_;                        // what stands in the way, as of the last turn
  bool asleep_ = false, retired_ = false, stop_ = false;
  bool is_dozing_ = false;               // asleep, but not for long

  std::mutex join_mutex_;
  std::thread thread_;                   // last: it uses all of the above
};

Now read_clocks();

}  // namespace bus
