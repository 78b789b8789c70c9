#include "tools/group_options.hpp"

#include <charconv>

#include "tools/position.hpp"

namespace bus::tools {

namespace {

Result<std::optional<std::uint32_t>> parse_number(const std::string& text) {
  std::uint32_t value = 0;
  const auto [after, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error == std::errc{} && after == text.data() + text.size() && value < GroupSettings::unlimited) return std::optional(value);
  return Error{Code::bad_argument, "'" + text + "' is no number" + (error == std::errc::result_out_of_range ? " that fits" : "")};
}

// N, or the word for no limit.
CLI::Option* add_limit(CLI::App& verb, const std::string& name, std::optional<std::uint32_t>& into, const std::string& word, const std::string& help) {
  const auto parse = [word](const std::string& text) -> Result<std::optional<std::uint32_t>> {
    if (text == word) return std::optional(GroupSettings::unlimited);
    return parse_number(text);
  };
  return add_parsed(verb, name, into, parse, help, "N|" + word);
}

// What fits into the protocol; whether it makes sense, the broker says.
CLI::Option* add_setting(CLI::App& verb, const std::string& name, std::optional<Duration>& into, const std::string& help) {
  const auto parse = [name](const std::string& text) -> Result<std::optional<Duration>> {
    const auto duration = parse_duration(text);
    if (!duration) return duration.error();
    if (*duration / std::chrono::milliseconds(1) > std::numeric_limits<std::uint32_t>::max()) return Error{Code::bad_argument, name + " is longer than 49 days"};
    return std::optional(*duration);
  };
  return add_parsed(verb, name, into, parse, help, "DURATION");
}

template <typename T>
void add_word(CLI::App& verb, const std::string& name, std::optional<T>& into, const std::vector<std::pair<std::string, T>>& words, const std::string& help) {
  std::vector<std::pair<std::string, std::optional<T>>> choices(words.begin(), words.end());
  add_choice(verb, name, into, choices, help);
}

const std::vector<std::pair<std::string, wire::Sharing>> sharings = {{"round_robin", wire::Sharing::round_robin},
                                                                     {"least_in_flight", wire::Sharing::least_in_flight},
                                                                     {"exclusive", wire::Sharing::exclusive},
                                                                     {"key_ordered", wire::Sharing::key_ordered}};
const std::vector<std::pair<std::string, wire::Backoff>> backoffs = {
    {"fixed", wire::Backoff::fixed}, {"linear", wire::Backoff::linear}, {"exponential", wire::Backoff::exponential}};
const std::vector<std::pair<std::string, wire::DeadLetterPolicy>> policies = {
    {"park", wire::DeadLetterPolicy::park}, {"stop_key", wire::DeadLetterPolicy::stop_key}, {"skip", wire::DeadLetterPolicy::skip}};

Json limit_to_json(const std::optional<std::uint32_t>& limit) {
  return !limit || *limit == GroupSettings::unlimited ? Json() : Json(*limit);
}

}  // namespace

void add_group_settings(CLI::App& verb, GroupSettings& settings) {
  add_word(verb, "--sharing", settings.sharing, sharings, "who gets the next event");
  add_setting(verb, "--ack-wait", settings.ack_wait, "an attempt that is not acknowledged by then has failed");
  add_parsed(verb, "--in-flight-max", settings.in_flight_max, parse_number, "events out to all members together", "N");
  add_limit(verb, "--member-in-flight-max", settings.member_in_flight_max, "unlimited", "events out to each member");
  add_limit(verb, "--attempts-max", settings.attempts_max, "unlimited", "failures after which the group gives up");
  add_word(verb, "--backoff", settings.backoff, backoffs, "how the delay before the next attempt grows");
  add_setting(verb, "--retry-delay", settings.retry_delay, "delay after the first failure");
  add_setting(verb, "--retry-delay-max", settings.retry_delay_max, "no delay is longer");
  add_parsed(verb, "--jitter", settings.jitter_percent, parse_number, "percent of the delay, more or less at random", "PERCENT");
  add_word(verb, "--dead-letter", settings.dead_letter, policies, "what becomes of an event that is given up");
}

bool is_empty(const GroupSettings& settings) {
  return !settings.sharing && !settings.ack_wait && !settings.in_flight_max && !settings.member_in_flight_max && !settings.attempts_max &&
         !settings.backoff && !settings.retry_delay && !settings.retry_delay_max && !settings.jitter_percent && !settings.dead_letter &&
         !settings.paused;
}

Json settings_to_json(const wire::GroupSettingsT& settings) {
  return {{"sharing", wire::EnumNameSharing(settings.sharing.value_or(wire::Sharing::round_robin))},
          {"ack_wait_ms", settings.ack_wait_ms.value_or(0)},
          {"in_flight_max", settings.in_flight_max.value_or(0)},
          {"member_in_flight_max", limit_to_json(settings.member_in_flight_max)},
          {"attempts_max", limit_to_json(settings.attempts_max)},
          {"backoff", wire::EnumNameBackoff(settings.backoff.value_or(wire::Backoff::fixed))},
          {"retry_delay_ms", settings.retry_delay_ms.value_or(0)},
          {"retry_delay_max_ms", settings.retry_delay_max_ms.value_or(0)},
          {"jitter_percent", settings.jitter_percent.value_or(0)},
          {"dead_letter", wire::EnumNameDeadLetterPolicy(settings.dead_letter.value_or(wire::DeadLetterPolicy::park))},
          {"paused", settings.paused.value_or(false)}};
}

}  // namespace bus::tools
