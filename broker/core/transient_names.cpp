#include "broker/core/transient_names.hpp"

#include "base/check.hpp"

namespace bus::broker {

void TransientNames::insert(std::uint32_t number, Idle idle) {
  BUS_CHECK(by_time_.emplace(idle.free_from, number).second);
  BUS_CHECK(idle_.emplace(number, idle).second);
}

void TransientNames::start(SteadyTime now) {
  for (std::uint32_t number = 1; number <= state_.publishers.size(); ++number) {
    if (state_.publishers[number].transient) insert(number, {now + limits::transient_hold, std::nullopt});
  }
}

std::string TransientNames::next(SteadyTime now) {
  if (!by_time_.empty() && by_time_.begin()->first <= now) return state_.publishers.name(by_time_.begin()->second);
  std::string name;
  do {
    name = std::string(prefix) + std::to_string(run_) + '-' + std::to_string(++given_);
  } while (state_.publishers.find(name));  // somebody has made it up
  return name;
}

bool TransientNames::is_of(const std::string& name, std::uint64_t instance, std::uint64_t last_sequence) const {
  const auto number = state_.publishers.find(name);
  if (!number) return true;
  const auto it = idle_.find(*number);
  if (it == idle_.end()) return false;
  if (it->second.instance) return *it->second.instance == instance;
  // The row names the instance that has published last. It may have left since, and the name may have gone to one that has
  // stored nothing yet; that one knows the very sequence at which the name stands. To believe it is safe: nothing was
  // stored since it was given the name, neither its own nor anybody else's.
  const PublisherData& row = state_.publishers[*number];
  return row.instance == instance || row.last_sequence == last_sequence;
}

void TransientNames::taken(const std::string& name) {
  const auto number = state_.publishers.find(name);
  if (!number) return;
  const auto it = idle_.find(*number);
  if (it == idle_.end()) return;  // from another session of the same client
  by_time_.erase({it->second.free_from, *number});
  idle_.erase(it);
}

void TransientNames::left(const std::string& name, std::uint64_t instance, SteadyTime free_from) {
  if (const auto number = state_.publishers.find(name)) insert(*number, {free_from, instance});
}

}  // namespace bus::broker
