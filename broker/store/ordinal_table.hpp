// OrdinalTable finds the ordinal of a row by the row's hash; the rows stay with the caller.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace bus::store {

// Open addressing over a power of two, at most half full, so that a lookup is one or two probes and adding a
// row allocates only when the table grows. Ordinals are below 0xffff and rise; some may be left out, by rows that nobody looks for.
class OrdinalTable {
 public:
  // The ordinal of the row with this hash for which equal(ordinal) holds. If there is none it becomes
  // `next`, which the caller adds to its rows. hash_of(ordinal) gives the hash of an earlier row.
  template <typename Equal, typename HashOf>
  std::uint16_t find_or_add(std::uint64_t hash, std::uint16_t next, const Equal& equal, const HashOf& hash_of) {
    if (std::size_t{next} * 2 >= slots_.size()) grow(next, hash_of);
    std::uint16_t* const slots = slots_.data();
    for (std::size_t slot = hash & mask_;; slot = (slot + 1) & mask_) {
      const std::uint16_t ordinal = slots[slot];
      if (ordinal == empty) return slots[slot] = next;
      if (equal(ordinal)) return ordinal;
    }
  }
  // No rows any more; what was allocated stays.
  void clear() { std::fill(slots_.begin(), slots_.end(), empty); }

 private:
  static constexpr std::uint16_t empty = 0xffff;

  template <typename HashOf>
  [[gnu::noinline]] void grow(std::uint16_t rows, const HashOf& hash_of) {
    auto size = std::max<std::size_t>(slots_.size(), 4);
    while (size <= std::size_t{rows} * 2) size *= 4;
    slots_.assign(size, empty);
    mask_ = slots_.size() - 1;
    for (std::uint16_t ordinal = 0; ordinal < rows; ++ordinal) {
      std::size_t slot = hash_of(ordinal) & mask_;
      while (slots_[slot] != empty) slot = (slot + 1) & mask_;
      slots_[slot] = ordinal;
    }
  }

  std::vector<std::uint16_t> slots_;
  std::size_t mask_ = 0;
};

}  // namespace bus::store
