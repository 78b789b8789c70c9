// BUS_CHECK stops the process on a bug: a state that the code itself promises never to reach. It is on in
// every build. Input from the network and the disk is never checked this way.
#pragma once

namespace bus {

[[noreturn]] void check_failed(const char* what, const char* file, int line);

}  // namespace bus

#define BUS_CHECK(condition) \
  ((condition) ? static_cast<void>(0) : ::bus::check_failed(#condition, __FILE__, __LINE__))
