// RankTurns says in which class of priority the next event is looked for first: the most urgent, unless one that is less
// urgent was overtaken too often. A pure value; a group owns one.
//
//   overtaken by priority_share ──> high ──> medium ──> low, or whatever comes next in the log
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
  // What comes next in the log was overtaken by those that are delivered again.
  bool is_next_due() const { return next_ >= limits::priority_share; }
  // How many of this rank may go out before a lower one has its turn; one at least, and no more out of turn.
  std::size_t room(Rank rank) const {
    if (rank == Rank::medium && medium_ >= limits::priority_share) return 1;
    const auto overtaken = rank == Rank::high ? std::max(medium_, low_) : rank == Rank::medium ? low_ : 0;
    return overtaken < limits::priority_share ? limits::priority_share - overtaken : 1;
  }
  // One of this rank went out, ahead of others or again.
  void given(Rank rank) { count(rank, true, true), ++next_; }
  // One that came next in the log: it has overtaken only those that are ready.
  void given_next(Rank rank, bool is_medium_ready, bool is_low_ready) {
    count(rank, is_medium_ready, is_low_ready);
    if (!is_low_ready) low_ = 0;
    next_ = 0;
  }
  // There is none of this rank that could have been overtaken.
  void none(Rank rank) {
    if (rank == Rank::medium) medium_ = 0;
    if (rank == Rank::low) low_ = 0;
  }

 private:
  void count(Rank rank, bool medium_stands_back, bool low_stands_back) {
    if (rank == Rank::high) medium_ += medium_stands_back;
    if (rank == Rank::medium) medium_ = 0;
    low_ = rank == Rank::low ? 0 : low_ + low_stands_back;
  }

  std::uint32_t medium_ = 0, low_ = 0, next_ = 0;  // by how many they were overtaken
};

}  // namespace bus::broker
