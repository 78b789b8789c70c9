#include "bench/peers/load.hpp"

#include <poll.h>
#include <sys/prctl.h>

#include <algorithm>
#include <cstring>
#include <future>
#include <latch>
#include <random>

namespace bus::bench {

namespace {

constexpr std::size_t noise_bytes = 1 << 20;
constexpr std::size_t stride = 61;     // prime, so that events begin everywhere in the noise

timespec time_left(Time deadline) {
  const auto left = std::max(Duration(0), Duration(deadline - now()));
  const auto seconds = std::chrono::floor<std::chrono::seconds>(left);
  return {seconds.count(), (left - seconds).count()};
}

}  // namespace

// ---- Payloads

Payloads::Payloads(std::size_t size) : size_(size), noise_(std::max(noise_bytes, 2 * size)), stamped_(size) {
  std::mt19937 random(1);
  std::generate(noise_.begin(), noise_.end(), [&random] { return static_cast<char>(random()); });
}

Bytes Payloads::next() {
  at_ = (at_ + stride) % (noise_.size() - size_);
  return {noise_.data() + at_, size_};
}

Bytes Payloads::next(Time due) {
  const auto noise = next();
  std::copy(noise.begin(), noise.end(), stamped_.begin());
  const std::int64_t stamp = due.time_since_epoch().count();
  std::memcpy(stamped_.data(), &stamp, sizeof stamp);
  return stamped_;
}

Time Payloads::due_of(const void* event) {
  std::int64_t stamp = 0;
  std::memcpy(&stamp, event, sizeof stamp);
  return Time(Duration(stamp));
}

// ---- Pace

// The kernel may end a wait 50 us late to save wake-ups, which would be most of a latency on loopback.
Pace::Pace(double rate) : begun_(now() + std::chrono::milliseconds(10)), rate_(rate) { prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0); }

Time Pace::due(std::uint64_t event) const {
  return begun_ + Duration(static_cast<std::int64_t>(static_cast<double>(event) / rate_ * 1e9));
}

bool readable(int fd, Time deadline) {
  pollfd watched = {fd, POLLIN, 0};
  const auto left = time_left(deadline);
  return ppoll(&watched, 1, &left, nullptr) > 0;
}

// ---- Tally

void Tally::add(std::uint64_t arrived) {
  const auto before = arrived_.fetch_add(arrived);
  if (before >= expected_ || before + arrived < expected_) return;
  completed_ = now();
  const std::lock_guard lock(mutex_);
  changed_.notify_all();
}

std::uint64_t Tally::wait(Duration patience) {
  std::unique_lock lock(mutex_);
  for (auto seen = arrived_.load(); !complete(); seen = arrived_) {
    changed_.wait_for(lock, patience, [this] { return complete(); });
    if (arrived_ == seen) break;
  }
  return expected_ - std::min(expected_, arrived_.load());
}

Time Tally::completed() const {
  const auto completed = completed_.load();
  return completed == Time{} ? now() : completed;
}

// ---- threads

void on_threads(unsigned count, const std::function<void(unsigned)>& work) {
  std::vector<std::future<void>> running;
  for (unsigned at = 0; at < count; ++at) running.push_back(std::async(std::launch::async, work, at));
  for (auto& thread : running) thread.wait();
  for (auto& thread : running) thread.get();
}

Measured publish_each(const Options& options, const std::function<PublishOne()>& connect) {
  std::vector<PublishOne> publishers;
  for (unsigned at = 0; at < options.publishers; ++at) publishers.push_back(connect());
  std::vector<Latencies> latencies(options.publishers);
  std::latch ready(options.publishers + 1);
  std::atomic<std::uint64_t> taken{0};
  const auto work = [&](unsigned at) {
    Payloads payloads(options.size);
    ready.arrive_and_wait();
    while (taken++ < options.count) {
      const auto begun = now();
      publishers[at](payloads.next());
      latencies[at].add(now() - begun);
    }
  };
  auto all = std::async(std::launch::async, [&] { on_threads(options.publishers, work); });
  ready.arrive_and_wait();
  const auto begun = now();
  all.get();
  Measured measured;
  measured.took = now() - begun;
  measured.settings["publishers"] = options.publishers;
  for (unsigned at = 1; at < options.publishers; ++at) latencies[0].merge(latencies[at]);
  measured.latency = std::move(latencies[0]);
  return measured;
}

}  // namespace bus::bench
