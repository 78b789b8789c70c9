// The part of ConsumerGroup that keeps the events of a key in line.
#include <algorithm>

#include "base/check.hpp"
#include "broker/core/consumer_group.hpp"

namespace bus::broker {

void ConsumerGroup::change(const GroupSettings& settings) {
  const bool was = settings_.is_ordered();
  settings_ = settings;
  changed_ = urgent_ = true;
  if (was || !settings.is_ordered()) return;
  // Of each key nothing more goes out until all that is open of it is settled.
  std::vector<Hash128> keys;
  open_.each([&](Position position, Open& open) {
    if (open.laned || open.event.key == Hash128{}) return;
    open.laned = true;
    open.line = scan_;
    touch(open);
    const bool is_ready = ready_.erase(position) > 0;
    lanes_.restore(open.event.key, position, !is_ready, scan_, scan_);
    if (is_ready) keys.push_back(open.event.key);
  });
  for (const Hash128& key : keys) arm(key);
}

// From what is open, which is all that is durable. What waits in them is searched for once its turn has come.
void ConsumerGroup::rebuild_lanes() {
  std::vector<Hash128> keys;
  open_.each([&](Position position, const Open& open) {
    const bool is_ready = open.place == Place::ready;
    if (open.laned) lanes_.restore(open.event.key, position, !is_ready, open.line, scan_);
    if (open.laned && is_ready) keys.push_back(open.event.key);
    if (!open.laned && is_ready) ready_.insert(position);
  });
  for (const Hash128& key : keys) arm(key);
  open_.each([&](Position position, const Open& open) {
    if (open.place != Place::searching) return;
    const auto search = lanes_.search_of(open.event.key);
    searches_.push_back({open.event.key, position, search.after, search.up_to, generation_});
  });
}

void ConsumerGroup::wait(Position position, const Hash128& key) {
  lanes_.note(key, position);
  scan_ = position;
  changed_ = true;
}

// The next of the key that may go out, if none is out, is ready, and open if it was not.
void ConsumerGroup::arm(const Hash128& key) {
  const auto change = lanes_.next(key);
  if (change.disarmed != Position::none) ready_.erase(change.disarmed);
  if (change.armed == Position::none) return;
  ready_.insert(change.armed);
  Open* known = open_.find(change.armed);
  Open& open = known != nullptr ? *known : open_.add(change.armed);
  if (known != nullptr && open.line == lanes_.line(key)) return;
  open.event.key = key;
  open.laned = true;
  open.line = lanes_.line(key);
  touch(open);
}

bool ConsumerGroup::is_wanted(const Search& search) const {
  const Open* open = search.generation == generation_ ? open_.find(search.settled) : nullptr;
  return open != nullptr && open->place == Place::searching;
}

void ConsumerGroup::found(const Search& search, const std::vector<Position>& positions, Position complete_to) {
  if (!is_wanted(search)) return;
  Open* open = open_.find(search.settled);
  std::vector<Position> wanted;
  for (const Position position : positions) {
    if (open_.find(position) == nullptr) wanted.push_back(position);
  }
  lanes_.found(search.key, wanted, complete_to);
  changed_ = urgent_ = true;
  close(search.settled, *open);  // or search on, behind what was looked at
}

}  // namespace bus::broker
