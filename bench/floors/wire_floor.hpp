// What ZeroMQ does without a bus.
#pragma once

#include <cstddef>
#include <cstdint>

namespace bus::bench {

struct Frames {
  std::uint64_t messages = 0;          // each a header and a body
  std::size_t header_bytes = 100;
  std::size_t body_bytes = 128 * 1024;
  std::size_t answer_bytes = 100;      // one for each message
  std::size_t window_bytes = 16u << 20;  // of bodies that no answer has come for
};

// Seconds until all messages have gone from a DEALER to a ROUTER, on a thread and a context of its own, over a Unix socket, and
// all answers have come back. Throws std::runtime_error.
double exchange(const Frames& frames);

}  // namespace bus::bench
