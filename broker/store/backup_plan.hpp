// Which backup a restore begins with, and from which later one it goes on to a position between the two.
#pragma once

#include <filesystem>
#include <optional>
#include <vector>

#include "broker/store/backup_files.hpp"

namespace bus::store {

struct RestoreGoal {
  std::uint64_t backup = 0;           // begin with this one; 0: the newest that will do
  std::optional<Position> position;   // up to here,
  std::optional<WallTime> time;       // or to the last event committed by then; neither: as the backup is
};

struct RestorePlan {
  Backup base;
  std::vector<BackupEntry> base_entries;
  Position end = Position::none;      // the last position of the new log
  // Where records after the base come from; none: there are none.
  std::optional<Backup> later;
  std::vector<BackupEntry> later_entries;  // those with positions after the base's head, up to `end`
};

// `backups` are all of the repository, at least one. Errors: not_found, no backup of that number; beyond_end, the position or time is not
// in the repository, which names what is; damaged.
Result<RestorePlan> plan_restore(const std::filesystem::path& repository, const std::vector<Backup>& backups, const RestoreGoal& goal);

// The events of the record from `first` to `last` as a record of their own.
RecordPtr part_of(const Record& record, Position first, Position last);

}  // namespace bus::store
