#include "broker/core/keys.hpp"

#include <algorithm>

#include "base/check.hpp"

namespace bus::broker {

std::optional<Keys::Head> Keys::find(const Hash128& key) const {
  if (const auto* slot = shard_of(key).find(key)) return Head{slot->position, slot->version};
  return complete_ ? std::optional(Head{}) : std::nullopt;
}

void Keys::install(const Hash128& key, Head head) {
  if (shard_of(key).find(key) != nullptr) return;
  KeyTable::Slot& slot = find_or_add(key);
  slot.set(head.position, head.version);
  slot.recent = 1;
}

void Keys::place(const Hash128& key, Head head) {
  const auto known = size_;
  KeyTable::Slot& slot = find_or_add(key);
  BUS_CHECK(size_ == known || complete_);
  BUS_CHECK(slot.position == Position::none);
  slot.set(head.position, head.version);
  mark_dirty(key, slot);
}

void Keys::restore(const Hash128& key, Head head) {
  KeyTable::Slot& slot = find_or_add(key);
  if (slot.position >= head.position) return;
  slot.set(head.position, head.version);
  mark_dirty(key, slot);
}

void Keys::checkpoint(std::size_t shard, std::uint64_t batch, std::vector<store::KeyHead>& out) {
  const auto before = static_cast<std::ptrdiff_t>(out.size());
  KeyTable& table = shards_[shard];
  for (std::size_t at = 0; at < table.slots(); ++at) {
    KeyTable::Slot& slot = table[at];
    if (!slot.dirty) continue;
    slot.dirty = 0;
    slot.saving = 1;
    out.push_back({slot.key, slot.position, slot.version});
  }
  std::sort(out.begin() + before, out.end(), [](const auto& a, const auto& b) { return a.key < b.key; });
  saved_in_[shard] = batch;
  saving_.push_back(shard);
}

void Keys::committed(std::uint64_t batch) {
  std::erase_if(saving_, [&](std::size_t shard) {
    if (saved_in_[shard] > batch) return false;
    KeyTable& table = shards_[shard];
    for (std::size_t at = 0; at < table.slots(); ++at) {
      const bool was_unclean = !table[at].is_clean();
      table[at].saving = 0;
      unclean_[shard] -= was_unclean && table[at].is_clean();
    }
    return true;
  });
}

void Keys::evict(std::size_t most) {
  // Some slots are empty, not clean, or passed over once: so many steps find enough.
  constexpr std::size_t steps_max = 8 * limits::keys_evicted_max;
  std::size_t evicted = 0;
  for (std::size_t step = 0; step < steps_max && evicted < limits::keys_evicted_max && size_ > most; ++step) {
    KeyTable& table = shards_[hand_shard_];
    if (hand_slot_ >= table.slots() || table.size() == unclean_[hand_shard_]) {
      hand_shard_ = (hand_shard_ + 1) % limits::key_shards;
      hand_slot_ = 0;
      continue;
    }
    KeyTable::Slot& slot = table[hand_slot_];
    if (!slot.used || !slot.is_clean() || slot.recent) {
      slot.recent = 0;
      ++hand_slot_;
      continue;
    }
    table.erase(hand_slot_);  // another may have come to this slot
    --size_;
    ++evicted;
    complete_ = false;
  }
}

}  // namespace bus::broker
