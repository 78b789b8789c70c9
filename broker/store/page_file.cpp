#include "broker/store/page_file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "broker/store/lmdb.hpp"

namespace bus::store {

Result<PageFile> PageFile::open(const std::filesystem::path& path) {
  auto file = File::open(path, O_RDONLY);
  if (!file) return file.error();
  struct stat info {};
  if (::fstat(file->descriptor(), &info) != 0) return file_error("measure", path);
  return PageFile(std::move(*file), static_cast<std::uint64_t>(info.st_size));
}

bool PageFile::read(std::uint64_t at, std::span<std::uint8_t> to) const {
  if (at > bytes_ || to.size() > bytes_ - at) return false;
  while (!to.empty()) {
    const ssize_t got = ::pread(file_.descriptor(), to.data(), to.size(), static_cast<off_t>(at));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return false;
    to = to.subspan(static_cast<std::size_t>(got));
    at += static_cast<std::uint64_t>(got);
  }
  return true;
}

void PageFile::read_some(std::uint64_t at, std::span<std::uint8_t> to) const {
  if (read(at, to)) return;
  for (std::size_t done = 0; done < to.size(); done += lmdb::page_bytes) {
    const auto piece = to.subspan(done, std::min(lmdb::page_bytes, to.size() - done));
    if (!read(at + done, piece)) std::fill(piece.begin(), piece.end(), std::uint8_t{0});
  }
}

}  // namespace bus::store
