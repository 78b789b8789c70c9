// Numbers in the keys of rows: big endian, so that rows come in the order of their numbers.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace bus::broker {

template <typename T>
void put_big(std::string& key, T value) {
  for (std::size_t at = sizeof value; at-- > 0;) key += static_cast<char>(value >> (8 * at) & 0xff);
}

inline std::uint64_t get_big(std::string_view key) {
  std::uint64_t value = 0;
  for (const char byte : key) value = value << 8 | static_cast<unsigned char>(byte);
  return value;
}

}  // namespace bus::broker
