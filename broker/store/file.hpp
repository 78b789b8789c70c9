// File is one open file or directory, closed with it; the system calls the store needs, with errors that name the path.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "bus/result.hpp"

namespace bus::store {

// "cannot <doing> <path>: <errno>"; log_full if there is no space, disk_error otherwise.
Error file_error(const std::string& doing, const std::filesystem::path& path);

class File {
 public:
  File() = default;
  // `flags` as of open(2); close-on-exec is added.
  static Result<File> open(const std::filesystem::path& path, int flags);
  ~File();
  File(File&& other) noexcept;
  File& operator=(File&& other) noexcept;

  int descriptor() const { return descriptor_; }
  Result<void> sync() const;

 private:
  File(int descriptor, std::filesystem::path path) : descriptor_(descriptor), path_(std::move(path)) {}
  int descriptor_ = -1;
  std::filesystem::path path_;
};

// Opens, syncs and closes. Never for LMDB's lock file while it is in use: closing would drop its locks.
Result<void> sync_path(const std::filesystem::path& path);

}  // namespace bus::store
