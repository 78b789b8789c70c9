// The part of Intake that knows topics, and who publishes deprecated types.
#include <algorithm>

#include "broker/core/intake.hpp"

namespace bus::broker {

// The topic is not known yet: may it be?
Result<void> Intake::check_new_topic(std::string_view topic) const {
  if (auto good = wire::check_topic(topic); !good) return good;
  if (state_.topics.size() < limits::topics_max) return {};
  return Error{Code::too_many_topics, "the broker knows as many topics as it may"};
}

bool Intake::holds_topic(std::string_view topic) const {
  const auto is_of_topic = [&](const Item& item) {
    const bool is_for_log = !item.event.empty() && !item.is_scheduled() && !item.is_snapshot && !item.is_no_event;
    return is_for_log && wire::trusted_event(item.event)->topic()->string_view() == topic;
  };
  for (const auto& [name, publisher] : publishers_) {
    for (const Parked& batch : publisher.parked) {
      if (std::any_of(batch.items.begin(), batch.items.end(), is_of_topic)) return true;
    }
  }
  return false;
}

// Once it is taken: one that is sent again does not count again.
void Intake::note_deprecated(const Item& item, const std::string& publisher) {
  constexpr std::size_t told_max = 16;
  const auto* type = types_.find(wire::trusted_event(item.event)->type()->string_view());
  if (type->deprecated == nullptr) return;  // since it came
  ++type->deprecated->events;
  auto& names = type->deprecated->publishers;
  if (names.size() < told_max && std::find(names.begin(), names.end(), publisher) == names.end()) names.push_back(publisher);
}

}  // namespace bus::broker
