#include "broker/core/consumer_group.hpp"

#include <algorithm>

#include "base/check.hpp"

namespace bus::broker {

// ---- members

void ConsumerGroup::join(MemberId member, Credit credit) {
  BUS_CHECK(members_.emplace(member, Member{credit, 0}).second);
  turn_.push_back(member);
}

void ConsumerGroup::leave(MemberId member) {
  const auto it = members_.find(member);
  if (it == members_.end()) return;
  take_back(member);
  members_.erase(it);
  lately_ = nullptr;
  turn_.erase(std::find(turn_.begin(), turn_.end(), member));
}

// All that it holds is returned.
void ConsumerGroup::take_back(MemberId member) {
  auto left = member_of(member).held;
  if (left == 0) return;
  std::vector<Position> held;
  held.reserve(left);
  open_.each([&](Position position, const Open& open) {
    if (open.place == Place::in_flight && open.is_of(member)) held.push_back(position);
  });
  for (const Position position : held) {
    Open& open = *open_.find(position);
    ++open.returns;
    open.lost = !open.laned;
    urgent_ = true;
    let_go(open);
    make_ready(position, open);
  }
}

void ConsumerGroup::add_credit(MemberId member, std::uint32_t events, std::uint32_t bytes) {
  member_of(member).credit.add(events, bytes);
}

// ---- delivery

[[gnu::flatten]] std::uint32_t ConsumerGroup::open(Position position, const EventFacts& event, Rank rank, MemberId member, std::size_t bytes,
                                                   SteadyTime now) {
  if (position > scan_ && (taken_.empty() || !taken_.contains(position))) [[likely]] {
    go_to(position);
    return begin(position, event, rank, member, bytes, now);
  }
  Open& open = *open_.find(position);
  BUS_CHECK(unset_ready(position, open));
  open.event = event;
  open.rank = rank;
  if (open.laned) lanes_.go(open.event.key, position);
  return hand_out(open, member, bytes, now);
}

// For the first time.
std::uint32_t ConsumerGroup::begin(Position position, const EventFacts& event, Rank rank, MemberId member, std::size_t bytes, SteadyTime now) {
  Open& open = open_.add(position);
  open.event = event;
  open.rank = rank;
  if (settings_.is_ordered() && event.key != Hash128{}) {
    open.laned = true;
    open.line = position;
    open.patchy = position < ordered_from_;
    lanes_.begin(event.key, position, open.patchy);
    if (open.patchy) patchy_to_ = taken_.last();
  }
  return hand_out(open, member, bytes, now);
}

inline std::uint32_t ConsumerGroup::hand_out(Open& open, MemberId member, std::size_t bytes, SteadyTime now) {
  Member& holder = member_of(member);
  holder.credit.use(bytes);
  ++holder.held;
  ++in_flight_;
  open.place = Place::in_flight;
  open.session = member.session;
  open.subscription = member.subscription;
  last_given_ = std::max(now, last_given_ + Duration(1));
  open.time = last_given_.time_since_epoch().count();
  redeliveries_ += open.attempt > 0;
  ++open.attempt;
  highest_attempt_ = std::max(highest_attempt_, open.attempt);
  set_due(open, now + settings_.ack_wait);
  touch(open);
  if (turn_.size() > 1 && settings_.sharing != Sharing::exclusive) {
    next_turn_ = static_cast<std::size_t>(std::find(turn_.begin(), turn_.end(), member) - turn_.begin()) + 1;
  }
  return open.attempt;
}

// Everything up to there was looked at; what was taken from there need not be remembered.
void ConsumerGroup::go_to(Position scan) {
  scan_ = scan;
  if (taken_.empty()) [[likely]] return;
  forget_taken();
}

// Of what is below the scan only that is needed which was taken before a lane became patchy: should a restart make its events be searched
// for, it tells those that are settled from those that wait.
void ConsumerGroup::forget_taken() {
  if (lanes_.patchy() == 0) patchy_to_ = Position::none;
  for (const auto chunk : taken_.drop(patchy_to_, scan_)) marks_.push_back(chunk);
}

void ConsumerGroup::pass_over(Position position, bool has_expired, bool was_removed) {
  Open* open = open_.find(position);
  BUS_CHECK(open != nullptr && unset_ready(position, *open));
  counts_.expired += has_expired;
  counts_.skipped += was_removed || (!has_expired && open->attempt > 0);
  changed_ = urgent_ = true;
  settle(position, *open);
}

void ConsumerGroup::advance(Position position) {
  if (position <= scan_) return;
  go_to(position);
  changed_ = true;
}

Position ConsumerGroup::floor() const {
  return open_.empty() ? scan_ : std::min(scan_, open_.first() - 1);
}

// ---- settlement

inline ConsumerGroup::Holding ConsumerGroup::holding(MemberId member, Position position, std::uint32_t attempt) {
  Open* open = open_.find(position);
  if (open == nullptr || open->place == Place::searching) return {nullptr, Code::not_delivered};
  const bool current = open->place == Place::in_flight && open->attempt == attempt && open->is_of(member);
  return {open, current ? Code::ok : Code::stale_ack};
}

inline void ConsumerGroup::let_go(const Open& open) {
  --member_of(open.member()).held;
  --in_flight_;
}

// One that was found last.
inline void ConsumerGroup::erase(Position position, Open& open) {
  if (open.durable) closed_.push_back(position);
  touched_ -= open.touched;
  open_.erase(open);
}

Code ConsumerGroup::may_settle(MemberId member, Position position, std::uint32_t attempt) { return holding(member, position, attempt).code; }

[[gnu::flatten]] Code ConsumerGroup::ack(MemberId member, Position position, std::uint32_t attempt) {
  const auto [open, code] = holding(member, position, attempt);
  if (code != Code::ok) return code;
  let_go(*open);
  ++counts_.acked;
  changed_ = urgent_ = true;
  if (open->failures > 0 || open->laned || open->noted) [[unlikely]] {
    settle(position, *open);
  } else {
    erase(position, *open);
  }
  return Code::ok;
}

Code ConsumerGroup::ack_up_to(MemberId member, Position position, std::uint32_t attempt) {
  if (settings_.is_ordered()) return Code::bad_settings;
  const auto [named, code] = holding(member, position, attempt);
  if (code != Code::ok) return code;
  std::vector<std::pair<Position, std::uint32_t>> held;
  const auto given = named->time;
  open_.each_after(Position::none, [&](Position at, const Open& open) {
    if (at > position) return false;
    if (open.place == Place::in_flight && open.is_of(member) && open.time <= given) held.emplace_back(at, open.attempt);
    return true;
  });
  for (const auto& [at, its] : held) ack(member, at, its);
  return Code::ok;
}

Code ConsumerGroup::nack(MemberId member, Position position, std::uint32_t attempt, Duration delay, std::string error, Now now) {
  const auto [open, code] = holding(member, position, attempt);
  if (code != Code::ok) return code;
  let_go(*open);
  fail(position, *open, Incident::Cause::nack, std::move(error), std::min<Duration>(delay, limits::nack_delay_max), now);
  return Code::ok;
}

Code ConsumerGroup::release(MemberId member, Position position, std::uint32_t attempt) {
  const auto [open, code] = holding(member, position, attempt);
  if (code != Code::ok) return code;
  let_go(*open);
  ++open->returns;
  open->lost = false;
  urgent_ = true;
  make_ready(position, *open);
  return Code::ok;
}

Code ConsumerGroup::reject(MemberId member, Position position, std::uint32_t attempt, std::string error, Now now) {
  const auto [open, code] = holding(member, position, attempt);
  if (code != Code::ok) return code;
  let_go(*open);
  fail(position, *open, Incident::Cause::reject, std::move(error), {}, now);
  return Code::ok;
}

Code ConsumerGroup::extend(MemberId member, Position position, std::uint32_t attempt, std::string note, SteadyTime now) {
  const auto [open, code] = holding(member, position, attempt);
  if (code != Code::ok) return code;
  set_due(*open, now + settings_.ack_wait);
  if (note.empty()) return code;
  open->noted = true;
  notes_[position] = std::move(note);
  return code;
}

void ConsumerGroup::make_ready(Position position, Open& open) {
  open.place = Place::ready;
  touch(open);
  forget(position, open);
  if (!open.laned) {
    set_ready(position, open);
    return;
  }
  const Hash128 key = open.event.key;
  lanes_.back(key, position, open.rank);
  arm(key);
}

// The attempt has come to nothing.
void ConsumerGroup::fail(Position position, Open& open, Incident::Cause cause, std::string error, Duration delay, Now now) {
  ++open.failures;
  ++failures_;
  open.lost = false;
  urgent_ = true;
  touch(open);
  forget(position, open);
  Incident incident{position, open.event, open.failures, open.attempt, open.returns, open.redrives, open.member(), cause, Incident::Fate::retried, std::move(error)};
  const bool is_over = (settings_.attempts_max != GroupSettings::unlimited && open.failures - open.forgiven >= settings_.attempts_max) ||
                       cause == Incident::Cause::reject;
  if (is_over && may_give_up()) return give_up(position, open, std::move(incident));
  incidents_.push_back(std::move(incident));
  if (is_over) delay = settings_.retry_delay_max;  // there is no place for it among the dead letters
  if (delay <= Duration::zero()) delay = settings_.delay_after(open.failures, number(position));
  if (delay <= Duration::zero()) return make_ready(position, open);
  open.place = Place::delayed;
  open.time = nanoseconds(now.wall + delay);
  open.due = now.steady + delay;
  delayed_.emplace(open.due, position);
}

// Every limit has to stop somewhere: beyond it nothing is lost, but tried for ever.
bool ConsumerGroup::may_give_up() const { return settings_.dead_letter == DeadLetter::skip || letters_.size() < limits::dead_letters_max; }

void ConsumerGroup::give_up(Position position, Open& open, Incident incident) {
  using Fate = Incident::Fate;
  const bool stops = settings_.dead_letter == DeadLetter::stop_key && open.laned;
  const bool skips = settings_.dead_letter == DeadLetter::skip;
  incident.fate = stops ? Fate::stopped : skips ? Fate::skipped : Fate::parked;
  incidents_.push_back(std::move(incident));
  if (skips) {
    ++counts_.skipped;
    return settle(position, open);
  }
  letters_.add(position) = open.attempt;
  if (!stops) return close(position, open);
  open.place = Place::stopped;
}

// For good: nothing of its failures needs to be kept.
void ConsumerGroup::settle(Position position, Open& open) {
  if (open.failures > 0) forgotten_.push_back(position);
  open.failures = open.forgiven = 0;
  close(position, open);
}

// What was said of the attempt.
void ConsumerGroup::forget(Position position, Open& open) {
  if (!open.noted) return;
  open.noted = false;
  notes_.erase(position);
}

// It is no longer open; the next of its key may be.
void ConsumerGroup::close(Position position, Open& open) {
  forget(position, open);
  const bool laned = open.laned;
  const Hash128 key = open.event.key;
  if (laned) {
    if (open.place == Place::ready) {
      lanes_.leave(key, position);
    } else {
      lanes_.done(key);
    }
    if (const auto search = lanes_.begin_search(key)) {
      open.place = Place::searching;
      touch(open);
      return searches_.push_back({key, position, search->after, search->up_to, generation_});
    }
  }
  erase(position, *open_.find(position));
  if (laned) arm(key);
}

void ConsumerGroup::set_due(Open& open, SteadyTime due) {
  open.due = due;
  next_due_ = std::min(next_due_, due);
}

std::optional<SteadyTime> ConsumerGroup::tick(Now now) {
  while (!delayed_.empty() && delayed_.begin()->first <= now.steady) {
    const Position position = delayed_.begin()->second;
    delayed_.erase(delayed_.begin());
    make_ready(position, *open_.find(position));
  }
  if (now.steady >= next_due_) end_attempts(now);
  return next_due();
}

// Deadlines are looked for only when the next one may have come, and the more is open the less often: most events are
// settled long before theirs, so that no order of them is kept.
void ConsumerGroup::end_attempts(Now now) {
  std::vector<Position> over;
  SteadyTime next = SteadyTime::max();
  open_.each([&](Position position, const Open& open) {
    if (open.place != Place::in_flight) return;
    if (open.due <= now.steady) {
      over.push_back(position);
    } else {
      next = std::min(next, open.due);
    }
  });
  next_due_ = next == SteadyTime::max() ? next : std::max(next, now.steady + std::chrono::microseconds(open_.size()));
  std::optional<MemberId> stalled;
  for (const Position position : over) {
    Open& open = *open_.find(position);
    let_go(open);
    if (settings_.sharing == Sharing::exclusive && turn_.size() > 1 && open.member() == turn_.front()) stalled = open.member();
    fail(position, open, Incident::Cause::ack_wait, "", {}, now);
  }
  if (!stalled) return;
  take_back(*stalled);  // the next one takes over
  std::rotate(turn_.begin(), turn_.begin() + 1, turn_.end());
}

// ---- moving

void ConsumerGroup::seek(Position scan) {
  open_.each([&](Position position, const Open& open) {
    if (open.failures > 0 && letters_.find(position) == nullptr && position <= scan) forgotten_.push_back(position);
    changed_chunks_.insert(PositionMap<Open>::chunk_of(position));
  });
  for (const Position position : closed_) changed_chunks_.insert(PositionMap<Open>::chunk_of(position));
  taken_.each_chunk([&](std::uint64_t chunk) { changed_chunks_.insert(chunk); });
  taken_.clear();
  newly_taken_.clear();
  ordered_from_ = Position::none;
  open_.clear();
  ready_ = {};
  lost_ = {};
  delayed_.clear();
  notes_.clear();
  lanes_.clear();
  searches_.clear();
  next_due_ = SteadyTime::max();
  touched_ = 0;
  closed_.clear();
  for (auto& [id, member] : members_) member.held = 0;
  in_flight_ = 0;
  std::vector<Position> later;
  letters_.each([&](Position position, std::uint32_t) {
    if (position > scan) later.push_back(position);
  });
  for (const Position position : later) letters_.erase(position);
  scan_ = scan;
  ++generation_;
  seeked_ = changed_ = urgent_ = true;
}

void ConsumerGroup::touch(Open& open) {
  changed_ = true;
  touched_ += !open.touched;
  open.touched = true;
}

// ---- for operators

std::vector<PendingEvent> ConsumerGroup::pending(Position after, bool blocking, std::size_t most, Position& looked_to) const {
  std::vector<PendingEvent> events;
  std::size_t rows = 0;
  looked_to = Position::none;
  Position last = after;
  open_.each_after(after, [&](Position position, const Open& open) {
    if (events.size() >= most || ++rows > pending_rows) {
      looked_to = last;
      return false;
    }
    last = position;
    const auto behind = open.laned ? lanes_.waiting(open.event.key) : KeyLanes::Waiting{};
    if (blocking && behind.events == 0 && behind.is_all) return true;
    const auto note = notes_.find(position);
    events.push_back({position, open.place, open.attempt, open.failures, open.returns, open.member(), open.given_at(), open.due,
                      note == notes_.end() ? "" : note->second, behind.events, behind.is_all});
    return true;
  });
  return events;
}

void ConsumerGroup::verify() const {
  BUS_CHECK(floor() <= scan_);
  std::size_t flying = 0, delayed = 0, ready = 0, touched = 0, noted = 0;
  open_.each([&](Position position, const Open& open) {
    BUS_CHECK(position > floor() && (position <= scan_ || taken_.contains(position)));
    flying += open.place == Place::in_flight;
    delayed += open.place == Place::delayed;
    noted += open.noted;
    BUS_CHECK(open.place != Place::delayed || delayed_.contains({open.due, position}));
    BUS_CHECK(open.place != Place::searching || open.laned);
    const bool is_ready = ready_[at_rank(open.rank)].contains(position);
    ready += is_ready;
    BUS_CHECK(open.laned ? open.place == Place::ready || !is_ready : (open.place == Place::ready) == is_ready);
    BUS_CHECK(!open.laned || lanes_.contains(open.event.key));
    touched += open.touched;
    BUS_CHECK(open.place == Place::searching || (open.place == Place::stopped) == (letters_.find(position) != nullptr));
  });
  letters_.each([&](Position position, std::uint32_t) { BUS_CHECK(position <= scan_ || taken_.contains(position)); });
  BUS_CHECK(touched == touched_ && noted == notes_.size());
  std::size_t held = 0;
  for (const auto& [id, member] : members_) held += member.held;
  BUS_CHECK(flying == in_flight_ && held == in_flight_ && delayed == delayed_.size() && ready == ready_[0].size() + ready_[1].size() + ready_[2].size());
  BUS_CHECK(members_.size() == turn_.size());
  BUS_CHECK(flying == 0 || next_due_ != SteadyTime::max());
  lanes_.verify();
}

}  // namespace bus::broker
