#include "base/hash.hpp"

#include "base/hash_wide.hpp"

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace bus {

std::uint64_t checksum(Bytes bytes, std::uint64_t seed) {
#if defined(__x86_64__)
  if (has_wide_checksum()) return checksum_wide(bytes.data(), bytes.size(), seed);
#endif
  return XXH3_64bits_withSeed(bytes.data(), bytes.size(), seed);
}

Hash128 hash128(Bytes bytes, std::uint64_t secret) {
  const auto hash = XXH3_128bits_withSeed(bytes.data(), bytes.size(), secret);
  return {hash.high64, hash.low64};
}

std::uint64_t chain_fold(std::uint64_t chain, std::uint64_t position, std::uint64_t event_checksum) {
  const std::uint64_t link[3] = {chain, position, event_checksum};
  return XXH3_64bits(link, sizeof link);
}

}  // namespace bus
