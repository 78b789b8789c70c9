// Reflection schemas from text, and payloads of them from JSON, as flatc would make them.
#pragma once

#include <flatbuffers/idl.h>

#include <stdexcept>
#include <string>
#include <vector>

namespace bus::test {

inline std::vector<std::uint8_t> compile_schema(const std::string& text) {
  flatbuffers::IDLOptions options;
  options.binary_schema_builtins = true;
  flatbuffers::Parser parser(options);
  if (!parser.Parse(text.c_str())) throw std::invalid_argument(parser.error_);
  parser.Serialize();
  return {parser.builder_.GetBufferPointer(), parser.builder_.GetBufferPointer() + parser.builder_.GetSize()};
}

// Of the root type of the schema.
inline std::vector<std::uint8_t> compile_payload(const std::string& text, const std::string& json) {
  flatbuffers::Parser parser;
  if (!parser.Parse(text.c_str()) || !parser.Parse(json.c_str())) throw std::invalid_argument(parser.error_);
  return {parser.builder_.GetBufferPointer(), parser.builder_.GetBufferPointer() + parser.builder_.GetSize()};
}

}  // namespace bus::test
