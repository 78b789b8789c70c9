// Reflection schemas made of text, inside a test.
#pragma once

#include <flatbuffers/idl.h>
#include <flatbuffers/reflection.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "base/bytes.hpp"

namespace bus::test {

// A schema as text, as the parser holds it (for JSON), and as reflection sees it.
class SchemaText {
 public:
  explicit SchemaText(const std::string& text, bool builtins = true) : parser_(std::make_unique<flatbuffers::Parser>(options(text, builtins))) {
    EXPECT_TRUE(parser_->Parse(text.c_str())) << parser_->error_ << "\n" << text;
    flatbuffers::Parser& parser = *parser_;
    parser.Serialize();
    bfbs_ = copy_of(Bytes(parser.builder_.GetBufferPointer(), parser.builder_.GetSize()));
    flatbuffers::Verifier verifier(bfbs_.data(), bfbs_.size());
    EXPECT_TRUE(reflection::VerifySchemaBuffer(verifier));
  }

  const reflection::Schema& operator*() const { return *reflection::GetSchema(bfbs_.data()); }
  const reflection::Schema* get() const { return &**this; }
  Bytes bfbs() const { return bfbs_; }
  flatbuffers::Parser& parser() { return *parser_; }

 private:
  static flatbuffers::IDLOptions options(const std::string& text, bool builtins) {
    flatbuffers::IDLOptions options;
    // Strings in unions are for C++, default strings are not.
    if (text.find("string = ") == std::string::npos) options.lang_to_generate = flatbuffers::IDLOptions::kCpp;
    options.binary_schema_builtins = builtins;
    options.strict_json = true;
    return options;
  }

  std::unique_ptr<flatbuffers::Parser> parser_;
  Buffer bfbs_;
};

}  // namespace bus::test
