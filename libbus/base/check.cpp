#include "base/check.hpp"

#include <cstdio>
#include <cstdlib>

namespace bus {

void check_failed(const char* what, const char* file, int line) {
  std::fprintf(stderr, "bug: %s does not hold at %s:%d; stopping\n", what, file, line);
  std::abort();
}

}  // namespace bus
