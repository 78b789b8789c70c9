// The classes of priority, in the order in which they go out.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace bus::broker {

enum class Rank : std::uint8_t { high = 0, medium = 1, low = 2 };
inline constexpr std::size_t ranks = 3;
constexpr std::size_t at_rank(Rank rank) { return static_cast<std::size_t>(rank); }

// As the envelope and the index have them: 0 medium, 1 high, 2 low.
constexpr Rank rank_of(std::uint8_t priority) {
  constexpr std::array by_priority = {Rank::medium, Rank::high, Rank::low, Rank::low};
  return by_priority[priority & 3];
}
constexpr std::uint8_t priority_of(Rank rank) { return rank == Rank::high ? 1 : rank == Rank::medium ? 0 : 2; }

}  // namespace bus::broker
