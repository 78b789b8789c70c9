#include "libbus/projection/files.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>
#include <utility>

namespace bus::projection {

namespace fs = std::filesystem;

namespace {

Error file_error(const std::string& doing, const fs::path& path) {
  const int reason = errno;
  const bool full = reason == ENOSPC || reason == EDQUOT;
  return {full ? Code::log_full : Code::disk_error, "cannot " + doing + " " + path.string() + ": " + std::strerror(reason)};
}

fs::path with(const fs::path& file, const char* ending) { return file.string() + ending; }

Result<void> sync_path(const fs::path& path) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) return file_error("open", path);
  Result<void> done;
  if (::fsync(descriptor) != 0) done = file_error("sync", path);
  ::close(descriptor);
  return done;
}

Result<void> rename_file(const fs::path& from, const fs::path& to) {
  if (::rename(from.c_str(), to.c_str()) != 0) return file_error("rename", from);
  return {};
}

Result<void> remove_file(const fs::path& path) {
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) return file_error("remove", path);
  return {};
}

}  // namespace

Result<Owner> Owner::take(const fs::path& file) {
  const auto path = with(file, ".owner");
  Owner owner(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0640));
  if (owner.descriptor_ < 0) return file_error("open", path);
  if (::flock(owner.descriptor_, LOCK_EX | LOCK_NB) == 0) return owner;
  if (errno != EWOULDBLOCK) return file_error("lock", path);
  return Error{Code::locked, file.string() + " is open already, in this process or another: a state has one projection at a time"};
}

Owner::~Owner() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

Owner::Owner(Owner&& other) noexcept : descriptor_(std::exchange(other.descriptor_, -1)) {}

Owner& Owner::operator=(Owner&& other) noexcept {
  std::swap(descriptor_, other.descriptor_);
  return *this;
}

fs::path new_path(const fs::path& file) { return with(file, ".new"); }
fs::path readers_path(const fs::path& file) { return with(file, "-lock"); }

// The table of readers goes, too: this process may still have that of an earlier rebuild open under another name, and LMDB must
// never take the same one for two files.
Result<void> remove_new(const fs::path& file) {
  if (auto removed = remove_file(new_path(file)); !removed) return removed;
  return remove_file(readers_path(new_path(file)));
}

Result<void> put_in_place(const fs::path& file) {
  const auto made = new_path(file);
  if (auto synced = sync_path(made); !synced) return synced;
  if (auto renamed = rename_file(made, file); !renamed) return renamed;
  // So that tools of LMDB that look into the file see its writer. What a crash leaves of it is made anew when it is opened.
  if (auto renamed = rename_file(readers_path(made), readers_path(file)); !renamed) return renamed;
  return sync_path(fs::absolute(file).parent_path());
}

}  // namespace bus::projection
