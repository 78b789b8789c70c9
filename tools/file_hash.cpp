#include "tools/file_hash.hpp"

#include "tools/output.hpp"

#include <xxhash.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <fstream>

namespace bus::tools {

namespace {

std::string digits_of(XXH128_hash_t hash) {
  XXH128_canonical_t bytes;
  XXH128_canonicalFromHash(&bytes, hash);
  return hexadecimal(bytes.digest);
}

}  // namespace

RunningHash::RunningHash() : state_(XXH3_createState(), [](XXH3_state_t* state) { XXH3_freeState(state); }) { XXH3_128bits_reset(state_.get()); }

void RunningHash::add(std::string_view text) { XXH3_128bits_update(state_.get(), text.data(), text.size()); }

std::string RunningHash::digits() const { return digits_of(XXH3_128bits_digest(state_.get())); }

Result<std::string> file_hash(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return Error{Code::not_found, path.string() + ": " + std::strerror(errno)};
  RunningHash hash;
  std::array<char, 65536> block;
  while (file.read(block.data(), block.size()) || file.gcount() > 0) {
    hash.add({block.data(), static_cast<std::size_t>(file.gcount())});
  }
  if (file.bad()) return Error{Code::disk_error, path.string() + ": " + std::strerror(errno)};
  return hash.digits();
}

std::string text_hash(std::string_view text) { return digits_of(XXH3_128bits(text.data(), text.size())); }

}  // namespace bus::tools
