// Compression of a record's bodies on their way to disk and back. Header and index stay as they are, so that whoever
// looks for positions, keys or sequences never unpacks anything; docs/STORAGE.md has the layout.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "base/bytes.hpp"

struct ZSTD_CCtx_s;

namespace bus::store {

class Record;

// The numbers are part of the format.
enum class Compression : std::uint8_t { none = 0, lz4 = 1, zstd = 2 };

// Packer decides for each record how it is stored. It owns a buffer that each call uses again; one thread.
class Packer {
 public:
  explicit Packer(Compression compression);
  ~Packer();

  // What to store: the record's own bytes, or a packed copy where that saves at least an eighth of them and of their pages.
  // Good until the next call, and while the record lives.
  Bytes pack(const Record& record);

 private:
  struct FreeContext {
    void operator()(ZSTD_CCtx_s* context) const;
  };
  std::size_t compress(Bytes bodies, std::span<std::uint8_t> to);

  const Compression compression_;
  std::unique_ptr<ZSTD_CCtx_s, FreeContext> context_;  // zstd only
  Buffer packed_;
};

// Unpacks bodies to exactly `to`. False: they are damaged. What comes out is as good as its checksums say.
bool decompress(Compression compression, Bytes packed, std::span<std::uint8_t> to);

}  // namespace bus::store
