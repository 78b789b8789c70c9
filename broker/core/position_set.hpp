// PositionSet is a set of positions, a bit each, in chunks of 256 as PositionMap has them. A pure value.
#pragma once

#include <array>
#include <bit>
#include <cstdint>
#include <map>
#include <vector>

#include "bus/types.hpp"

namespace bus::broker {

class PositionSet {
 public:
  using Bits = std::array<std::uint64_t, 4>;

  bool empty() const { return chunks_.empty(); }
  std::size_t chunks() const { return chunks_.size(); }
  bool contains(Position position) const {
    const auto chunk = chunks_.find(number(position) >> 8);
    return chunk != chunks_.end() && (chunk->second[word_of(position)] & bit_of(position)) != 0;
  }
  void add(Position position) { chunks_[number(position) >> 8][word_of(position)] |= bit_of(position); }
  // The highest; none of an empty set.
  Position last() const {
    if (chunks_.empty()) return Position::none;
    const auto& [chunk, bits] = *chunks_.rbegin();
    for (std::size_t word = bits.size(); word-- > 0;) {
      if (bits[word] != 0) return Position{chunk << 8 | word << 6 | static_cast<unsigned>(63 - std::countl_zero(bits[word]))};
    }
    return Position::none;
  }
  // Whole chunks that lie after `after`, and at or below `up_to`, go; returns their numbers.
  std::vector<std::uint64_t> drop(Position after, Position up_to) {
    std::vector<std::uint64_t> gone;
    auto chunk = after == Position::none ? chunks_.begin() : chunks_.upper_bound(number(after) >> 8);
    while (chunk != chunks_.end() && (chunk->first << 8 | 255) <= number(up_to)) {
      gone.push_back(chunk->first);
      chunk = chunks_.erase(chunk);
    }
    return gone;
  }
  void clear() { chunks_.clear(); }

  bool has_chunk(std::uint64_t number) const { return chunks_.contains(number); }
  Bits chunk(std::uint64_t number) const {
    const auto found = chunks_.find(number);
    return found == chunks_.end() ? Bits{} : found->second;
  }
  void add_chunk(std::uint64_t number, const Bits& bits) {
    if (bits == Bits{}) return;
    Bits& chunk = chunks_[number];
    for (std::size_t word = 0; word < bits.size(); ++word) chunk[word] |= bits[word];
  }
  template <typename Visit>
  void each_chunk(Visit visit) const {
    for (const auto& [number, bits] : chunks_) visit(number);
  }

 private:
  static std::size_t word_of(Position position) { return number(position) >> 6 & 3; }
  static std::uint64_t bit_of(Position position) { return std::uint64_t{1} << (number(position) & 63); }

  std::map<std::uint64_t, Bits> chunks_;  // none is empty
};

}  // namespace bus::broker
