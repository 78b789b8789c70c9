// The options that say how long events are kept: of `retention set`, and of topics.
#pragma once

#include <optional>
#include <string>

#include "tools/cli.hpp"

namespace bus::tools {

struct RetentionOptions {
  std::optional<Duration> max_age, latest_after;
  std::uint64_t max_bytes = 0, max_events = 0;
  bool latest_per_key = false, past_groups = false;

  // One of them was given.
  bool any() const { return max_age || latest_after || max_bytes > 0 || max_events > 0 || latest_per_key || past_groups; }
  wire::RetentionPolicyT policy(const std::string& pattern) const;
  // Those that were given take the place of what the policy has.
  void apply(wire::RetentionPolicyT& policy) const;
};

// The options live longer than the verb.
void add_retention_options(CLI::App& verb, RetentionOptions& options);

}  // namespace bus::tools
