// The physical unit of the log: the events of one commit, or a part of them, with an index.
//
//   header (128 bytes) | bodies, each padded to 8 | index: keys, runs, entries, kinds
//
// The index comes last so that bodies are copied once, straight to their place. Header and index are covered
// by one checksum, each body by its event's. On disk the bodies may be compressed. docs/STORAGE.md gives every field.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "base/bytes.hpp"
#include "base/check.hpp"
#include "base/hash.hpp"
#include "base/limits.hpp"
#include "broker/store/ordinal_table.hpp"
#include "broker/store/record_format.hpp"
#include "bus/result.hpp"
#include "bus/types.hpp"

namespace bus::store {

using LogId = std::array<std::uint8_t, 16>;

// What is known of the key of one event. `previous` is the key's event before this one, or none.
struct KeyLink {
  Hash128 hash;
  std::uint64_t version = 0;
  Position previous = Position::none;
};

// Everything the index says of one event.
struct Entry {
  std::uint32_t topic = 0;
  std::uint32_t type = 0;
  std::uint8_t priority = 0;
  std::uint8_t flags = 0;
  std::uint64_t checksum = 0;       // XXH3-64 of the body, padding included
  std::uint32_t publisher = 0;
  std::uint64_t sequence = 0;
  Position publisher_previous = Position::none;  // the publisher's last event before this one's run
  std::optional<KeyLink> key;
  std::optional<Hash128> unique_id;  // hash of source and id, which no other event of the log has
};

// What a delivery says of one event.
struct Indexed {
  std::uint32_t publisher = 0;
  std::uint64_t sequence = 0;
  std::uint64_t version = 0;        // 0: it has no key
  std::size_t body_bytes = 0;
  Hash128 key;                      // zero: none
};

// Consecutive events of one publisher with consecutive sequences.
struct Run {
  std::uint32_t publisher = 0;
  std::uint32_t first_index = 0;
  std::uint32_t count = 0;
  std::uint64_t first_sequence = 0;
  Position previous = Position::none;  // the publisher's last event before the run
};

class Record;
using RecordPtr = std::shared_ptr<const Record>;

// One sealed record: immutable, shared by the committer, live delivery and readers on any thread.
class Record {
 public:
  // Copies a stored record, and unpacks it. Verifies magic, version, every bound, and the checksum of header and index;
  // not the bodies. Errors: damaged (the detail names the position), bad_format.
  static Result<RecordPtr> parse(Bytes stored, Position first);
  // The same from header and index alone; body() and bytes() are then a bug.
  static Result<RecordPtr> parse_index(Bytes stored, Position first);
  // How many bytes parse() would make of it: what the record says itself, which nothing has verified.
  static std::size_t unpacked_bytes(Bytes stored);
  static bool is_packed(Bytes stored);

  Position first() const { return first_; }
  Position last() const { return first_ + (count_ - 1); }
  std::uint32_t count() const { return count_; }
  WallTime committed_at() const { return committed_at_; }
  std::uint64_t chain_before() const { return chain_before_; }
  std::uint64_t chain_after() const { return chain_after_; }
  std::uint64_t batch() const { return batch_; }
  const LogId& log_id() const { return log_id_; }
  bool holds(Position position) const { return position >= first() && position <= last(); }

  // Index columns; `at` is 0 … count() - 1, and wrong input is a bug. Cheap: no allocation.
  std::uint32_t topic(std::uint32_t at) const { return kind(row(at).kind).topic; }
  std::uint32_t type(std::uint32_t at) const { return kind(row(at).kind).type; }
  std::uint8_t priority(std::uint32_t at) const { return kind(row(at).kind).priority; }
  std::uint64_t event_checksum(std::uint32_t at) const { return row(at).checksum; }
  // Events of one kind agree in topic, type, priority and flags: what depends on those alone is decided once a record.
  std::uint32_t kinds() const { return kinds_; }
  std::uint32_t kind_of(std::uint32_t at) const { return load<std::uint16_t>(row_at(at) + offsetof(format::EntryRow, kind)); }
  format::KindRow kind(std::uint32_t ordinal) const {
    BUS_CHECK(ordinal < kinds_);
    return load<format::KindRow>(bytes_.data() + kinds_at_ + ordinal * sizeof(format::KindRow));
  }
  // The distinct topics of the record, for routing a whole record at once.
  std::vector<std::uint32_t> topics() const;
  Entry entry(std::uint32_t at) const;
  Indexed indexed(std::uint32_t at) const {
    // Field by field: copies of whole rows would cost more than all the rest.
    const auto* entry = row_at(at);
    const auto* its_run = bytes_.data() + runs_at_ + load<std::uint16_t>(entry + offsetof(format::EntryRow, run)) * sizeof(format::RunRow);
    const auto its_key = load<std::uint16_t>(entry + offsetof(format::EntryRow, key));
    std::uint64_t version = 0;
    Hash128 hash;
    if (its_key != format::no_key) {
      const auto* row = bytes_.data() + keys_at_ + its_key * sizeof(format::KeyRow);
      version = load<std::uint64_t>(row + offsetof(format::KeyRow, base_version)) + load<std::uint16_t>(entry + offsetof(format::EntryRow, key_ordinal));
      hash = load<Hash128>(row + offsetof(format::KeyRow, high));
    }
    return {load<std::uint32_t>(its_run + offsetof(format::RunRow, publisher)),
            load<std::uint64_t>(its_run + offsetof(format::RunRow, first_sequence)) + (at - load<std::uint16_t>(its_run + offsetof(format::RunRow, first_index))),
            version, body_end(at) - body_begin(at), hash};
  }
  // Zero: it has no key.
  Hash128 key_hash(std::uint32_t at) const {
    const auto its_key = load<std::uint16_t>(row_at(at) + offsetof(format::EntryRow, key));
    return its_key == format::no_key ? Hash128{} : load<Hash128>(bytes_.data() + keys_at_ + its_key * sizeof(format::KeyRow) + offsetof(format::KeyRow, high));
  }
  Run run_of(std::uint32_t at) const;
  std::size_t body_bytes(std::uint32_t at) const { return body_end(at) - body_begin(at); }
  // The event: 4-byte size, FlatBuffer, zeros up to a multiple of 8. Aligned to 8; lives as long as the record.
  Bytes body(std::uint32_t at) const {
    BUS_CHECK(has_bodies_);
    const auto begin = body_begin(at);
    return {bytes_.data() + format::header_bytes + begin, body_end(at) - begin};
  }

  // Retention has removed its body; all that the index says of it stays.
  bool is_removed(std::uint32_t at) const { return has_removed_ && body_bytes(at) == 0; }
  // The same record without the bodies of these events; `at` ascends. Needs the other bodies.
  RecordPtr without(std::span<const std::uint32_t> at) const;

  bool has_bodies() const { return has_bodies_; }
  // The same where the bodies were left: in the stored record, which is not packed.
  Bytes body_in(Bytes stored, std::uint32_t at) const { return stored.subspan(format::header_bytes + body_begin(at), body_bytes(at)); }

  // True if the body has the checksum of the index, or was removed. Not cached.
  bool body_intact(std::uint32_t at) const;
  Bytes bytes() const;

 private:
  friend class RecordBuilder;
  Record(const format::Header& header, Buffer bytes, bool has_bodies);
  const std::uint8_t* row_at(std::uint32_t at) const {
    BUS_CHECK(at < count_);
    return bytes_.data() + entries_at_ + at * sizeof(format::EntryRow);
  }
  format::EntryRow row(std::uint32_t at) const { return load<format::EntryRow>(row_at(at)); }
  format::KeyRow key(std::uint32_t ordinal) const {
    return load<format::KeyRow>(bytes_.data() + keys_at_ + ordinal * sizeof(format::KeyRow));
  }
  format::RunRow run(std::uint32_t ordinal) const {
    return load<format::RunRow>(bytes_.data() + runs_at_ + ordinal * sizeof(format::RunRow));
  }
  std::uint32_t body_end(std::uint32_t at) const { return load<std::uint32_t>(row_at(at) + offsetof(format::EntryRow, body_end)); }
  std::uint32_t body_begin(std::uint32_t at) const { return at == 0 ? 0 : body_end(at - 1); }
  const char* index_fault() const;

  Buffer bytes_;                      // the whole record, or header and index without the bodies
  bool has_bodies_ = false;
  bool has_unique_ids_ = false;
  bool has_removed_ = false;
  std::size_t keys_at_ = 0, runs_at_ = 0, entries_at_ = 0, kinds_at_ = 0;
  std::uint32_t keys_ = 0, runs_ = 0, kinds_ = 0;
  std::uint32_t bodies_bytes_ = 0;
  Position first_ = Position::none;
  std::uint32_t count_ = 0;
  WallTime committed_at_;
  std::uint64_t chain_before_ = 0;
  std::uint64_t chain_after_ = 0;
  std::uint64_t batch_ = 0;
  LogId log_id_{};
};

// Gathers staged events into the bytes of one record. Owned by the core; one thread.
class RecordBuilder {
 public:
  // False once another body of that size should begin the next record.
  bool fits(std::size_t body_bytes) const {
    if (empty()) return true;
    return count_ < limits::record_events_max && bytes() + body_bytes + index_growth_max <= record_bytes_max;
  }
  // Copies the body (size-prefixed, padded to 8; of an event that was removed empty). Call only if fits(), or while empty().
  void append(const Entry& entry, Bytes body);
  std::uint32_t count() const { return count_; }
  bool empty() const { return count_ == 0; }
  std::size_t bytes() const { return used_ + index_bytes_; }
  bool has_topic(std::uint32_t topic) const;
  struct Seal {
    LogId log_id;
    Position first;
    WallTime committed_at;
    std::uint64_t chain_before;
    std::uint64_t batch;
  };
  // The finished record; the builder is empty again, and keeps the memory of its tables.
  RecordPtr seal(const Seal& seal);

 private:
  // A key of this record, and the last event of it.
  struct KeyState {
    format::KeyRow row;
    std::uint16_t events = 0;
    std::uint16_t last_index = 0;
  };
  // LMDB puts 16 bytes before a large value; with them a full record takes whole pages and not one more.
  static constexpr std::size_t record_bytes_max = limits::record_bytes_target - 16;
  // What one more event adds to the index at most.
  static constexpr std::size_t index_growth_max =
      sizeof(format::EntryRow) + 2 * sizeof(format::KeyRow) + sizeof(format::RunRow) + sizeof(format::KindRow);
  void reserve(std::size_t bytes);
  void clear();
  std::uint16_t kind_of(const Entry& entry);
  std::uint16_t run_of(const Entry& entry);
  void link_key(const KeyLink& link, format::EntryRow& row);
  void add_unique_id(const Hash128& id, format::EntryRow& row);
  void write_index(std::uint8_t* to) const;
  format::Header header(const Seal& seal) const;

  Buffer bytes_;                      // room for the record; used_ bytes are taken
  std::size_t used_ = format::header_bytes;
  std::size_t index_bytes_ = 0;       // that the rows below will take
  std::uint32_t count_ = 0;           // of entries_
  std::vector<format::EntryRow> entries_;
  std::vector<KeyState> keys_;
  std::vector<format::RunRow> runs_;
  std::vector<format::KindRow> kinds_;
  OrdinalTable key_ordinals_, kind_ordinals_;
  bool has_unique_ids_ = false, has_removed_ = false;
};

}  // namespace bus::store
