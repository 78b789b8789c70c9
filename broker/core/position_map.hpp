// PositionMap is an ordered map for positions that are added at the end, mostly, and erased near the beginning.
// A pure value.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <utility>
#include <vector>

#include "base/check.hpp"
#include "bus/types.hpp"

namespace bus::broker {

// Chunks of 256 positions, each a sorted vector. What is erased in the middle of a chunk stays as a gap; chunks of which few
// are left are looked for when a new one comes. Where positions follow each other without one missing, find() is two looks; elsewhere it searches. Memory
// follows the number of values, however far apart they lie. References are good until the next add() or erase().
template <typename T>
class PositionMap {
 public:
  static constexpr unsigned chunk_bits = 8;
  static constexpr std::size_t chunk_positions = std::size_t{1} << chunk_bits;
  static std::uint64_t chunk_of(Position position) { return number(position) >> chunk_bits; }

  std::size_t size() const { return live_; }
  bool empty() const { return live_ == 0; }
  // There is memory for so many.
  std::size_t slots() const {
    std::size_t sum = 0;
    for (const Chunk& chunk : chunks_) sum += chunk.slots.capacity();
    return sum;
  }
  // Of the lowest; not of an empty map.
  Position first() const {
    BUS_CHECK(live_ > 0);
    const Chunk& chunk = chunks_[head_];  // never empty, nor is its first slot a gap
    return chunk.slots[chunk.begin].position();
  }

  // Null: it is not there.
  T* find(Position position) {
    Chunk* chunk = find_chunk(chunk_of(position));
    if (chunk == nullptr || chunk->live == 0) return nullptr;
    Slot& slot = chunk->slots.data()[chunk->place_of(position)];
    return slot.is(position) ? &slot.value : nullptr;
  }
  const T* find(Position position) const { return const_cast<PositionMap*>(this)->find(position); }

  // A new value for a position that has none.
  T& add(Position position) {
    const auto number = chunk_of(position);
    Chunk* chunk = find_chunk(number);
    if (chunk == nullptr) {
      chunk = add_chunk(number);
    } else if (chunk->live == 0) {
      --empty_;
    }
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
    Chunk& chunk = chunks_.data()[lately_];
    const auto at = static_cast<std::size_t>(&slot - chunk.slots.data());
    BUS_CHECK(at < chunk.slots.size() && slot.is_live());
    slot.mark_gap();
    --live_;
    if (--chunk.live == 0) return drop(chunk);
    if (at == chunk.begin) {
      while (!chunk.slots.data()[chunk.begin].is_live()) ++chunk.begin;
    } else if (at + 1 == chunk.slots.size()) {
      while (!chunk.slots.data()[chunk.slots.size() - 1].is_live()) chunk.slots.pop_back();
    }
  }

  void clear() { *this = {}; }

  // visit(position, value) in order, for the last `count` values of which wanted(value) is true. Looks at no others but those
  // between them.
  template <typename Wanted, typename Visit>
  void each_of_last(std::size_t count, Wanted wanted, Visit visit) {
    if (count == 0) return;
    std::size_t chunk = chunks_.size(), slot = 0;
    while (count > 0) {
      if (slot == 0) {
        slot = chunks_[--chunk].slots.size();
        continue;
      }
      const Slot& one = chunks_[chunk].slots[--slot];
      if (one.is_live() && wanted(one.value)) --count;
    }
    for (; chunk < chunks_.size(); ++chunk, slot = 0) {
      for (; slot < chunks_[chunk].slots.size(); ++slot) {
        Slot& one = chunks_[chunk].slots[slot];
        if (one.is_live() && wanted(one.value)) visit(one.position(), one.value);
      }
    }
  }
  // visit(position, value), in order.
  template <typename Visit>
  void each(Visit visit) {
    for (std::size_t at = head_; at < chunks_.size(); ++at) visit_chunk(chunks_[at], visit);
  }
  template <typename Visit>
  void each(Visit visit) const {
    for (std::size_t at = head_; at < chunks_.size(); ++at) visit_chunk(chunks_[at], visit);
  }
  bool has_chunk(std::uint64_t number) const {
    const Chunk* chunk = const_cast<PositionMap*>(this)->find_chunk(number);
    return chunk != nullptr && chunk->live > 0;
  }
  // Those of one chunk.
  template <typename Visit>
  void each_of_chunk(std::uint64_t number, Visit visit) const {
    const Chunk* chunk = const_cast<PositionMap*>(this)->find_chunk(number);
    if (chunk != nullptr) visit_chunk(*chunk, visit);
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
    std::uint64_t number = 0;
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
  static constexpr std::size_t gaps_min = 8;            // fewer slots are not worth the work
  static constexpr std::size_t spare_max = 8;           // vectors kept for the next chunks

  template <typename C, typename Visit>
  static void visit_chunk(C& chunk, Visit& visit) {
    for (auto& slot : chunk.slots) {
      if (slot.is_live()) visit(slot.position(), slot.value);
    }
  }

  // Mostly the one that was looked for last.
  Chunk* find_chunk(std::uint64_t number) {
    if (lately_ >= head_ && lately_ < chunks_.size() && chunks_.data()[lately_].number == number) return chunks_.data() + lately_;
    Chunk* found = search_chunk(number);
    if (found != nullptr) lately_ = static_cast<std::size_t>(found - chunks_.data());
    return found;
  }
  [[gnu::noinline]] Chunk* search_chunk(std::uint64_t number) {
    const auto count = chunks_.size() - head_;
    Chunk* first = chunks_.data() + head_;
    if (count == 0 || number < first->number) return nullptr;
    Chunk* guess = first + std::min<std::uint64_t>(number - first->number, count - 1);
    if (guess->number != number) guess = place_of_chunk(number);
    return guess != first + count && guess->number == number ? guess : nullptr;
  }
  // The first that is not below.
  Chunk* place_of_chunk(std::uint64_t number) {
    const auto below = [](const Chunk& chunk, std::uint64_t wanted) { return chunk.number < wanted; };
    return std::lower_bound(chunks_.data() + head_, chunks_.data() + chunks_.size(), number, below);
  }
  // Of a chunk few may be left long after most went: those at 1, 2, 4, … before the end are looked at each time.
  void close_gaps() {
    for (std::size_t back = 1; back <= chunks_.size() - head_; back *= 2) {
      Chunk& chunk = chunks_[chunks_.size() - back];
      if (chunk.live == 0 || chunk.live * 4 >= chunk.slots.capacity() || chunk.slots.capacity() <= gaps_min) continue;
      std::vector<Slot> kept;
      kept.reserve(chunk.live);
      for (Slot& slot : chunk.slots) {
        if (slot.is_live()) kept.push_back(std::move(slot));
      }
      keep_spare(std::exchange(chunk.slots, std::move(kept)));
      chunk.begin = 0;
    }
  }
  void keep_spare(std::vector<Slot> slots) {
    slots.clear();
    if (spare_.size() < spare_max && slots.capacity() >= chunk_positions) spare_.push_back(std::move(slots));
  }
  [[gnu::noinline]] Chunk* add_chunk(std::uint64_t number) {
    close_gaps();
    Chunk chunk;
    chunk.number = number;
    if (!spare_.empty()) {
      chunk.slots = std::move(spare_.back());
      spare_.pop_back();
    }
    if (head_ == chunks_.size() || chunks_.back().number < number) return &chunks_.emplace_back(std::move(chunk));
    return &*chunks_.insert(chunks_.begin() + (place_of_chunk(number) - chunks_.data()), std::move(chunk));
  }
  // It has become empty.
  [[gnu::noinline]] void drop(Chunk& chunk) {
    keep_spare(std::exchange(chunk.slots, {}));
    chunk.begin = 0;
    ++empty_;
    for (; head_ < chunks_.size() && chunks_[head_].live == 0; ++head_) --empty_;
    for (; chunks_.size() > head_ && chunks_.back().live == 0; chunks_.pop_back()) --empty_;
    if ((head_ + empty_) * 2 <= chunks_.size()) return;
    std::erase_if(chunks_, [](const Chunk& one) { return one.live == 0; });
    head_ = empty_ = 0;
  }

  std::vector<Chunk> chunks_;            // sorted
  std::size_t head_ = 0;                 // the first one; those before it are gone
  std::size_t empty_ = 0;                // how many after it are, too
  std::size_t live_ = 0;
  std::size_t lately_ = 0;               // where the last search ended
  std::vector<std::vector<Slot>> spare_;
};

}  // namespace bus::broker
