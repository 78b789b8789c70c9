// The files of one projection: FILE, which it owns behind a lock of its own, and FILE.new while one is being made.
#pragma once

#include <filesystem>

#include "bus/result.hpp"

namespace bus::projection {

// Owner holds the flock on FILE.owner; while it lives, no other process, and no other projection of this one, has FILE open.
class Owner {
 public:
  // Errors: locked, disk_error, log_full.
  static Result<Owner> take(const std::filesystem::path& file);
  Owner() = default;
  ~Owner();
  Owner(Owner&& other) noexcept;
  Owner& operator=(Owner&& other) noexcept;

 private:
  explicit Owner(int descriptor) : descriptor_(descriptor) {}
  int descriptor_ = -1;
};

// FILE.new and LMDB's table of readers for a file.
std::filesystem::path new_path(const std::filesystem::path& file);
std::filesystem::path readers_path(const std::filesystem::path& file);

// What an earlier run left half built; no error if there is nothing.
Result<void> remove_new(const std::filesystem::path& file);
// Syncs FILE.new, renames it to FILE and syncs the directory: a crash leaves the one or the other. It may be open meanwhile.
Result<void> put_in_place(const std::filesystem::path& file);

}  // namespace bus::projection
