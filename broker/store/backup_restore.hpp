// Makes a log of a backup, in a data directory of its own. Everything is verified while it is read, and the log is there whole or not at all.
#pragma once

#include <functional>

#include "broker/store/backup_plan.hpp"

namespace bus::store {

struct RestoreOptions {
  std::filesystem::path repository;
  std::vector<Backup> backups;        // all that it has
  std::filesystem::path dir;          // absent or empty, or with what a restore that was broken off has left
  RestoreGoal goal;
  std::function<void(std::uint64_t done, std::uint64_t total)> progress;  // in bytes
  WallTime now{};                     // for the history of the new log
};

struct RestoreReport {
  std::uint64_t backup = 0;           // that it began with
  Position backup_last = Position::none;
  std::uint64_t later = 0;            // the one that the records after it are from; 0: there are none
  Head head;                          // of the new log
  std::uint64_t history = 0;
  std::uint64_t records = 0, events = 0, later_records = 0, later_events = 0;
};

// Errors: as of plan_restore(); locked; bad_format, `dir` is not empty; damaged; log_full; disk_error. After any of them `dir` is as it was,
// but for what was left of another restore.
Result<RestoreReport> restore(const RestoreOptions& options);

}  // namespace bus::store
