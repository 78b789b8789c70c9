// SIGINT and SIGTERM as something to wait for. The one process-wide state of bus-cli, because signals are.
#pragma once

#include <poll.h>

#include <initializer_list>

#include "bus/types.hpp"

namespace bus::tools {

// To be called by main before any thread is started.
void install_signals();

// The signal that asked us to end, or 0.
int interrupted();

// While one lives, a first signal leaves the ending to the verb, which has 3 s for it. Without one, and at the second
// signal, the process ends at once.
class GracefulEnd {
 public:
  GracefulEnd();
  ~GracefulEnd();
  GracefulEnd(const GracefulEnd&) = delete;
  GracefulEnd& operator=(const GracefulEnd&) = delete;
};

// Bell wakes the thread that waits for it. ring() may be called from any thread.
class Bell {
 public:
  Bell();
  ~Bell();
  Bell(const Bell&) = delete;
  Bell& operator=(const Bell&) = delete;

  void ring();
  // Until a ring since the last wait, a signal, something on one of `also`, or the time is over.
  void wait(Duration most, std::initializer_list<pollfd> also = {});

 private:
  int fd_;
};

// Waits until `deadline`, or less if interrupted().
void pause_until(SteadyTime deadline);

}  // namespace bus::tools
