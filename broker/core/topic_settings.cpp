#include "broker/core/topic_settings.hpp"

#include <algorithm>

#include "base/limits.hpp"
#include "broker/core/io.hpp"

namespace bus::broker {

namespace {

Error too_long_in_topic(const std::string& what, std::size_t most) { return {Code::bad_settings, what + " of a topic has 1 to " + std::to_string(most) + " bytes"}; }
Error too_many_in_topic(const std::string& what, std::size_t most) { return {Code::bad_settings, "a topic has at most " + std::to_string(most) + " " + what}; }

std::string encode(const TopicSettings& settings) {
  Writer writer;
  writer.put(static_cast<std::uint8_t>(settings.removed)).put(settings.revision).put(nanoseconds(settings.created_at)).put_string(settings.description);
  writer.put(static_cast<std::uint16_t>(settings.properties.size()));
  for (const auto& [name, value] : settings.properties) writer.put_string(name).put_string(value);
  writer.put(static_cast<std::uint16_t>(settings.types.size()));
  for (const auto& type : settings.types) writer.put_string(type);
  return writer.take();
}

}  // namespace

Result<void> TopicSettings::check() const {
  if (description.size() > limits::description_bytes_max) return Error{Code::bad_settings, "the description of a topic has at most " + std::to_string(limits::description_bytes_max) + " bytes"};
  if (properties.size() > limits::topic_properties_max) return too_many_in_topic("properties", limits::topic_properties_max);
  for (const auto& [name, value] : properties) {
    if (name.empty() || name.size() > limits::property_name_bytes_max) return too_long_in_topic("the name of a property", limits::property_name_bytes_max);
    if (value.empty() || value.size() > limits::description_bytes_max) return too_long_in_topic("the value of property '" + name + "'", limits::description_bytes_max);
  }
  if (types.size() > limits::topic_types_max) return too_many_in_topic("types that it admits", limits::topic_types_max);
  return {};
}

std::size_t TopicSettings::bytes() const { return encode(*this).size(); }

bool TopicSettings::admits(std::string_view type) const { return types.empty() || std::binary_search(types.begin(), types.end(), type); }

Result<void> TopicTable::restore_row(std::string_view topic, std::string_view value) {
  Reader reader(value);
  TopicSettings settings;
  settings.removed = reader.get<std::uint8_t>() != 0;
  settings.revision = reader.get<std::uint32_t>();
  settings.created_at = wall_time(reader.get<std::int64_t>());
  settings.description = reader.get_string();
  for (auto left = reader.get<std::uint16_t>(); left > 0 && reader.ok(); --left) {
    std::string name(reader.get_string());
    settings.properties.insert_or_assign(std::move(name), reader.get_string());
  }
  for (auto left = reader.get<std::uint16_t>(); left > 0 && reader.ok(); --left) settings.types.emplace_back(reader.get_string());
  if (!reader.done() || !settings.check() || !std::is_sorted(settings.types.begin(), settings.types.end())) return bad_row("topic_settings");
  add(std::string(topic), std::move(settings), value.size());
  return {};
}

void TopicTable::add(const std::string& topic, TopicSettings settings, std::size_t bytes) {
  bytes_ += bytes;
  if (!settings.removed) ++count_;
  settings_.insert_or_assign(topic, std::move(settings));
  known_.clear();
}

void TopicTable::take_out(std::string_view topic) {
  const auto it = settings_.find(topic);
  if (it == settings_.end()) return;
  bytes_ -= it->second.bytes();
  if (!it->second.removed) --count_;
  settings_.erase(it);
  known_.clear();
}

store::Row TopicTable::put(const std::string& topic, TopicSettings settings) {
  take_out(topic);
  store::Row row{store::Table::topic_settings, topic, encode(settings)};
  add(topic, std::move(settings), row.value->size());
  return row;
}

store::Row TopicTable::erase(const std::string& topic) {
  take_out(topic);
  return {store::Table::topic_settings, topic, std::nullopt};
}

const TopicSettings* TopicTable::find(std::string_view topic) const {
  const auto it = settings_.find(topic);
  return it == settings_.end() ? nullptr : &it->second;
}

bool TopicTable::exists(std::string_view topic) const {
  const auto* settings = find(topic);
  if (settings != nullptr && !settings->removed) return true;
  const auto number = state_.topics.find(topic);
  if (!number) return false;
  const TopicData& data = state_.topics[*number];
  return data.events > (settings != nullptr ? data.removed_events : 0);
}

const TopicSettings* TopicTable::of(std::uint32_t number, std::string_view topic) {
  if (number == 0) return find(topic);
  if (number >= known_.size()) known_.resize(number + 1);
  Known& known = known_[number];
  if (!known.looked_up) known = {true, find(topic)};
  return known.settings;
}

Result<void> TopicTable::admit(std::uint32_t number, std::string_view topic, std::string_view type) {
  if (settings_.empty() && auto_create_) return {};
  const TopicSettings* settings = of(number, topic);
  if (!auto_create_ && (settings == nullptr || settings->removed) && !exists(topic)) {
    return Error{Code::unknown_topic, "there is no topic '" + std::string(topic) + "', and busd is set to make none by itself (auto_create_topics); create it with bus-cli topic create"};
  }
  if (settings == nullptr || settings->admits(type)) return {};
  return Error{Code::type_not_admitted, "topic '" + std::string(topic) + "' does not admit type " + std::string(type.substr(0, 128)) + ", only " + settings->types.front() +
                                            (settings->types.size() > 1 ? " and " + std::to_string(settings->types.size() - 1) + " more" : "")};
}

}  // namespace bus::broker
