// GoldenFile compares a text with the one kept in this folder. BUS_REGENERATE=1 writes what the code says today instead:
//   BUS_REGENERATE=1 meson test -C build --suite golden && git diff tests/golden
// A changed text means a changed format. Of a format that was released, only ever add a file; see docs/STORAGE.md.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <string>

#include "tests/support/store_dir.hpp"

namespace bus::testing {

inline std::filesystem::path golden_path(const std::string& name) { return std::filesystem::path(BUS_GOLDEN_DIR) / name; }

inline std::string hex(std::string_view bytes) { return hexadecimal(bytes_of(bytes)); }

inline std::string unhex(std::string_view text) {
  std::string bytes;
  for (std::size_t at = 0; at + 1 < text.size(); at += 2) {
    bytes += static_cast<char>(std::stoi(std::string(text.substr(at, 2)), nullptr, 16));
  }
  return bytes;
}

// Lines of 32 bytes, indented.
inline std::string hex_lines(std::string_view bytes) {
  std::string text;
  for (std::size_t at = 0; at < bytes.size(); at += 32) text += "  " + hex(bytes.substr(at, 32)) + "\n";
  return text;
}

inline void expect_golden(const std::string& name, const std::string& text) {
  if (std::getenv("BUS_REGENERATE") != nullptr) return write_file(golden_path(name), text);
  const std::string kept = read_file(golden_path(name));
  if (kept == text) return;
  const auto [at, other] = std::mismatch(kept.begin(), kept.end(), text.begin(), text.end());
  const auto line = 1 + std::count(kept.begin(), at, '\n');
  const auto begin = text.rfind('\n', static_cast<std::size_t>(other - text.begin())) + 1;
  const auto now = text.substr(begin, text.find('\n', begin) - begin);
  ADD_FAILURE() << name << " differs in line " << line << "; now: " << now;
}

}  // namespace bus::testing
