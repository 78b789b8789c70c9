// Names a file, or a text, by its contents.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

#include "bus/result.hpp"

struct XXH3_state_s;

namespace bus::tools {

// XXH3-128 of the file's bytes as 32 hexadecimal digits, what `xxhsum -H2` prints. Errors: not_found (it cannot be
// opened), disk_error (it cannot be read to its end).
Result<std::string> file_hash(const std::filesystem::path& path);
// The same of a text.
std::string text_hash(std::string_view text);

// The same of what comes piece by piece.
class RunningHash {
 public:
  RunningHash();
  void add(std::string_view text);
  std::string digits() const;            // of all so far

 private:
  std::unique_ptr<XXH3_state_s, void (*)(XXH3_state_s*)> state_;
};

}  // namespace bus::tools
