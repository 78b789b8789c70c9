// Sessions: who is connected, and what waits to be sent to each. A session begins with Hello and ends with Bye,
// silence, a dead connection, or by not reading what it asked for. Owned by the core; one thread.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/hash.hpp"
#include "broker/core/io.hpp"
#include "wire/message.hpp"

namespace bus::broker {

using SessionId = std::uint64_t;

struct Session {
  SessionId id = 0;                     // also the token of Hello.resume
  Peer peer;
  std::string client;
  std::string publisher;                // empty: does not publish
  bool transient = false;
  std::uint64_t instance = 0, attempt = 0;  // of the client, and of its Hello
  std::uint64_t fence = 0;
  SteadyTime heard;
  SteadyTime probed;
  std::size_t requests = 0;             // unanswered
  std::size_t subscriptions = 0;
  std::deque<Outgoing> outbox;          // what did not fit into the socket, in order
  std::size_t outbox_bytes = 0;
  std::uint64_t round = 0;              // of take(): to it belong the
  std::size_t round_bytes = 0;          // bytes that it will hand to the socket
};

class Sessions {
 public:
  // `secret`: 16 bytes that nobody else knows. A token is a keyed hash of a counter: whoever is given some, however many,
  // cannot go on from there, as from a pseudo-random generator. XXH3 is no cryptographic hash, though, and whoever reaches
  // the socket may publish under any name without a token. So this keeps sessions from being taken over by chance or by
  // guessing, and no more; to know who is there takes authentication, which comes with CURVE.
  explicit Sessions(const Hash128& secret) : secret_(secret) {}

  Session& begin(const Peer& peer, SteadyTime now);
  Session* find(SessionId id);
  Session* find(const Peer& peer);
  void end(SessionId id);
  std::size_t size() const { return by_id_.size(); }
  template <typename Visit>
  void each(Visit visit) {
    for (auto& [id, session] : by_id_) visit(*session);
  }

  // Sends to a session, if it still is there. Order is kept.
  void send(SessionId id, Frame header, Frame body = {});
  void send(SessionId id, Buffer header) { send(id, Frame::of(std::move(header))); }
  // Answers a peer that has no session.
  void send_to_peer(const Peer& peer, Buffer header) { outgoing_.push_back({peer, Frame::of(std::move(header)), {}}); }

  // The messages to hand to the socket now.
  std::vector<Outgoing> take();
  // The socket would not take this one: it, and all that follows for the peer, waits for retry().
  void blocked(Outgoing message);
  // True while messages for this peer wait: one that is sent all the same would overtake them.
  bool is_blocked(const Peer& peer) const;
  // Blocked sessions try again at the next take(); those whose socket took everything the last time have room again.
  // True if there are any of either.
  bool retry();
  // Sessions whose outbox has passed its limits: they do not read.
  std::vector<SessionId> take_overflowed() { return std::exchange(overflowed_, {}); }
  // False while messages of this session wait, or many are about to be sent: it should not be given more deliveries.
  // A consumer that is slow is held back so, and not ended: its outbox never fills with deliveries.
  bool has_room(SessionId id) const {
    if (blocked_.empty() && trying_.empty() && full_.empty()) return true;
    return !blocked_.contains(id) && !trying_.contains(id) && !full_.contains(id);
  }
  // True if some session has no room because of what the next take() hands over.
  bool any_full() const { return !full_.empty(); }

 private:
  void hold(Session& session, Outgoing message);
  void count(Session& session, std::size_t bytes);

  SessionId new_token();

  const Hash128 secret_;
  std::uint64_t tokens_ = 0;            // made so far
  std::map<SessionId, std::unique_ptr<Session>> by_id_;
  std::unordered_map<Peer, SessionId> by_peer_;
  std::vector<Outgoing> outgoing_;
  std::uint64_t round_ = 1;
  std::set<SessionId> blocked_;         // the socket did not take all: what they are sent is held
  std::set<SessionId> trying_;          // what was held is with the socket; room comes once that is known to be taken
  std::set<SessionId> full_;            // enough is with the next take()
  std::vector<SessionId> overflowed_;
};

}  // namespace bus::broker
