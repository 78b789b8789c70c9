// RankTurns says in which class of priority the next event is looked for first: the most urgent, unless one that is less
// urgent was overtaken too often. A pure value; a group owns one.
//
//   overtaken by priority_share ──> high ──> medium ──> low, and whatever comes next in the log
#pragma once

#include <algorithm>
#include <array>

#include "base/limits.hpp"
#include "broker/core/rank.hpp"

namespace bus::broker {

class RankTurns {
 public:
  using Order = std::array<Rank, ranks>;
  Order order() const {
    using enum Rank;
    if (medium_ >= limits::priority_share) return low_ >= limits::priority_share ? Order{medium, low, high} : Order{medium, high, low};
    return low_ >= limits::priority_share ? Order{low, high, medium} : Order{high, medium, low};
  }
  // How many of this rank may go out before a lower one has its turn; one at least.
  std::size_t room(Rank rank) const {
    const auto overtaken = rank == Rank::high ? std::max(medium_, low_) : rank == Rank::medium ? low_ : 0;
    return overtaken < limits::priority_share ? limits::priority_share - overtaken : 1;
  }
  // One of this rank went out. `is_next`: it came next in the log, and none that is low stood back for it.
  void given(Rank rank, bool is_next) {
    if (rank != Rank::low) medium_ = rank == Rank::medium ? 0 : medium_ + 1;
    low_ = rank == Rank::low || is_next ? 0 : low_ + 1;
  }
  // There is none of this rank that could have been overtaken.
  void none(Rank rank) {
    if (rank == Rank::medium) medium_ = 0;
    if (rank == Rank::low) low_ = 0;
  }

 private:
  std::uint32_t medium_ = 0, low_ = 0;  // by how many they were overtaken
};

}  // namespace bus::broker
