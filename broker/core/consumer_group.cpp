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
  for (auto& [position, open] : open_) {
    if (open.place != Place::in_flight || open.member != member) continue;
    ++open.returns;
    urgent_ = true;
    let_go(open);
    make_ready(Position{position}, open);
  }
  members_.erase(it);
  turn_.erase(std::find(turn_.begin(), turn_.end(), member));
}

void ConsumerGroup::add_credit(MemberId member, std::uint32_t events, std::uint32_t bytes) {
  members_.at(member).credit.add(events, bytes);
}

// ---- delivery

std::optional<MemberId> ConsumerGroup::next_member(const std::function<bool(MemberId)>& may) const {
  if (in_flight_ >= limits_.in_flight_max) return std::nullopt;
  for (std::size_t step = 0; step < turn_.size(); ++step) {
    const MemberId member = turn_[(next_turn_ + step) % turn_.size()];
    if (members_.at(member).credit.is_open() && may(member)) return member;
  }
  return std::nullopt;
}

std::optional<Position> ConsumerGroup::next_redelivery() const {
  return ready_.empty() ? std::nullopt : std::optional(*ready_.begin());
}

std::uint32_t ConsumerGroup::open(Position position, MemberId member, std::size_t bytes, SteadyTime now) {
  if (position > scan_) {
    scan_ = position;
    BUS_CHECK(open_.try_emplace(number(position)).second);
  } else {
    BUS_CHECK(ready_.erase(position) == 1);
    ++redeliveries_;
  }
  Open& open = open_.at(number(position));
  Member& holder = members_.at(member);
  holder.credit.use(bytes);
  ++holder.held;
  ++in_flight_;
  open.place = Place::in_flight;
  open.member = member;
  ++open.attempt;
  start_timer(position, open, now + limits_.ack_wait);
  touch(position, open);
  next_turn_ = static_cast<std::size_t>(std::find(turn_.begin(), turn_.end(), member) - turn_.begin()) + 1;
  return open.attempt;
}

void ConsumerGroup::advance(Position position) {
  if (position <= scan_) return;
  scan_ = position;
  changed_ = true;
}

Position ConsumerGroup::floor() const {
  return open_.empty() ? scan_ : Position{open_.begin()->first} - 1;
}

// ---- settlement

ConsumerGroup::Holding ConsumerGroup::holding(MemberId member, Position position, std::uint32_t attempt) {
  const auto it = open_.find(number(position));
  if (it == open_.end()) return {nullptr, Code::not_delivered};
  Open& open = it->second;
  const bool current = open.place == Place::in_flight && open.attempt == attempt && open.member == member;
  return {&open, current ? Code::ok : Code::stale_ack};
}

void ConsumerGroup::let_go(const Open& open) {
  --members_.at(open.member).held;
  --in_flight_;
}

Code ConsumerGroup::ack(MemberId member, Position position, std::uint32_t attempt) {
  const auto [open, code] = holding(member, position, attempt);
  if (code != Code::ok) return code;
  let_go(*open);
  if (open->durable) closed_.push_back(position);
  open_.erase(number(position));
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
  start_timer(position, *open, now.steady + delay);
  touch(position, *open);
  return Code::ok;
}

Code ConsumerGroup::extend(MemberId member, Position position, std::uint32_t attempt, SteadyTime now) {
  const auto [open, code] = holding(member, position, attempt);
  if (code == Code::ok) start_timer(position, *open, now + limits_.ack_wait);
  return code;
}

void ConsumerGroup::make_ready(Position position, Open& open) {
  open.place = Place::ready;
  ready_.insert(position);
  touch(position, open);
}

void ConsumerGroup::start_timer(Position position, Open& open, SteadyTime due) {
  open.due = due;
  timers_.push({due, position, open.attempt});
  // Settled events leave their timers behind: now and then they go, so that there are about as many as events.
  if (timers_.size() <= 2 * limits::open_max) return;
  std::vector<Timer> current;
  for (const auto& [at, waiting] : open_) {
    if (waiting.place != Place::ready) current.push_back({waiting.due, Position{at}, waiting.attempt});
  }
  timers_ = decltype(timers_)(std::greater<>(), std::move(current));
}

std::optional<SteadyTime> ConsumerGroup::tick(SteadyTime now) {
  while (!timers_.empty()) {
    const Timer timer = timers_.top();
    const auto it = open_.find(number(timer.position));
    const bool current = it != open_.end() && it->second.place != Place::ready && it->second.due == timer.due &&
                         it->second.attempt == timer.attempt;
    if (current && timer.due > now) return timer.due;
    timers_.pop();
    if (!current) continue;
    Open& open = it->second;
    if (open.place == Place::in_flight) {
      let_go(open);
      ++open.failures;
      urgent_ = true;
    }
    make_ready(timer.position, open);
  }
  return std::nullopt;
}

void ConsumerGroup::seek(Position scan) {
  open_.clear();
  ready_.clear();
  timers_ = {};
  touched_.clear();
  closed_.clear();
  for (auto& [id, member] : members_) member.held = 0;
  in_flight_ = 0;
  scan_ = scan;
  ++generation_;
  seeked_ = changed_ = urgent_ = true;
}

// ---- durability

void ConsumerGroup::touch(Position position, Open& open) {
  changed_ = true;
  if (open.touched) return;
  open.touched = true;
  touched_.push_back(position);
}

void ConsumerGroup::put_open(Writer& writer, Position position, const Open& open) const {
  const bool delayed = open.place == Place::delayed;
  writer.put(position).put(open.attempt).put(open.failures).put(open.returns);
  writer.put(static_cast<std::uint8_t>(open.place)).put(delayed ? nanoseconds(open.retry_at) : std::int64_t{0});
}

std::string ConsumerGroup::take_journal() {
  std::erase_if(touched_, [&](Position position) { return !open_.contains(number(position)); });
  Writer writer;
  writer.put(static_cast<std::uint8_t>(seeked_)).put(generation_).put(scan_).put(acked_);
  writer.put(static_cast<std::uint32_t>(closed_.size()));
  for (const Position position : closed_) writer.put(position);
  writer.put(static_cast<std::uint32_t>(touched_.size()));
  for (const Position position : touched_) {
    Open& open = open_.at(number(position));
    open.touched = false;
    open.durable = true;
    put_open(writer, position, open);
  }
  touched_.clear();
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
    open_.erase(number(reader.get<Position>()));
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
    open_[number(position)] = open;
  }
  return reader.done();
}

std::string ConsumerGroup::snapshot() const {
  Writer writer;
  writer.put(std::uint8_t{1}).put(generation_).put(scan_).put(acked_).put(std::uint32_t{0});
  writer.put(static_cast<std::uint32_t>(open_.size()));
  for (const auto& [position, open] : open_) put_open(writer, Position{position}, open);
  return writer.take();
}

std::optional<ConsumerGroup> ConsumerGroup::restore(GroupLimits limits, std::string_view bytes, Now now) {
  ConsumerGroup group(limits, Position::none);
  if (!group.apply_journal(bytes, now)) return std::nullopt;
  return group;
}

void ConsumerGroup::recovered() {
  for (auto& [at, open] : open_) {
    const Position position{at};
    if (open.place == Place::delayed) {
      start_timer(position, open, open.due);
      continue;
    }
    if (open.place == Place::in_flight) ++open.returns;
    make_ready(position, open);
  }
}

void ConsumerGroup::verify() const {
  BUS_CHECK(floor() <= scan_);
  std::size_t flying = 0, waiting = 0;
  for (const auto& [position, open] : open_) {
    BUS_CHECK(Position{position} > floor() && Position{position} <= scan_);
    flying += open.place == Place::in_flight;
    waiting += open.place == Place::ready;
    BUS_CHECK((open.place == Place::ready) == ready_.contains(Position{position}));
  }
  std::size_t held = 0;
  for (const auto& [id, member] : members_) held += member.held;
  BUS_CHECK(flying == in_flight_ && held == in_flight_ && waiting == ready_.size());
  BUS_CHECK(members_.size() == turn_.size());
}

}  // namespace bus::broker
