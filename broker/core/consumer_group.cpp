#include "broker/core/consumer_group.hpp"

#include <algorithm>

#include "base/bytes.hpp"
#include "base/check.hpp"

namespace bus::broker {

// ---- credit

void Credit::add(std::uint32_t events, std::uint32_t bytes) {
  events_ = std::min<std::int64_t>(events_ + events, limits::credit_events_max);
  bytes_ = std::min<std::int64_t>(bytes_ + bytes, limits::credit_bytes_max);
}

void Credit::use(std::size_t bytes) {
  BUS_CHECK(is_open());
  events_ -= 1;
  bytes_ -= static_cast<std::int64_t>(bytes);
}

// ---- members

void ConsumerGroup::join(MemberId member, Credit credit) {
  BUS_CHECK(members_.emplace(member, Member{credit, 0}).second);
  turn_.push_back(member);
}

void ConsumerGroup::leave(MemberId member) {
  const auto it = members_.find(member);
  if (it == members_.end()) return;
  open_.each([&](Position position, Open& open) {
    if (open.place != Place::in_flight || open.member != member) return;
    ++open.returns;
    urgent_ = true;
    let_go(open);
    make_ready(position, open);
  });
  members_.erase(it);
  lately_ = nullptr;
  turn_.erase(std::find(turn_.begin(), turn_.end(), member));
}

void ConsumerGroup::add_credit(MemberId member, std::uint32_t events, std::uint32_t bytes) {
  member_of(member).credit.add(events, bytes);
}

// ---- delivery

std::optional<Position> ConsumerGroup::next_redelivery() const {
  return ready_.empty() ? std::nullopt : std::optional(*ready_.begin());
}

[[gnu::flatten]] std::uint32_t ConsumerGroup::open(Position position, MemberId member, std::size_t bytes, SteadyTime now) {
  const bool is_new = position > scan_;
  if (is_new) {
    scan_ = position;
  } else {
    BUS_CHECK(ready_.erase(position) == 1);
    ++redeliveries_;
  }
  Open& open = is_new ? open_.add(position) : *open_.find(position);
  Member& holder = member_of(member);
  holder.credit.use(bytes);
  ++holder.held;
  ++in_flight_;
  open.place = Place::in_flight;
  open.member = member;
  ++open.attempt;
  set_due(open, now + limits_.ack_wait);
  touch(open);
  if (turn_.size() > 1) next_turn_ = static_cast<std::size_t>(std::find(turn_.begin(), turn_.end(), member) - turn_.begin()) + 1;
  return open.attempt;
}

void ConsumerGroup::advance(Position position) {
  if (position <= scan_) return;
  scan_ = position;
  changed_ = true;
}

Position ConsumerGroup::floor() const {
  return open_.empty() ? scan_ : open_.first() - 1;
}

// ---- settlement

inline ConsumerGroup::Holding ConsumerGroup::holding(MemberId member, Position position, std::uint32_t attempt) {
  Open* open = open_.find(position);
  if (open == nullptr) return {nullptr, Code::not_delivered};
  const bool current = open->place == Place::in_flight && open->attempt == attempt && open->member == member;
  return {open, current ? Code::ok : Code::stale_ack};
}

inline void ConsumerGroup::let_go(const Open& open) {
  --member_of(open.member).held;
  --in_flight_;
}

[[gnu::flatten]] Code ConsumerGroup::ack(MemberId member, Position position, std::uint32_t attempt) {
  const auto [open, code] = holding(member, position, attempt);
  if (code != Code::ok) return code;
  let_go(*open);
  if (open->durable) closed_.push_back(position);
  touched_ -= open->touched;
  open_.erase(*open);
  ++acked_;
  changed_ = urgent_ = true;
  return Code::ok;
}

Code ConsumerGroup::nack(MemberId member, Position position, std::uint32_t attempt, Duration delay, Now now) {
  const auto [open, code] = holding(member, position, attempt);
  if (code != Code::ok) return code;
  let_go(*open);
  ++open->failures;
  urgent_ = true;
  if (delay <= Duration::zero()) return make_ready(position, *open), Code::ok;
  delay = std::min<Duration>(delay, limits::nack_delay_max);
  open->place = Place::delayed;
  open->retry_at = now.wall + delay;
  set_due(*open, now.steady + delay);
  touch(*open);
  return Code::ok;
}

Code ConsumerGroup::extend(MemberId member, Position position, std::uint32_t attempt, SteadyTime now) {
  const auto [open, code] = holding(member, position, attempt);
  if (code == Code::ok) set_due(*open, now + limits_.ack_wait);
  return code;
}

void ConsumerGroup::make_ready(Position position, Open& open) {
  open.place = Place::ready;
  ready_.insert(position);
  touch(open);
}

void ConsumerGroup::set_due(Open& open, SteadyTime due) {
  open.due = due;
  next_due_ = std::min(next_due_, due);
}

std::optional<SteadyTime> ConsumerGroup::tick(SteadyTime now) {
  if (now >= next_due_) {
    next_due_ = SteadyTime::max();
    open_.each([&](Position position, Open& open) {
      if (open.place == Place::ready) return;
      if (open.due > now) {
        next_due_ = std::min(next_due_, open.due);
        return;
      }
      if (open.place == Place::in_flight) {
        let_go(open);
        ++open.failures;
        urgent_ = true;
      }
      make_ready(position, open);
    });
  }
  return next_due_ == SteadyTime::max() ? std::nullopt : std::optional(next_due_);
}

void ConsumerGroup::seek(Position scan) {
  open_.clear();
  ready_.clear();
  next_due_ = SteadyTime::max();
  touched_ = 0;
  closed_.clear();
  for (auto& [id, member] : members_) member.held = 0;
  in_flight_ = 0;
  scan_ = scan;
  ++generation_;
  seeked_ = changed_ = urgent_ = true;
}

// ---- durability

void ConsumerGroup::touch(Open& open) {
  changed_ = true;
  touched_ += !open.touched;
  open.touched = true;
}

void ConsumerGroup::put_open(Writer& writer, Position position, const Open& open) const {
  const bool delayed = open.place == Place::delayed;
  writer.put(position).put(open.attempt).put(open.failures).put(open.returns);
  writer.put(static_cast<std::uint8_t>(open.place)).put(delayed ? nanoseconds(open.retry_at) : std::int64_t{0});
}

// What was opened and settled since the last one leaves no trace. Most of what has changed was opened last.
std::string ConsumerGroup::take_journal() {
  Writer writer;
  writer.put(static_cast<std::uint8_t>(seeked_)).put(generation_).put(scan_).put(acked_);
  writer.put(static_cast<std::uint32_t>(closed_.size()));
  for (const Position position : closed_) writer.put(position);
  writer.put(touched_);
  const auto is_touched = [](const Open& open) { return open.touched; };
  open_.each_of_last(std::exchange(touched_, 0), is_touched, [&](Position position, Open& open) {
    open.touched = false;
    open.durable = true;
    put_open(writer, position, open);
  });
  closed_.clear();
  seeked_ = changed_ = urgent_ = false;
  return writer.take();
}

bool ConsumerGroup::apply_journal(std::string_view bytes, Now now) {
  Reader reader(bytes);
  if (reader.get<std::uint8_t>() != 0) open_.clear();
  generation_ = reader.get<std::uint16_t>();
  scan_ = reader.get<Position>();
  acked_ = reader.get<std::uint64_t>();
  for (auto count = reader.get<std::uint32_t>(); count > 0 && reader.ok(); --count) {
    const auto position = reader.get<Position>();
    if (open_.find(position) != nullptr) open_.erase(position);
  }
  for (auto count = reader.get<std::uint32_t>(); count > 0 && reader.ok(); --count) {
    const auto position = reader.get<Position>();
    Open open;
    open.attempt = reader.get<std::uint32_t>();
    open.failures = reader.get<std::uint32_t>();
    open.returns = reader.get<std::uint32_t>();
    open.place = static_cast<Place>(reader.get<std::uint8_t>());
    open.retry_at = wall_time(reader.get<std::int64_t>());
    open.due = now.steady + (open.retry_at - now.wall);
    open.durable = true;
    if (open.place > Place::ready) return false;
    Open* known = open_.find(position);
    (known != nullptr ? *known : open_.add(position)) = open;
  }
  return reader.done();
}

std::string ConsumerGroup::snapshot() const {
  Writer writer;
  writer.put(std::uint8_t{1}).put(generation_).put(scan_).put(acked_).put(std::uint32_t{0});
  writer.put(static_cast<std::uint32_t>(open_.size()));
  open_.each([&](Position position, const Open& open) { put_open(writer, position, open); });
  return writer.take();
}

std::optional<ConsumerGroup> ConsumerGroup::restore(GroupLimits limits, std::string_view bytes, Now now) {
  ConsumerGroup group(limits, Position::none);
  if (!group.apply_journal(bytes, now)) return std::nullopt;
  return group;
}

void ConsumerGroup::recovered() {
  open_.each([&](Position position, Open& open) {
    if (open.place == Place::delayed) return set_due(open, open.due);
    if (open.place == Place::in_flight) ++open.returns;
    make_ready(position, open);
  });
}

void ConsumerGroup::verify() const {
  BUS_CHECK(floor() <= scan_);
  std::size_t flying = 0, waiting = 0, touched = 0;
  open_.each([&](Position position, const Open& open) {
    BUS_CHECK(position > floor() && position <= scan_);
    flying += open.place == Place::in_flight;
    waiting += open.place == Place::ready;
    BUS_CHECK((open.place == Place::ready) == ready_.contains(position));
    BUS_CHECK(open.place == Place::ready || open.due >= next_due_);
    touched += open.touched;
  });
  BUS_CHECK(touched == touched_);
  std::size_t held = 0;
  for (const auto& [id, member] : members_) held += member.held;
  BUS_CHECK(flying == in_flight_ && held == in_flight_ && waiting == ready_.size());
  BUS_CHECK(members_.size() == turn_.size());
}

}  // namespace bus::broker
