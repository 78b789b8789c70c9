#include "subscription.hpp"

#include <algorithm>
#include <limits>

#include "base/limits.hpp"

namespace bus {

namespace {

using namespace std::chrono_literals;

template <typename Options>
void fill_range(wire::SubscribeT& message, const Options& options) {
  message.from = options.from.kind;
  message.from_value = options.from.value;
  message.to = options.to.kind;
  message.to_value = options.to.value;
  message.credit_events = std::clamp<std::uint32_t>(options.credit_events, 1, limits::credit_events_max);
  message.credit_bytes = std::clamp<std::uint32_t>(options.credit_bytes, 1, limits::credit_bytes_max);
}

}  // namespace

wire::SubscribeT subscribe_message(const SubscribeOptions& options) {
  wire::SubscribeT message;
  message.group = options.group;
  message.filter = to_wire(Filter{options.patterns, options.types, options.keys, {}, {}, options.priorities, options.attributes});
  fill_range(message, options);
  message.settings = to_wire(options.settings);
  return message;
}

std::unique_ptr<wire::FilterT> to_wire(const Filter& filter) {
  auto message = std::make_unique<wire::FilterT>();
  message->patterns = filter.patterns;
  message->types = filter.types;
  message->keys = filter.keys;
  if (filter.since) message->time_from = nanoseconds(*filter.since);
  if (filter.until) message->time_to = nanoseconds(*filter.until);
  message->priorities = filter.priorities;
  for (const AttributeFilter& one : filter.attributes) {
    message->attributes.push_back(std::make_unique<wire::AttributeFilterT>());
    message->attributes.back()->name = one.name;
    message->attributes.back()->values = one.values;
  }
  return message;
}

std::unique_ptr<wire::GroupSettingsT> to_wire(const GroupSettings& settings) {
  const auto milliseconds = [](const std::optional<Duration>& from) -> std::optional<std::uint32_t> {
    if (!from) return std::nullopt;
    return static_cast<std::uint32_t>(std::clamp<std::int64_t>(*from / 1ms, 0, std::numeric_limits<std::uint32_t>::max()));
  };
  auto message = std::make_unique<wire::GroupSettingsT>();
  message->sharing = settings.sharing;
  message->ack_wait_ms = milliseconds(settings.ack_wait);
  message->in_flight_max = settings.in_flight_max;
  message->member_in_flight_max = settings.member_in_flight_max;
  message->attempts_max = settings.attempts_max;
  message->backoff = settings.backoff;
  message->retry_delay_ms = milliseconds(settings.retry_delay);
  message->retry_delay_max_ms = milliseconds(settings.retry_delay_max);
  message->jitter_percent = settings.jitter_percent;
  message->dead_letter = settings.dead_letter;
  message->paused = settings.paused;
  return message;
}

wire::SubscribeT subscribe_message(const ReplayOptions& options) {
  wire::SubscribeT message;
  message.filter = to_wire(options.filter);
  fill_range(message, options);
  return message;
}

// ---- EventQueue

Result<void> EventQueue::begin(wire::SubscribeT what) {
  credit_events_ = what.credit_events;
  credit_bytes_ = what.credit_bytes;
  is_group_ = !what.group.empty();
  auto asked = std::make_shared<wire::SubscribeT>(std::move(what));
  const bool posted = connection_->post([self = shared_from_this(), asked](ClientCore& core) {
    // The number comes before anything is told under it.
    const auto id = core.subscribe(std::move(*asked), self);
    const std::lock_guard lock(self->mutex_);
    self->id_ = id;
  });
  if (!posted) return Error{Code::closed, "the client was closed"};
  std::unique_lock lock(mutex_);
  const auto answered = [this] { return started_ || ended_; };
  const auto timeout = connection_->request_timeout();
  if (timeout == Duration(0)) changed_.wait(lock, answered);
  const bool in_time = changed_.wait_for(lock, timeout, answered);
  if (in_time && ended_ && !started_) return *ended_;
  if (in_time) return {};
  lock.unlock();
  stop();
  return Error{Code::timed_out, "the broker did not answer the subscription in time"};
}

void EventQueue::stop() {
  halt();
  leave();
}

void EventQueue::halt() {
  const std::lock_guard lock(mutex_);
  stopped_ = true;
  queue_.clear();
  changed_.notify_all();
}

void EventQueue::leave() {
  connection_->post([self = shared_from_this()](ClientCore& core) { core.unsubscribe(self->id_); }, Connection::When::after_published);
}

void EventQueue::started(const Subscription::Started& started) {
  const std::lock_guard lock(mutex_);
  started_ = started;
  connected_ = true;
  if (!is_group_) trimmed_before_ = trimmed_.events;
  changed_.notify_all();
}

void EventQueue::resumed() {
  const std::lock_guard lock(mutex_);
  if (!is_group_) trimmed_before_ = trimmed_.events;
  connected_ = true;
  changed_.notify_all();
}

void EventQueue::delivered(std::vector<Event> events) {
  const std::lock_guard lock(mutex_);
  connected_ = true;
  if (stopped_) return;
  const bool was_empty = queue_.empty(), are_many = events.size() > 1;
  queue_.push(std::move(events));
  if (was_empty || are_many) changed_.notify_all();
}

void EventQueue::caught_up(Position position) {
  const std::lock_guard lock(mutex_);
  connected_ = true;
  caught_up_ = position;
  changed_.notify_all();
}

void EventQueue::trimmed(std::uint64_t events, Position to) {
  const std::lock_guard lock(mutex_);
  trimmed_ = {std::max(trimmed_.events, trimmed_before_ + events), std::max(trimmed_.to, to)};
  changed_.notify_all();
}

Trimmed EventQueue::trimmed_so_far() const {
  const std::lock_guard lock(mutex_);
  return trimmed_;
}

void EventQueue::interrupted() {
  const std::lock_guard lock(mutex_);
  connected_ = false;
  lost_at_ = std::chrono::steady_clock::now();
  if (!queue_.empty() && !queue_.front().group().empty()) queue_.clear();
  changed_.notify_all();
}

void EventQueue::ended(Result<void> why) {
  const std::lock_guard lock(mutex_);
  ended_ = std::move(why);
  changed_.notify_all();
}

// In portions, as every portion wakes the connection's thread: an eighth of the events or of the bytes, and the rest when
// nothing is left.
void EventQueue::done_with(const Event& event, std::unique_lock<std::mutex>& lock) {
  ++done_events_;
  done_bytes_ += event.bytes().size();
  if (!queue_.empty() && done_events_ * 8 < credit_events_ && done_bytes_ * 8 < credit_bytes_) return;
  const auto events = std::exchange(done_events_, 0), bytes = std::exchange(done_bytes_, 0);
  lock.unlock();
  connection_->post([id = id_, events, bytes](ClientCore& core) { core.consumed(id, events, bytes); });
  lock.lock();
}

// ---- Subscription

namespace {

// A callback runs on this thread, of whichever subscription.
thread_local bool calling = false;

}  // namespace

Subscription::State::State(std::shared_ptr<Connection> connection, const SubscribeOptions& options)
    : EventQueue(std::move(connection)),
      acks_(!options.group.empty() && options.ack == AckMode::automatic),
      concurrency_(std::max(1u, options.concurrency)) {}

// Each thread owns the state: here all have ended, but for the one that may be letting go of it.
Subscription::State::~State() {
  for (std::thread& thread : threads_) thread.get_id() == std::this_thread::get_id() ? thread.detach() : thread.join();
}

void Subscription::State::start_threads(Callbacks callbacks) {
  const auto shared = std::make_shared<const Callbacks>(std::move(callbacks));
  for (unsigned at = 0; at < concurrency_; ++at) {
    threads_.emplace_back([self = std::static_pointer_cast<State>(shared_from_this()), shared] { self->work(*shared); });
  }
}

void Subscription::State::work(const Callbacks& callbacks) {
  std::unique_lock lock(mutex_);
  const auto has_to_tell = [&] { return callbacks.trimmed && (told_trimmed_.to != trimmed_.to || told_trimmed_.events != trimmed_.events); };
  for (;;) {
    changed_.wait(lock, [&] { return stopped_ || ended_ || !queue_.empty() || has_to_tell(); });
    if (stopped_) return;
    if (has_to_tell()) {
      tell_trimmed(callbacks, lock);
      continue;
    }
    if (queue_.empty()) return;
    const Event event = queue_.pop();
    const bool more = !queue_.empty();
    ++running_;
    lock.unlock();
    call(callbacks.event, event, more);
    lock.lock();
    done_with(event, lock);
    returned();
  }
}

void Subscription::State::tell_trimmed(const Callbacks& callbacks, std::unique_lock<std::mutex>& lock) {
  const Trimmed told = trimmed_;
  told_trimmed_ = told;
  ++running_;
  lock.unlock();
  calling = true;
  callbacks.trimmed(told);
  calling = false;
  lock.lock();
  returned();
}

// A callback, to the thread that called it.
void Subscription::State::returned() {
  if (--running_ > 0) return;
  if (stopped_ || ended_) changed_.notify_all();
  if (std::exchange(leaves_, false)) leave();
}

void Subscription::State::call(const Callback& callback, const Event& event, bool more) {
  Subscription handle(std::static_pointer_cast<State>(shared_from_this()));
  std::optional<std::string> error;
  calling = true;
  try {
    callback(handle, event);
  } catch (const std::exception& thrown) {
    error = thrown.what();
  } catch (...) {
    error = "the callback threw something that is no std::exception";
  }
  calling = false;
  if (!acks_) return;
  error ? settle(event, wire::Verdict::nack, 0ms, std::move(*error)) : settle(event, wire::Verdict::ack, 0ms, {}, more);
}

void Subscription::State::settle(const Event& event, wire::Verdict verdict, Duration delay, std::string text, bool more) {
  connection_->settle({id_, event.epoch(), settlement(event, verdict, delay), cut(std::move(text))}, more);
}

wire::Settlement Subscription::State::settlement(const Event& event, wire::Verdict verdict, Duration delay) {
  const auto delay_ms = std::clamp<Duration>(delay, 0ms, limits::nack_delay_max) / 1ms;
  return {bus::number(event.position()), event.attempt(), static_cast<std::uint32_t>(delay_ms), verdict};
}

std::string Subscription::State::cut(std::string text) {
  auto length = std::min(text.size(), limits::error_bytes_max);
  while (length > 0 && length < text.size() && (static_cast<unsigned char>(text[length]) & 0xc0) == 0x80) --length;
  text.resize(length);
  return text;
}

ClientCore::SubscriptionId Subscription::State::number() const {
  const std::lock_guard lock(mutex_);
  return id_;
}

Result<void> Subscription::State::flush(Duration deadline) {
  auto promise = std::make_shared<std::promise<Result<void>>>();
  auto future = promise->get_future();
  auto number = std::make_shared<std::uint64_t>(0);
  const bool posted = connection_->post([id = id_, promise, number](ClientCore& core) {
    *number = core.flush(id, [promise](Result<void> done) { promise->set_value(std::move(done)); });
  });
  if (!posted) return Error{Code::closed, "the client was closed"};
  if (future.wait_for(std::min<Duration>(deadline, forever)) != std::future_status::ready) {
    connection_->post([id = id_, number](ClientCore& core) { core.forget_flush(id, *number); });
    return Error{Code::timed_out, "the broker did not confirm the acknowledgements in time; they may be durable or not"};
  }
  return future.get();
}

// What the running callbacks still acknowledge arrives before the end does. A callback waits neither for itself nor for
// others, which may be waiting for it.
void Subscription::State::close(SteadyTime deadline) {
  halt();
  {
    std::unique_lock lock(mutex_);
    leaves_ = calling && running_ > 0;
    if (leaves_) return;
    changed_.wait_until(lock, deadline, [this] { return running_ == 0; });
  }
  leave();
}

Result<void> Subscription::State::wait() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return stopped_ || (ended_ && queue_.empty() && running_ == 0); });
  return ended_ ? *ended_ : Result<void>();
}

Subscription::Started Subscription::State::first() const {
  const std::lock_guard lock(mutex_);
  return started_.value_or(Started{});
}

Position Subscription::State::caught_up_to() const {
  const std::lock_guard lock(mutex_);
  return caught_up_;
}

void Subscription::ack(const Event& event) { state_->settle(event, wire::Verdict::ack, 0ms); }
void Subscription::ack_up_to(const Event& event) { state_->settle(event, wire::Verdict::ack_up_to, 0ms); }
void Subscription::nack(const Event& event, Duration delay, std::string error) { state_->settle(event, wire::Verdict::nack, delay, std::move(error)); }
void Subscription::reject(const Event& event, std::string error) { state_->settle(event, wire::Verdict::reject, 0ms, std::move(error)); }
void Subscription::release(const Event& event) { state_->settle(event, wire::Verdict::release, 0ms); }
void Subscription::extend(const Event& event, std::string note) { state_->settle(event, wire::Verdict::extend, 0ms, std::move(note)); }
Result<void> Subscription::flush(Duration deadline) { return state_->flush(deadline); }
void Subscription::close() { state_->close(std::chrono::steady_clock::now() + forever); }
Result<void> Subscription::wait() { return state_->wait(); }
Position Subscription::caught_up() const { return state_->caught_up_to(); }
Subscription::Started Subscription::started() const { return state_->first(); }
std::uint64_t Subscription::stale() const { return state_->stale_acks(); }
Trimmed Subscription::trimmed() const { return state_->trimmed_so_far(); }

// ---- Replay

Result<void> Replay::State::begin_once() {
  if (!std::exchange(begun_, true)) {
    if (auto began = begin(what_); !began) failed_ = began.error();
  }
  return failed_ ? Result<void>(*failed_) : Result<void>();
}

// What a read ends in, or nothing: wait.
std::optional<Result<std::optional<Event>>> Replay::State::take(std::unique_lock<std::mutex>& lock) {
  if (!queue_.empty()) {
    std::optional<Event> event(queue_.pop());
    done_with(*event, lock);
    return event;
  }
  if (ended_ && !ended_->ok()) return ended_->error();
  if (stopped_) return Error{Code::closed, "the client or the replay was closed before its end"};
  if (ended_) return std::optional<Event>();
  return std::nullopt;
}

Result<std::optional<Event>> Replay::State::read() {
  if (auto began = begin_once(); !began) return began.error();
  std::unique_lock lock(mutex_);
  for (;;) {
    if (auto taken = take(lock)) return std::move(*taken);
    // It goes on by itself once the broker is back, but a reader shall not wait for ever.
    const auto timeout = connection_->request_timeout();
    if (connected_ || timeout == Duration(0)) {
      changed_.wait(lock);
    } else if (changed_.wait_until(lock, lost_at_ + timeout) == std::cv_status::timeout && !connected_) {
      return Error{Code::timed_out, "the broker is gone, and did not come back in time"};
    }
  }
}

Result<std::optional<Event>> Replay::State::read(SteadyTime deadline) {
  if (auto began = begin_once(); !began) return began.error();
  std::unique_lock lock(mutex_);
  for (;;) {
    if (auto taken = take(lock)) return std::move(*taken);
    if (std::exchange(told_, caught_up_) != caught_up_) return std::optional<Event>();
    if (changed_.wait_until(lock, deadline) == std::cv_status::timeout) {
      auto taken = take(lock);
      return taken ? std::move(*taken) : std::optional<Event>();
    }
  }
}

Position Replay::State::caught_up_to() const {
  const std::lock_guard lock(mutex_);
  return queue_.empty() ? caught_up_ : Position::none;
}

Result<std::optional<Event>> Replay::read() { return state_->read(); }
Result<std::optional<Event>> Replay::read(SteadyTime deadline) { return state_->read(deadline); }
Position Replay::caught_up() const { return state_->caught_up_to(); }
Trimmed Replay::trimmed() const { return state_->trimmed_so_far(); }
void Replay::close() { state_->stop(); }

}  // namespace bus
