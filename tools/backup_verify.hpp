// Reads every byte of backups again.
#pragma once

#include <string>

#include "tools/backup_repository.hpp"

namespace bus::tools {

struct BackupFindings {
  std::uint64_t records = 0, bytes = 0;  // read; what several backups share is read once
  std::vector<std::pair<std::uint64_t, std::string>> faults;  // each with the number of the first backup that has it
};

BackupFindings verify_backups(const std::filesystem::path& repository, const BackupList& list);

}  // namespace bus::tools
