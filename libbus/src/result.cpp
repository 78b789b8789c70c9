#include "bus/result.hpp"

namespace bus {

std::string describe(const Error& error) {
  std::string text = EnumNameCode(error.code);
  if (text.empty()) text = "code " + std::to_string(static_cast<unsigned>(error.code));
  return error.detail.empty() ? text : text + ": " + error.detail;
}

}  // namespace bus
