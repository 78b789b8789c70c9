// Which events of the log a verb goes through, as its options say.
#pragma once

#include <cstdint>
#include <optional>

#include "bus/client.hpp"
#include "tools/cli.hpp"

namespace bus::tools {

class Schemas;

struct RangeOptions {
  std::optional<At> from, to;
  Filter filter;
  std::uint64_t count = 0;               // 0: all

  // Types by their full names; from the start, up to `head`, where nothing else was said.
  ReplayOptions range(Schemas& schemas, Position head) const;
};
void add_range(CLI::App& verb, RangeOptions& options);

}  // namespace bus::tools
