// Credit is how much more a subscription accepts. A value.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "base/check.hpp"
#include "base/limits.hpp"

namespace bus::broker {

// The last event may overdraw the bytes; the debt counts against what is given next, so that never more than one event is
// out beyond what was given.
class Credit {
 public:
  Credit() = default;
  Credit(std::uint32_t events, std::uint32_t bytes) { add(events, bytes); }
  // What is beyond the limits is cut off.
  void add(std::uint32_t events, std::uint32_t bytes) {
    events_ = std::min<std::int64_t>(events_ + events, limits::credit_events_max);
    bytes_ = std::min<std::int64_t>(bytes_ + bytes, limits::credit_bytes_max);
  }
  // For one event; call only while is_open().
  void use(std::size_t bytes) {
    BUS_CHECK(is_open());
    events_ -= 1;
    bytes_ -= static_cast<std::int64_t>(bytes);
  }
  bool is_open() const { return events_ > 0 && bytes_ > 0; }

 private:
  std::int64_t events_ = 0;
  std::int64_t bytes_ = 0;              // below 0: overdrawn
};

}  // namespace bus::broker
