// PositionMap is an ordered map for positions that are added at the end, mostly, and erased near the beginning.
// A pure value.
#pragma once

#include <algorithm>
#include <cstddef>
#include <type_traits>
#include <utility>
#include <vector>

#include "base/check.hpp"
#include "bus/types.hpp"

namespace bus::broker {

// A ring, sorted by position. What is erased in the middle stays as a gap, and goes when it comes to either end or when
// more than half are gaps. Where positions follow each other without one missing, find() is one look. References are
// good until the next add() or erase().
template <typename T>
class PositionMap {
 public:
  std::size_t size() const { return live_; }
  bool empty() const { return live_ == 0; }
  std::size_t slots() const { return slots_.size(); }  // there is memory for
  // Of the lowest; not of an empty map.
  Position first() const {
    BUS_CHECK(live_ > 0);
    return slot(0).position;  // never a gap
  }

  // Null: it is not there.
  T* find(Position position) {
    const auto at = place_of(position);
    return at < count_ && slot(at).position == position && slot(at).is_live ? &slot(at).value : nullptr;
  }
  const T* find(Position position) const { return const_cast<PositionMap*>(this)->find(position); }

  // A new value for a position that has none. Cheap beyond the last one, linear elsewhere.
  T& add(Position position) {
    if (count_ > mask_ || slots_.empty()) grow();
    auto at = count_++;
    if (at > 0 && slot(at - 1).position >= position) {
      const auto place = count_before(position, at);
      if (slot(place).position == position) {  // its own gap: positions rise, or find() would not
        BUS_CHECK(!slot(place).is_live);
        --count_;
        at = place;
      }
      for (; at > place; --at) slot(at) = slot(at - 1);
    }
    ++live_;
    slot(at) = {T{}, position, true};
    return slot(at).value;
  }

  void erase(Position position) {
    T* value = find(position);
    BUS_CHECK(value != nullptr);
    erase(*value);
  }
  // One that find() has just given.
  void erase(T& value) {
    reinterpret_cast<Slot&>(value).is_live = false;  // it stands first in its slot
    --live_;
    for (; count_ > 0 && !slot(0).is_live; --count_) head_ = (head_ + 1) & mask_;
    while (count_ > 0 && !slot(count_ - 1).is_live) --count_;
    if (count_ == 0 && slots_.size() > kept_empty_max) return clear();
    if (live_ * 2 < count_ && count_ > gaps_min) close_gaps();
  }

  void clear() { *this = {}; }

  // visit(position, value) in order, for the last `count` values of which wanted(value) is true. Looks at no others but those
  // between them.
  template <typename Wanted, typename Visit>
  void each_of_last(std::size_t count, Wanted wanted, Visit visit) {
    auto begin = count_;
    for (auto left = count; left > 0; left -= slot(begin).is_live && wanted(slot(begin).value)) --begin;
    for (auto at = begin; at < count_; ++at) {
      if (slot(at).is_live && wanted(slot(at).value)) visit(slot(at).position, slot(at).value);
    }
  }
  // visit(position, value), in order.
  template <typename Visit>
  void each(Visit visit) {
    for (std::size_t at = 0; at < count_; ++at) {
      if (slot(at).is_live) visit(slot(at).position, slot(at).value);
    }
  }
  template <typename Visit>
  void each(Visit visit) const {
    for (std::size_t at = 0; at < count_; ++at) {
      if (slot(at).is_live) visit(slot(at).position, slot(at).value);
    }
  }

 private:
  struct Slot {
    T value{};
    Position position = Position::none;
    bool is_live = false;
  };
  static_assert(std::is_standard_layout_v<Slot>);
  static constexpr std::size_t gaps_min = 64;           // fewer are not worth the work
  static constexpr std::size_t kept_empty_max = 2048;   // an empty one has no more slots
  Slot& slot(std::size_t at) { return slots_.data()[(head_ + at) & mask_]; }
  const Slot& slot(std::size_t at) const { return slots_.data()[(head_ + at) & mask_]; }

  // How many of the first `within` are below the position.
  std::size_t count_before(Position position, std::size_t within) const {
    std::size_t low = 0;
    while (low < within) {
      const auto middle = (low + within) / 2;
      if (slot(middle).position < position) {
        low = middle + 1;
      } else {
        within = middle;
      }
    }
    return low;
  }
  // Where it is, if it is there: no further from the first than their positions are.
  std::size_t place_of(Position position) const {
    if (count_ == 0 || position < slot(0).position) return count_;
    const auto furthest = std::min<std::size_t>(position - slot(0).position, count_ - 1);
    return slot(furthest).position == position ? furthest : count_before(position, furthest);
  }
  [[gnu::noinline]] void grow() {
    std::vector<Slot> larger(std::max<std::size_t>(16, slots_.size() * 2));
    for (std::size_t at = 0; at < count_; ++at) larger[at] = slot(at);
    slots_ = std::move(larger);
    head_ = 0;
    mask_ = slots_.size() - 1;
  }
  [[gnu::noinline]] void close_gaps() {
    std::size_t kept = 0;
    for (std::size_t at = 0; at < count_; ++at) {
      if (slot(at).is_live) slot(kept++) = slot(at);
    }
    count_ = kept;
  }

  std::vector<Slot> slots_;             // a power of two
  std::size_t head_ = 0, count_ = 0;    // the first slot, and how many follow, gaps included
  std::size_t live_ = 0, mask_ = 0;
};

}  // namespace bus::broker
