// One case for every way in which a rule breaks something, or nothing: a schema before and after, and the one change between
// them. docs/SCHEMAS.md has exactly these harms, and the tests of payloads prove them.
#pragma once

#include <span>
#include <string>

#include "broker/core/schema_compatibility.hpp"

namespace bus::test {

struct SchemaCase {
  broker::Rule rule;
  broker::Harms harms;
  std::string before;  // with root table T, unless it says otherwise
  std::string after;
  std::string type;    // what the change is about
  std::string member;
};

std::span<const SchemaCase> schema_cases();

}  // namespace bus::test
