// The part of Delivery that decides which event of a group goes next: urgent ones before those that came earlier, and those in
// turn not never.
//
//   high, ready or ahead ──> medium, ready ──> the next beyond the scan; if that is low: medium, ahead ──> low, ready
//
// But whoever was overtaken by priority_share events goes first: a medium one by high ones, and the next beyond the scan, or one that is
// low and ready, by any.
//
// Ahead means beyond what the scan has come to. The log is not read for it: where the last event of each priority lies is known,
// recent records are in memory, and in older ones the reader looks for the next that has such events.
#include <algorithm>

#include "broker/core/delivery.hpp"

namespace bus::broker {

namespace {

std::size_t at_rank(Rank rank) { return static_cast<std::size_t>(rank); }

bool holds(const store::Record& record, Rank rank) {
  for (std::uint32_t kind = 0; kind < record.kinds(); ++kind) {
    if (rank_of(record.kind(kind).priority) == rank) return true;
  }
  return false;
}

}  // namespace

// What was given, and whom it has overtaken.
void Group::count_given(Rank rank, Given how, bool beyond_scan) {
  passed_medium = rank == Rank::medium ? 0 : passed_medium + (rank == Rank::high);
  passed_scan = how == Given::in_turn ? 0 : passed_scan + beyond_scan;
  passed_low = how == Given::again && rank == Rank::low ? 0 : passed_low + 1;
}

bool Delivery::give_next(Source& source, MemberId to, Turn& turn, Now now) {
  Group& group = *source.group;
  const auto low = group.state.next_ready(Rank::low);
  if (group.passed_medium >= limits::priority_share) {
    if (give_medium(source, to, 1, turn, now)) return true;
    group.passed_medium = 0;  // there is none
  }
  if (group.passed_scan >= limits::priority_share && is_overtaken(source)) {
    if (look_further(source, Rank::low, 1, turn, now)) return true;
    group.passed_scan = 0;
  }
  if (low && group.passed_low >= limits::priority_share) return give_ready(source, to, *low, turn, now);
  if (give_high(source, to, turn, now) || give_medium(source, to, turn.events, turn, now)) return true;
  const auto most = may_be_ahead(source, Rank::medium) || may_be_ahead(source, Rank::high) ? 1 : turn.events;
  if (look_further(source, Rank::low, most, turn, now)) return true;
  return low && give_ready(source, to, *low, turn, now);
}

// Those beyond the scan may be overtaken by others than such that are delivered again.
bool Delivery::is_overtaken(const Source& source) const {
  const Position scan = scan_of(source);
  return state_.last_of[priority_of(Rank::high)] > scan || state_.last_of[priority_of(Rank::low)] > scan;
}

bool Delivery::give_high(Source& source, MemberId to, Turn& turn, Now now) {
  if (const auto ready = source.group->state.next_ready(Rank::high)) return give_ready(source, to, *ready, turn, now);
  if (!may_be_ahead(source, Rank::high)) return false;
  const auto most = std::min<std::size_t>(turn.events, limits::priority_share);
  if (look_further(source, Rank::high, most, turn, now) || look_ahead(source, Rank::high, most, turn, now)) return true;
  const auto lent = source.group->state.next_ready(Rank::high);  // by one that stands behind it in line
  return lent && give_ready(source, to, *lent, turn, now);
}

// In turn, until one that is low comes next; then those ahead of it.
bool Delivery::give_medium(Source& source, MemberId to, std::size_t most, Turn& turn, Now now) {
  if (const auto ready = source.group->state.next_ready(Rank::medium)) return give_ready(source, to, *ready, turn, now);
  if (!may_be_ahead(source, Rank::medium)) return false;
  return look_further(source, Rank::medium, most, turn, now) ||
         look_ahead(source, Rank::medium, std::min<std::size_t>(most, limits::priority_share), turn, now);
}

// False: beyond the scan there is none of this rank that would have to overtake others, or that is being found out.
bool Delivery::may_be_ahead(Source& source, Rank rank) {
  Group& group = *source.group;
  const Position scan = scan_of(source);
  if (state_.last_of[rank == Rank::high ? priority_of(Rank::high) : priority_of(Rank::low)] <= scan) return false;
  if (!group.knows_newest) find_newest(source);
  const Ahead& ahead = group.ahead[at_rank(rank)];
  return ahead.search == 0 && ahead.newest > std::max(ahead.looked, scan);
}

// Of all topics where they are so many that it would take long to look at each.
void Delivery::find_newest(Source& source) {
  constexpr std::uint32_t looked_at = 10'000;
  Group& group = *source.group;
  group.knows_newest = true;
  for (const Rank rank : {Rank::high, Rank::medium}) {
    const auto priority = priority_of(rank);
    if (state_.topics.size() > looked_at) note_newest(group, rank, state_.last_of[priority]);
    for (std::uint32_t topic = 1; topic <= state_.topics.size() && state_.topics.size() <= looked_at; ++topic) {
      if (source.filter.matches_topic(state_.topics.name(topic))) note_newest(group, rank, state_.topics[topic].last_of[priority]);
    }
  }
}

void Delivery::note_newest(Group& group, Rank rank, Position position) {
  if (rank == Rank::low) return;
  Ahead& ahead = group.ahead[at_rank(rank)];
  ahead.newest = std::max(ahead.newest, position);
}

// Gives the next `most` events of this rank, and looks at others between them; false if none can be had just now. One that has to wait
// for an earlier one of its key, which the scan has not come to, is left to the scan.
bool Delivery::look_ahead(Source& source, Rank rank, std::size_t most, Turn& turn, Now now) {
  Group& group = *source.group;
  Ahead& ahead = group.ahead[at_rank(rank)];
  ahead.looked = std::max(ahead.looked, scan_of(source));
  std::size_t given = 0;
  while (given == 0 && ahead.looked < ahead.newest && turn.rows > 0) {
    const Position next = ahead.looked + 1;
    if (!group.state.may_reach(next)) return false;
    const auto record = find_ahead(source, rank, next, turn);
    if (!record) return false;
    const auto begun = next <= record->first() ? 0 : static_cast<std::uint32_t>(next - record->first());
    auto at = holds(*record, rank) ? begun : record->count();
    kinds_.assign(record->kinds(), Match::unknown);
    for (; at < record->count() && turn.rows > 0 && given < most; ++at, --turn.rows) {
      const auto done = take_ahead(source, rank, record, at, turn, now);
      if (done == Taken::stop) return given > 0;
      ahead.looked = record->first() + at;
      given += done == Taken::given;
    }
    if (at == record->count()) ahead.looked = record->last();
    turn.rows -= turn.rows > 0;  // the record itself has its price, too
  }
  return given > 0;
}

Delivery::Taken Delivery::take_ahead(Source& source, Rank rank, const store::RecordPtr& record, std::uint32_t at, Turn& turn, Now now) {
  const auto its_rank = rank_of(record->kind(record->kind_of(at)).priority);
  if (its_rank != rank) return Taken::passed;
  Match& match = kinds_.data()[record->kind_of(at)];
  if (match == Match::unknown) match = match_kind(source, *record, record->kind_of(at));
  ConsumerGroup& state = source.group->state;
  const Position position = record->first() + at;
  if (match == Match::no || state.is_taken(position) || !source.filter.matches_event(*record, at)) return Taken::passed;
  if (match == Match::until_it_expires && has_expired(*record, at, now)) return Taken::passed;  // the scan will count it
  if (!state.may_reach(position)) return Taken::stop;
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
  give(source, *to, record, at, turn, now, Given::ahead);
  return Taken::given;
}

// Null: it has to be found, or read, first.
store::RecordPtr Delivery::find_ahead(Source& source, Rank rank, Position position, Turn& turn) {
  Group& group = *source.group;
  Ahead& ahead = group.ahead[at_rank(rank)];
  if (auto record = log_.recent(position)) return record;
  if (ahead.found != position) {
    turn.reads_ahead = !search_ahead(group, rank, position);
    return nullptr;
  }
  const auto found = log_.at(position, group.ahead_reader);
  if (!found) ahead.looked = ahead.newest;  // it is damaged, which the scan will say when it is there
  turn.reads_ahead = LogView::pending(found);
  return found ? *found : nullptr;
}

// Asks for the next record that has events of this rank. False: too many are being looked for.
bool Delivery::search_ahead(Group& group, Rank rank, Position from) {
  if (ahead_searches_ >= limits::ahead_searches_max) return false;
  ++ahead_searches_;
  const auto search = group.ahead[at_rank(rank)].search = ++last_search_;
  const auto priorities = static_cast<std::uint8_t>(1u << priority_of(rank));
  reads_.ask(ReadPriority{from, priorities}, [this, number = group.number, rank, search, from](Result<ReadAnswer> answer) {
    --ahead_searches_;
    wake();  // those that wait to look
    const auto it = by_number_.find(number);
    if (it == by_number_.end()) return;
    Ahead& ahead = it->second->group->ahead[at_rank(rank)];
    if (ahead.search != search) return;  // the group was moved or changed meanwhile
    ahead.search = 0;
    if (!answer) {
      ahead.looked = ahead.newest;  // left to the scan
    } else {
      const auto& slice = std::get<store::PrioritySlice>(*answer);
      ahead.found = slice.is_found ? slice.next : Position::none;
      ahead.looked = std::max(ahead.looked, std::max(slice.next, from) - 1);
    }
    make_ready(*it->second);
  });
  return true;
}

// The group begins anew with what lies ahead of its scan.
void Delivery::forget_ahead(Group& group) {
  group.ahead = {};
  group.passed_medium = group.passed_scan = group.passed_low = 0;
  group.knows_newest = false;
}

}  // namespace bus::broker
