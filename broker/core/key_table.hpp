// KeyTable holds the heads of keys in one flat array: 32 bytes a key, and less than half as much again of empty slots.
// A pure value; Keys owns one for each shard.
#pragma once

#include <cstdint>
#include <vector>

#include "base/check.hpp"
#include "base/hash.hpp"
#include "bus/types.hpp"

namespace bus::broker {

// Open addressing with linear probing. Grows by a quarter, so that memory follows the number of keys closely; a key is
// moved some five times in its life then. References and slot numbers are good until the next
// find_or_add() or erase().
class KeyTable {
 public:
  struct Slot {
    Hash128 key;
    Position position = Position::none;
    std::uint64_t version : 59 = 0;   // so many: it is never above its position
    std::uint64_t used : 1 = 0;
    std::uint64_t dirty : 1 = 0;      // newer than any checkpoint
    std::uint64_t saving : 1 = 0;     // a checkpoint of it has not committed
    std::uint64_t recent : 1 = 0;     // read since the last round of eviction
    bool is_clean() const { return !dirty && !saving; }
    void set(Position at, std::uint64_t number) {
      position = at;
      version = number & (~std::uint64_t{0} >> 5);
    }
  };
  static_assert(sizeof(Slot) == 32);

  std::size_t size() const { return used_; }
  std::size_t slots() const { return slots_.size(); }
  Slot& operator[](std::size_t at) { return slots_[at]; }

  // Null: it is not here.
  const Slot* find(const Hash128& key) const {
    if (slots_.empty()) return nullptr;
    const Slot& slot = slots_.data()[place_of(key)];
    return slot.used ? &slot : nullptr;
  }
  // Tells the processor to fetch where the key is, or would be. (Called, and not inlined, gcc takes it for a function
  // without effect and drops it.)
  [[gnu::always_inline]] void prefetch(const Hash128& key) const { __builtin_prefetch(slots_.data() + home_of(key), 1); }
  // The slot of the key, which is made if it is new.
  Slot& find_or_add(const Hash128& key) {
    if ((used_ + 1) * 8 > slots_.size() * 7) grow();
    Slot& slot = slots_.data()[place_of(key)];
    if (slot.used) return slot;
    ++used_;
    slot = Slot{.key = key, .used = 1};
    return slot;
  }
  // Closes the gap: what follows may move to slot `at`.
  void erase(std::size_t at) {
    BUS_CHECK(slots_[at].used);
    --used_;
    for (std::size_t next = after(at); slots_[next].used; next = after(next)) {
      // A slot may move back to `at` unless its home lies between the two.
      const std::size_t home = home_of(slots_[next].key);
      const bool stays = at <= next ? at < home && home <= next : at < home || home <= next;
      if (!stays) slots_[std::exchange(at, next)] = slots_[next];
    }
    slots_[at] = {};
  }

 private:
  std::size_t after(std::size_t at) const { return at + 1 == slots_.size() ? 0 : at + 1; }
  // Spread again, since nobody promises that a hash is spread in its low half.
  std::size_t home_of(const Hash128& key) const {
    const std::uint64_t spread = key.low * 0x9e3779b97f4a7c15u >> 32;
    return spread * slots_.size() >> 32;
  }
  // Where the key is, or would be.
  std::size_t place_of(const Hash128& key) const {
    const Slot* const slots = slots_.data();
    std::size_t at = home_of(key);
    while (slots[at].used && slots[at].key != key) at = after(at);
    return at;
  }
  [[gnu::noinline]] void grow() {
    std::vector<Slot> larger(slots_.size() + slots_.size() / 4 + 4);
    larger.swap(slots_);
    for (const Slot& slot : larger) {
      if (slot.used) slots_[place_of(slot.key)] = slot;
    }
  }

  std::vector<Slot> slots_;
  std::size_t used_ = 0;
};

}  // namespace bus::broker
