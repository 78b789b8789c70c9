// Keys knows the head (last position, version) of every key that was used lately; the others are cold: their
// heads lie in the store's `keys` table. A pure value; the core owns it.
//
//   cold ──read──> clean ──advance()──> dirty ──checkpoint(), committed()──> clean ──evict()──> cold
//
// Invariant: a dirty head is newer than the table's, a clean one equal to it; only clean ones are evicted, and only
// when their checkpoint has committed, so that a later read cannot see less.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <optional>
#include <unordered_map>
#include <vector>

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

  // The head, or nothing if it must be read first.
  std::optional<Head> find(const Hash128& key) const;
  // What the store said of a cold key. Ignored if the key is known by now.
  void install(const Hash128& key, Head head);
  // The key has a new last event: version + 1. The head must be known. Returns the head before.
  Head advance(const Hash128& key, Position position);
  // Recovery: the head is at least this.
  void restore(const Hash128& key, Head head);

  // Moves the dirty heads of one shard (first byte of the hash) to `out`, sorted; they turn clean when `batch`
  // has committed.
  void checkpoint(std::size_t shard, std::uint64_t batch, std::vector<store::KeyHead>& out);
  void committed(std::uint64_t batch);
  // Forgets clean heads while more than `most` are known, those first that have been clean the longest. At most
  // keys_evicted_max at once, which is more than a commit brings: to be called after each.
  void evict(std::size_t most);

  std::size_t size() const { return heads_.size(); }

 private:
  struct Entry {
    Head head;
    std::uint32_t saving = 0;  // low half of the last batch that checkpoints it and has not committed; 0: none
    bool dirty = false;        // newer than any checkpoint
    bool listed = false;       // in clean_
  };
  static std::size_t shard_of(const Hash128& key) { return key.high >> 56; }
  static bool is_clean(const Entry& entry) { return !entry.dirty && entry.saving == 0; }
  void mark_dirty(const Hash128& key, Entry& entry);
  void list_clean(const Hash128& key, Entry& entry);

  std::unordered_map<Hash128, Entry> heads_;
  std::array<std::vector<Hash128>, limits::key_shards> dirty_;
  std::vector<std::pair<std::uint64_t, Hash128>> saving_;  // in the order of their batches
  std::deque<Hash128> clean_;  // in the order they turned so, each once; some are dirty again
  bool complete_;
};

}  // namespace bus::broker
