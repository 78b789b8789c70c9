// A consumer group as the settings file declares it: a table [group.NAME]. It is made when the broker starts, if it is not there,
// and else set to what the file says; what the file leaves out stays as it is. A pure value.
#pragma once

#include <toml++/toml.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "broker/core/filter.hpp"
#include "bus/result.hpp"

namespace bus::broker {

struct GroupConfig {
  std::string name;
  std::shared_ptr<const wire::GroupCreateT> what;
  std::vector<std::pair<std::string, std::string>> said;  // as the file has it, key and value
};

// Errors: bad_argument; the detail names key and reason, and `line` is where.
Result<GroupConfig> read_group(const std::string& name, const toml::table& table, std::uint32_t& line);

}  // namespace bus::broker
