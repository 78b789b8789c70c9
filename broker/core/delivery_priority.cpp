// The part of Delivery that decides which event of a group goes next: urgent ones before those that came earlier, and those in
// turn not never.
//
//   high, ready or ahead ──> medium, ready ──> the next beyond the scan; if that is low: medium, ahead ──> low, ready
//
// Ahead means beyond what the scan has come to. The log is not read for it: where the last event of each rank lies is known by
// topic, recent records are in memory, and in older ones the reader looks for the next that has such events.
#include <algorithm>

#include "broker/core/delivery.hpp"

namespace bus::broker {

namespace {

std::size_t at_rank(Rank rank) { return static_cast<std::size_t>(rank); }

bool holds(const store::Record& record, Rank rank) {
  for (std::uint32_t kind = 0; kind < record.kinds(); ++kind) {
    if (rank_of(record.kind(kind).priority) <= rank) return true;
  }
  return false;
}

}  // namespace

bool Delivery::give_next(Source& source, MemberId to, Turn& turn, Now now) {
  Group& group = *source.group;
  const bool has_urgent = group.state.next_ready(Rank::high) || may_be_ahead(source, Rank::high);
  const bool others_first = has_urgent && group.is_turn_of(Rank::medium);
  if (has_urgent && !others_first && give_urgent(source, to, turn, now)) return true;
  const bool low_first = group.is_turn_of(Rank::low);
  const auto low = group.state.next_ready(Rank::low);
  if (low && low_first) return give_ready(source, to, *low, turn, now);
  if (const auto ready = group.state.next_ready(Rank::medium)) return give_ready(source, to, *ready, turn, now);
  const auto in_turn = others_first ? std::size_t{1} : turn.events;
  const bool has_medium = may_be_ahead(source, Rank::medium);
  if (has_medium) {  // in turn, until one that is low comes next
    if (look_further(source, Rank::medium, in_turn, turn, now)) return true;
    if (!low_first && look_ahead(source, Rank::medium, turn, now)) return true;
  }
  if (look_further(source, Rank::low, has_medium ? 1 : in_turn, turn, now)) return true;
  if (low) return give_ready(source, to, *low, turn, now);
  return others_first && give_urgent(source, to, turn, now);
}

bool Delivery::give_urgent(Source& source, MemberId to, Turn& turn, Now now) {
  if (const auto ready = source.group->state.next_ready(Rank::high)) return give_ready(source, to, *ready, turn, now);
  if (look_further(source, Rank::high, turn.events, turn, now) || look_ahead(source, Rank::high, turn, now)) return true;
  const auto lent = source.group->state.next_ready(Rank::high);  // by one that stands behind it in line
  return lent && give_ready(source, to, *lent, turn, now);
}

// False: beyond the scan there is none of this rank or a higher one that would have to overtake others, or that is being found out.
bool Delivery::may_be_ahead(Source& source, Rank rank) {
  Group& group = *source.group;
  const Position scan = scan_of(source);
  if (state_.last_of[rank == Rank::high ? priority_of(Rank::high) : priority_of(Rank::low)] <= scan) return false;
  if (!group.knows_newest) {
    group.knows_newest = true;
    for (std::uint32_t topic = 1; topic <= state_.topics.size(); ++topic) {
      if (!source.filter.matches_topic(state_.topics.name(topic))) continue;
      for (const Rank one : {Rank::high, Rank::medium}) note_newest(group, one, state_.topics[topic].last_of[priority_of(one)]);
    }
  }
  const Ahead& ahead = group.ahead[at_rank(rank)];
  return !ahead.asked && ahead.newest > std::max(ahead.looked, scan);
}

void Delivery::note_newest(Group& group, Rank rank, Position position) {
  for (const Rank one : {Rank::high, Rank::medium}) {
    Ahead& ahead = group.ahead[at_rank(one)];
    if (rank <= one) ahead.newest = std::max(ahead.newest, position);
  }
}

// Gives the next events of this rank, and looks at others between them; false if none can be had just now. One that has to wait for
// an earlier one of its key, which the scan has not come to, is left to the scan.
bool Delivery::look_ahead(Source& source, Rank rank, Turn& turn, Now now) {
  Group& group = *source.group;
  Ahead& ahead = group.ahead[at_rank(rank)];
  ahead.looked = std::max(ahead.looked, scan_of(source));
  bool has_given = false;
  while (ahead.looked < ahead.newest && turn.rows > 0 && turn.events > 0 && !has_given) {
    const Position next = ahead.looked + 1;
    if (next - group.state.scan() > limits::ahead_max) return false;
    const auto record = find_ahead(source, rank, next, turn);
    if (!record) return false;
    auto at = next <= record->first() ? 0 : static_cast<std::uint32_t>(next - record->first());
    if (!holds(*record, rank)) at = record->count();
    kinds_.assign(record->kinds(), Match::unknown);
    for (; at < record->count() && turn.rows > 0 && turn.events > 0; ++at, --turn.rows) {
      const auto done = take_ahead(source, rank, record, at, turn, now);
      if (done == Taken::stop) return has_given;
      ahead.looked = record->first() + at;
      has_given = has_given || done == Taken::given;
      if (has_given && group.is_turn_of(rank == Rank::high ? Rank::medium : Rank::low)) return true;
    }
    if (at == record->count()) ahead.looked = record->last();
    turn.rows -= turn.rows > 0;
  }
  return has_given;
}

Delivery::Taken Delivery::take_ahead(Source& source, Rank rank, const store::RecordPtr& record, std::uint32_t at, Turn& turn, Now now) {
  const auto its_rank = rank_of(record->kind(record->kind_of(at)).priority);
  if (its_rank > rank) return Taken::passed;
  Match& match = kinds_.data()[record->kind_of(at)];
  if (match == Match::unknown) match = match_kind(source, *record, record->kind_of(at));
  ConsumerGroup& state = source.group->state;
  const Position position = record->first() + at;
  if (match == Match::no || state.is_taken(position) || !source.filter.matches_event(*record, at)) return Taken::passed;
  if (match == Match::until_it_expires && has_expired(*record, at, now)) return Taken::passed;  // the scan will count it
  const auto entry = record->entry(at);
  const Hash128 key = entry.key ? entry.key->hash : Hash128{};
  switch (state.may_go_ahead(position, key, entry.key ? entry.key->previous : Position::none)) {
    // In a group that was key_ordered before others of its key would overtake it later.
    case ConsumerGroup::Ahead::no: return state.settings().is_ordered() ? Taken::passed : Taken::stop;
    case ConsumerGroup::Ahead::wait: state.wait_ahead(position, key, its_rank); return Taken::passed;
    case ConsumerGroup::Ahead::open: break;
  }
  const auto to = next_receiver(source);
  if (!to || !state.may_open()) return Taken::stop;
  give(source, *to, record, at, turn, now, true);
  return Taken::given;
}

// Null: it has to be found, or read, first.
store::RecordPtr Delivery::find_ahead(Source& source, Rank rank, Position position, Turn& turn) {
  Group& group = *source.group;
  Ahead& ahead = group.ahead[at_rank(rank)];
  if (auto record = log_.recent(position)) return record;
  if (ahead.found != position) {
    search_ahead(group, rank, position);
    return nullptr;
  }
  const auto found = log_.at(position, group.ahead_reader);
  if (!found) ahead.looked = ahead.newest;  // it is damaged, which the scan will say when it is there
  turn.reads_ahead = LogView::pending(found);
  return found ? *found : nullptr;
}

// The next record that has events of this rank.
void Delivery::search_ahead(Group& group, Rank rank, Position from) {
  Ahead& ahead = group.ahead[at_rank(rank)];
  ahead.asked = true;
  const unsigned high = 1u << priority_of(Rank::high), medium = 1u << priority_of(Rank::medium);
  const auto priorities = static_cast<std::uint8_t>(rank == Rank::high ? high : high | medium);
  reads_.ask(ReadPriority{from, priorities}, [this, number = group.number, rank, from](Result<ReadAnswer> answer) {
    const auto it = by_number_.find(number);
    if (it == by_number_.end()) return;
    Ahead& asked = it->second->group->ahead[at_rank(rank)];
    if (!std::exchange(asked.asked, false)) return;  // the group was moved meanwhile
    if (!answer) {
      asked.looked = asked.newest;
    } else {
      const auto& slice = std::get<store::PrioritySlice>(*answer);
      asked.found = slice.is_found ? slice.next : Position::none;
      asked.looked = std::max(asked.looked, std::max(slice.next, from) - 1);
    }
    make_ready(*it->second);
  });
}

// The group begins anew with what lies ahead of its scan.
void Delivery::forget_ahead(Group& group) {
  group.ahead = {};
  group.passed_medium = group.passed_low = 0;
  group.knows_newest = false;
}

}  // namespace bus::broker
