#include "broker/core/keys.hpp"

#include <algorithm>

#include "base/check.hpp"

namespace bus::broker {

std::optional<Keys::Head> Keys::find(const Hash128& key) const {
  const auto it = heads_.find(key);
  if (it != heads_.end()) return it->second.head;
  return complete_ ? std::optional(Head{}) : std::nullopt;
}

void Keys::install(const Hash128& key, Head head) {
  const auto [it, is_new] = heads_.try_emplace(key, Entry{.head = head});
  if (is_new) list_clean(key, it->second);
}

void Keys::list_clean(const Hash128& key, Entry& entry) {
  if (!entry.listed) clean_.push_back(key);
  entry.listed = true;
}

void Keys::mark_dirty(const Hash128& key, Entry& entry) {
  if (!entry.dirty) dirty_[shard_of(key)].push_back(key);
  entry.dirty = true;
}

Keys::Head Keys::advance(const Hash128& key, Position position) {
  const auto [it, fresh] = heads_.try_emplace(key);
  BUS_CHECK(!fresh || complete_);
  Entry& entry = it->second;
  const Head before = entry.head;
  BUS_CHECK(before.position < position);
  entry.head = {position, before.version + 1};
  mark_dirty(key, entry);
  return before;
}

void Keys::restore(const Hash128& key, Head head) {
  Entry& entry = heads_[key];
  if (entry.head.position >= head.position) return;
  entry.head = head;
  mark_dirty(key, entry);
}

void Keys::checkpoint(std::size_t shard, std::uint64_t batch, std::vector<store::KeyHead>& out) {
  auto& dirty = dirty_[shard];
  std::sort(dirty.begin(), dirty.end());
  for (const Hash128& key : dirty) {
    Entry& entry = heads_.at(key);
    entry.dirty = false;
    entry.saving = static_cast<std::uint32_t>(batch);
    out.push_back({key, entry.head.position, entry.head.version});
    saving_.emplace_back(batch, key);
  }
  dirty.clear();
}

void Keys::committed(std::uint64_t batch) {
  const auto end = std::find_if(saving_.begin(), saving_.end(), [&](const auto& one) { return one.first > batch; });
  for (auto it = saving_.begin(); it != end; ++it) {
    Entry& entry = heads_.at(it->second);
    if (entry.saving == static_cast<std::uint32_t>(it->first)) entry.saving = 0;
    if (is_clean(entry)) list_clean(it->second, entry);
  }
  saving_.erase(saving_.begin(), end);
}

void Keys::evict(std::size_t most) {
  for (std::size_t step = 0; step < limits::keys_evicted_max && heads_.size() > most && !clean_.empty(); ++step) {
    const auto it = heads_.find(clean_.front());
    BUS_CHECK(it != heads_.end());
    clean_.pop_front();
    it->second.listed = false;
    if (!is_clean(it->second)) continue;  // it is listed again when it is
    heads_.erase(it);
    complete_ = false;
  }
}

}  // namespace bus::broker
