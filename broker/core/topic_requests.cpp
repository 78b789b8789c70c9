#include "broker/core/topic_requests.hpp"

#include <algorithm>

#include "wire/event_codec.hpp"

namespace bus::broker {

namespace {

std::unique_ptr<wire::TopicSettingsT> to_wire(const std::string& name, const TopicSettings& settings) {
  auto wire = std::make_unique<wire::TopicSettingsT>();
  wire->name = name;
  wire->description = settings.description;
  for (const auto& [property, value] : settings.properties) {
    auto& one = *wire->properties.emplace_back(std::make_unique<wire::TopicPropertyT>());
    one.name = property;
    one.value = value;
  }
  wire->types = settings.types;
  return wire;
}

std::size_t info_bytes(const wire::TopicInfoT& info) {
  std::size_t bytes = info.name.size() + info.retention.size() + 160;
  for (const auto& group : info.groups) bytes += group.size() + 8;
  if (info.settings == nullptr) return bytes;
  bytes += info.settings->name.size() + info.settings->description.size();
  for (const auto& property : info.settings->properties) bytes += property->name.size() + property->value.size() + 32;
  for (const auto& type : info.settings->types) bytes += type.size() + 8;
  return bytes;
}

}  // namespace

bool TopicRequests::receive(Asker to, const wire::Request& message, Now now) {
  switch (message.ask_type()) {
    case wire::Ask::TopicsRequest: list(to, *message.ask_as_TopicsRequest()); break;
    case wire::Ask::TopicCreate: create(to, *message.ask_as_TopicCreate(), now); break;
    case wire::Ask::TopicEdit: edit(to, *message.ask_as_TopicEdit(), now); break;
    case wire::Ask::TopicRemove: remove(to, *message.ask_as_TopicRemove(), now); break;
    default: return false;
  }
  return true;
}

// ---- which there are

std::unique_ptr<wire::TopicInfoT> TopicRequests::info_of(const std::string& name, const TopicData& data) const {
  auto info = std::make_unique<wire::TopicInfoT>();
  info->name = name;
  info->events = data.events - data.removed_events;
  info->bytes = data.bytes - data.removed_bytes;
  info->removed_events = data.removed_events;
  info->removed_bytes = data.removed_bytes;
  if (const auto* policy = retention_.policies().policy_of(name)) info->retention = policy->pattern;
  info->first = info->events > 0 ? number(data.first) : 0;
  info->last = number(data.last);
  info->last_at = nanoseconds(data.last_at);
  const auto* settings = topics_.find(name);
  if (settings == nullptr || settings->removed) return info;
  info->settings = to_wire(name, *settings);
  info->revision = settings->revision;
  info->created_at = nanoseconds(settings->created_at);
  return info;
}

void TopicRequests::tell(Asker to, const std::string& name) {
  if (!topics_.exists(name)) return answers_.refuse(to, {Code::not_found, "there is no topic '" + name.substr(0, limits::topic_bytes_max) + "'"});
  const auto known = state_.topics.find(name);
  auto info = info_of(name, known ? state_.topics[*known] : TopicData());
  for (const auto& [group, source] : delivery_.groups()) {
    if (info->groups.size() == limits::member_names_max) break;
    if (source->filter.matches_topic(name)) info->groups.push_back(group);
  }
  wire::TopicsReplyT reply;
  reply.topics.push_back(std::move(info));
  answers_.answer(to, std::move(reply));
}

// By their numbers, then those that had none by then by their names: so each that is there all the time is told once, whatever is made
// and removed between two parts.
void TopicRequests::list(Asker to, const wire::TopicsRequest& ask) {
  if (ask.name() != nullptr) return tell(to, ask.name()->str());
  wire::TopicsReplyT reply;
  reply.more = ask.after();
  std::size_t bytes = 0;
  const auto fits = [&](const std::string& name, const TopicData& data) {
    if (bytes > limits::reply_bytes_target) return false;
    bytes += info_bytes(*reply.topics.emplace_back(info_of(name, data)));
    return true;
  };
  const std::string after = flatbuffers::GetString(ask.after_name());
  while (after.empty() && reply.more < state_.topics.size()) {
    const auto number = reply.more + 1;
    const std::string& name = state_.topics.name(number);
    if (topics_.exists(name) && !fits(name, state_.topics[number])) return answers_.answer(to, std::move(reply));
    reply.more = number;
  }
  for (auto it = topics_.all().upper_bound(after); it != topics_.all().end(); ++it) {
    const auto& [name, settings] = *it;
    const auto number = state_.topics.find(name).value_or(0);
    const bool is_told = number != 0 && number <= reply.more;
    if (is_told || settings.removed) continue;
    if (!fits(name, number != 0 ? state_.topics[number] : TopicData())) return answers_.answer(to, std::move(reply));
    reply.more_name = name;
  }
  reply.more = 0;
  reply.more_name.clear();
  answers_.answer(to, std::move(reply));
}

// ---- changes

// Error: bad_settings, unknown_type, bad_argument (several types have the name).
Result<TopicSettings> TopicRequests::settings_of(const wire::TopicSettings* wire) const {
  TopicSettings settings;
  if (wire == nullptr) return Error{Code::bad_request, "the settings of the topic are missing"};
  if (auto good = wire::check_topic(flatbuffers::GetString(wire->name())); !good) return good.error();
  settings.description = flatbuffers::GetString(wire->description());
  wire::TopicSettingsT given;
  wire->UnPackTo(&given);
  for (auto& property : given.properties) {
    if (settings.properties.contains(property->name)) return Error{Code::bad_settings, "property '" + property->name.substr(0, limits::property_name_bytes_max) + "' is there twice"};
    settings.properties.emplace(std::move(property->name), std::move(property->value));
  }
  if (given.types.size() > limits::topic_types_max) return TopicSettings{.types = std::move(given.types)}.check().error();
  for (const auto& type : given.types) {
    auto full = types_.full_name(type.substr(0, limits::text_bytes_max));
    if (!full) return full.error();
    settings.types.push_back(std::move(*full));
  }
  std::sort(settings.types.begin(), settings.types.end());
  settings.types.erase(std::unique(settings.types.begin(), settings.types.end()), settings.types.end());
  if (auto good = settings.check(); !good) return good.error();
  return settings;
}

// May it have settings, which it has not yet?
Result<void> TopicRequests::admit(const std::string& topic) const {
  const auto* known = topics_.find(topic);
  const bool is_full = (known == nullptr || known->removed) && topics_.count() >= limits::topic_settings_max;
  if (!is_full && topics_.bytes() < limits::topic_settings_bytes_max) return {};
  return Error{Code::too_many_topics, "the broker keeps settings of at most " + std::to_string(limits::topic_settings_max) + " topics, and of all of them together " +
                                          std::to_string(limits::topic_settings_bytes_max) + " bytes"};
}

void TopicRequests::put(const std::string& topic, TopicSettings settings, const wire::RetentionPolicy* retention, Asker to, Now now) {
  if (auto fits = admit(topic); !fits) return answers_.refuse(to, fits.error());
  if (auto room = intake_.admit_rows(settings.bytes() + 2 * topic.size()); !room) return answers_.refuse(to, room.error());
  if (retention != nullptr) {
    auto policy = retention_.admit(retention, topic);
    if (!policy) return answers_.refuse(to, policy.error());
    retention_.put(std::move(*policy), now);
  }
  ++settings.revision;
  stage(to, topics_.put(topic, std::move(settings)));
}

void TopicRequests::stage(Asker to, store::Row row) {
  if (row.value) staging_.add_bytes(row.value->size());
  staging_.put_row(std::move(row));
  answers_.answer(to, wire::DoneT());
}

void TopicRequests::create(Asker to, const wire::TopicCreate& ask, Now now) {
  auto settings = settings_of(ask.settings());
  if (!settings) return answers_.refuse(to, settings.error());
  const auto topic = ask.settings()->name()->str();
  const auto* before = topics_.find(topic);
  if (before != nullptr && !before->removed) return answers_.refuse(to, {Code::conflict, "topic '" + topic + "' is there already; change it with bus-cli topic edit"});
  settings->created_at = now.wall;
  put(topic, std::move(*settings), ask.retention(), to, now);
}

void TopicRequests::edit(Asker to, const wire::TopicEdit& ask, Now now) {
  auto settings = settings_of(ask.settings());
  if (!settings) return answers_.refuse(to, settings.error());
  const auto topic = ask.settings()->name()->str();
  if (!topics_.exists(topic)) return answers_.refuse(to, {Code::not_found, "there is no topic '" + topic + "'; create it with bus-cli topic create"});
  const auto* before = topics_.find(topic);
  const auto revision = before != nullptr && !before->removed ? before->revision : 0;
  if (ask.revision() && *ask.revision() != revision) {
    return answers_.refuse(to, {Code::conflict, "topic '" + topic + "' was changed meanwhile: its settings are at revision " + std::to_string(revision) + "; look at them, and try again"});
  }
  settings->revision = revision;
  if (revision != 0) settings->created_at = before->created_at;
  put(topic, std::move(*settings), ask.retention(), to, now);
}

void TopicRequests::remove(Asker to, const wire::TopicRemove& ask, Now now) {
  const auto topic = flatbuffers::GetString(ask.name());
  if (!topics_.exists(topic)) return answers_.refuse(to, {Code::not_found, "there is no topic '" + topic.substr(0, limits::topic_bytes_max) + "'"});
  const auto known = state_.topics.find(topic);
  const auto left = known ? state_.topics[*known].events - state_.topics[*known].removed_events : 0;
  if (left > 0) {
    return answers_.refuse(to, {Code::conflict, "topic '" + topic + "' still has " + std::to_string(left) +
                                                    " events, and removing it would hide them; have retention remove them first: bus-cli retention set " + topic + " --max-age 1s, then bus-cli retention run"});
  }
  if (intake_.holds_topic(topic) || (known && staging_.holds_topic(*known))) {
    return answers_.refuse(to, {Code::conflict, "topic '" + topic + "' has events that are being stored just now, and removing it would hide them"});
  }
  retention_.erase(topic, now);
  if (!known) return stage(to, topics_.erase(topic));
  TopicSettings removed;
  removed.removed = true;
  stage(to, topics_.put(topic, std::move(removed)));
}

}  // namespace bus::broker
