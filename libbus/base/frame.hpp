// Frame: bytes and whoever keeps them alive, so that messages and records travel without being copied. A value.
#pragma once

#include <memory>
#include <utility>

#include "base/bytes.hpp"

namespace bus {

struct Frame {
  std::shared_ptr<const void> owner;
  Bytes bytes;

  static Frame of(Buffer buffer) {
    auto owner = std::make_shared<const Buffer>(std::move(buffer));
    const Bytes bytes = *owner;
    return {std::move(owner), bytes};
  }
  // The same bytes aligned to 8, as FlatBuffers are read; copied only where they are not.
  Frame aligned() const {
    if (reinterpret_cast<std::uintptr_t>(bytes.data()) % 8 == 0) return *this;
    return of(copy_of(bytes));
  }
};

}  // namespace bus
