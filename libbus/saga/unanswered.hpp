// What came of attempts whose replies are not on record yet.
#pragma once

#include <functional>
#include <future>
#include <iterator>
#include <map>
#include <mutex>

#include "bus/event.hpp"
#include "bus/saga.hpp"

namespace bus::saga {

// One that comes again, as the connection broke meanwhile, is not made again by this process. Thread-safe.
class Unanswered {
 public:
  static constexpr std::size_t most = 64;  // a result has up to 1 MiB

  // Waits for what is being done for the event at that position, or has been; else does it. `work` must not throw.
  Done once(Position position, const std::function<Done()>& work) {
    std::promise<Done> promise;
    std::shared_future<Done> known;
    {
      const std::lock_guard lock(mutex_);
      const auto it = done_.find(position);
      if (it != done_.end()) known = it->second;
      if (!known.valid()) remember(position, promise.get_future().share());
    }
    if (known.valid()) return known.get();
    Done done = work();
    promise.set_value(done);
    return done;
  }
  // The reply is on record.
  void forget(Position position) {
    const std::lock_guard lock(mutex_);
    done_.erase(position);
  }

 private:
  // Of those that others have answered nobody tells: the oldest one goes.
  void remember(Position position, std::shared_future<Done> done) {
    for (auto it = done_.begin(); it != done_.end() && done_.size() >= most;) {
      const bool is_ready = it->second.wait_for(std::chrono::seconds(0)) == std::future_status::ready;
      it = is_ready ? done_.erase(it) : std::next(it);
    }
    done_.emplace(position, std::move(done));
  }

  std::mutex mutex_;
  std::map<Position, std::shared_future<Done>> done_;
};

}  // namespace bus::saga
