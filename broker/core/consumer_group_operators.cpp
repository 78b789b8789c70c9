// The part of ConsumerGroup by which operators bring events back, or give them up: dead letters, and events that were settled.
#include "broker/core/consumer_group.hpp"

namespace bus::broker {

// ---- dead letters

Code ConsumerGroup::redrive(const Letter& letter) {
  const auto* attempt = letters_.find(letter.position);
  if (attempt == nullptr) return Code::not_found;
  if (*attempt != letter.attempt) return Code::conflict;
  Open* stopped = open_.find(letter.position);
  const bool searches = stopped != nullptr && stopped->place == Place::searching;
  if (searches || (stopped == nullptr && !may_open())) return Code::group_busy;
  letters_.erase(letter.position);
  changed_ = urgent_ = true;
  Open& open = stopped != nullptr ? *stopped : open_.add(letter.position);
  open.redrives = letter.redrives;
  if (stopped != nullptr) {
    open.forgiven = open.failures;
    make_ready(letter.position, open);
    return Code::ok;
  }
  open.attempt = letter.attempt;
  open.failures = open.forgiven = letter.failures;
  open.returns = letter.returns;
  reopen(letter.position, open, letter.key);
  return Code::ok;
}

Code ConsumerGroup::drop(Position position) {
  if (letters_.find(position) == nullptr) return Code::not_found;
  letters_.erase(position);
  changed_ = urgent_ = true;
  Open* stopped = open_.find(position);
  if (stopped != nullptr && stopped->place == Place::stopped) close(position, *stopped);
  return Code::ok;
}

// ---- replay

// Nothing is kept of what is settled: so it is all that was looked at and is neither open, nor waits, nor is a dead letter.
Code ConsumerGroup::replay(Position position, const Hash128& key, Rank rank) {
  if (position > scan_ && !taken_.contains(position)) return Code::not_found;
  if (letters_.find(position) != nullptr) return Code::conflict;
  const Open* known = open_.find(position);
  if (known != nullptr) return known->place == Place::searching ? Code::group_busy : Code::conflict;
  if (waits_in_line(position, key)) return Code::conflict;
  if (!may_open()) return Code::group_busy;
  changed_ = urgent_ = true;
  Open& open = open_.add(position);
  open.rank = rank;
  open.attempt = highest_attempt_;  // how many it had is not known any more
  reopen(position, open, key);
  return Code::ok;
}

// Of a key in line all that lies beyond it waits, unless it was taken ahead.
bool ConsumerGroup::waits_in_line(Position position, const Hash128& key) const {
  return lanes_.contains(key) && position > lanes_.line(key) && !taken_.contains(position);
}

// It is new in open_: ready, or in line before the later ones of its key that are not out.
void ConsumerGroup::reopen(Position position, Open& open, const Hash128& key) {
  open.event.key = key;
  open.laned = key != Hash128{} && (settings_.is_ordered() || lanes_.contains(key));
  touch(open);
  if (!open.laned) return set_ready(position, open);
  lanes_.join(key, position, scan_, taken_.last() > scan_);
  open.line = lanes_.line(key);
  open.patchy = lanes_.is_patchy(key);
  if (open.patchy) patchy_to_ = taken_.last();
  arm(key);
}

}  // namespace bus::broker
