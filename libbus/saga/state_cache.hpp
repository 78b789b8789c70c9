// StateCache holds the states of instances as of their last known version, those that were used last, up to so many bytes. Thread-safe.
#pragma once

#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <utility>

#include "libbus/saga/state.hpp"

namespace bus::saga {

struct Cached {
  State state;
  std::uint64_t version = 0;             // of the key, up to where the state is folded
  std::vector<std::pair<Timer, std::string>> schedule_ids;  // of timers that this worker has set
};

class StateCache {
 public:
  explicit StateCache(std::size_t bytes_max) : bytes_max_(bytes_max) {}

  // Null: it is not known.
  std::shared_ptr<const Cached> find(const std::string& key) {
    const std::lock_guard lock(mutex_);
    const auto it = entries_.find(key);
    if (it == entries_.end()) return nullptr;
    order_.splice(order_.begin(), order_, it->second.place);
    return it->second.cached;
  }
  // Unless what is there is newer. One that has ended is not kept.
  void put(const std::string& key, std::shared_ptr<const Cached> cached) {
    const std::lock_guard lock(mutex_);
    const auto it = entries_.find(key);
    if (it != entries_.end() && it->second.cached->version > cached->version) return;
    if (cached->state.has_ended()) return forget(it);
    forget(it);
    order_.push_front(key);
    const auto bytes = bytes_of(*cached) + 2 * key.size();
    entries_.emplace(key, Entry{std::move(cached), bytes, order_.begin()});
    bytes_ += bytes;
    while (bytes_ > bytes_max_) forget(entries_.find(order_.back()));
  }
  void erase(const std::string& key) {
    const std::lock_guard lock(mutex_);
    forget(entries_.find(key));
  }

 private:
  struct Entry {
    std::shared_ptr<const Cached> cached;
    std::size_t bytes = 0;
    std::list<std::string>::iterator place;
  };
  // About.
  static std::size_t bytes_of(const Cached& cached) {
    constexpr std::size_t of_entry = 256, of_step = sizeof(StepState) + 160, of_timer = 2 * sizeof(Timer) + 128;
    return of_entry + sizeof(Cached) + cached.state.steps.size() * of_step + cached.state.timers.size() * of_timer + cached.state.value_bytes();
  }
  using Entries = std::unordered_map<std::string, Entry>;
  void forget(Entries::iterator it) {
    if (it == entries_.end()) return;
    bytes_ -= it->second.bytes;
    order_.erase(it->second.place);
    entries_.erase(it);
  }

  std::mutex mutex_;
  const std::size_t bytes_max_;
  std::size_t bytes_ = 0;
  Entries entries_;
  std::list<std::string> order_;         // the last used first
};

}  // namespace bus::saga
