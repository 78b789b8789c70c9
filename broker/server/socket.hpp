// RouterSocket is the broker's only socket: a ZeroMQ ROUTER that never blocks, never drops in silence, and never takes
// a frame above the limit. The home of zmq.hpp in the broker. Used by the loop thread only.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "broker/core/io.hpp"

namespace bus::broker {

// Refuses what would be reachable from other machines: without CURVE anybody could publish.
Result<void> check_endpoint(const std::string& endpoint);

class RouterSocket {
 public:
  RouterSocket();
  ~RouterSocket();
  RouterSocket(const RouterSocket&) = delete;
  RouterSocket& operator=(const RouterSocket&) = delete;

  // Returns the endpoint with its real port. An ipc path gets its folder made and mode 0660, and is refused while
  // another process listens on it. Errors: denied, conflict, bad_argument.
  Result<std::string> bind(const std::string& endpoint);

  struct Incoming {
    Peer peer;
    std::vector<Frame> frames;
    std::size_t bytes = 0;
  };
  // False: nothing is there. Frames beyond the third of a message are counted but not kept.
  bool receive(Incoming& message);

  enum class Sent { yes, would_block, no_such_peer };
  Sent send(const Outgoing& message);

  // Waits until something arrives, `wake_fd` or `signal_fd` is readable, or the time is over.
  struct Ready {
    bool woken = false, signalled = false, disconnected = false;
  };
  Ready wait(int wake_fd, int signal_fd, Duration timeout);

  // Waits for queued messages to leave, at most `linger`; nothing works afterwards.
  void close(std::chrono::milliseconds linger);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace bus::broker
