#include "broker/store/compression.hpp"

#include <lz4.h>
#include <zstd.h>

#include <algorithm>
#include <cstring>
#include <new>

#include "base/check.hpp"
#include "broker/store/lmdb.hpp"
#include "broker/store/record.hpp"

namespace bus::store {

namespace {

constexpr int zstd_level = 1;  // the next ones cost twice the time for a few percent

// The largest packed size that pays: an eighth less, and an eighth less of pages, where a value has pages of its own.
std::size_t packed_bytes_max(std::size_t whole) {
  const std::size_t bytes = whole - whole / 8;
  if (whole <= lmdb::large_value_bytes) return bytes;
  const auto pages = lmdb::large_value_pages(whole);
  const auto fewer = pages - (pages + 7) / 8;
  return std::min(bytes, fewer == 0 ? lmdb::large_value_bytes : fewer * lmdb::page_bytes - lmdb::page_header_bytes);
}

}  // namespace

Packer::Packer(Compression compression) : compression_(compression) {
  if (compression_ != Compression::zstd) return;
  context_.reset(ZSTD_createCCtx());
  if (context_ == nullptr) throw std::bad_alloc();
}

Packer::~Packer() = default;

void Packer::FreeContext::operator()(ZSTD_CCtx_s* context) const { ZSTD_freeCCtx(context); }

Bytes Packer::pack(const Record& record) {
  const Bytes whole = record.bytes();
  if (compression_ == Compression::none) return whole;
  const auto header = load<format::Header>(whole.data());
  const Bytes bodies = whole.subspan(format::header_bytes, header.index_offset - format::header_bytes);
  const Bytes index = whole.subspan(header.index_offset);
  const std::size_t bodies_at = sizeof(format::PackedPrefix) + format::header_bytes + index.size();
  const std::size_t most = packed_bytes_max(whole.size());
  if (most <= bodies_at) return whole;
  packed_.resize(std::max(packed_.size(), most));
  const std::size_t bodies_bytes = compress(bodies, std::span(packed_).subspan(bodies_at, most - bodies_at));
  if (bodies_bytes == 0) return whole;
  format::PackedPrefix prefix;
  prefix.compression = static_cast<std::uint16_t>(compression_);
  prefix.stored_bytes = static_cast<std::uint32_t>(bodies_at + bodies_bytes);
  std::memcpy(packed_.data(), &prefix, sizeof prefix);
  std::memcpy(packed_.data() + sizeof prefix, whole.data(), format::header_bytes);
  std::memcpy(packed_.data() + sizeof prefix + format::header_bytes, index.data(), index.size());
  return Bytes(packed_).first(prefix.stored_bytes);
}

// How many bytes it took; 0: they do not fit.
std::size_t Packer::compress(Bytes bodies, std::span<std::uint8_t> to) {
  if (compression_ == Compression::lz4) {
    const int bytes = LZ4_compress_default(reinterpret_cast<const char*>(bodies.data()), reinterpret_cast<char*>(to.data()),
                                           static_cast<int>(bodies.size()), static_cast<int>(to.size()));
    return static_cast<std::size_t>(std::max(bytes, 0));
  }
  const std::size_t bytes = ZSTD_compressCCtx(context_.get(), to.data(), to.size(), bodies.data(), bodies.size(), zstd_level);
  return ZSTD_isError(bytes) ? 0 : bytes;
}

bool decompress(Compression compression, Bytes packed, std::span<std::uint8_t> to) {
  if (packed.size() > LZ4_MAX_INPUT_SIZE || to.size() > LZ4_MAX_INPUT_SIZE) return false;
  switch (compression) {
    case Compression::none:
      if (packed.size() != to.size()) return false;
      std::memcpy(to.data(), packed.data(), packed.size());
      return true;
    case Compression::lz4: {
      const int bytes = LZ4_decompress_safe(reinterpret_cast<const char*>(packed.data()), reinterpret_cast<char*>(to.data()),
                                            static_cast<int>(packed.size()), static_cast<int>(to.size()));
      return bytes >= 0 && static_cast<std::size_t>(bytes) == to.size();
    }
    case Compression::zstd: return ZSTD_decompress(to.data(), to.size(), packed.data(), packed.size()) == to.size();
  }
  return false;
}

}  // namespace bus::store
