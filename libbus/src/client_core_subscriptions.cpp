// Subscriptions of ClientCore: from Subscribe to SubscriptionEnd, through any number of sessions.
#include <algorithm>

#include "base/limits.hpp"
#include "client_core.hpp"
#include "wire/event_codec.hpp"

namespace bus {

ClientCore::Subscribed* ClientCore::find(SubscriptionId id) {
  const auto it = subscriptions_.find(id);
  return it == subscriptions_.end() ? nullptr : &it->second;
}

ClientCore::SubscriptionId ClientCore::subscribe(wire::SubscribeT what, std::shared_ptr<SubscriptionListener> listener) {
  if (is_over()) return listener->ended(over_), 0;
  const SubscriptionId id = ++last_subscription_;
  Subscribed& subscribed = subscriptions_[id];
  what.subscription = id;
  if (!what.group.empty()) subscribed.group = std::make_shared<const std::string>(what.group);
  subscribed.what = std::move(what);
  subscribed.listener = std::move(listener);
  if (state_ == State::ready) send_subscribe(id, subscribed);
  return id;
}

// Credit for what is waiting here already is not given again, and what was consumed meanwhile is in it. Where the last
// event of the session before has overdrawn, that much is never given back.
void ClientCore::send_subscribe(SubscriptionId, Subscribed& subscribed) {
  subscribed.is_asked = true;
  subscribed.is_answered = false;
  wire::SubscribeT message = subscribed.what;
  message.credit_events -= static_cast<std::uint32_t>(std::min<std::uint64_t>(subscribed.held_events, message.credit_events));
  const auto left = static_cast<std::int64_t>(message.credit_bytes) - static_cast<std::int64_t>(subscribed.held_bytes);
  message.credit_bytes = static_cast<std::uint32_t>(std::max<std::int64_t>(left, 0));
  subscribed.owed_events = 0;
  subscribed.owed_bytes = std::min<std::int64_t>(left, 0);
  send(message);
}

// From the next session on, the subscription continues instead of beginning.
void ClientCore::started(const wire::Subscribed& message) {
  Subscribed* subscribed = find(message.subscription());
  if (subscribed == nullptr) return;
  wire::SubscribeT& what = subscribed->what;
  if (subscribed->group) {
    what.from = wire::Start::unspecified;
    what.from_value = 0;
    what.existing = true;
  } else {
    what.from = wire::Start::position;
    what.from_value = static_cast<std::int64_t>(message.next());
    if (message.to() != 0 && what.to != wire::Start::unspecified) {
      what.to = wire::Start::position;
      what.to_value = static_cast<std::int64_t>(message.to());
    }
  }
  subscribed->is_answered = true;
  if (std::exchange(subscribed->was_started, true)) return subscribed->listener->resumed();
  subscribed->listener->started({Position{message.next()}, Position{message.to()}, Position{message.committed()}, message.created()});
}

void ClientCore::subscription_failure(const Error& error, SubscriptionId id, std::uint64_t request) {
  Subscribed* subscribed = find(id);
  if (subscribed == nullptr) return;
  if (auto flush = subscribed->flushes.extract(request); !flush.empty()) return flush.mapped().done(error);
  if (subscribed->is_answered) return;  // of a settlement or credit that came too late
  if (error.code == Code::unknown_group && subscribed->was_started) {
    return forget(id, Error{Code::group_removed, "group '" + subscribed->what.group + "' was removed while there was no connection"});
  }
  // It was this subscription that made the group, and the answer was lost: join what it made.
  if (error.code == Code::group_mismatch && subscribed->was_unanswered && subscribed->what.from != wire::Start::unspecified) {
    subscribed->what.from = wire::Start::unspecified;
    return send_subscribe(id, *subscribed);
  }
  forget(id, error);
}

void ClientCore::deliver(const wire::Deliver& message, const Frame& body, SteadyTime now) {
  Subscribed* subscribed = find(message.subscription());
  if (subscribed == nullptr) return;  // unsubscribed meanwhile
  // What the events of one Deliver share.
  struct Delivered {
    Frame body;
    std::vector<std::string> publishers;
    std::shared_ptr<const std::string> group;
  };
  auto owned = std::make_shared<Delivered>(Delivered{body.aligned(), {}, subscribed->group});
  const Bytes bytes = owned->body.bytes;
  if (message.publishers() != nullptr) {
    for (const auto* name : *message.publishers()) owned->publishers.push_back(name->str());
  }
  const auto* deliveries = message.deliveries();
  const std::size_t count = deliveries != nullptr ? deliveries->size() : 0;
  const std::string_view group = owned->group ? std::string_view(*owned->group) : std::string_view();
  std::vector<Event> events;
  events.reserve(count);
  wire::EventCursor cursor(bytes);
  for (std::size_t at = 0; at < count; ++at) {
    const wire::Delivery& delivery = *deliveries->Get(static_cast<std::uint32_t>(at));
    const auto event = cursor.done() ? Result<Bytes>(Error{Code::malformed, "a Deliver lacks an event"}) : cursor.next();
    if (!event || delivery.publisher() >= owned->publishers.size()) {
      return lost({Code::malformed, "the broker's deliveries do not fit their events"}, now);
    }
    const Event::Place place{Position{delivery.position()}, delivery.version(), wall_time(delivery.committed_at()), delivery.sequence(),
                             delivery.attempt(), owned->publishers[delivery.publisher()], group, message.epoch()};
    events.emplace_back(place, owned, *event);
  }
  if (message.trimmed_to() != 0) subscribed->listener->trimmed(message.trimmed_events(), Position{message.trimmed_to()});
  if (events.empty()) return;
  subscribed->held_events += events.size();
  subscribed->held_bytes += bytes.size();
  if (!subscribed->group) subscribed->what.from_value = static_cast<std::int64_t>(number(events.back().position()) + 1);
  subscribed->listener->delivered(std::move(events));
}

void ClientCore::caught_up(const wire::CaughtUp& message) {
  Subscribed* subscribed = find(message.subscription());
  if (subscribed == nullptr) return;
  auto& next = subscribed->what.from_value;
  if (!subscribed->group) next = std::max(next, static_cast<std::int64_t>(message.position() + 1));
  if (message.trimmed_to() != 0) subscribed->listener->trimmed(message.trimmed_events(), Position{message.trimmed_to()});
  subscribed->listener->caught_up(Position{message.position()});
}

void ClientCore::consumed(SubscriptionId id, std::uint64_t events, std::uint64_t bytes) {
  Subscribed* subscribed = find(id);
  if (subscribed == nullptr) return;
  // What was delivered in an earlier session has no credit to give back in this one.
  events = std::min(events, subscribed->held_events);
  bytes = std::min(bytes, subscribed->held_bytes);
  subscribed->held_events -= events;
  subscribed->held_bytes -= bytes;
  subscribed->owed_events += events;
  subscribed->owed_bytes += static_cast<std::int64_t>(bytes);
}

// In portions, so that credit costs few messages.
void ClientCore::send_credit(SubscriptionId id, Subscribed& subscribed) {
  if (subscribed.owed_events * 4 < subscribed.what.credit_events && subscribed.owed_bytes * 4 < subscribed.what.credit_bytes) return;
  if (subscribed.owed_events == 0) return;
  wire::CreditT message;
  message.subscription = id;
  message.events = static_cast<std::uint32_t>(std::exchange(subscribed.owed_events, 0));
  message.bytes = static_cast<std::uint32_t>(std::max<std::int64_t>(subscribed.owed_bytes, 0));
  subscribed.owed_bytes -= message.bytes;
  send(message);
}

// ---- settlement

void ClientCore::settle(SubscriptionId id, std::uint64_t epoch, const wire::Settlement& settlement, const std::string& text) {
  Subscribed* subscribed = find(id);
  if (subscribed == nullptr) return;
  ++subscribed->settled;
  if (!subscribed->is_answered) {
    subscribed->in_doubt = true;
    return;  // it is of an earlier session, and the event with somebody else by now
  }
  if (!subscribed->settlements.empty() && subscribed->epoch != epoch) send_settlements(id, *subscribed);
  // One of these a message.
  const bool is_up_to = settlement.verdict() == wire::Verdict::ack_up_to;
  if (is_up_to && std::exchange(subscribed->has_up_to, true)) send_settlements(id, *subscribed);
  subscribed->has_up_to = subscribed->has_up_to || is_up_to;
  subscribed->epoch = epoch;
  if (!text.empty()) subscribed->texts.emplace_back(static_cast<std::uint32_t>(subscribed->settlements.size()), text);
  subscribed->settlements.push_back(settlement);
  const bool is_full = subscribed->settlements.size() >= limits::settlements_max || subscribed->texts.size() >= limits::settlement_texts_max;
  if (is_full) send_settlements(id, *subscribed);
}

void ClientCore::send_settlements(SubscriptionId id, Subscribed& subscribed, std::uint64_t request) {
  wire::SettleT message;
  message.subscription = id;
  message.epoch = subscribed.epoch;
  message.settlements = std::exchange(subscribed.settlements, {});
  for (auto& [settlement, text] : std::exchange(subscribed.texts, {})) {
    auto one = std::make_unique<wire::SettlementTextT>();
    one->settlement = settlement;
    one->text = std::move(text);
    message.texts.push_back(std::move(one));
  }
  message.request = request;
  subscribed.has_up_to = false;
  send(message);
}

std::uint64_t ClientCore::flush(SubscriptionId id, DoneCallback done) {
  Subscribed* subscribed = find(id);
  if (subscribed == nullptr) return done(is_over() ? over_ : Error{Code::closed, "the subscription has ended"}), 0;
  if (!subscribed->group) return done({}), 0;
  if (std::exchange(subscribed->in_doubt, false)) {
    subscribed->confirmed = subscribed->settled;
    done(Error{Code::disconnected, "the connection broke after acknowledgements were given; where they were lost the events come again"});
    return 0;
  }
  if (!subscribed->is_answered) {
    return done(Error{Code::disconnected, "there is no connection to the broker" + (trouble_.detail.empty() ? "" : ": " + trouble_.detail)}), 0;
  }
  subscribed->flushes.emplace(++last_request_, Subscribed::Flush{std::move(done), subscribed->settled});
  send_settlements(id, *subscribed, last_request_);
  return last_request_;
}

void ClientCore::forget_flush(SubscriptionId id, std::uint64_t flush) {
  if (Subscribed* subscribed = find(id)) subscribed->flushes.erase(flush);
}

// The connection is lost, and with it what the broker did not confirm: whoever waits for that is told.
void ClientCore::doubt(Subscribed& subscribed, const Error& why) {
  subscribed.settlements.clear();
  subscribed.texts.clear();
  const auto flushes = std::exchange(subscribed.flushes, {});
  for (const auto& [request, flush] : flushes) flush.done(Error{Code::disconnected, why.detail});
  const auto told = flushes.empty() ? subscribed.confirmed : flushes.rbegin()->second.settled;
  if (subscribed.settled > told) subscribed.in_doubt = true;
  subscribed.confirmed = subscribed.settled;
}

void ClientCore::settled(const wire::Settled& message) {
  Subscribed* subscribed = find(message.subscription());
  if (subscribed == nullptr) return;
  if (message.refused() != nullptr && message.refused()->size() > 0) subscribed->listener->stale(message.refused()->size());
  auto node = subscribed->flushes.extract(message.request());
  if (node.empty()) return;
  subscribed->confirmed = node.mapped().settled;
  node.mapped().done({});
}

// ---- the end

void ClientCore::unsubscribe(SubscriptionId id) {
  Subscribed* subscribed = find(id);
  if (subscribed == nullptr) return;
  if (subscribed->is_asked && state_ == State::ready) {
    if (!subscribed->settlements.empty()) send_settlements(id, *subscribed);
    wire::UnsubscribeT message;
    message.subscription = id;
    send(message);
  }
  forget(id, {});
}

void ClientCore::ended(const wire::SubscriptionEnd& message) {
  const Subscribed* subscribed = find(message.subscription());
  if (subscribed != nullptr && message.trimmed_to() != 0) subscribed->listener->trimmed(message.trimmed_events(), Position{message.trimmed_to()});
  if (message.code() == Code::ok) return forget(message.subscription(), {});
  forget(message.subscription(), Error{message.code(), flatbuffers::GetString(message.detail())});
}

void ClientCore::forget(SubscriptionId id, const Result<void>& why) {
  auto node = subscriptions_.extract(id);
  if (node.empty()) return;
  for (auto& [request, flush] : node.mapped().flushes) {
    flush.done(why ? Error{Code::closed, "the subscription has ended"} : why.error());
  }
  node.mapped().listener->ended(why);
}

}  // namespace bus
