#include "tools/line_reader.hpp"

#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "tools/interrupts.hpp"

namespace bus::tools {

std::optional<std::string> LineReader::take_line() {
  const auto end = buffer_.find('\n', searched_);
  searched_ = buffer_.size();
  if (end == buffer_.npos && (!over_ || begin_ == buffer_.size())) return {};
  const auto stop = std::min(end, buffer_.size());
  auto line = buffer_.substr(begin_, stop - begin_);
  begin_ = searched_ = std::min(stop + 1, buffer_.size());
  if (line.ends_with('\r')) line.pop_back();
  ++line_;
  return line;
}

// False if interrupted.
Result<bool> LineReader::fill() {
  buffer_.erase(0, begin_);
  searched_ -= begin_;
  begin_ = 0;
  if (buffer_.size() > line_bytes_max) {
    return Error{Code::bad_argument, "line " + std::to_string(line_ + 1) + " has more than " + std::to_string(line_bytes_max) + " bytes"};
  }
  Bell bell;
  bell.wait(std::chrono::hours(1), {{fd_, POLLIN, 0}});
  if (interrupted() != 0) return false;
  char block[65536];
  const auto count = read(fd_, block, sizeof block);
  if (count < 0 && errno != EINTR && errno != EAGAIN) return Error{Code::disk_error, std::string("cannot read: ") + std::strerror(errno)};
  if (count > 0) buffer_.append(block, static_cast<std::size_t>(count));
  over_ = count == 0;
  return true;
}

Result<std::optional<std::string>> LineReader::next() {
  for (;;) {
    if (auto line = take_line()) return line;
    if (over_) return std::optional<std::string>();
    const auto filled = fill();
    if (!filled) return filled.error();
    if (!*filled) return std::optional<std::string>();
  }
}

}  // namespace bus::tools
