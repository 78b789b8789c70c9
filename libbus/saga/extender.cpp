#include "libbus/saga/extender.hpp"

namespace bus::saga {

Extender::Extender(Duration every) : every_(every), thread_([this] { extend_all(); }) {}

Extender::~Extender() {
  {
    const std::lock_guard lock(mutex_);
    is_ending_ = true;
  }
  ended_.notify_all();
  thread_.join();
}

void Extender::extend_all() {
  std::unique_lock lock(mutex_);
  while (!ended_.wait_for(lock, every_, [this] { return is_ending_; })) {
    for (auto& [number, one] : held_) one.first.extend(one.second);
  }
}

Extender::Hold::Hold(Extender& extender, const Subscription& subscription, const Event& event) : extender_(extender) {
  const std::lock_guard lock(extender_.mutex_);
  number_ = ++extender_.last_number_;
  extender_.held_.emplace(number_, std::pair(subscription, event));
}

Extender::Hold::~Hold() {
  const std::lock_guard lock(extender_.mutex_);
  extender_.held_.erase(number_);
}

}  // namespace bus::saga
