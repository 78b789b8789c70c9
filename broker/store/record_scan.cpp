#include "broker/store/record_scan.hpp"

#include <algorithm>

#include "broker/store/lmdb.hpp"
#include "broker/store/page_format.hpp"
#include "broker/store/tables.hpp"

namespace bus::store {

using namespace format;

namespace {

constexpr std::size_t window_bytes = 4 * limits::MiB;
// More than a record ever has.
constexpr std::size_t stored_bytes_max = 2 * limits::batch_bytes_max;

// Where LMDB puts a value: at the begin of an overflow page, or in a leaf behind its key, which is the record's position.
bool is_place_of_value(const PageFile& file, std::uint64_t at, std::uint64_t position) {
  page::Header header;
  const std::uint64_t number = at / lmdb::page_bytes;
  std::array<std::uint8_t, sizeof header> bytes;
  if (!file.read(number * lmdb::page_bytes, bytes)) return false;
  header = load<page::Header>(bytes.data());
  if (header.number != number) return false;
  if (header.flags == page::Flag::overflow) return at % lmdb::page_bytes == sizeof header;
  std::array<std::uint8_t, sizeof(std::uint64_t)> key;
  if (header.flags != page::Flag::leaf || !file.read(at - key.size(), key)) return false;
  return NumberKey::read(text_of(key)) == position;
}

}  // namespace

std::optional<FoundRecord> record_at(const PageFile& file, std::uint64_t at) {
  std::array<std::uint8_t, sizeof(PackedPrefix) + header_bytes> begin;
  if (!file.read(at, begin)) return std::nullopt;
  const auto prefix = load<PackedPrefix>(begin.data());
  const bool is_packed = prefix.magic == packed_magic;
  const auto header = load<Header>(begin.data() + (is_packed ? sizeof prefix : 0));
  const std::uint32_t bytes = is_packed ? prefix.stored_bytes : header.record_bytes;
  if (header.magic != record_magic || bytes < header_bytes || bytes > stored_bytes_max) return std::nullopt;
  if (header.first_position == 0 || !is_place_of_value(file, at, header.first_position)) return std::nullopt;
  Buffer stored(bytes);
  if (!file.read(at, stored)) return std::nullopt;
  auto record = Record::parse(stored, Position{header.first_position});
  if (!record) return std::nullopt;
  return FoundRecord{at, bytes, std::move(*record)};
}

bool is_whole(const Record& record) {
  for (std::uint32_t at = 0; at < record.count(); ++at) {
    if (!record.body_intact(at)) return false;
  }
  return true;
}

void scan_records(const PageFile& file, std::uint64_t from, std::uint64_t to, const FoundVisitor& visit, const ScanProgress& progress) {
  Buffer window(window_bytes);
  const auto magic = bytes_of(std::string_view(reinterpret_cast<const char*>(&record_magic), sizeof record_magic));
  to = std::min(to, file.bytes());
  std::uint64_t next = from;          // nothing before it is looked at
  for (std::uint64_t begin = from; begin < to; begin += window_bytes - lmdb::page_bytes) {
    const std::size_t size = std::min<std::uint64_t>(window_bytes, file.bytes() - begin);
    const std::span<std::uint8_t> bytes(window.data(), size);
    file.read_some(begin, bytes);
    for (auto place = bytes.begin();; ++place) {
      place = std::search(place, bytes.end(), magic.begin(), magic.end());
      if (place == bytes.end()) break;
      std::uint64_t at = begin + static_cast<std::uint64_t>(place - bytes.begin());
      const bool has_prefix = at >= sizeof(PackedPrefix) && place - bytes.begin() >= static_cast<std::ptrdiff_t>(sizeof(PackedPrefix)) &&
                              load<std::uint32_t>(&*place - sizeof(PackedPrefix)) == packed_magic;
      if (has_prefix) at -= sizeof(PackedPrefix);
      if (at < next || at >= to || at % 2 != 0) continue;
      auto found = record_at(file, at);
      if (!found) continue;
      next = is_whole(*found->record) ? at + found->bytes : at + 1;
      visit(std::move(*found));
    }
    if (progress) progress(std::min(to, begin + window_bytes));
  }
}

}  // namespace bus::store
