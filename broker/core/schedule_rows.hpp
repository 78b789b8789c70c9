// The rows of the tables `schedule` and `schedule_ids`: events that are not due yet, and what became of those that were.
// Pure values; docs/STORAGE.md gives their fields.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/bytes.hpp"
#include "base/hash.hpp"
#include "broker/store/batch.hpp"

namespace bus::broker {

// Who scheduled an event, and as which of its own: so a resend has the same id.
struct ScheduleId {
  std::uint32_t publisher = 0;
  std::uint64_t sequence = 0;
  auto operator<=>(const ScheduleId&) const = default;
};

// A row of table schedule.
struct ScheduledRow {
  WallTime due;
  ScheduleId id;
  WallTime added_at;
  std::uint32_t topic = 0, type = 0;
  std::uint8_t priority = 0, flags = 0;  // flags: KindFlag
  Hash128 key;                           // zero: none
  Bytes body;                            // a view

  std::string row_key() const;
  std::string encode() const;
  // Nothing: the bytes make no sense. `body` views the value.
  static std::optional<ScheduledRow> decode(std::string_view key, std::string_view value);
};
std::string schedule_key(WallTime due, const ScheduleId& id);

// What became of a scheduled event, in table schedule_ids. Of each publisher those that wait come before the others.
enum class ScheduleFate : std::uint8_t { waiting = 0, published = 1, cancelled = 2 };
struct ScheduleIdRow {
  ScheduleFate fate = ScheduleFate::waiting;
  WallTime due;
  Position position = Position::none;    // published

  std::string encode() const;
  static std::optional<ScheduleIdRow> decode(std::string_view value);
};
// What became of a sequence that is not in the chain of its publisher: a part of the keys of table schedule_ids.
// step: one without events.
enum class SequenceRow : std::uint8_t { waiting = 0, settled = 1, snapshot = 2, step = 3 };
std::string sequence_row_key(const ScheduleId& id, SequenceRow kind);
inline std::string schedule_id_key(const ScheduleId& id, bool waits) { return sequence_row_key(id, waits ? SequenceRow::waiting : SequenceRow::settled); }
// 0: it is no such key.
std::uint64_t sequence_of_schedule_key(std::string_view key);

}  // namespace bus::broker
