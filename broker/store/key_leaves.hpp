// The checkpointed heads of keys, packed into sorted leaves, so that millions of keys cost neither a row each nor a
// page each when some of them change.
//
// A leaf holds the heads from its own key (16 bytes, big endian) up to the key of the next leaf. The first leaf
// has key zero.
#pragma once

#include <optional>
#include <span>
#include <vector>

#include "broker/store/batch.hpp"
#include "broker/store/tables.hpp"

namespace bus::store {

// 32 bytes each, a checksum of 8, and the 16 bytes LMDB puts before: four pages and not one more.
inline constexpr std::size_t leaf_heads_max = (16 * limits::KiB - 8 - 16) / sizeof(KeyHead);

// Puts `heads` (sorted, each key once) into their leaves; a head never replaces a later one of its key.
Result<void> merge_heads(lmdb::Transaction& txn, const Tables& tables, std::span<const KeyHead> heads);

Result<std::optional<KeyHead>> find_head(const lmdb::Transaction& txn, const Tables& tables, const Hash128& key);

// The heads in the value of a leaf, in order. Error damaged: not a leaf.
Result<std::vector<KeyHead>> read_leaf(std::string_view key, std::string_view value);
std::string leaf_key(const Hash128& hash);

}  // namespace bus::store
