#include "tests/sim/network.hpp"

#include <algorithm>

#include "wire/message.hpp"

namespace bus::sim {

namespace {

template <typename Queue>
void keep_some(Queue& queue, Random& random) {
  queue.resize(random.below(queue.size() + 1));
}

bool is_delivery(const broker::Outgoing& message) {
  return wire::GetMessage(message.header.bytes.data())->body_type() == wire::Body::Deliver;
}

}  // namespace

std::shared_ptr<Link> Network::connect(const std::string& name) {
  auto link = std::make_shared<Link>();
  link->peer = name + "#" + std::to_string(++connections_);
  links_[link->peer] = link;
  return link;
}

void Network::lose(Link& link) {
  link.up = false;
  keep_some(link.to_core, random_);
  keep_some(link.to_client, random_);
  link.known = random_.percent(50);
}

void Network::lose_all() {
  for (auto& [peer, link] : links_) {
    link->up = link->known = false;
    link->to_core.clear();
    keep_some(link->to_client, random_);
  }
  links_.clear();
}

Link* Network::pick() {
  std::vector<Link*> up;
  for (auto& [peer, link] : links_) {
    if (link->up) up.push_back(link.get());
  }
  return up.empty() ? nullptr : random_.pick(up);
}

std::optional<Network::Incoming> Network::receive() {
  std::vector<Link*> waiting;
  for (auto& [peer, link] : links_) {
    if (!link->to_core.empty()) waiting.push_back(link.get());
  }
  if (waiting.empty()) return std::nullopt;
  Link& link = *random_.pick(waiting);
  Incoming incoming{link.peer, {}};
  for (Buffer& frame : link.to_core.front()) incoming.frames.push_back(Frame::of(std::move(frame)));
  link.to_core.pop_front();
  return incoming;
}

Network::Sent Network::send(const broker::Outgoing& message) {
  const auto it = links_.find(message.peer);
  if (it == links_.end()) return Sent::no_such_peer;
  Link& link = *it->second;
  if (!link.up && (!link.known || random_.percent(10))) {
    // What it had sent before is still to be read.
    if (link.to_core.empty()) links_.erase(it);
    return Sent::no_such_peer;
  }
  if (!link.up) return random_.percent(80) ? Sent::yes : Sent::would_block;  // taken, and lost
  if (link.to_client.size() >= room_) return Sent::would_block;
  if (fault_ == Fault::lost_delivery && is_delivery(message) && random_.percent(5)) return Sent::yes;
  link.to_client.push_back(message);
  if (fault_ == Fault::swapped_messages || fault_ == Fault::changed_byte) break_on_purpose(link);
  return Sent::yes;
}

void Network::break_on_purpose(Link& link) {
  auto& queue = link.to_client;
  if (fault_ == Fault::swapped_messages && queue.size() >= 2) std::swap(queue.back(), queue[queue.size() - 2]);
  if (fault_ != Fault::changed_byte || queue.back().body.bytes.empty() || !random_.percent(20)) return;
  Buffer copy(queue.back().body.bytes.begin(), queue.back().body.bytes.end());
  copy[random_.between(4, copy.size() - 1)] ^= 1;
  queue.back().body = Frame::of(std::move(copy));
}

bool Network::quiet() const {
  return std::all_of(links_.begin(), links_.end(), [](const auto& item) {
    return item.second->to_core.empty() && (!item.second->up || item.second->to_client.empty());
  });
}

}  // namespace bus::sim
