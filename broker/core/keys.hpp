// Keys knows the head (last position, version) of every key that was used lately; the others are cold: their
// heads lie in the store's `keys` table. An id that is unique is a key of its own, of one event: its head is that event's place. A pure value; the core owns it.
//
//   cold ──read──> clean ──advance()──> dirty ──checkpoint(), committed()──> clean ──evict()──> cold
//
// Invariant: a dirty head is newer than the table's, a clean one equal to it; only clean ones are evicted, and only
// when their checkpoint has committed, so that a later read cannot see less.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <vector>

#include "broker/core/key_table.hpp"
#include "broker/store/batch.hpp"

namespace bus::broker {

class Keys {
 public:
  struct Head {
    Position position = Position::none;  // none: the key has no event yet
    std::uint64_t version = 0;
  };

  // `complete`: the store has no key that is not here, so that an unknown key is a new one.
  explicit Keys(bool complete = false) : complete_(complete) {}
  void set_complete(bool complete) { complete_ = complete; }

  // False: its head must be read first.
  bool is_known(const Hash128& key) const { return complete_ || shard_of(key).find(key) != nullptr; }
  // It will be asked for soon.
  [[gnu::always_inline]] void prefetch(const Hash128& key) const { shard_of(key).prefetch(key); }
  // The head, or nothing if it must be read first.
  std::optional<Head> find(const Hash128& key) const;
  // What the store said of a cold key. Ignored if the key is known by now.
  void install(const Hash128& key, Head head);
  // The key has a new last event: version + 1. The head must be known. Returns the head before.
  Head advance(const Hash128& key, Position position) {
    const auto known = size_;
    KeyTable::Slot& slot = find_or_add(key);
    BUS_CHECK(size_ == known || complete_);
    const Head before{slot.position, slot.version};
    BUS_CHECK(before.position < position);
    slot.set(position, before.version + 1);
    mark_dirty(key, slot);
    return before;
  }
  // The head of a key that has no event yet, which must be known.
  void place(const Hash128& key, Head head);
  // Recovery: the head is at least this.
  void restore(const Hash128& key, Head head);

  // Moves the dirty heads of one shard (first byte of the hash) to `out`, sorted; they turn clean when `batch`
  // has committed.
  void checkpoint(std::size_t shard, std::uint64_t batch, std::vector<store::KeyHead>& out);
  void committed(std::uint64_t batch);
  // Forgets clean heads while more than `most` are known. A key in use is dirty most of the time, so this finds the others:
  // it goes round and round, from where it stopped, and passes over once what was read for somebody who waits. At most
  // keys_evicted_max at once, which is more than a commit brings: to be called after each.
  void evict(std::size_t most);

  std::size_t size() const { return size_; }

 private:
  static std::size_t shard_number(const Hash128& key) { return key.high >> 56; }
  const KeyTable& shard_of(const Hash128& key) const { return shards_[shard_number(key)]; }
  void mark_dirty(const Hash128& key, KeyTable::Slot& slot) {
    unclean_[shard_number(key)] += slot.is_clean();
    slot.dirty = 1;
  }
  KeyTable::Slot& find_or_add(const Hash128& key) {
    KeyTable& shard = shards_[shard_number(key)];
    const auto before = shard.size();
    KeyTable::Slot& slot = shard.find_or_add(key);
    size_ += shard.size() - before;
    return slot;
  }

  std::array<KeyTable, limits::key_shards> shards_;
  std::array<std::size_t, limits::key_shards> unclean_{};     // how many of the shard are dirty or being saved
  std::array<std::uint64_t, limits::key_shards> saved_in_{};  // the last batch that checkpoints the shard
  std::vector<std::size_t> saving_;    // shards of which a checkpoint has not committed
  std::size_t size_ = 0;               // of all shards
  std::size_t hand_shard_ = 0, hand_slot_ = 0;                // where evict() goes on
  bool complete_;
};

}  // namespace bus::broker
