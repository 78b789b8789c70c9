#include "tests/sim/reader.hpp"

#include <algorithm>

namespace bus::sim {

bool SimReader::done() const {
  const auto& log = env_.ledger.log();
  const bool replaying = std::any_of(readings_.begin(), readings_.end(), [&](const auto& one) {
    return !one.second.follows && one.second.to <= log.size();  // others wait for an event that will not come
  });
  const bool missing = std::any_of(log.begin() + static_cast<std::ptrdiff_t>(followed_), log.end(),
                                   [&](const LogEvent& event) { return matches(pattern_, event.sent->topic) && !event.is_removed; });
  return connected() && !missing && !replaying;
}

std::string SimReader::state() const {
  std::string text = name_ + (greedy_ ? " (greedy)" : "") + " has followed to " + std::to_string(followed_);
  for (const auto& [id, reading] : readings_) {
    text += ", " + std::to_string(id) + ": " + std::to_string(reading.seen) + " to " + std::to_string(reading.to) +
            " credit " + std::to_string(reading.credit);
  }
  return text;
}

void SimReader::begin(const wire::Welcome&) { follow(); }

void SimReader::follow() {
  wire::SubscribeT message;
  message.from = followed_ == 0 ? wire::Start::start : wire::Start::position;
  message.from_value = static_cast<std::int64_t>(followed_ + 1);
  Reading reading{pattern_, followed_};
  reading.follows = true;
  subscribe(reading, std::move(message));
}

void SimReader::replay() {
  wire::SubscribeT message;
  const auto head = env_.ledger.head();
  Reading reading{env_.random.percent(50) ? ">" : pattern_};
  switch (env_.random.below(4)) {
    case 0: message.from = wire::Start::start; break;
    case 1: message.from = wire::Start::last; message.from_value = static_cast<std::int64_t>(env_.random.below(50)); break;
    case 2:
      message.from = wire::Start::time;
      message.from_value = head == 0 ? 0 : env_.ledger.at(env_.random.between(1, head)).committed_at;
      break;
    default:
      message.from = wire::Start::position;
      message.from_value = static_cast<std::int64_t>(env_.random.between(1, head + 1));
  }
  message.to = env_.random.percent(50) ? wire::Start::end : wire::Start::position;
  message.to_value = static_cast<std::int64_t>(env_.random.between(1, head + 1));
  subscribe(reading, std::move(message));
}

void SimReader::subscribe(Reading reading, wire::SubscribeT message) {
  message.subscription = next_id_++;
  message.filter = std::make_unique<wire::FilterT>();
  message.filter->patterns = {reading.pattern};
  message.credit_events = greedy_ ? limits::credit_events_max : static_cast<std::uint32_t>(env_.random.between(1, 30));
  message.credit_bytes = limits::credit_bytes_max;
  reading.credit = message.credit_events;
  readings_[message.subscription] = std::move(reading);
  send(message);
}

void SimReader::work() {
  if (!env_.calm && env_.random.percent(5) && readings_.size() < 4) replay();
  for (auto& [id, reading] : readings_) {
    const bool give = !greedy_ && reading.credit < 10 && (env_.calm || env_.random.percent(30));
    if (!give || !reading.begun) continue;
    wire::CreditT credit;
    credit.subscription = id;
    credit.events = static_cast<std::uint32_t>(env_.random.between(1, 40));
    credit.bytes = limits::credit_bytes_max;
    reading.credit += credit.events;
    send(credit);
  }
  if (env_.calm || !env_.random.percent(2)) return;
  const auto it = std::find_if(readings_.begin(), readings_.end(), [](const auto& one) { return !one.second.follows; });
  if (it == readings_.end()) return;
  wire::UnsubscribeT message;
  message.subscription = it->first;
  send(message);
}

void SimReader::take(const wire::Message& message, Bytes body) {
  if (const auto* subscribed = message.body_as_Subscribed()) take_subscribed(*subscribed);
  if (const auto* deliver = message.body_as_Deliver()) take_deliver(*deliver, body);
  if (const auto* over = message.body_as_SubscriptionEnd()) take_end(*over);
  if (const auto* caught_up = message.body_as_CaughtUp()) {
    Reading& reading = readings_.at(caught_up->subscription());
    pass(reading, caught_up->position() + 1, "caught up");
    reading.seen = std::max(reading.seen, caught_up->position());
    check_notice(reading, reading.seen, caught_up->trimmed_events(), caught_up->trimmed_to());
  }
  const auto* failure = message.body_as_Failure();
  if (failure == nullptr) return;
  const bool expected = failure->code() == Code::beyond_end || failure->code() == Code::unknown_subscription;
  require(expected, name_ + " got " + EnumNameCode(failure->code()) + ": " + failure->detail()->str());
  if (failure->code() == Code::beyond_end) readings_.erase(failure->subscription());
}

void SimReader::take_subscribed(const wire::Subscribed& message) {
  Reading& reading = readings_.at(message.subscription());
  if (reading.follows) require(message.next() == followed_ + 1, name_ + " is not continued where it was");
  reading.seen = message.next() - 1;
  reading.to = message.to();
  reading.begun = true;
}

void SimReader::pass(Reading& reading, std::uint64_t position, const char* what) const {
  for (auto missed = reading.seen + 1; missed < position && missed <= env_.ledger.head(); ++missed) {
    if (!matches(reading.pattern, env_.ledger.at(missed).sent->topic)) continue;
    require(env_.ledger.is_removed(missed), name_ + ": position " + std::to_string(missed) + " is missing, " + what + " at " + std::to_string(position));
    reading.missed.push_back(missed);
  }
}

// Of records that are gone nobody knows what they had: those are not counted.
void SimReader::check_notice(const Reading& reading, std::uint64_t last, std::uint64_t events, std::uint64_t to) const {
  const auto& missed = reading.missed;
  const auto least = std::count_if(missed.begin(), missed.end(), [&](auto position) { return !env_.ledger.at(position).is_trimmed; });
  auto most = missed.size();
  for (auto position = reading.seen + 1; position <= last; ++position) {
    most += matches(reading.pattern, env_.ledger.at(position).sent->topic) && env_.ledger.is_removed(position);
  }
  require(events >= static_cast<std::uint64_t>(least) && events <= most, name_ + " was told that " + std::to_string(events) + " events are gone; " +
                                                                         std::to_string(least) + " to " + std::to_string(most) + " are");
  require(missed.empty() || to >= missed.back(), name_ + ": position " + std::to_string(missed.empty() ? 0 : missed.back()) + " is gone, and it was told up to " + std::to_string(to));
  require(to <= last, name_ + " was told what is gone beyond where it is");
}

void SimReader::take_deliver(const wire::Deliver& message, Bytes body) {
  Reading& reading = readings_.at(message.subscription());
  wire::EventCursor cursor(body);
  for (const auto* delivery : *message.deliveries()) {
    const auto event = cursor.next();
    require(event.ok(), name_ + " got a body that is cut off");
    env_.ledger.check_delivery(*delivery, message.publishers()->Get(delivery->publisher())->str(), *event);
    require(delivery->position() > reading.seen, name_ + ": position " + std::to_string(delivery->position()) + " came twice");
    require(matches(reading.pattern, env_.ledger.at(delivery->position()).sent->topic), name_ + " got what it does not want");
    require(reading.to == 0 || delivery->position() <= reading.to, name_ + " got an event after the end of its range");
    require(reading.credit-- > 0, name_ + " got more than its credit");
    pass(reading, delivery->position(), "the next event came");
    reading.seen = delivery->position();
  }
  check_notice(reading, env_.ledger.head(), message.trimmed_events(), message.trimmed_to());  // it may have looked further than it gave
  if (reading.follows) followed_ = reading.seen;
}

void SimReader::take_end(const wire::SubscriptionEnd& message) {
  const auto it = readings_.find(message.subscription());
  require(it != readings_.end() && message.code() == Code::ok, name_ + ": a subscription ended with an error");
  require(message.position() <= std::max(env_.ledger.head(), it->second.seen), name_ + ": an end beyond the log");
  if (it->second.begun) {
    pass(it->second, message.position() + 1, "it ended");
    it->second.seen = std::max(it->second.seen, message.position());
    check_notice(it->second, it->second.seen, message.trimmed_events(), message.trimmed_to());
  }
  readings_.erase(it);
}

}  // namespace bus::sim
