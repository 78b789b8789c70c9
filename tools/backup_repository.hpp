// A directory of backups: which there are, by their manifests, and the lock of the one who adds one. docs/STORAGE.md has its files.
#pragma once

#include <filesystem>
#include <vector>

#include "broker/store/backup_files.hpp"
#include "tools/output.hpp"

namespace bus::tools {

using Backup = store::Backup;

std::string show_log_id(const store::LogId& log_id);
// One whose manifest is damaged, or of a later version: nothing else is known of it.
struct UnreadableBackup {
  std::uint64_t number = 0;
  Error error;
};
// Both in the order of their numbers.
struct BackupList {
  std::vector<Backup> backups;
  std::vector<UnreadableBackup> unreadable;
};
// Throws Failed: not_found, no repository there.
BackupList list_backups(const std::filesystem::path& repository);
// Throws Failed: not_found; what is wrong with its manifest.
const Backup& find_backup(const BackupList& list, std::uint64_t number);

// The repository of one log while a backup is added to it. What one that did not come to its end has left is removed.
class RepositoryWriter {
 public:
  // Makes the directory if it is absent. Throws Failed: locked; bad_format, it has files of somebody else, or backups of another log; damaged, a
  // manifest. Nothing is removed then.
  RepositoryWriter(std::filesystem::path path, const store::LogId& log_id);
  const std::filesystem::path& path() const { return path_; }
  const std::vector<Backup>& backups() const { return backups_; }
  std::uint64_t next_number() const { return backups_.empty() ? 1 : backups_.back().number + 1; }
  std::uint32_t last_segment() const { return backups_.empty() ? 0 : backups_.back().last_segment; }
  // The directory of the next backup.
  std::filesystem::path begin() const;
  // From now on the backup is there. All its other files are synced.
  void publish(const Backup& backup) const;

 private:
  [[noreturn]] void refuse(const UnreadableBackup& bad) const;
  void remove_left_overs() const;

  std::filesystem::path path_;
  store::File lock_;
  std::vector<Backup> backups_;
};

}  // namespace bus::tools
