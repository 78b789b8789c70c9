// FileSpace keeps the data file allocated on disk, and while idle zero-filled, ahead of the pages LMDB uses. Owned by the
// store; the committer thread, between transactions.
//
//   0 ········ used ═══════════ zeroed ─────────────── allocated ········ end of the map
//     LMDB's pages   written zeros: a commit   reserved: a commit has space,
//                    only overwrites           but the disk's journal works for it
//
// Why writing into the file LMDB has mapped is safe: LMDB hands out pages after its last one only inside a write
// transaction and writes them only in its commit; readers follow page numbers of committed trees, all of them at
// or below the last page. Between transactions nobody looks beyond it, and pwrite leaves the file offset, which
// LMDB moves, alone. The descriptor is LMDB's own, so that none is opened or closed here.
//
// Invariants: used <= zeroed <= allocated <= map_bytes, where used is below them at all.
#pragma once

#include <algorithm>
#include <cstdint>

#include "broker/store/store.hpp"

namespace bus::store {

class FileSpace {
 public:
  struct Bounds {
    std::uint64_t map_bytes = 0;
    std::uint64_t fill_ahead_bytes = 0;
    std::uint64_t reserve_bytes = 0;
  };
  FileSpace() = default;
  FileSpace(int file, Bounds bounds) : file_(file), bounds_(bounds) {}

  // Measures the file and gives its holes, as a copying tool may have left them, their space.
  // A full disk is no error: then there is less space, or none.
  Result<void> start(std::uint64_t used_bytes);
  // After a commit.
  void set_used(std::uint64_t used_bytes);

  bool covers(std::uint64_t bytes) const { return free() >= bytes; }
  // True once less is free than a burst may need before the next chance to grow.
  bool is_short() const { return free() < bounds_.reserve_bytes + grow_ahead() / 2; }
  // Allocates up to fill_ahead_bytes, at least grow_ahead_min, beyond the reserve, or `needed` if that is more. Where that
  // is impossible figures().full turns true.
  Result<void> grow(std::uint64_t needed = 0);
  // Writes and syncs one slice of zeros. False: fill_ahead_bytes are zeroed, or there is no space for more.
  Result<bool> fill();

  Space figures() const;

 private:
  std::uint64_t grow_ahead() const { return std::max<std::uint64_t>(bounds_.fill_ahead_bytes, limits::grow_ahead_min); }
  std::uint64_t free() const { return allocated_ > used_ ? allocated_ - used_ : 0; }
  Result<bool> allocate(std::uint64_t begin, std::uint64_t end);
  Result<bool> write_zeros(std::uint64_t begin, std::uint64_t end);

  int file_ = -1;
  Bounds bounds_;
  std::uint64_t used_ = 0;
  std::uint64_t zeroed_ = 0;
  std::uint64_t allocated_ = 0;
  bool full_ = false;
};

}  // namespace bus::store
