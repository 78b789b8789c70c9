// LibraryLink is to a ClientCore what Connection is in libbus, over the simulated network and without a thread.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "src/client_core.hpp"
#include "tests/sim/client.hpp"

namespace bus::sim {

class LibraryLink {
 public:
  LibraryLink(Env& env, std::string name) : env_(env), name_(std::move(name)) {}

  // Notices a broken connection; takes one message that has arrived.
  void receive(ClientCore& core) {
    if (link_ && !link_->up && link_->to_client.empty()) {
      link_.reset();
      core.lost({Code::disconnected, "the link is down"}, env_.now.steady);
    }
    if (!link_ || link_->to_client.empty()) return;
    const broker::Outgoing outgoing = std::move(link_->to_client.front());
    link_->to_client.pop_front();
    std::vector<Frame> frames = {outgoing.header};
    if (!outgoing.body.bytes.empty()) frames.push_back(outgoing.body);
    core.receive(frames, env_.now);
  }
  // What Connection does in one turn.
  void turn(ClientCore& core, Outbox& outbox) {
    while (auto batch = outbox.take(env_.now.steady, Duration(0))) core.publish(std::move(*batch));
    core.tick(env_.now);
    const auto action = core.take_action();
    if (action != ClientCore::Action::none) cut();
    if (action == ClientCore::Action::connect) link_ = env_.network.connect(name_);
    send(core);
  }
  void send(ClientCore& core) {
    for (auto& message : core.take_outgoing()) {
      if (!link_ || !link_->up) continue;
      std::vector<Buffer> frames = {Buffer(message.header.bytes.begin(), message.header.bytes.end())};
      if (!message.body.bytes.empty()) frames.emplace_back(message.body.bytes.begin(), message.body.bytes.end());
      link_->to_core.push_back(std::move(frames));
    }
  }
  // The connection is lost, with part of what is on it.
  void cut() {
    if (link_) env_.network.lose(*link_);
    link_.reset();
  }

 private:
  Env& env_;
  const std::string name_;
  std::shared_ptr<Link> link_;
};

}  // namespace bus::sim
