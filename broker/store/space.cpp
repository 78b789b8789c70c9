#include "broker/store/space.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "broker/store/file.hpp"

namespace bus::store {

namespace {

constexpr const char* data_file = "the data file";
using limits::fill_slice_bytes;

Result<std::uint64_t> size_of(int file) {
  struct stat info {};
  if (::fstat(file, &info) != 0) return file_error("measure", data_file);
  return static_cast<std::uint64_t>(info.st_size);
}

// No space is an answer, not an error.
Result<bool> unless_full(Error error) {
  if (error.code == Code::log_full) return false;
  return error;
}

}  // namespace

Result<void> FileSpace::start(std::uint64_t used_bytes) {
  used_ = zeroed_ = allocated_ = used_bytes;
  const auto size = size_of(file_);
  if (!size) return size.error();
  const std::uint64_t end = std::min(*size, bounds_.map_bytes);
  if (end <= used_) return {};
  // What was only reserved reads as a hole; what was written before it does not.
  const off_t hole = ::lseek(file_, static_cast<off_t>(used_), SEEK_HOLE);
  const auto allocated = allocate(used_, end);
  if (!allocated) return allocated.error();
  if (*allocated) allocated_ = end;
  if (hole > 0) zeroed_ = std::clamp(static_cast<std::uint64_t>(hole), used_, allocated_);
  return {};
}

void FileSpace::set_used(std::uint64_t used_bytes) {
  used_ = used_bytes;
  zeroed_ = std::max(zeroed_, used_);
  allocated_ = std::max(allocated_, used_);
}

Result<void> FileSpace::grow(std::uint64_t needed) {
  const std::uint64_t wanted = std::min(bounds_.map_bytes, used_ + std::max(needed, bounds_.reserve_bytes + grow_ahead()));
  while (allocated_ < wanted) {
    const std::uint64_t end = std::min(wanted, allocated_ + fill_slice_bytes);
    const auto allocated = allocate(allocated_, end);
    if (!allocated) return allocated.error();
    if (!*allocated) break;
    allocated_ = end;
  }
  full_ = is_short();
  return {};
}

Result<bool> FileSpace::fill() {
  if (is_short()) {
    if (auto grown = grow(); !grown) return grown.error();
  }
  const std::uint64_t wanted = std::min(allocated_, used_ + bounds_.fill_ahead_bytes);
  if (zeroed_ >= wanted) return false;
  const std::uint64_t end = std::min(wanted, zeroed_ + fill_slice_bytes);
  const auto written = write_zeros(zeroed_, end);
  if (!written || !*written) return written;
  if (::fdatasync(file_) != 0) return unless_full(file_error("sync", data_file));
  zeroed_ = end;
  return true;
}

Result<bool> FileSpace::allocate(std::uint64_t begin, std::uint64_t end) {
  for (;;) {
    if (::fallocate(file_, 0, static_cast<off_t>(begin), static_cast<off_t>(end - begin)) == 0) return true;
    if (errno == EOPNOTSUPP || errno == ENOSYS) return write_zeros(begin, end);
    if (errno != EINTR) return unless_full(file_error("grow", data_file));
  }
}

Result<bool> FileSpace::write_zeros(std::uint64_t begin, std::uint64_t end) {
  static const Buffer zeros = [] {
    Buffer buffer(fill_slice_bytes);
    std::fill(buffer.begin(), buffer.end(), std::uint8_t{0});
    return buffer;
  }();
  while (begin < end) {
    const auto bytes = std::min<std::uint64_t>(end - begin, zeros.size());
    const ssize_t written = ::pwrite(file_, zeros.data(), bytes, static_cast<off_t>(begin));
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return unless_full(file_error("fill", data_file));
    begin += static_cast<std::uint64_t>(written);
  }
  return true;
}

Space FileSpace::figures() const { return {std::max(allocated_, used_), used_, free(), full_}; }

}  // namespace bus::store
