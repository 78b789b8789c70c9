#include "tools/schema_file.hpp"

#include <flatbuffers/idl.h>

#include <filesystem>
#include <fstream>
#include <iterator>

namespace bus::tools {

namespace {

Result<std::string> read_bytes(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::string bytes((std::istreambuf_iterator<char>(file)), {});
  if (!file) return Error{Code::not_found, "cannot read " + path};
  return bytes;
}

}  // namespace

Result<std::vector<std::uint8_t>> read_schema(const std::string& path) {
  const auto bytes = read_bytes(path);
  if (!bytes) return bytes.error();
  if (std::filesystem::path(path).extension() != ".fbs") return std::vector<std::uint8_t>(bytes->begin(), bytes->end());
  flatbuffers::IDLOptions options;
  options.binary_schema_builtins = options.binary_schema_comments = true;
  flatbuffers::Parser parser(options);
  const std::string folder = std::filesystem::absolute(path).parent_path().string();
  const char* folders[] = {folder.c_str(), nullptr};
  if (!parser.Parse(bytes->c_str(), folders, path.c_str())) return Error{Code::bad_format, parser.error_};
  parser.Serialize();
  return std::vector<std::uint8_t>(parser.builder_.GetBufferPointer(), parser.builder_.GetBufferPointer() + parser.builder_.GetSize());
}

}  // namespace bus::tools
