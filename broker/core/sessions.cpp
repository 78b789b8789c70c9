#include "broker/core/sessions.hpp"

#include "base/check.hpp"

namespace bus::broker {

// Of 24 bytes: what XXH3 makes of 16 or less can be undone, multiplication by multiplication.
SessionId Sessions::new_token() {
  SessionId token = 0;
  while (token == 0 || by_id_.contains(token)) {
    Writer counted;
    counted.put(secret_.high).put(++tokens_).put(secret_.low);
    token = hash128(bytes_of(counted.bytes()), secret_.low).high;
  }
  return token;
}

Session& Sessions::begin(const Peer& peer, SteadyTime now) {
  BUS_CHECK(!by_peer_.contains(peer));
  const SessionId id = new_token();
  auto session = std::make_unique<Session>();
  session->id = id;
  session->peer = peer;
  session->heard = session->probed = now;
  by_peer_.emplace(peer, id);
  return *by_id_.emplace(id, std::move(session)).first->second;
}

Session* Sessions::find(SessionId id) {
  const auto it = by_id_.find(id);
  return it == by_id_.end() ? nullptr : it->second.get();
}

Session* Sessions::find(const Peer& peer) {
  const auto it = by_peer_.find(peer);
  return it == by_peer_.end() ? nullptr : find(it->second);
}

void Sessions::end(SessionId id) {
  const auto it = by_id_.find(id);
  if (it == by_id_.end()) return;
  by_peer_.erase(it->second->peer);
  for (auto* set : {&blocked_, &trying_, &full_}) set->erase(id);
  by_id_.erase(it);
}

void Sessions::hold(Session& session, Outgoing message) {
  session.outbox_bytes += message.bytes();
  session.outbox.push_back(std::move(message));
  const bool over = session.outbox_bytes > limits::outbox_bytes_max || session.outbox.size() > limits::outbox_messages_max;
  if (over) overflowed_.push_back(session.id);
}

void Sessions::send(SessionId id, Frame header, Frame body) {
  Session* session = find(id);
  if (session == nullptr) return;
  Outgoing message{session->peer, std::move(header), std::move(body)};
  if (blocked_.contains(id)) return hold(*session, std::move(message));
  count(*session, message.bytes());
  outgoing_.push_back(std::move(message));
}

void Sessions::count(Session& session, std::size_t bytes) {
  if (session.round != round_) session.round_bytes = 0;
  session.round = round_;
  session.round_bytes += bytes;
  if (session.round_bytes >= limits::round_bytes_max) full_.insert(session.id);
}

std::vector<Outgoing> Sessions::take() {
  ++round_;
  trying_.merge(full_);
  full_.clear();
  return std::exchange(outgoing_, {});
}

void Sessions::blocked(Outgoing message) {
  Session* session = find(message.peer);
  if (session == nullptr) return;
  blocked_.insert(session->id);
  hold(*session, std::move(message));
}

bool Sessions::is_blocked(const Peer& peer) const {
  const auto it = by_peer_.find(peer);
  return it != by_peer_.end() && blocked_.contains(it->second);
}

bool Sessions::retry() {
  const bool any = !blocked_.empty() || !trying_.empty();
  trying_ = std::exchange(blocked_, {});
  for (const SessionId id : trying_) {
    Session* session = find(id);
    if (session == nullptr) continue;
    for (Outgoing& message : session->outbox) outgoing_.push_back(std::move(message));
    session->outbox.clear();
    session->outbox_bytes = 0;
  }
  return any;
}

}  // namespace bus::broker
