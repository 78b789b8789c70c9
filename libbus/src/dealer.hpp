// Dealer is one connection to the broker: a ZeroMQ DEALER that never blocks and never reconnects by itself, so that
// nothing of an old connection is sent on a new one. The home of zmq.hpp in libbus. One thread.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "base/frame.hpp"
#include "bus/result.hpp"

namespace bus {

// Nothing if a client may connect there. Error bad_argument.
Result<void> check_server(const std::string& endpoint);

// Wakes the thread that waits in Dealer::wait(); ring() may be called from any thread.
class WakeUp {
 public:
  WakeUp();
  ~WakeUp();
  WakeUp(const WakeUp&) = delete;
  WakeUp& operator=(const WakeUp&) = delete;
  void ring();
  void clear();
  int descriptor() const { return fd_; }

 private:
  int fd_;
};

class Dealer {
 public:
  // Starts connecting. Error bad_argument: the endpoint makes no sense to ZeroMQ.
  static Result<std::unique_ptr<Dealer>> connect(const std::string& endpoint);
  // Waits for nothing; what has not left is dropped.
  ~Dealer();
  Dealer(const Dealer&) = delete;
  Dealer& operator=(const Dealer&) = delete;

  // False: nothing was taken, try again when wait() says so.
  bool send(const Frame& header, const Frame& body);
  // False: nothing is there.
  bool receive(std::vector<Frame>& frames);
  // True if the connection broke or could not be made.
  bool is_lost();
  // Until something came, the wake-up rang, sending is possible (if asked for), or the time is over. `dealer` may be
  // null: then only the wake-up counts.
  static void wait(Dealer* dealer, const WakeUp& wake_up, bool to_send, std::chrono::milliseconds timeout);

 private:
  struct Sockets;
  explicit Dealer(std::unique_ptr<Sockets> sockets);
  std::unique_ptr<Sockets> sockets_;
};

}  // namespace bus
