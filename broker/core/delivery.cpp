#include "broker/core/delivery.hpp"

#include <algorithm>

#include "base/check.hpp"
#include "wire/event_codec.hpp"

namespace bus::broker {

// ---- sources

Position Delivery::scan_of(const Source& source) const {
  if (source.following) return head();
  return source.group ? source.group->state.scan() : source.scan;
}

// Names one run of the broker and one generation of the group, so that no attempt is ever named twice.
std::uint64_t Delivery::epoch_of(const Source& source) const {
  return epoch_ << 16 | (source.group ? source.group->state.generation() : 0);
}

void Delivery::advance(Source& source, Position position) {
  if (source.group) {
    source.group->state.advance(position);
    touched_.insert(&source);
  } else {
    source.scan = std::max(source.scan, position);
  }
}

// The event there would have been delivered.
void Delivery::pass_removed(Source& source, Position position) {
  source.trimmed_events += 1;
  source.trimmed_to = std::max(source.trimmed_to, position);
  if (source.group) source.group->state.count_skipped();
}

void Delivery::add_source(Source& source) {
  source.serial = ++last_serial_;
  sources_.insert(&source);
  if (source.to != Position::none) bounded_.insert(&source);
  watched_.assign(watched_.size(), false);
}

void Delivery::drop_source(Source& source) {
  sources_.erase(&source);
  bounded_.erase(&source);
  blocked_.erase(&source);
  touched_.erase(&source);
  leave_log(source, source.reads);
  std::erase(ready_, &source);
  watched_.assign(watched_.size(), false);
}

const std::vector<Source*>& Delivery::watchers(std::uint32_t topic) {
  if (topic >= watched_.size()) {
    watched_.resize(topic + 1, false);
    watchers_.resize(topic + 1);
  }
  if (!watched_[topic]) {
    watched_[topic] = true;
    watchers_[topic].clear();
    for (Source* source : sources_) {
      if (source->filter.matches_topic(state_.topics.name(topic))) watchers_[topic].push_back(source);
    }
  }
  return watchers_[topic];
}

void Delivery::make_ready(Source& source) {
  if (source.queued) return;
  source.queued = true;
  ready_.push_back(&source);
}

void Delivery::committed(const store::Record& record) {
  for (std::uint32_t kind = 0; kind < record.kinds(); ++kind) {
    const auto row = record.kind(kind);
    for (Source* source : watchers(row.topic)) {
      if (source->group) note_newest(*source->group, rank_of(row.priority), record.last());
      if (!source->following) continue;
      source->following = false;
      advance(*source, record.first() - 1);
      make_ready(*source);
    }
  }
  for (Source* source : bounded_) make_ready(*source);
}

void Delivery::wake() {
  for (Source* source : std::exchange(blocked_, {})) make_ready(*source);
}

// ---- pump

// Those whose turn did not come are the first the next time: whatever others look at, nobody waits for ever.
bool Delivery::pump(Now now) {
  std::size_t rows = limits::pump_rows_max;
  for (auto turns = ready_.size(); turns > 0 && rows > 0 && !ready_.empty(); --turns) {
    Source* source = ready_.front();
    ready_.pop_front();
    source->queued = false;
    const Turn turn = pump_source(*source, now);
    rows -= std::min(rows, 1 + limits::turn_rows_max - turn.rows);  // the turn itself has its price, too
    if (turn.damage) {
      damaged(*source, *turn.damage);
    } else if (source->to != Position::none && source->scan >= source->to) {
      end(source->reader, Code::ok, "");
    } else if (turn.more) {
      make_ready(*source);
    }
  }
  return !ready_.empty();
}

std::optional<MemberId> Delivery::next_receiver(Source& source) const {
  const auto may = [&](MemberId id) { return sessions_.has_room(id.session); };
  if (source.group) return source.group->state.next_member(may);
  return source.credit.is_open() && may(source.reader) ? std::optional(source.reader) : std::nullopt;
}

bool Delivery::waits_for_room(const Source& source) const {
  const auto waits = [&](MemberId id) { return !sessions_.has_room(id.session); };
  if (!source.group) return waits(source.reader);
  const auto& members = source.group->state.member_ids();
  return std::any_of(members.begin(), members.end(), waits);
}

// One turn of one source. It goes on where it stopped, so that it may end anywhere.
Delivery::Turn Delivery::pump_source(Source& source, Now now) {
  Turn turn;
  if (source.group && staging_.row_bytes() > limits::failure_bytes_max) {  // until they are with the committer
    blocked_.insert(&source);
    turn.more = false;
    return turn;
  }
  while (turn.more && turn.events > 0 && turn.rows > 0) {
    const auto to = next_receiver(source);
    if (!to) {
      // Where nobody is there at all it goes on as far as nothing matches: what is behind is what somebody has to do.
      const bool is_alone = source.group && source.group->state.members() == 0;
      turn.more = is_alone && look_further(source, {}, turn.events, turn, now) == Came::some;
    } else if (source.group) {
      turn.more = give_next(source, *to, turn, now) || turn.rows == 0;
    } else {
      turn.more = look_further(source, {}, turn.events, turn, now) == Came::some;
    }
  }
  for (Parcel& parcel : turn.parcels) send(source, std::move(parcel));
  turn.parcels.clear();
  const auto given = limits::deliver_events_max - turn.events;
  counters_.delivered += given;
  if (given > 0 && source.group) {
    next_due_ = std::min(next_due_, now.steady + source.group->state.settings().ack_wait);
    touched_.insert(&source);
  }
  const auto reads_on = turn.more ? bit_of(ReadFor::scan) : 0;
  leave_log(source, static_cast<std::uint8_t>(source.reads & ~(turn.reading | reads_on)));
  if (turn.reading != 0 || (!turn.more && waits_for_room(source))) blocked_.insert(&source);
  if (!turn.more && source.following) say_caught_up(source);
  return turn;
}

void Delivery::leave_log(Source& source, std::uint8_t which) {
  for (; which != 0; which &= static_cast<std::uint8_t>(which - 1)) {
    log_.leave(reader(source, static_cast<ReadFor>(std::countr_zero(which))));
    source.reads &= static_cast<std::uint8_t>(~(which & -which));
  }
}

Result<store::RecordPtr> Delivery::read(Source& source, ReadFor what, Position position, Turn& turn) {
  auto found = log_.at(position, reader(source, what));
  turn.reading = static_cast<std::uint8_t>(LogView::pending(found) ? turn.reading | bit_of(what) : turn.reading & ~bit_of(what));
  source.reads |= bit_of(what);
  return found;
}

// Null: it has to be read first, or cannot be read.
store::RecordPtr Delivery::find_record(Source& source, ReadFor what, Position position, Turn& turn) {
  const auto found = read(source, what, position, turn);
  if (found) return *found;
  turn.damage = found.error();
  return nullptr;
}

// Of its kind alone. A plain subscription reads the log as it is: for that nothing expires.
Delivery::Match Delivery::match_kind(Source& source, const store::Record& record, std::uint32_t kind) const {
  const auto row = record.kind(kind);
  if (!source.filter.matches_kind(row, state_)) return Match::no;
  return source.group && (row.flags & store::format::expires) != 0 ? Match::until_it_expires : Match::yes;
}

bool Delivery::has_expired(const store::Record& record, std::uint32_t at, Now now) {
  return wire::trusted_event(record.body(at))->expires_at() <= nanoseconds(now.wall);
}

// It was looked at before, though maybe not by this filter, or only as one of its key.
Delivery::Came Delivery::give_ready(Source& source, MemberId to, Position position, Rank rank, Turn& turn, Now now) {
  if (turn.rows == 0) return Came::later;
  const auto record = find_record(source, static_cast<ReadFor>(rank), position, turn);
  if (!record) return Came::later;
  const auto at = static_cast<std::uint32_t>(position - record->first());
  --turn.rows;
  const auto match = record->holds(position) ? match_kind(source, *record, record->kind_of(at)) : Match::no;
  const bool is_removed = !record->holds(position) || record->is_removed(at);
  const bool is_missed = is_removed && (match != Match::no || !record->holds(position));
  if (is_missed) source.trimmed_events += 1, source.trimmed_to = std::max(source.trimmed_to, position);
  const bool is_wanted = match != Match::no && !is_removed && source.filter.matches_event(*record, at);
  const bool is_over = is_wanted && match == Match::until_it_expires && has_expired(*record, at, now);
  if (is_wanted && !is_over) {
    give(source, to, record, at, turn, now, From::ready);
    source.group->turns.given(rank);
    return Came::some;
  }
  source.group->state.pass_over(position, is_over, is_missed);
  changed(source, now);
  return Came::some;
}

// An earlier event of its key is open: it waits behind that.
bool Delivery::waits(ConsumerGroup& group, const store::Record& record, std::uint32_t at) {
  const Hash128 key = record.key_hash(at);
  if (key == Hash128{} || !group.must_wait(key)) return false;
  group.wait(record.first() + at, key, rank_of(record.kind(record.kind_of(at)).priority));
  return true;
}

// Of each rank: from where on events beyond the scan do not go out. One that was lost with its member goes before those of its rank
// that lie further on: whoever gets them sees the events of a key in their order.
Delivery::Bounds Delivery::bounds_of(const ConsumerGroup& group, std::optional<Rank> only) {
  Bounds bounds;
  for (const Rank rank : {Rank::high, Rank::medium, Rank::low}) {
    const bool is_asked = !only || *only == rank;
    bounds[at_rank(rank)] = is_asked ? group.next_lost(rank).value_or(Position{~std::uint64_t{0}}) : Position::none;
  }
  return bounds;
}

// Looks at the rest of one record, up to the first event that is not to go out, or not of the `only` rank, and gives `most` of
// them. Flat: the loop is short, and runs once for each event and reader.
[[gnu::flatten]] Delivery::Came Delivery::look_further(Source& source, std::optional<Rank> only, std::size_t most, Turn& turn, Now now) {
  const Position next = scan_of(source) + 1;
  const Position last = source.to == Position::none ? head() : std::min(head(), source.to);
  if (next > last) {
    source.following = source.to == Position::none;
    return Came::none;
  }
  if (turn.rows == 0 || (source.group && !source.group->state.may_open())) return Came::later;
  const auto found = find_record(source, ReadFor::scan, next, turn);
  if (!found) return Came::later;
  const store::Record& record = *found;
  if (record.first() > next) {  // nobody knows any more what there was
    const Position gone = std::min(last, record.first() - 1);
    source.trimmed_to = std::max(source.trimmed_to, gone);
    advance(source, gone);
    return Came::some;
  }
  kinds_.assign(record.kinds(), Match::unknown);
  ConsumerGroup* ordered = source.group && source.group->state.keeps_keys_in_line() ? &source.group->state : nullptr;
  ConsumerGroup* taken = source.group && source.group->state.has_taken() ? &source.group->state : nullptr;
  const bool is_bounded = source.group && (only || source.group->state.has_lost());
  const auto bounds = is_bounded ? bounds_of(source.group->state, only) : Bounds{};
  const auto begun = static_cast<std::uint32_t>(next - record.first());
  const auto end = std::min<std::uint64_t>({record.count(), last - record.first() + 1, begun + turn.rows});
  auto at = begun;
  for (; at < end && most > 0; ++at) {
    Match& match = kinds_.data()[record.kind_of(at)];
    if (match == Match::unknown) match = match_kind(source, record, record.kind_of(at));
    if (match == Match::no) continue;
    if (record.is_removed(at)) {
      const bool is_other = !source.filter.may_match_removed(record, at) || (taken != nullptr && taken->is_taken(record.first() + at));
      if (!is_other) pass_removed(source, record.first() + at);
      continue;
    }
    if (!source.filter.matches_event(record, at)) continue;
    if (taken != nullptr && taken->is_taken(record.first() + at)) continue;
    if (is_bounded && record.first() + at >= bounds[at_rank(rank_of(record.kind(record.kind_of(at)).priority))]) break;
    if (match == Match::until_it_expires && has_expired(record, at, now)) {
      source.group->state.count_expired();
      continue;
    }
    if (ordered != nullptr && waits(*ordered, record, at)) continue;
    const auto to = next_receiver(source);
    if (!to || (source.group && !source.group->state.may_open())) break;
    give(source, *to, found, at, turn, now, From::scan);
    --most;
  }
  turn.rows -= at - begun;
  if (at > 0) advance(source, record.first() + (at - 1));
  return at > begun ? Came::some : Came::none;
}

inline Delivery::Parcel& Delivery::parcel_for(Source& source, MemberId to, std::size_t bytes, Turn& turn) {
  const auto* lately = turn.parcel;
  if (lately != nullptr && lately->to == to && lately->bytes + bytes <= limits::deliver_bytes_max) return *turn.parcel;
  return find_parcel(source, to, bytes, turn);
}

Delivery::Parcel& Delivery::find_parcel(Source& source, MemberId to, std::size_t bytes, Turn& turn) {
  auto& parcels = turn.parcels;
  auto parcel = std::find_if(parcels.begin(), parcels.end(), [&](const Parcel& one) { return one.to == to; });
  if (parcel != parcels.end() && parcel->bytes + bytes > limits::deliver_bytes_max) {
    send(source, std::move(*parcel));
    parcels.erase(parcel);
    parcel = parcels.end();
  }
  if (parcel == parcels.end()) parcel = parcels.insert(parcel, Parcel{.to = to});
  turn.parcel = &*parcel;
  return *parcel;
}

void Delivery::find_publisher(Parcel& parcel, std::uint32_t publisher) {
  const auto found = std::find(parcel.publishers.begin(), parcel.publishers.end(), publisher);
  parcel.publisher = static_cast<std::uint32_t>(found - parcel.publishers.begin());
  if (found == parcel.publishers.end()) parcel.publishers.push_back(publisher);
}

void Delivery::give(Source& source, MemberId to, const store::RecordPtr& record, std::uint32_t at, Turn& turn, Now now, From from) {
  const store::Indexed event = record->indexed(at);
  const Position position = record->first() + at;
  Parcel& parcel = parcel_for(source, to, event.body_bytes, turn);
  if (parcel.publisher >= parcel.publishers.size() || parcel.publishers.data()[parcel.publisher] != event.publisher) {
    find_publisher(parcel, event.publisher);
  }
  std::uint32_t attempt = 0;
  if (source.group) {
    const auto kind = record->kind(record->kind_of(at));
    const EventFacts facts{event.key, kind.topic, kind.type};
    const Rank rank = rank_of(kind.priority);
    ConsumerGroup& group = source.group->state;
    attempt = from == From::ahead ? group.open_ahead(position, facts, rank, to, event.body_bytes, now.steady) : group.open(position, facts, rank, to, event.body_bytes, now.steady);
    RankTurns& turns = source.group->turns;
    if (from == From::scan) turns.given_next(rank, group.next_ready(Rank::medium).has_value(), group.next_ready(Rank::low).has_value());
    if (from == From::ahead) turns.given(rank);
  } else {
    source.scan = position;
    source.credit.use(event.body_bytes);
  }
  parcel.deliveries.push_back({number(position), event.version, nanoseconds(record->committed_at()), event.sequence,
                               parcel.publisher, attempt});
  auto& stretches = parcel.events;
  Stretch* last = stretches.empty() ? nullptr : &stretches.back();
  if (last == nullptr || last->record != record || last->first + last->count != at) last = &stretches.emplace_back(Stretch{record, at, 0});
  ++last->count;
  parcel.bytes += event.body_bytes;
  --turn.events;
}

// Without a copy where they lie one after the other in one record.
Frame Delivery::bodies_of(const Parcel& parcel) {
  if (parcel.events.size() == 1) {
    const Stretch& only = parcel.events.front();
    return {only.record, Bytes(only.record->body(only.first).data(), parcel.bytes)};
  }
  Buffer copy;
  copy.reserve(parcel.bytes);
  for (const Stretch& one : parcel.events) {
    const auto* begin = one.record->body(one.first).data();
    const Bytes last = one.record->body(one.first + one.count - 1);
    append(copy, {begin, last.data() + last.size()});
  }
  return Frame::of(std::move(copy));
}

void Delivery::send(Source& source, Parcel parcel) {
  flatbuffers::FlatBufferBuilder builder(256 + parcel.deliveries.size() * sizeof(wire::Delivery));
  std::vector<flatbuffers::Offset<flatbuffers::String>> names;
  for (const auto publisher : parcel.publishers) names.push_back(builder.CreateString(state_.publishers.name(publisher)));
  const auto publishers = builder.CreateVector(names);
  const auto deliveries = builder.CreateVectorOfStructs(parcel.deliveries);
  const auto message = wire::CreateDeliver(builder, parcel.to.subscription, epoch_of(source), deliveries, publishers, source.trimmed_events, number(source.trimmed_to));
  wire::FinishMessageBuffer(builder, wire::CreateMessage(builder, wire::Body::Deliver, message.Union()));
  sessions_.send(parcel.to.session,
                 Frame::of(copy_of({builder.GetBufferPointer(), builder.GetSize()})),
                 bodies_of(parcel));
}

void Delivery::say_caught_up(Source& source) {
  if (source.group && source.group->state.open_count() > 0) return;
  const auto say = [&](MemberId id) {
    Subscription& subscription = subscriptions_.at(id);
    const std::pair trimmed(source.trimmed_events, source.trimmed_to);
    if (subscription.told == head() && subscription.told_trimmed == trimmed) return;
    subscription.told = head();
    subscription.told_trimmed = trimmed;
    wire::CaughtUpT message;
    message.subscription = id.subscription;
    message.position = number(head());
    message.trimmed_events = source.trimmed_events;
    message.trimmed_to = number(source.trimmed_to);
    sessions_.send(id.session, wire::encode(message));
  };
  if (!source.group) return say(source.reader);
  for (const MemberId member : source.group->state.member_ids()) say(member);
}

// These bytes cannot be read: never delivered as good, never skipped in silence.
void Delivery::damaged(Source& source, const Error& error) {
  if (!source.group) return end(source.reader, error.code, error.detail);
  const auto members = source.group->state.member_ids();
  for (const MemberId member : members) end(member, error.code, error.detail);
}

// ---- for tests and figures

void Delivery::verify() const {
  for (const auto& [name, source] : groups_) {
    source->group->state.verify();
    BUS_CHECK(scan_of(*source) <= head());
  }
}

std::uint64_t Delivery::dead_letters() const {
  std::uint64_t sum = 0;
  for (const auto& [name, source] : groups_) sum += source->group->state.letters().size();
  return sum;
}

std::uint64_t Delivery::redeliveries() const {
  std::uint64_t sum = 0;
  for (const auto& [name, source] : groups_) sum += source->group->state.redeliveries();
  return sum;
}

}  // namespace bus::broker
