// OwnBroker is the broker in the process of a test: its core on its store, in a directory of its own, driven by whoever holds it. Its clock is
// what it is told. It can die at any write.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <vector>

#include "broker/core/core.hpp"

namespace bus::saga {

class OwnBroker {
 public:
  // `at_write` is called before each write to the disk and after it, before anybody is told; true: the process dies there.
  OwnBroker(Now now, std::function<bool()> at_write);
  ~OwnBroker();
  OwnBroker(const OwnBroker&) = delete;
  OwnBroker& operator=(const OwnBroker&) = delete;

  // What was not written is lost, and all connections are; and it starts again.
  void die(Now now);
  // How often it has died: connections to an earlier life are broken.
  std::uint64_t deaths() const { return deaths_; }

  void receive(const broker::Peer& peer, const std::vector<Frame>& frames, Now now) { core_->receive(peer, frames, now); }
  void gone(const broker::Peer& peer) { core_->gone(peer); }
  std::vector<broker::Outgoing> take_outgoing() { return core_->take_outgoing(); }
  // Whatever can be done without more time; false: there was nothing.
  bool turn(Now now);
  // Until when nothing happens by itself.
  SteadyTime due() const { return due_; }

 private:
  void start(Now now);
  bool read();
  bool write(Now now);

  std::function<bool()> at_write_;
  std::filesystem::path directory_;
  std::unique_ptr<store::Store> store_;
  std::unique_ptr<store::LogReader> reader_;
  std::unique_ptr<broker::Core> core_;
  std::uint64_t deaths_ = 0;
  SteadyTime due_;
};

}  // namespace bus::saga
