// LineReader reads lines from a descriptor and notices signals while it waits, which std::getline does not.
#pragma once

#include <optional>
#include <string>

#include "bus/result.hpp"

namespace bus::tools {

class LineReader {
 public:
  static constexpr std::size_t line_bytes_max = 20u << 20;  // an event of 1 MiB in base64, and its payload as JSON

  explicit LineReader(int fd) : fd_(fd) {}

  // The next line without its end, or nothing at the end or when interrupted(). Errors: bad_argument (a line is too
  // long), disk_error.
  Result<std::optional<std::string>> next();
  // Counts from 1; of the line that next() gave last.
  std::uint64_t line() const { return line_; }

 private:
  std::optional<std::string> take_line();
  Result<bool> fill();

  int fd_;
  std::string buffer_;
  std::size_t begin_ = 0, searched_ = 0;
  std::uint64_t line_ = 0;
  bool over_ = false;
};

}  // namespace bus::tools
