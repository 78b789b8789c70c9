// checksum() for processors with AVX2; the same values.
#pragma once

#include <cstddef>
#include <cstdint>

namespace bus {

#if defined(__x86_64__)
inline bool has_wide_checksum() { return __builtin_cpu_supports("avx2"); }
std::uint64_t checksum_wide(const std::uint8_t* bytes, std::size_t size, std::uint64_t seed);
#endif

}  // namespace bus
