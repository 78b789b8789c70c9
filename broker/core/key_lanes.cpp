#include "broker/core/key_lanes.hpp"

#include <algorithm>

#include "base/check.hpp"

namespace bus::broker {

void KeyLanes::mark(Lane& lane, bool is_patchy) {
  if (!is_patchy || lane.patchy) return;
  lane.patchy = true;
  ++patchy_;
}

void KeyLanes::begin(const Hash128& key, Position position, bool is_patchy) {
  const auto [it, is_new] = lanes_.try_emplace(key);
  BUS_CHECK(is_new);
  it->second.busy = 1;
  it->second.line = it->second.noted = it->second.last = position;
  mark(it->second, is_patchy);
}

void KeyLanes::note(const Hash128& key, Position position, Rank rank) {
  Lane& lane = at(key);
  if (position <= lane.last) return;
  const bool is_known = lane.noted == lane.last && lane.waiting.size() < limits::lane_waiting_max && waiting_ < limits::waiting_max;
  lane.last = position;
  if (!is_known) return;
  lane.noted = position;
  insert(lane, position, rank);
}

void KeyLanes::restore(const Hash128& key, Position position, Rank rank, bool is_busy, Position line, Position scan, bool is_patchy) {
  Lane& lane = lanes_[key];
  mark(lane, is_patchy);
  lane.busy += is_busy;
  if (!is_busy) insert(lane, position, rank);
  lane.line = lane.noted = std::max(lane.noted, line);
  lane.last = std::max(lane.noted, scan);
}

namespace {

// The place of a position among those that wait, or where it would be.
template <typename Waiting>
auto place_of(Waiting& waiting, Position position) {
  return std::lower_bound(waiting.begin(), waiting.end(), position, [](const auto& one, Position wanted) { return one.position < wanted; });
}

}  // namespace

void KeyLanes::insert(Lane& lane, Position position, Rank rank) {
  const auto place = place_of(lane.waiting, position);
  BUS_CHECK(place == lane.waiting.end() || place->position != position);
  lane.waiting.insert(place, {position, rank});
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

void KeyLanes::back(const Hash128& key, Position position, Rank rank) {
  Lane& lane = at(key);
  BUS_CHECK(lane.busy > 0);
  --lane.busy;
  insert(lane, position, rank);
}

void KeyLanes::join(const Hash128& key, Position position, Position scan, bool is_patchy) {
  const auto [it, is_new] = lanes_.try_emplace(key);
  if (is_new) it->second.line = it->second.noted = it->second.last = scan;
  mark(it->second, is_new && is_patchy);
  insert(it->second, position, Rank::medium);
}

void KeyLanes::leave(const Hash128& key, Position position) {
  Lane& lane = at(key);
  const auto place = place_of(lane.waiting, position);
  BUS_CHECK(place != lane.waiting.end() && place->position == position);
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
    insert(lane, position, Rank::medium);
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
    patchy_ -= lane.patchy;
    lanes_.erase(it);
    return change;
  }
  if (lane.armed == lane.waiting.front().position) return change;
  change.disarmed = lane.armed;
  change.armed = lane.armed = lane.waiting.front().position;
  change.rank = std::min_element(lane.waiting.begin(), lane.waiting.end(), [](const auto& a, const auto& b) { return a.rank < b.rank; })->rank;
  // One that was given up long ago may lie beyond others that were not looked at.
  if (lane.armed <= lane.noted) lane.line = std::max(lane.line, lane.armed);
  return change;
}

KeyLanes::Waiting KeyLanes::waiting(const Hash128& key) const {
  const auto it = lanes_.find(key);
  if (it == lanes_.end()) return {};
  return {it->second.waiting.size() - (it->second.armed != Position::none), it->second.noted == it->second.last};
}

void KeyLanes::verify() const {
  std::size_t sum = 0, patchy = 0;
  for (const auto& [key, lane] : lanes_) {
    patchy += lane.patchy;
    sum += lane.waiting.size();
    BUS_CHECK(lane.busy > 0 || !lane.waiting.empty());
    BUS_CHECK(std::is_sorted(lane.waiting.begin(), lane.waiting.end(), [](const auto& a, const auto& b) { return a.position < b.position; }));
    BUS_CHECK(lane.armed == Position::none || (lane.busy == 0 && lane.armed == lane.waiting.front().position));
    BUS_CHECK(lane.busy > 0 || lane.armed == lane.waiting.front().position);
    BUS_CHECK(lane.line <= lane.noted && lane.noted <= lane.last);
  }
  BUS_CHECK(sum == waiting_ && patchy == patchy_);
}

}  // namespace bus::broker
