// Where the events of keys with many of them are: of each 64 versions of a key one has a row that leads to its position. From
// there its chain leads to those before it.
#pragma once

#include <string>

#include "base/hash.hpp"
#include "base/limits.hpp"

namespace bus::store {

// True if this version of the key has a row. Keys take turns, so that those that grow in step do not all write theirs at once.
constexpr bool has_key_page(const Hash128& key, std::uint64_t version) { return (version + key.low) % limits::key_page_events == 0; }

// The row's key: 24 bytes, in the order of versions. Its value is the position, 8 bytes.
std::string key_page_key(const Hash128& key, std::uint64_t version);

}  // namespace bus::store
