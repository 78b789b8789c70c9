// SortedIndex finds things by a key, as a map does that is filled once: a sorted vector, which for large tables takes a third of the time of
// a map and its nodes. A value.
#pragma once

#include <algorithm>
#include <utility>
#include <vector>

namespace bus::broker {

template <typename Key, typename T>
class SortedIndex {
 public:
  void add(Key key, const T* thing) { things_.emplace_back(key, thing); }
  // After the last add(). Of several with the same key the first stays.
  void sort() {
    std::stable_sort(things_.begin(), things_.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
    things_.erase(std::unique(things_.begin(), things_.end(), [](const auto& a, const auto& b) { return a.first == b.first; }), things_.end());
  }

  // Null: there is none.
  const T* find(Key key) const {
    const auto it = std::lower_bound(things_.begin(), things_.end(), key, [](const auto& one, Key wanted) { return one.first < wanted; });
    return it == things_.end() || it->first != key ? nullptr : it->second;
  }
  std::size_t size() const { return things_.size(); }
  auto begin() const { return things_.begin(); }
  auto end() const { return things_.end(); }

 private:
  std::vector<std::pair<Key, const T*>> things_;
};

}  // namespace bus::broker
