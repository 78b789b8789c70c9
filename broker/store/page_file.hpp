// PageFile reads a data file as it lies on disk, past LMDB: of a file that is damaged nothing is trusted, and what the disk cannot
// read is no more than missing.
#pragma once

#include <span>

#include "broker/store/file.hpp"

namespace bus::store {

class PageFile {
 public:
  // Error disk_error.
  static Result<PageFile> open(const std::filesystem::path& path);

  std::uint64_t bytes() const { return bytes_; }
  // False: the file ends before, or the disk cannot read all of it.
  bool read(std::uint64_t at, std::span<std::uint8_t> to) const;
  // As much of it as can be read, in pieces of 4 KiB; the rest is zero.
  void read_some(std::uint64_t at, std::span<std::uint8_t> to) const;

 private:
  PageFile(File file, std::uint64_t bytes) : file_(std::move(file)), bytes_(bytes) {}
  File file_;
  std::uint64_t bytes_ = 0;
};

}  // namespace bus::store
