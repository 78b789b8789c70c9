// `saga ls` and `saga stuck`.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "tools/cli.hpp"

namespace bus::tools {

struct SagaListVerb {
  std::string definition, step, user, state_file;
  std::vector<std::string> states;
  std::optional<Duration> older_than, longer_than;
  std::uint64_t limit = 1000;
};

Exit list_sagas(const Globals& globals, const SagaListVerb& options);
Exit list_stuck_sagas(const Globals& globals, const SagaListVerb& options);

}  // namespace bus::tools
