// Names gives each name a number from 1 on, for life: topics, types and publishers are numbers in the log.
// A pure value; the core owns one for each kind.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/check.hpp"

namespace bus::broker {

template <typename Data>
class Names {
 public:
  // What was asked for lately is found without a look into the map.
  std::optional<std::uint32_t> find(std::string_view name) const {
    std::uint32_t& lately = lately_[lately_slot(name)];
    if (lately != 0 && rows_[lately - 1]->name == name) return lately;
    const auto it = numbers_.find(name);
    if (it == numbers_.end()) return std::nullopt;
    return lately = it->second;
  }
  // The next number; the name must be new.
  std::uint32_t add(std::string_view name) {
    const auto number = static_cast<std::uint32_t>(rows_.size() + 1);
    restore(number, name, {});
    return number;
  }
  // Recovery: rows come in the order of their numbers, without gaps.
  void restore(std::uint32_t number, std::string_view name, Data data) {
    BUS_CHECK(number == rows_.size() + 1);
    rows_.push_back(std::make_unique<Row>(Row{std::string(name), std::move(data)}));
    BUS_CHECK(numbers_.emplace(rows_.back()->name, number).second);
  }
  bool has(std::uint32_t number) const { return number >= 1 && number <= rows_.size(); }
  const std::string& name(std::uint32_t number) const { return row(number).name; }
  const Data& operator[](std::uint32_t number) const { return row(number).data; }
  Data& operator[](std::uint32_t number) { return const_cast<Row&>(row(number)).data; }
  std::uint32_t size() const { return static_cast<std::uint32_t>(rows_.size()); }

 private:
  struct Row {
    std::string name;
    Data data;
  };
  const Row& row(std::uint32_t number) const {
    BUS_CHECK(has(number));
    return *rows_[number - 1];
  }
  // Names of one kind differ in their ends.
  static std::size_t lately_slot(std::string_view name) {
    std::uint64_t end = 0;
    if (name.size() >= sizeof end) {
      std::memcpy(&end, name.data() + name.size() - sizeof end, sizeof end);
    } else {
      for (const char byte : name) end = end << 8 | static_cast<unsigned char>(byte);
    }
    return ((end + name.size()) * 0x9e3779b97f4a7c15u) >> 58;
  }

  std::vector<std::unique_ptr<Row>> rows_;                       // never moves a row: the views below stay good
  std::unordered_map<std::string_view, std::uint32_t> numbers_;
  mutable std::array<std::uint32_t, 64> lately_{};               // what find() gave
};

}  // namespace bus::broker
