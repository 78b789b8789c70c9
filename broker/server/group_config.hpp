// A consumer group as the settings file declares it: a table [group.NAME]. It is made when the broker starts, if it is not there,
// and else set to what the file says; what the file leaves out stays as it is. A pure value.
#pragma once

#include <toml++/toml.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "broker/core/filter.hpp"
#include "broker/core/payload_types.hpp"
#include "bus/result.hpp"

namespace bus::broker {

struct GroupConfig {
  std::string name;
  std::shared_ptr<const wire::GroupCreateT> what;
  std::vector<std::pair<std::string, std::string>> said;  // as the file has it, key and value
};

// Errors: bad_argument; the detail names key and reason, and `line` is where.
Result<GroupConfig> read_group(const std::string& name, const toml::table& table, std::uint32_t& line);
// The types it names, which may be last parts of names, become full ones. Errors: bad_argument; there is no such type, or several.
Result<void> resolve_types(GroupConfig& config, const PayloadTypes& types);

}  // namespace bus::broker
