#pragma once

#include <flatbuffers/util.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>

namespace bus::test {

// What is in the file; a failed expectation where it cannot be read.
inline std::string file_text(const std::filesystem::path& path) {
  std::string text;
  EXPECT_TRUE(flatbuffers::LoadFile(path.c_str(), true, &text)) << path;
  return text;
}

}  // namespace bus::test
