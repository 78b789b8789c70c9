#include "broker/store/directory.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <thread>
#include <vector>

namespace bus::store {

namespace fs = std::filesystem;

namespace {

constexpr const char* lock_name = "lock";
constexpr const char* log_name = "log";
constexpr const char* new_name = "log.new";
constexpr mode_t directory_mode = 0750;
constexpr int lock_attempts = 50;
constexpr auto lock_pause = std::chrono::milliseconds(20);

fs::path parent_of(const fs::path& path) {
  const fs::path parent = fs::absolute(path).lexically_normal().parent_path();
  return parent.empty() ? fs::path("/") : parent;
}

// File systems' magic numbers, as of statfs(2).
const char* warning_of(unsigned long type) {
  switch (type) {
    case 0xef53: case 0x58465342: case 0x9123683e: return nullptr;  // ext4, xfs, btrfs
    case 0x01021994: case 0x858458f6: return "is kept in memory (tmpfs): it is lost with the machine";
    case 0x6969: case 0xff534d42: case 0xfe534d42: return "is on a network file system: locks and sync cannot be relied on";
    case 0x794c7630: return "is on overlayfs, inside a container's image layer: mount a volume for it";
    case 0x65735546: return "is on FUSE: it depends on that program whether sync reaches the disk";
    default: return "is on a file system that has not been tested; ext4 and xfs have";
  }
}

}  // namespace

fs::path log_path(const fs::path& dir) { return dir / log_name; }

Result<void> make_directory(const fs::path& dir) {
  std::error_code ignored;
  if (fs::is_directory(dir, ignored)) return {};
  const fs::path parent = parent_of(dir);
  if (parent != dir) {
    if (auto made = make_directory(parent); !made) return made;
  }
  if (::mkdir(dir.c_str(), directory_mode) != 0 && errno != EEXIST) return file_error("create", dir);
  return sync_path(parent);
}

Result<File> take_lock(const fs::path& dir) {
  const fs::path path = dir / lock_name;
  auto file = File::open(path, O_RDWR | O_CREAT);
  if (!file) return file;
  // A broker that was killed a moment ago may still be on its way out.
  for (int attempt = 0; attempt < lock_attempts; ++attempt) {
    if (::flock(file->descriptor(), LOCK_EX | LOCK_NB) == 0) return file;
    if (errno != EWOULDBLOCK) return file_error("lock", path);
    std::this_thread::sleep_for(lock_pause);
  }
  return Error{Code::locked, "another busd, or a tool working offline, has " + dir.string() + " open"};
}

Result<bool> has_log(const fs::path& dir) {
  std::error_code failed;
  if (fs::exists(log_path(dir), failed)) return true;
  for (const auto& entry : fs::directory_iterator(dir, failed)) {
    const fs::path name = entry.path().filename();
    if (name == lock_name || name == new_name || name == "lost+found") continue;
    return Error{Code::bad_format, dir.string() + " has no log, but other files (" + name.string() +
                                       "); a new log is only created in an empty directory"};
  }
  if (failed) return Error{Code::disk_error, "cannot read " + dir.string() + ": " + failed.message()};
  return false;
}

Result<void> create_log(const fs::path& dir, const std::function<Result<void>(const fs::path&)>& fill) {
  const fs::path made = dir / new_name;
  std::error_code failed;
  fs::remove_all(made, failed);
  if (failed) return Error{Code::disk_error, "cannot remove " + made.string() + ": " + failed.message()};
  if (::mkdir(made.c_str(), directory_mode) != 0) return file_error("create", made);
  if (auto filled = fill(made); !filled) return filled;
  if (auto synced = sync_path(made / "data.mdb"); !synced) return synced;
  if (auto synced = sync_path(made); !synced) return synced;
  if (::rename(made.c_str(), log_path(dir).c_str()) != 0) return file_error("rename", made);
  return sync_path(dir);
}

std::string storage_warning(const fs::path& dir) {
  struct statfs info {};
  if (::statfs(dir.c_str(), &info) != 0) return "";
  const char* warning = warning_of(static_cast<unsigned long>(info.f_type));
  return warning == nullptr ? "" : dir.string() + " " + warning;
}

}  // namespace bus::store
