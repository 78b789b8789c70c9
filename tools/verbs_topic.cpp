// topic create|edit|rm|ls|info: what topics there are, and what they are to be.
#include <algorithm>
#include <map>
#include <memory>

#include "tools/cli.hpp"
#include "tools/retention_options.hpp"

namespace bus::tools {

namespace {

struct TopicVerb {
  std::string name;
  std::optional<std::string> description;
  std::vector<std::string> properties, without, types;
  bool all_types = false;
  RetentionOptions keeps;
};

// What else of a topic that was created or edited.
Json settings_json(const wire::TopicInfoT& topic) {
  Json properties = Json::object();
  if (topic.settings == nullptr) return {{"description", Json()}, {"properties", properties}, {"types", Json::array()}, {"created_at", Json()}};
  for (const auto& property : topic.settings->properties) properties[property->name] = property->value;
  return {{"description", topic.settings->description.empty() ? Json() : Json(topic.settings->description)}, {"properties", properties},
          {"types", topic.settings->types}, {"created_at", time_or_null(topic.created_at)}};
}

Json to_json(const wire::TopicInfoT& topic) {
  Json json = {{"topic", topic.name}, {"events", topic.events}, {"bytes", topic.bytes},
               {"first", topic.first}, {"last", topic.last}, {"last_at", time_or_null(topic.last_at)},
               {"removed_events", topic.removed_events}, {"removed_bytes", topic.removed_bytes},
               {"retention", topic.retention.empty() ? Json() : Json(topic.retention)}};
  json.update(settings_json(topic));
  return json;
}

wire::TopicsReplyT fetch(Client& client, const std::string& name) {
  wire::TopicsRequestT request;
  request.name = name;
  return ask<wire::TopicsReplyT>(client, std::move(request));
}

Exit print_topic(const Globals& globals, Client& client, const std::string& name) {
  const auto reply = fetch(client, name);
  auto json = to_json(*reply.topics.at(0));
  json["groups"] = reply.topics.front()->groups;
  print_object(globals.format, json);
  return Exit::ok;
}

Exit list(const Globals& globals, const TopicVerb&) {
  auto client = connect(globals);
  std::vector<Json> rows;
  ask_all<wire::TopicsReplyT>(client, wire::TopicsRequestT{}, [&](const auto& reply) {
    for (const auto& topic : reply.topics) rows.push_back(to_json(*topic));
  });
  std::sort(rows.begin(), rows.end(), [](const Json& a, const Json& b) { return a["topic"] < b["topic"]; });
  print_list(globals.format, {{"TOPIC", "topic"}, {"EVENTS", "events"}, {"BYTES", "bytes"}, {"FIRST", "first"}, {"LAST", "last"},
                              {"LAST AT", "last_at"}, {"DESCRIPTION", "description"}}, rows);
  return Exit::ok;
}

Exit info(const Globals& globals, const TopicVerb& options) {
  auto client = connect(globals);
  return print_topic(globals, client, options.name);
}

// ---- changes

void set_property(wire::TopicSettingsT& settings, const std::string& name, const std::string& value) {
  for (auto& property : settings.properties) {
    if (property->name == name) property->value = value;
    if (property->name == name) return;
  }
  auto& property = *settings.properties.emplace_back(std::make_unique<wire::TopicPropertyT>());
  property.name = name;
  property.value = value;
}

// The settings with what the options say changed.
void apply(const TopicVerb& options, wire::TopicSettingsT& settings) {
  if (options.description) settings.description = *options.description;
  for (const auto& text : options.properties) {
    const auto equals = text.find('=');
    if (equals == 0 || equals == std::string::npos || equals + 1 == text.size()) fail(Code::bad_argument, "--property is NAME=VALUE, not '" + text + "'");
    set_property(settings, text.substr(0, equals), text.substr(equals + 1));
  }
  for (const auto& name : options.without) {
    const auto removed = std::erase_if(settings.properties, [&](const auto& property) { return property->name == name; });
    if (removed == 0) fail(Code::not_found, "topic '" + options.name + "' has no property '" + name + "'");
  }
  if (options.all_types) settings.types.clear();
  if (!options.types.empty()) settings.types = options.types;
}

// The topic's own policy, if it has one, with what the options say changed.
std::unique_ptr<wire::RetentionPolicyT> edited_policy(Client& client, const TopicVerb& options) {
  auto policy = std::make_unique<wire::RetentionPolicyT>(options.keeps.policy(options.name));
  for (auto& known : ask<wire::RetentionReplyT>(client, wire::RetentionRequestT{}).policies) {
    if (known->policy->pattern == options.name) policy = std::move(known->policy);
  }
  options.keeps.apply(*policy);
  return policy;
}

Exit create(const Globals& globals, const TopicVerb& options) {
  wire::TopicCreateT question;
  question.settings = std::make_unique<wire::TopicSettingsT>();
  question.settings->name = options.name;
  apply(options, *question.settings);
  if (options.keeps.any()) question.retention = std::make_unique<wire::RetentionPolicyT>(options.keeps.policy(options.name));
  auto client = connect(globals);
  ask<wire::DoneT>(client, std::move(question));
  return print_topic(globals, client, options.name);
}

Exit edit(const Globals& globals, const TopicVerb& options) {
  auto client = connect(globals);
  auto before = fetch(client, options.name);
  auto& topic = *before.topics.at(0);
  wire::TopicEditT question;
  question.settings = topic.settings != nullptr ? std::move(topic.settings) : std::make_unique<wire::TopicSettingsT>();
  question.settings->name = options.name;
  apply(options, *question.settings);
  if (options.keeps.any()) question.retention = edited_policy(client, options);
  question.revision = topic.revision;
  ask<wire::DoneT>(client, std::move(question));
  return print_topic(globals, client, options.name);
}

Exit remove(const Globals& globals, const TopicVerb& options) {
  auto client = connect(globals);
  wire::TopicRemoveT question;
  question.name = options.name;
  ask<wire::DoneT>(client, std::move(question));
  print_object(globals.format, {{"topic", options.name}, {"removed", true}});
  return Exit::ok;
}

using TopicRun = Exit (*)(const Globals&, const TopicVerb&);

CLI::App& add_topic_verb(CLI::App& parent, Cli& cli, const std::string& name, const std::string& purpose, const std::string& example,
                         const std::shared_ptr<TopicVerb>& options, TopicRun run) {
  auto& verb = add_verb(parent, name, purpose, example);
  verb.callback([options, run, &cli] { cli.run = [options, run, &cli] { return run(cli.globals, *options); }; });
  return verb;
}

void add_settings(CLI::App& verb, TopicVerb& options) {
  verb.add_option("TOPIC", options.name, "its name")->required();
  verb.add_option("--description", options.description, "what its events are about, for people")->type_name("TEXT");
  add_list(verb, "--property", options.properties, "a property for people and programs, such as owner=clinic; may be given several times", "NAME=VALUE");
  add_list(verb, "--type", options.types, "admit only events of this type; may be given several times", "TYPE");
  add_retention_options(verb, options.keeps);
}

}  // namespace

void define_topic(CLI::App& app, Cli& cli) {
  auto& parent = add_verb(app, "topic", "what topics there are, and what they are to be", "bus-cli topic ls");
  parent.require_subcommand(1);
  const auto created = std::make_shared<TopicVerb>();
  add_settings(add_topic_verb(parent, cli, "create", "make a topic, with settings; how long its events are kept becomes a retention policy of its own",
                              "bus-cli topic create clinic.visits --type clinic.Visit --property owner=clinic --max-age 90d", created, create), *created);
  const auto edited = std::make_shared<TopicVerb>();
  auto& edit_verb = add_topic_verb(parent, cli, "edit", "change settings of a topic; what is not given stays", "bus-cli topic edit clinic.visits --description 'who came when'", edited, edit);
  add_settings(edit_verb, *edited);
  add_list(edit_verb, "--remove-property", edited->without, "a property that goes; may be given several times", "NAME");
  edit_verb.add_flag("--all-types", edited->all_types, "admit every type")->excludes("--type");
  const auto removed = std::make_shared<TopicVerb>();
  add_topic_verb(parent, cli, "rm", "remove a topic that has no events, with its settings and its own retention policy", "bus-cli topic rm clinic.visits", removed, remove)
      .add_option("TOPIC", removed->name, "its name")->required();
  add_topic_verb(parent, cli, "ls", "list topics with their events and bytes", "bus-cli topic ls -o json", std::make_shared<TopicVerb>(), list);
  const auto shown = std::make_shared<TopicVerb>();
  add_topic_verb(parent, cli, "info", "one topic, its settings, and the groups whose patterns match it", "bus-cli topic info health.data.updated", shown, info)
      .add_option("TOPIC", shown->name, "its name")->required();
}

}  // namespace bus::tools
