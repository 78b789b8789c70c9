// The two hashes of the project. XXH3-64 guards stored bytes; XXH3-128 with the log's secret names keys, so
// that nobody outside can make two keys collide.
#pragma once

#include <compare>
#include <cstdint>
#include <functional>
#include <string_view>

#include "base/bytes.hpp"

namespace bus {

struct Hash128 {
  std::uint64_t high = 0;
  std::uint64_t low = 0;
  auto operator<=>(const Hash128&) const = default;
};

std::uint64_t checksum(Bytes bytes, std::uint64_t seed = 0);
Hash128 hash128(Bytes bytes, std::uint64_t secret);

// Folds one event into the chain: independent of record boundaries.
std::uint64_t chain_fold(std::uint64_t chain, std::uint64_t position, std::uint64_t event_checksum);

}  // namespace bus

template <>
struct std::hash<bus::Hash128> {
  std::size_t operator()(const bus::Hash128& key) const noexcept { return key.low; }
};
