// While the function of a step runs, the event that asks for it is not given to somebody else.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <map>
#include <mutex>
#include <thread>
#include <utility>

#include "bus/client.hpp"

namespace bus::saga {

// Extends the events that are at work, again and again, on a thread of its own. It must outlive what hold() returns. Thread-safe.
class Extender {
 public:
  // `every`: well below the ack wait of their groups.
  explicit Extender(Duration every);
  ~Extender();
  Extender(const Extender&) = delete;
  Extender& operator=(const Extender&) = delete;

  // One that is at work, as long as this lives.
  class Hold {
   public:
    Hold(Extender& extender, const Subscription& subscription, const Event& event);
    ~Hold();
    Hold(const Hold&) = delete;
    Hold& operator=(const Hold&) = delete;

   private:
    Extender& extender_;
    std::uint64_t number_;
  };
  Hold hold(const Subscription& subscription, const Event& event) { return {*this, subscription, event}; }

 private:
  void extend_all();

  const Duration every_;
  std::mutex mutex_;
  std::condition_variable ended_;
  bool is_ending_ = false;
  std::uint64_t last_number_ = 0;
  std::map<std::uint64_t, std::pair<Subscription, Event>> held_;
  std::thread thread_;
};

}  // namespace bus::saga
