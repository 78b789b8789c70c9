// Network is what lies between the clients and the core: connections that keep their order while they last, and can be
// lost at any moment with part of what is under way. Of a lost connection either side may still read what had arrived.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "broker/core/io.hpp"
#include "tests/sim/random.hpp"

namespace bus::sim {

// Switches that break something on purpose: the checker must notice each of them.
enum class Fault {
  none,
  early_report,       // commits are reported before they are on disk
  forgotten_commit,   // a commit is reported as done and never was
  lost_delivery,      // a Deliver vanishes from a connection that lasts
  swapped_messages,   // two messages of a connection change places
  changed_byte,       // a bit of a delivered event flips
};

struct Link {
  broker::Peer peer;
  std::deque<std::vector<Buffer>> to_core;
  std::deque<broker::Outgoing> to_client;
  bool up = true;                              // false: nothing is added any more
  bool known = true;                           // the broker's socket has not noticed yet
};

class Network {
 public:
  Network(Random& random, Fault fault) : random_(random), fault_(fault), room_(random.between(2, 40)) {}

  // ---- the clients' side
  // The peer is called after the client, with a # behind it.
  std::shared_ptr<Link> connect(const std::string& name);
  void lose(Link& link);
  void lose_all();
  // A link that is up, or null.
  Link* pick();

  // ---- the broker's side
  struct Incoming {
    broker::Peer peer;
    std::vector<Frame> frames;
  };
  std::optional<Incoming> receive();
  enum class Sent { yes, would_block, no_such_peer };
  Sent send(const broker::Outgoing& message);
  bool quiet() const;

 private:
  void break_on_purpose(Link& link);

  Random& random_;
  Fault fault_;
  std::size_t room_;                           // messages that a connection holds towards its client
  std::uint64_t connections_ = 0;
  std::map<broker::Peer, std::shared_ptr<Link>> links_;
};

}  // namespace bus::sim
