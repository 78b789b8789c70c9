#include "connection.hpp"

#include <sys/random.h>

#include <algorithm>
#include <csignal>

#include "base/limits.hpp"
#include "event_encoder.hpp"

namespace bus {

namespace {

constexpr std::size_t messages_per_turn = 256;
// After a turn that sent settlements more will come: the thread looks for them by itself, so that they need not wake it.
constexpr std::chrono::milliseconds doze = std::chrono::milliseconds(1);
constexpr std::size_t settlings_to_wake = 256;

std::uint64_t random_value() {
  std::uint64_t value = 0;
  if (getrandom(&value, sizeof value, 0) != sizeof value) throw std::runtime_error("getrandom failed");
  return value;
}

ClientCore::Options core_options(const ClientOptions& options) {
  return {options.name, options.publisher, options.backoff_min, options.backoff_max, random_value()};
}

// Signals are the service's: none shall interrupt the connection's thread, or run their code on it. A fault still does.
class SignalsBlocked {
 public:
  SignalsBlocked() {
    sigset_t signals;
    sigfillset(&signals);
    for (const int fault : {SIGSEGV, SIGBUS, SIGFPE, SIGILL}) sigdelset(&signals, fault);
    pthread_sigmask(SIG_SETMASK, &signals, &before_);
  }
  ~SignalsBlocked() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  SignalsBlocked(const SignalsBlocked&) = delete;
  SignalsBlocked& operator=(const SignalsBlocked&) = delete;

 private:
  sigset_t before_;
};

SteadyTime deadline_of(Duration duration) {
  return std::chrono::steady_clock::now() + std::min<Duration>(duration > Duration(0) ? duration : forever, forever);
}

}  // namespace

Now read_clocks() {
  return {std::chrono::time_point_cast<Duration>(std::chrono::system_clock::now()), std::chrono::steady_clock::now()};
}

Connection::Connection(const ClientOptions& options) : options_(options), core_(core_options(options), events()) {
  const SignalsBlocked inherited_by_the_thread;
  thread_ = std::thread([this] { run(); });
}

Connection::~Connection() { close(); }

ClientCore::Events Connection::events() {
  return {[this](const wire::WelcomeT& welcome) { welcomed(welcome); },
          [this](const Batch& batch) {
            const std::lock_guard lock(mutex_);
            outbox_.answered(batch);
            changed_.notify_all();
          },
          [this](const Error& why) {
            const std::lock_guard lock(mutex_);
            over_ = why;
            changed_.notify_all();
          }};
}

void Connection::welcomed(const wire::WelcomeT& welcome) {
  const std::lock_guard lock(mutex_);
  if (!server_) {
    Outbox::Window window;
    window.bytes = std::min<std::size_t>(std::max(options_.window_bytes, limits::batch_bytes_max), welcome.window_bytes);
    window.events = welcome.window_events;
    outbox_.open(window, welcome.last_sequence);
  }
  server_ = ServerInfo{welcome.broker, welcome.log_id, welcome.history, welcome.epoch, Position{welcome.committed}, welcome.last_sequence,
                       welcome.conditions_max > 0, welcome.snapshots_max > 0, welcome.cancels_max > 0};
  changed_.notify_all();
}

Result<ServerInfo> Connection::open() {
  std::unique_lock lock(mutex_);
  changed_.wait_until(lock, deadline_of(options_.connect_timeout), [this] { return server_ || over_; });
  if (over_) return *over_;
  if (server_) return *server_;
  const auto reason = trouble_.code == Code::ok ? "" : " (" + trouble_.detail + ")";
  return Error{Code::timed_out, "no broker answers at " + options_.server + reason + "; is busd running there?"};
}

// ---- callers

void Connection::wake() {
  if (!asleep_) return;
  asleep_ = false;
  wake_up_.ring();
}

Result<void> Connection::wait_for_room(std::unique_lock<std::mutex>& lock, std::size_t bytes, std::size_t events, WhenFull when_full) {
  if (outbox_.has_room(bytes, events) && !over_ && !retired_) return {};
  const auto ready = [&] { return over_ || retired_ || outbox_.has_room(bytes, events); };
  // A callback that waited here would wait for itself.
  if (!ready() && (when_full == WhenFull::refuse || on_thread())) return Error{Code::busy, "the window is full"};
  if (!changed_.wait_until(lock, deadline_of(options_.publish_timeout), ready)) {
    return Error{Code::busy, "the window stayed full; " + describe(trouble_)};
  }
  if (over_) return *over_;
  if (retired_) return Error{Code::closed, "the client was closed"};
  return {};
}

Result<void> Connection::publish(const NewEvent& event, std::optional<std::uint64_t> sequence, ReceiptCallback& done, WhenFull when_full) {
  if (auto good = check_conditions(event.conditions, !event.key.empty()); !good) return good;
  const auto encoded = encode_event(event, std::chrono::time_point_cast<Duration>(std::chrono::system_clock::now()));
  if (!encoded) return encoded.error();
  std::unique_lock lock(mutex_);
  if (auto room = wait_for_room(lock, encoded->size(), 1, when_full); !room) return room;
  if (auto good = check_needs(needs_of(event.conditions), known(), server_->version); !good) return good;
  // Without a linger nobody asks how long an event has waited; looking at a clock is a tenth of a publish.
  const auto now = options_.linger > Duration(0) ? std::chrono::steady_clock::now() : SteadyTime();
  if (auto added = outbox_.add({*encoded, event.conditions}, done, sequence, now); !added) return added.error();
  send_soon(lock);
  return {};
}

Result<void> Connection::transact(const StepParts& step, BatchStep with, const ReceiptCallback& done) {
  const auto now = read_clocks();
  auto encoded = encode_step(step, std::move(with), now.wall);
  if (!encoded) return encoded.error();
  std::unique_lock lock(mutex_);
  if (auto room = wait_for_room(lock, encoded->bytes, encoded->items.size(), WhenFull::wait); !room) return room;
  if (auto good = check_needs(encoded->needs, known(), server_->version); !good) return good;
  outbox_.add_step(encoded->items, std::move(encoded->with), done, now.steady);
  send_soon(lock);
  return {};
}

// Something may be ready to be sent.
void Connection::send_soon(std::unique_lock<std::mutex>& lock) {
  if (!outbox_.is_ready() || !asleep_) return;
  // What lingers is the thread's, which knows for how long.
  std::unique_lock turn(turn_, std::defer_lock);
  if (options_.linger > Duration(0) || !turn.try_lock()) return wake();
  lock.unlock();
  const bool done_all = send_for_itself();
  turn.unlock();
  lock.lock();
  if (!done_all) wake();
}

// With the turn, while the thread sleeps. False: there is something for the thread to do.
bool Connection::send_for_itself() {
  if (!core_.is_ready()) return false;
  const auto now = std::chrono::steady_clock::now();
  take_batches(now, options_.linger);
  core_.send_batches(now);
  send_all();
  return !core_.is_over() && unsent_.empty() && !dealer_->is_ready(false);
}

Unknown Connection::flush(Duration deadline) {
  std::unique_lock lock(mutex_);
  const auto until = std::chrono::steady_clock::now() + std::min<Duration>(deadline, forever);
  const auto last = outbox_.newest_sequence();
  const auto answered = [&] { return outbox_.events() == 0 || outbox_.oldest_sequence() > last; };
  changed_.wait_until(lock, until, [&] { return answered() || stop_; });
  if (answered()) return {};
  return {outbox_.events(), outbox_.oldest_sequence(), trouble_};
}

void Connection::stop_publishing() {
  const std::lock_guard lock(mutex_);
  retired_ = true;
  changed_.notify_all();
}

bool Connection::post(Command command, When when) {
  const std::lock_guard lock(mutex_);
  if (stop_) return false;
  commands_.push_back({std::move(command), when});
  wake();
  return true;
}

void Connection::settle(Settling settling, bool more) {
  const std::lock_guard lock(mutex_);
  if (stop_) return;
  settlings_.push_back(std::move(settling));
  if (!more || !is_dozing_ || settlings_.size() >= settlings_to_wake) wake();
}

void Connection::close() {
  {
    const std::lock_guard lock(mutex_);
    retired_ = stop_ = true;
    wake_up_.ring();
    changed_.notify_all();
  }
  if (on_thread()) return;
  const std::lock_guard joining(join_mutex_);
  if (thread_.joinable()) thread_.join();
}

// ---- the thread

void Connection::run() {
  std::unique_lock turn(turn_);
  for (;;) {
    {
      const std::lock_guard lock(mutex_);
      if (stop_) break;
    }
    const auto pause = fall_asleep(take_turn());
    if (!pause) continue;
    turn.unlock();
    Dealer::wait(dealer_.get(), wake_up_, *pause);
    turn.lock();
    wake_up_.clear();
    const std::lock_guard lock(mutex_);
    asleep_ = is_dozing_ = false;
  }
  const Now now = read_clocks();
  take_commands(now.steady);
  take_batches(now.steady, options_.linger);
  core_.close();
  // What was published but never taken is told so, too.
  std::vector<Batch> rest;
  {
    const std::lock_guard lock(mutex_);
    rest = outbox_.take_all();
  }
  for (Batch& batch : rest) core_.publish(std::move(batch));
  say_bye();
  dealer_.reset();
}

// A process that ended now would take with it what libzmq has not sent yet.
void Connection::say_bye() {
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(1);
  for (Now now = read_clocks(); !core_.has_left() && now.steady < until; now = read_clocks()) {
    send_all();
    if (!dealer_->is_ready(!unsent_.empty())) {
      Dealer::wait(dealer_.get(), wake_up_, std::chrono::ceil<std::chrono::milliseconds>(until - now.steady));
    }
    wake_up_.clear();
    receive(now);
  }
}

// One turn; returns when the next is due.
SteadyTime Connection::take_turn() {
  const Now now = read_clocks();
  receive(now);
  take_commands(now.steady);
  take_batches(now.steady, options_.linger);
  const SteadyTime next = core_.tick(now);
  act(now);
  send_all();
  const std::lock_guard lock(mutex_);
  trouble_ = core_.trouble();
  return is_backlogged_ ? now.steady : next;
}

void Connection::receive(Now now) {
  is_backlogged_ = false;
  if (!dealer_) return;
  if (dealer_->is_lost()) core_.lost({Code::disconnected, "no connection to " + options_.server}, now.steady);
  std::vector<Frame> frames;
  for (std::size_t count = 0; count < messages_per_turn; ++count) {
    if (!dealer_->receive(frames)) return;
    core_.receive(frames, now);
  }
  is_backlogged_ = true;
}

void Connection::take_commands(SteadyTime now) {
  std::vector<Posted> commands;
  std::vector<Settling> settlings;
  {
    const std::lock_guard lock(mutex_);
    commands.swap(commands_);
    settlings.swap(settlings_);
  }
  // Settlements first: a command may be the flush that waits for them.
  has_settled_ = !settlings.empty();
  for (const Settling& one : settlings) core_.settle(one.subscription, one.epoch, one.settlement, one.text);
  for (const Posted& posted : commands) {
    if (posted.when == When::after_published) {
      take_batches(now, Duration(0));
      if (core_.is_ready()) core_.send_batches(now);
    }
    posted.command(core_);
  }
}

void Connection::take_batches(SteadyTime now, Duration linger) {
  for (;;) {
    std::optional<Batch> batch;
    {
      const std::lock_guard lock(mutex_);
      batch = outbox_.take(now, linger);
    }
    if (!batch) return;
    core_.publish(std::move(*batch));
  }
}

void Connection::act(Now now) {
  switch (core_.take_action()) {
    case ClientCore::Action::none: return;
    case ClientCore::Action::disconnect:
      dealer_.reset();
      unsent_.clear();
      return;
    case ClientCore::Action::connect: break;
  }
  unsent_.clear();
  auto dealer = Dealer::connect(options_.server);
  if (!dealer) return core_.lost(dealer.error(), now.steady);
  dealer_ = std::move(*dealer);
}

// What the socket does not take waits here, in order; window and credit bound it.
void Connection::send_all() {
  for (auto& message : core_.take_outgoing()) unsent_.push_back(std::move(message));
  std::size_t sent = 0;
  while (dealer_ && sent < unsent_.size() && dealer_->send(unsent_[sent].header, unsent_[sent].body)) ++sent;
  unsent_.erase(unsent_.begin(), unsent_.begin() + static_cast<std::ptrdiff_t>(sent));
}

bool Connection::has_work() const {
  return stop_ || !commands_.empty() || !settlings_.empty();
}

// How long to wait, with the turn given up; nothing if there is something to do.
std::optional<std::chrono::milliseconds> Connection::fall_asleep(SteadyTime until) {
  if (dealer_ && dealer_->is_ready(!unsent_.empty())) return std::nullopt;
  const std::lock_guard lock(mutex_);
  if (has_work()) return std::nullopt;
  if (const auto due = outbox_.due(options_.linger)) until = std::min(until, *due);
  const auto left = std::min<Duration>(until - std::chrono::steady_clock::now(), std::chrono::hours(1));
  if (left <= Duration(0)) return std::nullopt;
  asleep_ = true;
  is_dozing_ = has_settled_;
  const auto pause = std::chrono::ceil<std::chrono::milliseconds>(left);
  return is_dozing_ ? std::min(pause, doze) : pause;
}

}  // namespace bus
