// The log that a group reads in the model test, and what is to be known of one of its events. Pure values.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "broker/core/consumer_group.hpp"

namespace bus::broker {

// The log that the group reads: stretches that match, but for every seventh event, and others that do not. Some events have no
// key, the others one of five.
inline bool matches(std::uint64_t position) { return position % 300 < 200 && position % 7 != 0; }
inline Hash128 key_of(std::uint64_t position) {
  const auto key = position * 0x9e3779b97f4a7c15 >> 61;
  return key > 4 ? Hash128{} : Hash128{key + 1, key + 1};
}
inline Rank rank_at(std::uint64_t position) { return position % 5 == 0 ? Rank::high : position % 3 == 0 ? Rank::low : Rank::medium; }
// The last one of its key before it; none: there is none near.
inline Position previous_of(std::uint64_t position) {
  for (auto before = position - 1; before > 0 && before + 1000 > position; --before) {
    if (key_of(before) == key_of(position)) return Position{before};
  }
  return Position::none;
}

// What a search finds in it, if it may bring no more than `most`.
struct Found {
  std::vector<Position> positions;
  Position complete_to = Position::none;
};
inline Found find(const ConsumerGroup::Search& search, std::size_t most) {
  Found found{{}, search.up_to};
  for (auto at = search.after + 1; at <= search.up_to; at = at + 1) {
    if (key_of(number(at)) != search.key) continue;
    if (found.positions.size() == most) {
      found.complete_to = found.positions.back();
      break;
    }
    found.positions.push_back(at);
  }
  return found;
}

template <typename Roll>
GroupSettings random_settings(Roll roll) {
  GroupSettings settings;
  settings.sharing = static_cast<Sharing>(roll(2) == 0 ? 3 : roll(4));
  settings.ack_wait = std::chrono::seconds(2);
  settings.in_flight_max = 16;
  if (roll(2) == 0) settings.member_in_flight_max = 5;
  settings.attempts_max = roll(2) == 0 ? 3 : GroupSettings::unlimited;
  settings.retry_delay = std::chrono::seconds(roll(3));
  settings.dead_letter = static_cast<DeadLetter>(settings.is_ordered() ? roll(3) : roll(2) * 2);
  settings.paused = roll(10) == 0;
  return settings;
}

inline std::vector<PendingEvent> all_pending(const ConsumerGroup& group) {
  Position looked_to = Position::none;
  return group.pending(Position::none, false, limits::open_max, looked_to);
}
inline bool is_searching(const ConsumerGroup& group, Position position) {
  const auto pending = all_pending(group);
  return std::any_of(pending.begin(), pending.end(), [position](const auto& one) { return one.position == position && one.place == PendingEvent::Place::searching; });
}
inline std::string durable_state(const ConsumerGroup& group) {
  auto state = group.head();
  for (const auto& event : all_pending(group)) state += std::to_string(number(event.position)) + " " + std::to_string(event.attempt) + " " + std::to_string(event.failures);
  return state;
}

// What is to be known of an event that was looked at, and not settled.
struct Line {
  enum class Place { waits, ready, flying, delayed, stopped, parked } place = Place::waits;
  std::uint32_t attempt = 0, failures = 0, forgiven = 0, returns = 0, redrives = 0;
  MemberId member;
  std::uint64_t given = 0;               // the how manieth delivery it was
};
using Lines = std::map<std::uint64_t, Line>;

}  // namespace bus::broker
