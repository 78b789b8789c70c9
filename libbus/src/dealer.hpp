// Dealer is one connection to the broker: a ZeroMQ DEALER that never blocks and never reconnects by itself, so that
// nothing of an old connection is sent on a new one. The home of zmq.hpp in libbus. One thread at a time, but for wait().
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

  // False: nothing was taken, try again when is_ready() says so.
  bool send(const Frame& header, const Frame& body);
  // False: nothing is there.
  bool receive(std::vector<Frame>& frames);
  // True if the connection broke or could not be made.
  bool is_lost();
  // True if there is something to receive, news of the connection, or room to send (if asked for). What was ready already
  // does not end a wait(): ask this first, and after whatever was done with the dealer meanwhile.
  bool is_ready(bool to_send);
  // Until there is news of the connection, the wake-up rang, or the time is over. `dealer` may be null: then only the
  // wake-up counts. Another thread may use the dealer meanwhile, but not destroy it.
  static void wait(const Dealer* dealer, const WakeUp& wake_up, std::chrono::milliseconds timeout);

 private:
  struct Sockets;
  explicit Dealer(std::unique_ptr<Sockets> sockets);
  std::unique_ptr<Sockets> sockets_;
};

}  // namespace bus
