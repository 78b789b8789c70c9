// Adds a backup of the broker's log to a repository, while the broker works.
#pragma once

#include <filesystem>

#include "tools/backup_repository.hpp"
#include "tools/cli.hpp"

namespace bus::tools {

// Throws Failed: as of RepositoryWriter; what the broker answers; damaged, a record of the log or of the newest backup; log_full.
Backup create_backup(Client& client, const std::filesystem::path& repository);

}  // namespace bus::tools
