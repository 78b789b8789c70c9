// StoreDir is a data directory for one test, in memory where the machine offers it, and gone with the test.
#pragma once

#include <filesystem>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string>

#include <stdlib.h>

#include "broker/store/store.hpp"

namespace bus::testing {

namespace fs = std::filesystem;

class StoreDir {
 public:
  StoreDir() : path_(make()) {}
  ~StoreDir() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  StoreDir(const StoreDir&) = delete;
  StoreDir& operator=(const StoreDir&) = delete;

  const fs::path& path() const { return path_; }
  fs::path data_file() const { return path_ / "log" / "data.mdb"; }

  // A small log: little space ahead, so that files stay small and copies of them are cheap.
  store::Options options(std::size_t map_bytes = 64 * limits::MiB) const {
    store::Options options;
    options.dir = path_;
    options.map_bytes = map_bytes;
    options.fill_ahead_bytes = 64 * limits::KiB;
    options.reserve_bytes = 1 * limits::MiB;
    for (std::size_t at = 0; at < options.seed.size(); ++at) options.seed[at] = static_cast<std::uint8_t>(at + 1);
    return options;
  }
  std::unique_ptr<store::Store> open() const { return store::Store::open(options()).value(); }

 private:
  static std::string make() {
    std::error_code ignored;
    const bool has_memory = fs::is_directory("/dev/shm", ignored);
    std::string path = (has_memory ? fs::path("/dev/shm") : fs::temp_directory_path()) / "bus-test-XXXXXX";
    if (::mkdtemp(path.data()) == nullptr) throw std::runtime_error("cannot make " + path);
    return path;
  }
  fs::path path_;
};

inline std::string read_file(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

inline void write_file(const fs::path& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
}

}  // namespace bus::testing
