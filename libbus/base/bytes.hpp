// Bytes, aligned buffers, and fixed-width little-endian reading and writing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace bus {

using Bytes = std::span<const std::uint8_t>;

inline Bytes bytes_of(std::string_view text) {
  return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()};
}
inline std::string_view text_of(Bytes bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// std::vector's allocator leaves bytes uninitialised on resize and aligned to 16, so that FlatBuffers inside
// can be read in place and a buffer about to be overwritten is not cleared first.
template <typename T>
struct BufferAllocator {
  using value_type = T;
  BufferAllocator() = default;
  template <typename U>
  BufferAllocator(const BufferAllocator<U>&) {}
  T* allocate(std::size_t count) {
    return static_cast<T*>(::operator new(count * sizeof(T), std::align_val_t{16}));
  }
  void deallocate(T* at, std::size_t) { ::operator delete(at, std::align_val_t{16}); }
  template <typename U, typename... Args>
  void construct(U* at, Args&&... args) {
    if constexpr (sizeof...(Args) == 0) {
      ::new (static_cast<void*>(at)) U;
    } else {
      ::new (static_cast<void*>(at)) U(std::forward<Args>(args)...);
    }
  }
  bool operator==(const BufferAllocator&) const { return true; }
};
using Buffer = std::vector<std::uint8_t, BufferAllocator<std::uint8_t>>;

// Vectors with an allocator of their own copy byte by byte: these two copy in one go.
inline void append(Buffer& buffer, Bytes bytes) {
  const auto before = buffer.size();
  buffer.resize(before + bytes.size());
  if (!bytes.empty()) std::memcpy(buffer.data() + before, bytes.data(), bytes.size());
}
inline Buffer copy_of(Bytes bytes) {
  Buffer copy;
  append(copy, bytes);
  return copy;
}

constexpr std::size_t round_up(std::size_t value, std::size_t unit) { return (value + unit - 1) / unit * unit; }

inline std::string hexadecimal(Bytes bytes) {
  std::string text;
  for (const std::uint8_t byte : bytes) {
    text += "0123456789abcdef"[byte >> 4];
    text += "0123456789abcdef"[byte & 15];
  }
  return text;
}

// All machines we run on are little endian, as the format is.
template <typename T>
T load(const std::uint8_t* at) {
  static_assert(std::is_trivially_copyable_v<T>);
  T value;
  std::memcpy(&value, at, sizeof value);
  return value;
}

// Appends fixed-width little-endian numbers and length-prefixed strings.
class Writer {
 public:
  template <typename T>
  Writer& put(T value) {
    static_assert(std::is_integral_v<T> || std::is_enum_v<T>);
    bytes_.append(reinterpret_cast<const char*>(&value), sizeof value);
    return *this;
  }
  Writer& put_string(std::string_view text) {
    put(static_cast<std::uint32_t>(text.size()));
    bytes_.append(text);
    return *this;
  }
  Writer& put_bytes(std::string_view bytes) {
    bytes_.append(bytes);
    return *this;
  }
  std::string take() { return std::move(bytes_); }
  const std::string& bytes() const { return bytes_; }

 private:
  std::string bytes_;
};

// Reads what Writer wrote. Past the end every read gives zero and ok() turns false, for good.
class Reader {
 public:
  explicit Reader(std::string_view bytes) : rest_(bytes) {}
  template <typename T>
  T get() {
    T value{};
    if (rest_.size() < sizeof value) return fail(), value;
    std::memcpy(&value, rest_.data(), sizeof value);
    rest_.remove_prefix(sizeof value);
    return value;
  }
  std::string_view get_string() {
    const auto size = get<std::uint32_t>();
    if (rest_.size() < size) return fail(), std::string_view{};
    const auto text = rest_.substr(0, size);
    rest_.remove_prefix(size);
    return text;
  }
  bool ok() const { return ok_; }
  bool done() const { return ok_ && rest_.empty(); }

 private:
  void fail() {
    ok_ = false;
    rest_ = {};
  }
  std::string_view rest_;
  bool ok_ = true;
};

}  // namespace bus
