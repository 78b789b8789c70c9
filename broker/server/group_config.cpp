#include "broker/server/group_config.hpp"

#include <charconv>
#include <limits>
#include <map>
#include <optional>
#include <sstream>

#include "broker/core/delivery.hpp"
#include "wire/event_codec.hpp"

namespace bus::broker {

namespace {

Error wrong(std::string reason) { return {Code::bad_argument, std::move(reason)}; }

using Texts = std::vector<std::string>;

// One text, or a list of them.
std::optional<Texts> texts_of(const toml::node& node) {
  if (const auto* text = node.as_string()) return Texts{text->get()};
  const auto* list = node.as_array();
  if (list == nullptr) return std::nullopt;
  Texts texts;
  for (const auto& item : *list) {
    if (!item.is_string()) return std::nullopt;
    texts.push_back(item.as_string()->get());
  }
  return texts;
}

Result<void> take(const toml::node& node, Texts& into) {
  auto texts = texts_of(node);
  if (!texts) return wrong("must be a string or a list of strings");
  into = std::move(*texts);
  return {};
}

Result<void> take(const toml::node& node, std::optional<bool>& into) {
  if (!node.is_boolean()) return wrong("must be true or false");
  into = node.as_boolean()->get();
  return {};
}

// A number, or the word for no limit where there may be none.
Result<void> take_number(const toml::node& node, bool may_be_unlimited, std::optional<std::uint32_t>& into) {
  if (const auto* text = node.as_string(); text != nullptr && may_be_unlimited && text->get() == "unlimited") {
    into = GroupSettings::unlimited;
    return {};
  }
  const auto* number = node.as_integer();
  if (number == nullptr || number->get() < 0 || number->get() >= std::int64_t{GroupSettings::unlimited}) {
    return wrong(std::string("must be a number") + (may_be_unlimited ? " or \"unlimited\"" : ""));
  }
  into = static_cast<std::uint32_t>(number->get());
  return {};
}

// "30s": a number and its unit.
Result<void> take_duration(const toml::node& node, std::optional<std::uint32_t>& into) {
  const std::map<std::string, std::uint64_t> units = {{"ms", 1}, {"s", 1000}, {"m", 60'000}, {"h", 3'600'000}, {"d", 86'400'000}};
  const auto* text = node.as_string();
  const std::string value = text != nullptr ? text->get() : "";
  std::uint64_t count = 0;
  const auto [after, error] = std::from_chars(value.data(), value.data() + value.size(), count);
  const auto unit = units.find(std::string(after, value.data() + value.size()));
  if (error != std::errc{} || unit == units.end()) return wrong("must be a time such as \"500ms\", \"30s\", \"5m\", \"2h\" or \"7d\"");
  if (count > std::numeric_limits<std::uint32_t>::max() / unit->second) return wrong("is too long");
  into = static_cast<std::uint32_t>(count * unit->second);
  return {};
}

// One of the words of an enumeration of the protocol.
template <typename Enum, std::size_t size>
Result<Enum> word(const std::string& text, const Enum (&values)[size], const char* (*name)(Enum)) {
  std::string known;
  for (const Enum value : values) {
    if (text == name(value)) return value;
    known += std::string(known.empty() ? "" : ", ") + name(value);
  }
  return wrong("must be one of " + known + ", not '" + text + "'");
}

template <typename Enum, std::size_t size, typename Into>
Result<void> take_word(const toml::node& node, const Enum (&values)[size], const char* (*name)(Enum), Into& into) {
  const auto* text = node.as_string();
  const auto value = word(text != nullptr ? text->get() : "", values, name);
  if (!value) return value.error();
  into = *value;
  return {};
}

Result<void> take_priorities(const toml::node& node, std::vector<wire::Priority>& into) {
  Texts texts;
  if (auto taken = take(node, texts); !taken) return taken;
  for (const auto& text : texts) {
    const auto priority = word(text, wire::EnumValuesPriority(), wire::EnumNamePriority);
    if (!priority) return priority.error();
    into.push_back(*priority);
  }
  return {};
}

// { ward = ["3", "4"], urgent = true }: one of these values, or just there.
Result<void> take_attributes(const toml::node& node, wire::FilterT& filter) {
  const auto* table = node.as_table();
  if (table == nullptr) return wrong("must be a table of names with a value, a list of values, or true for any");
  for (const auto& [name, value] : *table) {
    auto attribute = std::make_unique<wire::AttributeFilterT>();
    attribute->name = name.str();
    const bool is_any = value.is_boolean() && value.as_boolean()->get();
    if (auto taken = is_any ? Result<void>() : take(value, attribute->values); !taken) return taken;
    filter.attributes.push_back(std::move(attribute));
  }
  return {};
}

Result<void> take(const std::string& key, const toml::node& node, wire::GroupCreateT& group) {
  auto& settings = *group.settings;
  auto& filter = *group.filter;
  if (key == "topics") return take(node, filter.patterns);
  if (key == "types") return take(node, filter.types);
  if (key == "keys") return take(node, filter.keys);
  if (key == "priorities") return take_priorities(node, filter.priorities);
  if (key == "attributes") return take_attributes(node, filter);
  if (key == "from") {
    constexpr wire::Start places[] = {wire::Start::start, wire::Start::end};
    return take_word(node, places, wire::EnumNameStart, group.from);
  }
  if (key == "sharing") return take_word(node, wire::EnumValuesSharing(), wire::EnumNameSharing, settings.sharing);
  if (key == "ack_wait") return take_duration(node, settings.ack_wait_ms);
  if (key == "in_flight_max") return take_number(node, false, settings.in_flight_max);
  if (key == "member_in_flight_max") return take_number(node, true, settings.member_in_flight_max);
  if (key == "attempts_max") return take_number(node, true, settings.attempts_max);
  if (key == "backoff") return take_word(node, wire::EnumValuesBackoff(), wire::EnumNameBackoff, settings.backoff);
  if (key == "retry_delay") return take_duration(node, settings.retry_delay_ms);
  if (key == "retry_delay_max") return take_duration(node, settings.retry_delay_max_ms);
  if (key == "jitter") return take_number(node, false, settings.jitter_percent);
  if (key == "dead_letter") return take_word(node, wire::EnumValuesDeadLetterPolicy(), wire::EnumNameDeadLetterPolicy, settings.dead_letter);
  if (key == "paused") return take(node, settings.paused);
  return wrong("there is no such setting of a group; known are topics, types, keys, priorities, attributes, from, sharing, ack_wait, in_flight_max, "
               "member_in_flight_max, attempts_max, backoff, retry_delay, retry_delay_max, jitter, dead_letter, paused");
}

}  // namespace

Result<GroupConfig> read_group(const std::string& name, const toml::table& table, std::uint32_t& line) {
  GroupConfig config{name, nullptr, {}};
  auto group = std::make_shared<wire::GroupCreateT>();
  group->name = name;
  group->from = wire::Start::start;
  group->settings = std::make_unique<wire::GroupSettingsT>();
  group->filter = std::make_unique<wire::FilterT>();
  for (const auto& [key, node] : table) {
    line = node.source().begin.line;
    if (auto taken = take(std::string(key.str()), node, *group); !taken) return wrong(std::string(key.str()) + ": " + taken.error().detail);
    std::ostringstream text;
    text << toml::node_view(node);
    config.said.emplace_back(key.str(), text.str());
  }
  const wire::FilterT& filter = *group->filter;
  const bool has_filter = !filter.patterns.empty() || !filter.types.empty() || !filter.keys.empty() || !filter.priorities.empty() || !filter.attributes.empty();
  if (!has_filter) group->filter.reset();
  line = table.source().begin.line;
  if (auto good = Delivery::check(*group); !good) return wrong(good.error().detail);
  config.what = std::move(group);
  return config;
}

Result<void> resolve_types(GroupConfig& config, const PayloadTypes& types) {
  if (config.what->filter == nullptr || config.what->filter->types.empty()) return {};
  auto group = std::make_shared<wire::GroupCreateT>(*config.what);
  for (auto& type : group->filter->types) {
    auto full = types.full_name(type);
    if (!full) return wrong("group." + config.name + ": types: " + full.error().detail);
    type = std::move(*full);
  }
  config.what = std::move(group);
  return {};
}

}  // namespace bus::broker
