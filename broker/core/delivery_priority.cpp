// The part of Delivery that decides which event of a group goes next: urgent ones before those that came earlier, and those in
// turn not never. RankTurns says in which order the classes are asked; each has
//
//   high, medium:  what is ready ──> what comes next in the log, if it is of this rank ──> what lies ahead
//   low, the rest: what is ready ──> what comes next in the log, whatever its rank
//
// Ahead means beyond what the scan has come to. The log is not read for it: where the last event of each priority lies is known,
// recent records are in memory, and in older ones the reader looks for the next that has such events. Whoever has to be read or
// found first keeps its turn, and holds up no other class.
#include <algorithm>

#include "broker/core/delivery.hpp"

namespace bus::broker {

namespace {

bool holds(const store::Record& record, Rank rank) {
  for (std::uint32_t kind = 0; kind < record.kinds(); ++kind) {
    if (rank_of(record.kind(kind).priority) == rank) return true;
  }
  return false;
}

}  // namespace

bool Delivery::give_next(Source& source, MemberId to, Turn& turn, Now now) {
  RankTurns& turns = source.group->turns;
  for (const Rank rank : turns.order()) {
    const Came came = rank == Rank::low ? give_rest(source, to, turn, now) : give_urgent(source, to, rank, turn, now);
    if (came == Came::some) return true;
    if (turn.damage) return false;
    if (came == Came::none) turns.none(rank);
  }
  return false;
}

Delivery::Came Delivery::give_urgent(Source& source, MemberId to, Rank rank, Turn& turn, Now now) {
  const ConsumerGroup& state = source.group->state;
  if (const auto ready = state.next_ready(rank)) return give_ready(source, to, *ready, rank, turn, now);
  const Came ahead = may_be_ahead(source, rank, turn);
  if (ahead == Came::none) return Came::none;
  const auto most = std::min(turn.events, source.group->turns.room(rank));
  if (look_further(source, rank, most, turn, now) == Came::some) return Came::some;
  if (ahead == Came::later) return Came::later;
  const Came came = look_ahead(source, rank, most, turn, now);
  // One that is ready may have been lent the rank of one that stands in line behind it.
  return came != Came::some && state.next_ready(rank) ? Came::some : came;
}

Delivery::Came Delivery::give_rest(Source& source, MemberId to, Turn& turn, Now now) {
  const ConsumerGroup& state = source.group->state;
  const auto low = state.next_ready(Rank::low);
  // Whoever comes next in the log is not overtaken for ever, either.
  if (low && source.group->turns.is_next_due() && look_further(source, {}, 1, turn, now) == Came::some) return Came::some;
  if (turn.damage) return Came::later;
  if (low && give_ready(source, to, *low, Rank::low, turn, now) == Came::some) return Came::some;
  if (turn.damage) return Came::later;
  const bool is_alone = !state.has_ready() && may_be_ahead(source, Rank::high, turn) == Came::none && may_be_ahead(source, Rank::medium, turn) == Came::none;
  const Came further = look_further(source, {}, is_alone ? turn.events : 1, turn, now);
  return low && further == Came::none ? Came::later : further;
}

// None: of this rank there is nothing beyond the scan that would have to overtake others. Later: it is being found out.
Delivery::Came Delivery::may_be_ahead(Source& source, Rank rank, Turn& turn) {
  Group& group = *source.group;
  const Position scan = scan_of(source);
  const bool has_low = group.state.next_ready(Rank::low) || group.state.next_ready(Rank::high) || state_.last_of[priority_of(Rank::low)] > scan;
  if (rank == Rank::high ? state_.last_of[priority_of(Rank::high)] <= scan : !has_low) return Came::none;
  if (!group.knows_newest) find_newest(source, turn);
  const Ahead& ahead = group.ahead[at_rank(rank)];
  if (ahead.blind_to > scan) return Came::none;
  if (ahead.search != 0) return Came::later;
  return ahead.newest > std::max(ahead.looked, scan) || ahead.left > scan ? Came::some : Came::none;
}

// Of all topics where they are so many that it would take long to look at each.
void Delivery::find_newest(Source& source, Turn& turn) {
  constexpr std::uint32_t looked_at = 10'000;
  Group& group = *source.group;
  group.knows_newest = true;
  const auto note = [&](const std::array<Position, 3>& last_of) {
    for (const Rank rank : {Rank::high, Rank::medium}) note_newest(group, rank, last_of[priority_of(rank)]);
  };
  if (state_.topics.size() > looked_at) return note(state_.last_of);
  for (std::uint32_t topic = 1; topic <= state_.topics.size(); ++topic) {
    if (source.filter.matches_topic(state_.topics.name(topic))) note(state_.topics[topic].last_of);
  }
  turn.rows -= std::min<std::size_t>(turn.rows, state_.topics.size());  // so not all groups do it in one turn of the loop
}

void Delivery::note_newest(Group& group, Rank rank, Position position) {
  if (rank == Rank::low) return;
  Ahead& ahead = group.ahead[at_rank(rank)];
  ahead.newest = std::max(ahead.newest, position);
}

// Gives the next `most` events of this rank, and looks at others between them. One that has to wait for an earlier one of its key,
// which the scan has not come to, is left to the scan.
Delivery::Came Delivery::look_ahead(Source& source, Rank rank, std::size_t most, Turn& turn, Now now) {
  Group& group = *source.group;
  Ahead& ahead = group.ahead[at_rank(rank)];
  ahead.looked = std::max(ahead.looked, scan_of(source));
  std::size_t given = 0;
  while (given == 0 && ahead.looked < ahead.newest && turn.rows > 0) {
    const Position next = ahead.looked + 1;
    if (!group.state.may_reach(next)) return Came::none;
    const auto record = find_ahead(source, rank, next, turn);
    if (!record) return Came::later;
    const auto begun = next <= record->first() ? 0 : static_cast<std::uint32_t>(next - record->first());
    auto at = holds(*record, rank) ? begun : record->count();
    kinds_.assign(record->kinds(), Match::unknown);
    for (; at < record->count() && turn.rows > 0 && given < most; ++at, --turn.rows) {
      const auto done = take_ahead(source, rank, record, at, turn, now);
      if (done == Taken::stop) return given > 0 ? Came::some : Came::later;
      ahead.looked = record->first() + at;
      given += done == Taken::given;
    }
    if (at == record->count()) ahead.looked = record->last();
    turn.rows -= turn.rows > 0;  // the record itself has its price, too
  }
  return given > 0 ? Came::some : ahead.looked < ahead.newest ? Came::later : Came::none;
}

Delivery::Taken Delivery::take_ahead(Source& source, Rank rank, const store::RecordPtr& record, std::uint32_t at, Turn& turn, Now now) {
  const auto its_rank = rank_of(record->kind(record->kind_of(at)).priority);
  if (its_rank != rank) return Taken::passed;
  Match& match = kinds_.data()[record->kind_of(at)];
  if (match == Match::unknown) match = match_kind(source, *record, record->kind_of(at));
  ConsumerGroup& state = source.group->state;
  const Position position = record->first() + at;
  if (match == Match::no || state.is_taken(position) || record->is_removed(at) || !source.filter.matches_event(*record, at)) return Taken::passed;
  if (match == Match::until_it_expires && has_expired(*record, at, now)) return Taken::passed;  // the scan will count it
  if (!state.may_reach(position)) return Taken::stop;
  const auto entry = record->entry(at);
  const Hash128 key = entry.key ? entry.key->hash : Hash128{};
  switch (state.may_go_ahead(position, key, entry.key ? entry.key->previous : Position::none)) {
    // In a group that was key_ordered before others of its key would overtake it later.
    case ConsumerGroup::Ahead::no:
      if (!state.settings().is_ordered()) return Taken::stop;
      source.group->ahead[at_rank(rank)].left = position;
      return Taken::passed;
    case ConsumerGroup::Ahead::wait: state.wait_ahead(position, key, its_rank); return Taken::passed;
    case ConsumerGroup::Ahead::open: break;
  }
  const auto to = next_receiver(source);
  if (!to || !state.may_open()) return Taken::stop;
  give(source, *to, record, at, turn, now, From::ahead);
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
  const auto found = read(source, rank == Rank::high ? ReadFor::high_ahead : ReadFor::medium_ahead, position, turn);
  if (!found) ahead.blind_to = ahead.newest;  // it is damaged, which the scan will say when it is there
  return found ? *found : nullptr;
}

// ---- searches for the next record that has events of a rank: a few at a time, in the order in which they were asked for

void Delivery::search_ahead(Group& group, Rank rank, Position from) {
  to_search_ahead_.push_back({group.number, rank, group.ahead[at_rank(rank)].search = ++last_search_, from});
  search_ahead_on();
}

void Delivery::search_ahead_on() {
  while (!to_search_ahead_.empty() && searching_ahead_ < limits::ahead_searches_max) {
    const AheadSearch next = to_search_ahead_.front();
    to_search_ahead_.pop_front();
    if (sought_by(next) == nullptr) continue;
    ++searching_ahead_;
    const auto priorities = static_cast<std::uint8_t>(1u << priority_of(next.rank));
    reads_.ask(ReadPriority{next.from, priorities}, [this, next](Result<ReadAnswer> answer) {
      --searching_ahead_;
      found_ahead(next, answer);
      search_ahead_on();
    });
  }
}

// Null: the group was moved, changed or removed meanwhile.
Ahead* Delivery::sought_by(const AheadSearch& search) {
  const auto it = by_number_.find(search.group);
  if (it == by_number_.end()) return nullptr;
  Ahead& ahead = it->second->group->ahead[at_rank(search.rank)];
  return ahead.search == search.number ? &ahead : nullptr;
}

void Delivery::found_ahead(const AheadSearch& search, const Result<ReadAnswer>& answer) {
  Ahead* ahead = sought_by(search);
  if (ahead == nullptr) return;
  ahead->search = 0;
  if (!answer) {
    ahead->blind_to = ahead->newest;
  } else {
    const auto& slice = std::get<store::PrioritySlice>(*answer);
    ahead->found = slice.is_found ? slice.next : Position::none;
    ahead->looked = std::max(ahead->looked, std::max(slice.next, search.from) - 1);
  }
  make_ready(*by_number_.at(search.group));
}

// The group begins anew with what lies ahead of its scan.
void Delivery::forget_ahead(Group& group) {
  group.ahead = {};
  group.turns = {};
  group.knows_newest = false;
}

}  // namespace bus::broker
