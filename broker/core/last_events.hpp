// LastEvents keeps in mind the last event of each key that was met. In many small tables, since one that is large stands still while it
// grows, and while it is freed. Owned by the retention; one thread.
#pragma once

#include <array>
#include <cstdint>
#include <unordered_map>

#include "base/hash.hpp"
#include "bus/types.hpp"

namespace bus::broker {

class LastEvents {
 public:
  // Of one policy.
  struct Key {
    std::int32_t share = 0;
    Hash128 key;
    bool operator==(const Key&) const = default;
  };

  std::size_t size() const { return size_; }
  // none: the key was not met.
  Position find(const Key& key) const {
    const auto& table = table_of(key);
    const auto it = table.find(key);
    return it == table.end() ? Position::none : it->second;
  }
  void put(const Key& key, Position position) { size_ += table_of(key).insert_or_assign(key, position).second; }
  // Forgets a part of it; false: nothing is left.
  bool free_some() {
    while (freed_ < tables_.size() && tables_[freed_].empty()) ++freed_;
    if (freed_ == tables_.size()) return false;
    size_ -= tables_[freed_].size();
    tables_[freed_++] = {};
    return true;
  }

 private:
  struct HashOf {
    std::size_t operator()(const Key& one) const { return one.key.low ^ static_cast<std::size_t>(one.share); }
  };
  using Table = std::unordered_map<Key, Position, HashOf>;
  const Table& table_of(const Key& key) const { return tables_[key.key.high % tables_.size()]; }
  Table& table_of(const Key& key) { return tables_[key.key.high % tables_.size()]; }

  std::array<Table, 256> tables_;
  std::size_t size_ = 0, freed_ = 0;
};

}  // namespace bus::broker
