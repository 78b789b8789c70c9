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
  ordered_from_ = patchy_to_ = taken_.last();
  // Of each key nothing more goes out until all that is open of it is settled.
  std::vector<Hash128> keys;
  open_.each([&](Position position, Open& open) {
    if (open.laned || open.event.key == Hash128{}) return;
    open.laned = true;
    open.line = scan_;
    open.patchy = taken_.last() > scan_;
    touch(open);
    const bool is_ready = unset_ready(position, open);
    open.lost = false;
    lanes_.restore(open.event.key, position, open.rank, !is_ready, scan_, scan_, open.patchy);
    if (is_ready) keys.push_back(open.event.key);
  });
  for (const Hash128& key : keys) arm(key);
}

// From what is open, which is all that is durable. What waits in them is searched for once its turn has come.
void ConsumerGroup::rebuild_lanes() {
  std::vector<Hash128> keys;
  open_.each([&](Position position, const Open& open) {
    const bool is_ready = open.place == Place::ready;
    if (open.laned) lanes_.restore(open.event.key, position, open.rank, !is_ready, open.line, scan_, open.patchy);
    if (open.laned && is_ready) keys.push_back(open.event.key);
    if (!open.laned && is_ready) set_ready(position, open);
  });
  for (const Hash128& key : keys) arm(key);
  open_.each([&](Position position, const Open& open) {
    if (open.place != Place::searching) return;
    const auto search = lanes_.search_of(open.event.key);
    searches_.push_back({open.event.key, position, search.after, search.up_to, generation_});
  });
}

void ConsumerGroup::wait(Position position, const Hash128& key, Rank rank) {
  go_to(position);
  changed_ = true;
  stand_in_line(position, key, rank);
}

void ConsumerGroup::stand_in_line(Position position, const Hash128& key, Rank rank) {
  lanes_.note(key, position, rank);
  if (position < lanes_.armed(key)) arm(key);  // before one that was given up long ago
  raise(key, rank);
}

// ---- ahead of the scan

// All events of the key up to `previous` were looked at: so the one behind it keeps their order.
bool ConsumerGroup::is_linked(const Hash128& key, Position previous) const {
  return previous <= scan_ || lanes_.knows(key, previous) || (previous > ordered_from_ && taken_.contains(previous));
}

ConsumerGroup::Ahead ConsumerGroup::may_go_ahead(Position position, const Hash128& key, Position previous) const {
  if (!may_reach(position)) return Ahead::no;
  if (key == Hash128{} || !keeps_keys_in_line()) return Ahead::open;
  if (lanes_.contains(key)) return is_linked(key, previous) ? Ahead::wait : Ahead::no;
  return !settings_.is_ordered() || is_linked(key, previous) ? Ahead::open : Ahead::no;
}

// Kept in mind only: after a restart it is found again.
void ConsumerGroup::wait_ahead(Position position, const Hash128& key, Rank rank) {
  stand_in_line(position, key, rank);
}

std::uint32_t ConsumerGroup::open_ahead(Position position, const EventFacts& event, Rank rank, MemberId member, std::size_t bytes, SteadyTime now) {
  BUS_CHECK(position > scan_ && !taken_.contains(position));
  take(position);
  return begin(position, event, rank, member, bytes, now);
}

void ConsumerGroup::take(Position position) {
  taken_.add(position);
  newly_taken_.push_back(position);
}

// Behind an event that is ready one of this rank waits: so it is to be no later.
void ConsumerGroup::raise(const Hash128& key, Rank rank) {
  const Position armed = lanes_.armed(key);
  if (armed == Position::none) return;
  Open& open = *open_.find(armed);
  if (open.rank <= rank) return;
  unset_ready(armed, open);
  open.rank = rank;
  touch(open);
  set_ready(armed, open);
}

// The next of the key that may go out, if none is out, is ready, and open if it was not.
void ConsumerGroup::arm(const Hash128& key) {
  const auto change = lanes_.next(key);
  if (change.disarmed != Position::none) unset_ready(change.disarmed, *open_.find(change.disarmed));
  if (change.armed == Position::none) return;
  Open* known = open_.find(change.armed);
  if (known == nullptr && change.armed > scan_) take(change.armed);
  Open& open = known != nullptr ? *known : open_.add(change.armed);
  open.rank = change.rank;
  set_ready(change.armed, open);
  if (known != nullptr && open.line == lanes_.line(key)) return;
  open.event.key = key;
  open.laned = true;
  open.line = lanes_.line(key);
  open.patchy = lanes_.is_patchy(key);
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
    if (open_.find(position) == nullptr && !taken_.contains(position)) wanted.push_back(position);
  }
  lanes_.found(search.key, wanted, complete_to);
  changed_ = urgent_ = true;
  close(search.settled, *open);  // or search on, behind what was looked at
}

}  // namespace bus::broker
