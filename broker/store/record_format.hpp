// The fixed rows of a record as they lie on disk, little endian. docs/STORAGE.md is the reference.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <type_traits>

#include "base/bytes.hpp"
#include "base/hash.hpp"

namespace bus::store::format {

inline constexpr std::uint32_t record_magic = 0x43455242;  // "BREC"
inline constexpr std::uint32_t packed_magic = 0x4b415042;  // "BPAK"
inline constexpr std::uint16_t record_version = 1;
inline constexpr std::uint16_t record_version_with_ids = 2;  // some of its events have ids that are unique
inline constexpr std::uint16_t record_version_with_removed = 3;  // and of some the bodies were removed
inline constexpr std::uint16_t no_key = 0xffff;
inline constexpr std::uint32_t count_max = 0xfffe;         // ordinals are 16 bits wide

// Before a record whose bodies are compressed; header and index follow as they are, then the bodies.
struct PackedPrefix {
  std::uint32_t magic = packed_magic;
  std::uint16_t version = record_version;
  std::uint16_t compression = 0;
  std::uint32_t stored_bytes = 0;     // prefix, header, index and compressed bodies
  std::uint32_t zero = 0;
};

struct Header {
  std::uint32_t magic = record_magic;
  std::uint16_t version = record_version;  // or another one
  std::uint16_t header_bytes = 128;
  std::uint8_t log_id[16] = {};
  std::uint64_t first_position = 0;
  std::uint32_t count = 0;
  std::uint32_t flags = 0;            // none are defined
  std::uint32_t record_bytes = 0;
  std::uint32_t index_offset = 0;
  std::int64_t commit_time = 0;       // nanoseconds since 1970
  std::uint64_t chain_before = 0;
  std::uint64_t chain_after = 0;
  std::uint64_t batch = 0;
  std::uint16_t keys = 0;
  std::uint16_t runs = 0;
  std::uint16_t kinds = 0;
  std::uint8_t zero[34] = {};
  std::uint64_t checksum = 0;         // of the index, seeded with the checksum of the 120 bytes before
};

// Of a key; or of an id that is unique, where the last two are 0.
struct KeyRow {
  std::uint64_t high = 0, low = 0;
  std::uint64_t base_version = 0;     // of the key's first event in this record
  std::uint64_t previous = 0;         // the key's event before this record
};

// Consecutive events of one publisher with consecutive sequences.
struct RunRow {
  std::uint32_t publisher = 0;
  std::uint16_t first_index = 0;
  std::uint16_t count = 0;
  std::uint64_t first_sequence = 0;
  std::uint64_t previous = 0;         // the publisher's last event before the run
};

struct EntryRow {
  std::uint32_t body_end = 0;         // counted from the end of the header; that of the entry before: its body was removed
  std::uint16_t kind = 0;
  std::uint16_t key = no_key;
  std::uint64_t checksum = 0;
  std::uint16_t key_ordinal = 0;      // how many events of the key come before it in this record
  std::uint16_t key_back = 0;         // how many events back the last of those is; 0: there is none
  std::uint16_t run = 0;
  std::uint16_t unique_id = 0;        // its row among the keys, from 1; 0: none. Version 1 has none
};

enum KindFlag : std::uint8_t {
  expires = 1,                        // the envelope says when
  scheduled = 2,                      // it waited to be due, so its sequence is older than its position: not in the publisher's chain
};

struct KindRow {
  std::uint32_t topic = 0, type = 0;
  std::uint8_t priority = 0, flags = 0;
  std::uint16_t reserved = 0;
  bool operator==(const KindRow& other) const { return std::memcmp(this, &other, sizeof other) == 0; }
};

inline constexpr std::size_t header_bytes = sizeof(Header);
static_assert(header_bytes == 128 && offsetof(Header, zero) == 86 && offsetof(Header, checksum) == 120);
static_assert(sizeof(PackedPrefix) == 16);
static_assert(sizeof(KeyRow) == 32 && sizeof(RunRow) == 24 && sizeof(EntryRow) == 24 && sizeof(KindRow) == 12);
static_assert(std::has_unique_object_representations_v<Header> && std::has_unique_object_representations_v<KindRow>);

// Where the tables of the index begin, counted from the start of the index.
struct IndexLayout {
  std::size_t keys, runs, entries, kinds, bytes;
};

constexpr IndexLayout index_layout(std::size_t keys, std::size_t runs, std::size_t count, std::size_t kinds) {
  const std::size_t runs_at = keys * sizeof(KeyRow);
  const std::size_t entries_at = runs_at + runs * sizeof(RunRow);
  const std::size_t kinds_at = entries_at + count * sizeof(EntryRow);
  return {0, runs_at, entries_at, kinds_at, kinds_at + kinds * sizeof(KindRow)};
}

constexpr IndexLayout index_layout(const Header& header) {
  return index_layout(header.keys, header.runs, header.count, header.kinds);
}

// Completes a record: the header, with the checksum over all of it and the index, goes before the bodies and the index.
inline void write_header(std::span<std::uint8_t> record, Header header) {
  std::memcpy(record.data(), &header, header_bytes);
  const Bytes written = record;
  header.checksum = checksum(written.subspan(header.index_offset), checksum(written.first(offsetof(Header, checksum))));
  std::memcpy(record.data(), &header, header_bytes);
}

}  // namespace bus::store::format
