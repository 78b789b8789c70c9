// What the programs here ask of glibc's allocator.
#pragma once

#include <malloc.h>

namespace bus {

// Memory that was touched once is used again instead of being given back to the kernel: for messages of some hundred KiB, which
// come and go, fresh pages cost more than all that is done to the events in them. Call it before the first thread starts.
inline void keep_memory() {
  constexpr int mebibyte = 1 << 20;
  mallopt(M_MMAP_THRESHOLD, 32 * mebibyte);
  mallopt(M_TRIM_THRESHOLD, 64 * mebibyte);
}

}  // namespace bus
