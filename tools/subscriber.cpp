#include "tools/subscriber.hpp"

#include <unistd.h>

#include <algorithm>
#include <thread>

#include "tools/cli.hpp"
#include "tools/command.hpp"
#include "tools/event_json.hpp"

namespace bus::tools {

using namespace std::chrono_literals;

namespace {

// With which a command says that the event itself is bad, and that no other attempt will do better (EX_DATAERR).
constexpr int exit_bad_event = 65;

Duration ack_wait_of(Client& client, const std::string& group) {
  wire::GroupsRequestT request;
  request.name = group;
  const auto reply = ask<wire::GroupsReplyT>(client, std::move(request));
  return std::chrono::milliseconds(reply.groups.at(0)->ack_wait_ms);
}

}  // namespace

Subscriber::Subscriber(SubscriberOptions options, Client& client, Schemas& schemas)
    : options_(std::move(options)), client_(client), schemas_(schemas), items_(options_.format), ack_wait_(100ms),
      last_(steady_now()) {}

// ---- on the subscription's thread

void Subscriber::take(Subscription& subscription, const Event& event) {
  if (stopped_) return;
  {
    const std::lock_guard lock(mutex_);
    working_ = true;
  }
  try {
    deliver(subscription, event);
  } catch (...) {
    return stop(std::current_exception());
  }
  const std::lock_guard lock(mutex_);
  working_ = false;
  last_ = steady_now();
  if (++taken_ == options_.count) stopped_ = true;
  if (stopped_ || options_.idle_exit) bell_.ring();
}

void Subscriber::deliver(Subscription& subscription, const Event& event) {
  if (!options_.command.empty()) return execute(subscription, event);
  print(event);
  if (grouped()) subscription.ack(event);
}

// The event counts as received once its line has left us, not before.
void Subscriber::print(const Event& event) {
  const auto payload = schemas_.text_of(event);
  items_.add(items_.wants_json() ? event_to_json(event, payload) : "", items_.wants_json() ? "" : event_to_text(event, payload));
  flush();
}

void Subscriber::execute(Subscription& subscription, const Event& event) {
  const auto extend = [&] {
    if (grouped()) subscription.extend(event);
  };
  const auto line = event_to_json(event, schemas_.text_of(event)) + "\n";
  const auto code = run_command(options_.command, line, ack_wait_.load() / 3, extend).value();
  const std::lock_guard lock(mutex_);
  if (code == 0) {
    failed_.erase(event.position());
    if (grouped()) subscription.ack(event);
    return;
  }
  failed_.insert(event.position());
  const auto where = "position " + std::to_string(number(event.position()));
  const auto error = "the command ended with " + std::to_string(code);
  warn(where + ": " + error);
  if (!grouped()) return;
  code == exit_bad_event ? subscription.reject(event, error) : subscription.nack(event, 0ms, error);
}

void Subscriber::stop(std::exception_ptr why) {
  {
    const std::lock_guard lock(mutex_);
    if (!failure_) failure_ = why;
    working_ = false;
  }
  stopped_ = true;
  bell_.ring();
}

// ---- on the verb's thread

bool Subscriber::is_over(Subscription& subscription) {
  if (stopped_ || interrupted() != 0) return true;
  const bool reads_end = options_.until_end && grouped();
  if (reads_end && subscription.caught_up() >= subscription.started().committed) return true;
  if (stdout_closed()) throw ClosedPipe{};
  return time_left() <= Duration(0);
}

// Until the next look: an idle end may be due, or a group may have settled all.
Duration Subscriber::time_left() {
  const std::lock_guard lock(mutex_);
  Duration left = options_.until_end ? Duration(20ms) : Duration(1h);
  if (options_.idle_exit && !working_) left = std::min<Duration>(left, last_ + *options_.idle_exit - steady_now());
  return left;
}

void Subscriber::wait_for_end(Subscription& subscription) {
  while (!is_over(subscription)) bell_.wait(time_left(), {{STDOUT_FILENO, 0, 0}});
}

void Subscriber::finish(Subscription& subscription) {
  auto flushed = grouped() ? subscription.flush(options_.patience) : Result<void>();
  if (!flushed && flushed.error().code == Code::disconnected) {
    warn("the connection broke in between; events whose acknowledgement it took with it come again");
    flushed = subscription.flush(options_.patience);
  }
  if (subscription.stale() > 0) {
    warn(std::to_string(subscription.stale()) + " acknowledgements came too late; these events are delivered again");
  }
  flushed.value();
}

bool Subscriber::run() {
  const GracefulEnd graceful;
  options_.subscription.on_trimmed = warn_of_trimmed;
  auto subscription = client_.subscribe(options_.subscription, [this](Subscription& handle, const Event& event) { take(handle, event); }).value();
  std::thread waiter([this, subscription]() mutable {
    const auto ended = subscription.wait();
    if (!stopped_) stop(ended ? nullptr : std::make_exception_ptr(Failed(ended.error())));
  });
  std::exception_ptr failure;
  try {
    if (!options_.command.empty() && grouped()) ack_wait_ = ack_wait_of(client_, options_.subscription.group);
    wait_for_end(subscription);
    finish(subscription);
  } catch (...) {
    failure = std::current_exception();
  }
  stopped_ = true;
  subscription.close();
  waiter.join();
  if (failure_) failure = failure_;
  if (failure) std::rethrow_exception(failure);
  if (options_.command.empty() && interrupted() == 0) items_.finish();
  return failed_.empty();
}

}  // namespace bus::tools
