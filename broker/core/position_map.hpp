// PositionMap is an ordered map for positions that are added at the end, mostly, and erased near the beginning.
// A pure value.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <type_traits>
#include <utility>
#include <vector>

#include "base/check.hpp"
#include "bus/types.hpp"

namespace bus::broker {

// Chunks of 256 positions, each a sorted vector. What is erased in the middle of a chunk stays as a gap until few are left.
// Where positions follow each other without one missing, find() is two looks; elsewhere it searches. Memory follows the
// number of values, however far apart they lie. References are good until the next add() or erase().
template <typename T>
class PositionMap {
 public:
  PositionMap() = default;
  // Nodes of the map stay where they are, and with them what lately_ points to.
  PositionMap(PositionMap&& other) noexcept { *this = std::move(other); }
  PositionMap& operator=(PositionMap&& other) noexcept {
    chunks_ = std::exchange(other.chunks_, {});
    live_ = std::exchange(other.live_, 0);
    lately_ = std::exchange(other.lately_, nullptr);
    lately_number_ = other.lately_number_;
    spare_ = std::exchange(other.spare_, {});
    return *this;
  }

  static constexpr unsigned chunk_bits = 8;
  static constexpr std::size_t chunk_positions = std::size_t{1} << chunk_bits;
  static std::uint64_t chunk_of(Position position) { return number(position) >> chunk_bits; }

  std::size_t size() const { return live_; }
  bool empty() const { return live_ == 0; }
  // There is memory for so many.
  std::size_t slots() const {
    std::size_t sum = 0;
    for (const auto& [number, chunk] : chunks_) sum += chunk.slots.capacity();
    return sum;
  }
  // Of the lowest; not of an empty map.
  Position first() const {
    BUS_CHECK(live_ > 0);
    const Chunk& chunk = chunks_.begin()->second;  // none is empty, and `begin` is no gap
    return chunk.slots[chunk.begin].position();
  }

  // Null: it is not there.
  T* find(Position position) {
    Chunk* chunk = find_chunk(chunk_of(position));
    if (chunk == nullptr) return nullptr;
    Slot& slot = chunk->slots.data()[chunk->place_of(position)];
    return slot.is(position) ? &slot.value : nullptr;
  }
  const T* find(Position position) const { return const_cast<PositionMap*>(this)->find(position); }

  // A new value for a position that has none.
  T& add(Position position) {
    const auto number = chunk_of(position);
    Chunk* chunk = find_chunk(number);
    if (chunk == nullptr) chunk = add_chunk(number);
    ++live_;
    ++chunk->live;
    auto& slots = chunk->slots;
    if (slots.empty() || slots.data()[slots.size() - 1].position() < position) {
      Slot& slot = slots.emplace_back();
      slot.set(position);
      return slot.value;
    }
    const auto at = chunk->count_before(position);
    if (slots[at].position() != position) {
      slots.emplace(slots.begin() + static_cast<std::ptrdiff_t>(at));
    } else {
      BUS_CHECK(!slots[at].is_live());
      slots[at].value = T{};
    }
    slots[at].set(position);
    chunk->begin = std::min(chunk->begin, at);
    return slots[at].value;
  }

  void erase(Position position) {
    T* value = find(position);
    BUS_CHECK(value != nullptr);
    erase(*value);
  }
  // One that find() has just given.
  void erase(T& value) {
    auto& slot = reinterpret_cast<Slot&>(value);  // it stands first in its slot
    Chunk& chunk = *lately_;
    const auto at = static_cast<std::size_t>(&slot - chunk.slots.data());
    BUS_CHECK(at < chunk.slots.size() && slot.is_live());
    slot.mark_gap();
    --live_;
    if (--chunk.live == 0) return drop();
    if (at == chunk.begin) {
      while (!chunk.slots.data()[chunk.begin].is_live()) ++chunk.begin;
    } else if (at + 1 == chunk.slots.size()) {
      while (!chunk.slots.data()[chunk.slots.size() - 1].is_live()) chunk.slots.pop_back();
    }
    if (chunk.live * 8 < chunk.slots.capacity() && lately_number_ != chunks_.rbegin()->first) close_gaps(chunk);
  }

  void clear() { *this = PositionMap(); }

  // visit(position, value) in order, for the last `count` values of which wanted(value) is true. Looks at no others but those
  // between them.
  template <typename Wanted, typename Visit>
  void each_of_last(std::size_t count, Wanted wanted, Visit visit) {
    if (count == 0) return;
    auto chunk = chunks_.end();
    std::size_t slot = 0;
    while (count > 0) {
      if (slot == 0) {
        slot = (--chunk)->second.slots.size();
        continue;
      }
      const Slot& one = chunk->second.slots[--slot];
      if (one.is_live() && wanted(one.value)) --count;
    }
    for (; chunk != chunks_.end(); ++chunk, slot = 0) {
      for (; slot < chunk->second.slots.size(); ++slot) {
        Slot& one = chunk->second.slots[slot];
        if (one.is_live() && wanted(one.value)) visit(one.position(), one.value);
      }
    }
  }
  // visit(position, value), in order.
  template <typename Visit>
  void each(Visit visit) {
    for (auto& [number, chunk] : chunks_) visit_chunk(chunk, visit);
  }
  template <typename Visit>
  void each(Visit visit) const {
    for (const auto& [number, chunk] : chunks_) visit_chunk(chunk, visit);
  }
  // The same for those after `after`, until visit() returns false.
  template <typename Visit>
  void each_after(Position after, Visit visit) const {
    for (auto chunk = chunks_.lower_bound(chunk_of(after)); chunk != chunks_.end(); ++chunk) {
      for (const Slot& slot : chunk->second.slots) {
        if (slot.is_live() && slot.position() > after && !visit(slot.position(), slot.value)) return;
      }
    }
  }
  bool has_chunk(std::uint64_t number) const { return chunks_.contains(number); }
  // Those of one chunk.
  template <typename Visit>
  void each_of_chunk(std::uint64_t number, Visit visit) const {
    const auto chunk = chunks_.find(number);
    if (chunk != chunks_.end()) visit_chunk(chunk->second, visit);
  }

 private:
  // The lowest bit of the tag says that it is no gap.
  struct Slot {
    T value{};
    std::uint64_t tag = 0;
    void set(Position position) { tag = number(position) << 1 | 1; }
    void mark_gap() { tag &= ~std::uint64_t{1}; }
    bool is_live() const { return (tag & 1) != 0; }
    Position position() const { return Position{tag >> 1}; }
    bool is(Position wanted) const { return tag == (number(wanted) << 1 | 1); }
  };
  static_assert(std::is_standard_layout_v<Slot>);
  struct Chunk {
    std::vector<Slot> slots;             // sorted; the last one is live
    std::size_t begin = 0;               // the first live one
    std::size_t live = 0;

    std::size_t count_before(Position position) const {
      const auto below = [](const Slot& slot, Position wanted) { return slot.position() < wanted; };
      return static_cast<std::size_t>(std::lower_bound(slots.begin(), slots.end(), position, below) - slots.begin());
    }
    // Where it is, if it is there: no further from the first than their positions are.
    std::size_t place_of(Position position) const {
      const Slot* first = slots.data() + begin;
      if (position <= first->position()) return begin;
      const auto guess = std::min<std::size_t>(begin + (position - first->position()), slots.size() - 1);
      return slots.data()[guess].position() == position ? guess : std::min(count_before(position), slots.size() - 1);
    }
  };
  static constexpr std::size_t spare_max = 8;           // vectors kept for the next chunks

  template <typename C, typename Visit>
  static void visit_chunk(C& chunk, Visit& visit) {
    for (auto& slot : chunk.slots) {
      if (slot.is_live()) visit(slot.position(), slot.value);
    }
  }

  // Mostly the one that was looked for last.
  Chunk* find_chunk(std::uint64_t number) { return lately_ != nullptr && lately_number_ == number ? lately_ : search_chunk(number); }
  [[gnu::noinline]] Chunk* search_chunk(std::uint64_t number) {
    const auto found = chunks_.find(number);
    return found == chunks_.end() ? nullptr : remember(number, found->second);
  }
  Chunk* remember(std::uint64_t number, Chunk& chunk) {
    lately_number_ = number;
    return lately_ = &chunk;
  }
  // Those at the end are filled, and take a vector that others have left.
  [[gnu::noinline]] Chunk* add_chunk(std::uint64_t number) {
    const bool is_last = chunks_.empty() || chunks_.rbegin()->first < number;
    Chunk& chunk = chunks_[number];
    if (is_last && !spare_.empty()) {
      chunk.slots = std::move(spare_.back());
      spare_.pop_back();
    }
    return remember(number, chunk);
  }
  [[gnu::noinline]] void close_gaps(Chunk& chunk) {
    std::vector<Slot> kept;
    kept.reserve(chunk.live);
    for (Slot& slot : chunk.slots) {
      if (slot.is_live()) kept.push_back(std::move(slot));
    }
    keep_spare(std::exchange(chunk.slots, std::move(kept)));
    chunk.begin = 0;
  }
  void keep_spare(std::vector<Slot> slots) {
    slots.clear();
    if (spare_.size() < spare_max && slots.capacity() >= chunk_positions) spare_.push_back(std::move(slots));
  }
  // The one that was looked for last has become empty.
  [[gnu::noinline]] void drop() {
    keep_spare(std::move(lately_->slots));
    chunks_.erase(lately_number_);
    lately_ = nullptr;
  }

  std::map<std::uint64_t, Chunk> chunks_;
  std::size_t live_ = 0;
  Chunk* lately_ = nullptr;              // the one that was looked for last,
  std::uint64_t lately_number_ = 0;      // and its number
  std::vector<std::vector<Slot>> spare_;
};

}  // namespace bus::broker
