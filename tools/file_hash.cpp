#include "tools/file_hash.hpp"

#include "tools/output.hpp"

#include <xxhash.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <memory>

namespace bus::tools {

namespace {

struct FreeState {
  void operator()(XXH3_state_t* state) const { XXH3_freeState(state); }
};

std::string digits(XXH128_hash_t hash) {
  XXH128_canonical_t bytes;
  XXH128_canonicalFromHash(&bytes, hash);
  return hexadecimal(bytes.digest);
}

}  // namespace

Result<std::string> file_hash(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return Error{Code::not_found, path.string() + ": " + std::strerror(errno)};
  const std::unique_ptr<XXH3_state_t, FreeState> state(XXH3_createState());
  XXH3_128bits_reset(state.get());
  std::array<char, 65536> block;
  while (file.read(block.data(), block.size()) || file.gcount() > 0) {
    XXH3_128bits_update(state.get(), block.data(), static_cast<std::size_t>(file.gcount()));
  }
  if (file.bad()) return Error{Code::disk_error, path.string() + ": " + std::strerror(errno)};
  return digits(XXH3_128bits_digest(state.get()));
}

std::string text_hash(std::string_view text) { return digits(XXH3_128bits(text.data(), text.size())); }

}  // namespace bus::tools
