#include "tools/retention_options.hpp"

#include <charconv>
#include <utility>

namespace bus::tools {

namespace {

// "10GiB".
Result<std::uint64_t> parse_size(const std::string& text) {
  constexpr std::pair<std::string_view, std::uint64_t> units[] = {{"", 1}, {"KiB", 1ull << 10}, {"MiB", 1ull << 20}, {"GiB", 1ull << 30}, {"TiB", 1ull << 40}};
  std::uint64_t count = 0;
  const char* end = text.data() + text.size();
  const auto [after, error] = std::from_chars(text.data(), end, count);
  for (const auto& [unit, bytes] : units) {
    if (error == std::errc{} && count > 0 && std::string_view(after, end) == unit && count <= ~std::uint64_t{0} / bytes) return count * bytes;
  }
  return Error{Code::bad_argument, "'" + text + "' is not a number of bytes, such as 1000000, 512MiB or 10GiB"};
}

}  // namespace

wire::RetentionPolicyT RetentionOptions::policy(const std::string& pattern) const {
  wire::RetentionPolicyT policy;
  policy.pattern = pattern;
  apply(policy);
  return policy;
}

void RetentionOptions::apply(wire::RetentionPolicyT& policy) const {
  if (max_age) policy.max_age_ms = static_cast<std::uint64_t>(*max_age / std::chrono::milliseconds(1));
  if (max_bytes > 0) policy.max_bytes = max_bytes;
  if (max_events > 0) policy.max_events = max_events;
  if (latest_per_key) policy.latest_per_key = true;
  if (latest_after) policy.latest_after_ms = static_cast<std::uint64_t>(*latest_after / std::chrono::milliseconds(1));
  if (past_groups) policy.past_groups = true;
}

void add_retention_options(CLI::App& verb, RetentionOptions& options) {
  add_duration(verb, "--max-age", options.max_age, "not longer than this after the commit");
  add_parsed(verb, "--max-bytes", options.max_bytes, parse_size, "the last so many bytes, of all these topics together", "SIZE");
  add_number(verb, "--max-events", options.max_events, "the last so many events, of all these topics together");
  verb.add_flag("--latest-per-key", options.latest_per_key, "of each key only its last event here, and all that have no key");
  add_duration(verb, "--latest-after", options.latest_after, "and that once the last one is as old as this");
  verb.add_flag("--past-groups", options.past_groups, "also events that a group has not settled; else those are kept");
}

}  // namespace bus::tools
