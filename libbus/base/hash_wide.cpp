// XXH3-64 over 32 bytes at once: half the instructions of what every x86-64 can do. Compiled for AVX2, so nothing but
// this function may be in here: what the linker shares with other files would end a process on an older processor.
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/hash_wide.hpp"

namespace bus {

std::uint64_t checksum_wide(const std::uint8_t* bytes, std::size_t size, std::uint64_t seed) {
  return XXH3_64bits_withSeed(bytes, size, seed);
}

}  // namespace bus
