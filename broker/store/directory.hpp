// The data directory: who may use it, and how a log comes into being in it.
//
//   <dir>/lock          our own lock, held from before the first look until the end
//   <dir>/log/          LMDB's data.mdb and lock.mdb; appears whole, by one rename
//   <dir>/log.new/      a log being created; a left-over of a crash is removed
#pragma once

#include <filesystem>
#include <functional>
#include <string>

#include "broker/store/file.hpp"

namespace bus::store {

std::filesystem::path log_path(const std::filesystem::path& dir);

// Makes the directory durably if it is absent. Error disk_error.
Result<void> make_directory(const std::filesystem::path& dir);

// Takes the lock; it lasts as long as the file. Waits up to a second for one that is being let go. Error locked:
// another busd has it.
Result<File> take_lock(const std::filesystem::path& dir);

// True: a log is there. False: one may be created. Error bad_format: there are files of somebody else.
Result<bool> has_log(const std::filesystem::path& dir);

// `fill` writes a complete log into the path it is given and closes it; then that becomes log_path(), durably.
Result<void> create_log(const std::filesystem::path& dir,
                        const std::function<Result<void>(const std::filesystem::path&)>& fill);

// What an operator should know of the file system under `dir`: empty where a receipt means what it says (ext4,
// xfs, btrfs), else why it may not.
std::string storage_warning(const std::filesystem::path& dir);

}  // namespace bus::store
