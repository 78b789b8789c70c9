#include "broker/core/key_lanes.hpp"

#include <algorithm>

#include "base/check.hpp"

namespace bus::broker {

void KeyLanes::begin(const Hash128& key, Position position) {
  const auto [it, is_new] = lanes_.try_emplace(key);
  BUS_CHECK(is_new);
  it->second.busy = 1;
  it->second.line = it->second.noted = it->second.last = position;
}

void KeyLanes::note(const Hash128& key, Position position) {
  Lane& lane = at(key);
  BUS_CHECK(position > lane.last);
  const bool is_known = lane.noted == lane.last && lane.waiting.size() < limits::lane_waiting_max && waiting_ < limits::waiting_max;
  lane.last = position;
  if (!is_known) return;
  lane.noted = position;
  lane.waiting.push_back(position);
  ++waiting_;
}

void KeyLanes::restore(const Hash128& key, Position position, bool is_busy, Position line, Position scan) {
  Lane& lane = lanes_[key];
  lane.busy += is_busy;
  if (!is_busy) insert(lane, position);
  lane.line = lane.noted = std::max(lane.noted, line);
  lane.last = std::max(lane.noted, scan);
}

void KeyLanes::insert(Lane& lane, Position position) {
  const auto place = std::lower_bound(lane.waiting.begin(), lane.waiting.end(), position);
  BUS_CHECK(place == lane.waiting.end() || *place != position);
  lane.waiting.insert(place, position);
  ++waiting_;
}

void KeyLanes::go(const Hash128& key, Position position) {
  Lane& lane = at(key);
  BUS_CHECK(lane.busy == 0 && lane.armed == position);
  lane.waiting.erase(lane.waiting.begin());
  --waiting_;
  lane.armed = Position::none;
  ++lane.busy;
}

void KeyLanes::back(const Hash128& key, Position position) {
  Lane& lane = at(key);
  BUS_CHECK(lane.busy > 0);
  --lane.busy;
  insert(lane, position);
}

void KeyLanes::join(const Hash128& key, Position position, Position scan) {
  const auto [it, is_new] = lanes_.try_emplace(key);
  if (is_new) it->second.line = it->second.noted = it->second.last = scan;
  insert(it->second, position);
}

void KeyLanes::leave(const Hash128& key, Position position) {
  Lane& lane = at(key);
  const auto place = std::lower_bound(lane.waiting.begin(), lane.waiting.end(), position);
  BUS_CHECK(place != lane.waiting.end() && *place == position);
  if (lane.armed == position) lane.armed = Position::none;
  lane.waiting.erase(place);
  --waiting_;
}

void KeyLanes::done(const Hash128& key) {
  Lane& lane = at(key);
  BUS_CHECK(lane.busy > 0);
  --lane.busy;
}

std::optional<KeyLanes::Search> KeyLanes::begin_search(const Hash128& key) {
  Lane& lane = at(key);
  if (lane.busy > 0 || !lane.waiting.empty() || lane.noted == lane.last) return std::nullopt;
  ++lane.busy;
  return Search{lane.noted, lane.last};
}

KeyLanes::Search KeyLanes::search_of(const Hash128& key) const {
  const Lane& lane = lanes_.at(key);
  return {lane.noted, lane.last};
}

// One at least, and no more than may be kept in mind.
void KeyLanes::found(const Hash128& key, const std::vector<Position>& positions, Position complete_to) {
  Lane& lane = at(key);
  for (const Position position : positions) {
    if (position <= lane.noted || position > complete_to) continue;
    if (!lane.waiting.empty() && waiting_ >= limits::waiting_max) return;
    lane.noted = position;
    insert(lane, position);
  }
  lane.noted = std::max(lane.noted, complete_to);
  lane.last = std::max(lane.last, lane.noted);
}

KeyLanes::Change KeyLanes::next(const Hash128& key) {
  const auto it = lanes_.find(key);
  Change change;
  Lane& lane = it->second;
  if (lane.busy > 0) return change;
  if (lane.waiting.empty()) {
    BUS_CHECK(lane.noted == lane.last);
    lanes_.erase(it);
    return change;
  }
  if (lane.armed == lane.waiting.front()) return change;
  change.disarmed = lane.armed;
  change.armed = lane.armed = lane.waiting.front();
  lane.line = std::max(lane.line, lane.armed);
  return change;
}

KeyLanes::Waiting KeyLanes::waiting(const Hash128& key) const {
  const auto it = lanes_.find(key);
  if (it == lanes_.end()) return {};
  return {it->second.waiting.size() - (it->second.armed != Position::none), it->second.noted == it->second.last};
}

void KeyLanes::verify() const {
  std::size_t sum = 0;
  for (const auto& [key, lane] : lanes_) {
    sum += lane.waiting.size();
    BUS_CHECK(lane.busy > 0 || !lane.waiting.empty());
    BUS_CHECK(std::is_sorted(lane.waiting.begin(), lane.waiting.end()));
    BUS_CHECK(lane.armed == Position::none || (lane.busy == 0 && lane.armed == lane.waiting.front()));
    BUS_CHECK(lane.busy > 0 || lane.armed == lane.waiting.front());
    BUS_CHECK(lane.line <= lane.noted && lane.noted <= lane.last);
  }
  BUS_CHECK(sum == waiting_);
}

}  // namespace bus::broker
