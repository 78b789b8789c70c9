#include "broker/store/file.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

namespace bus::store {

Error file_error(const std::string& doing, const std::filesystem::path& path) {
  const int reason = errno;
  const bool full = reason == ENOSPC || reason == EDQUOT;
  return {full ? Code::log_full : Code::disk_error, "cannot " + doing + " " + path.string() + ": " + std::strerror(reason)};
}

Result<File> File::open(const std::filesystem::path& path, int flags) {
  const int descriptor = ::open(path.c_str(), flags | O_CLOEXEC, 0640);
  if (descriptor < 0) return file_error("open", path);
  return File(descriptor, path);
}

File::~File() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

File::File(File&& other) noexcept
    : descriptor_(std::exchange(other.descriptor_, -1)), path_(std::move(other.path_)) {}

File& File::operator=(File&& other) noexcept {
  std::swap(descriptor_, other.descriptor_);
  std::swap(path_, other.path_);
  return *this;
}

Result<void> File::sync() const {
  if (::fsync(descriptor_) != 0) return file_error("sync", path_);
  return {};
}

Result<void> sync_path(const std::filesystem::path& path) {
  const auto file = File::open(path, 0);
  return file ? file->sync() : Result<void>(file.error());
}

}  // namespace bus::store
