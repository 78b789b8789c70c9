// topic, group and status: what the broker knows.
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <memory>

#include "tools/cli.hpp"
#include "tools/position.hpp"

namespace bus::tools {

namespace {

// Times that are not known are null.
Json time_or_null(std::int64_t time) { return time == 0 ? Json() : Json(show_time(wall_time(time))); }

// ---- topics

Json to_json(const wire::TopicInfoT& topic) {
  return {{"topic", topic.name}, {"events", topic.events}, {"bytes", topic.bytes},
          {"first", topic.first}, {"last", topic.last}, {"last_at", time_or_null(topic.last_at)}};
}

// What a request by name tells of the one that has it.
template <typename Reply, typename Request>
Reply ask_for(const Globals& globals, const std::string& name) {
  auto client = connect(globals);
  Request request;
  request.name = name;
  return ask<Reply>(client, std::move(request));
}

Exit list_topics(const Globals& globals) {
  auto client = connect(globals);
  std::vector<Json> rows;
  ask_all<wire::TopicsReplyT>(client, wire::TopicsRequestT{}, [&](const auto& reply) {
    for (const auto& topic : reply.topics) rows.push_back(to_json(*topic));
  });
  std::sort(rows.begin(), rows.end(), [](const Json& a, const Json& b) { return a["topic"] < b["topic"]; });
  print_list(globals.format, {{"TOPIC", "topic"}, {"EVENTS", "events"}, {"BYTES", "bytes"}, {"FIRST", "first"}, {"LAST", "last"},
                              {"LAST AT", "last_at"}}, rows);
  return Exit::ok;
}

Exit show_topic(const Globals& globals, const std::string& name) {
  const auto reply = ask_for<wire::TopicsReplyT, wire::TopicsRequestT>(globals, name);
  auto json = to_json(*reply.topics.at(0));
  json["groups"] = reply.topics.front()->groups;
  print_object(globals.format, json);
  return Exit::ok;
}

// ---- groups

Json to_json(const wire::GroupInfoT& group) {
  return {{"group", group.name}, {"patterns", group.patterns}, {"types", group.types}, {"keys", group.keys},
          {"members", group.members}, {"lag", group.lag}, {"floor", group.floor}, {"delivered", group.delivered},
          {"committed", group.committed}, {"open", group.open}, {"in_flight", group.in_flight}, {"acked", group.acked},
          {"redeliveries", group.redeliveries}, {"stale_acks", group.stale_acks}, {"ack_wait_ms", group.ack_wait_ms},
          {"in_flight_max", group.in_flight_max}, {"created_at", time_or_null(group.created_at)}};
}

Exit list_groups(const Globals& globals) {
  auto client = connect(globals);
  std::vector<Json> rows;
  ask_all<wire::GroupsReplyT>(client, wire::GroupsRequestT{}, [&](const auto& reply) {
    for (const auto& group : reply.groups) rows.push_back(to_json(*group));
  });
  print_list(globals.format, {{"GROUP", "group"}, {"PATTERNS", "patterns"}, {"MEMBERS", "members"}, {"LAG", "lag"}, {"OPEN", "open"},
                              {"IN FLIGHT", "in_flight"}, {"ACKED", "acked"}}, rows);
  return Exit::ok;
}

Exit show_group(const Globals& globals, const std::string& name) {
  const auto reply = ask_for<wire::GroupsReplyT, wire::GroupsRequestT>(globals, name);
  auto json = to_json(*reply.groups.at(0));
  json["member_names"] = reply.groups.front()->member_names;
  json["oldest_at"] = time_or_null(reply.groups.front()->oldest_at);
  print_object(globals.format, json);
  return Exit::ok;
}

// Asks at a terminal only: a script cannot answer, and must not hang.
bool confirmed(const std::string& question, bool yes) {
  if (yes || !is_terminal(STDIN_FILENO) || !is_terminal(STDERR_FILENO)) return true;
  std::fprintf(stderr, "%s [y/N] ", question.c_str());
  const int answer = std::getchar();
  return answer == 'y' || answer == 'Y';
}

struct GroupVerb {
  std::string name;
  At to;
  bool yes = false;
};

Exit seek_group(const Globals& globals, const GroupVerb& options) {
  auto client = connect(globals);
  if (!confirmed("Move group '" + options.name + "'? It gets events again, or never.", options.yes)) return Exit::failed;
  wire::GroupSeekT request;
  request.name = options.name;
  request.to = options.to.kind;
  request.to_value = options.to.value;
  const auto reply = ask<wire::SeekReplyT>(client, std::move(request));
  print_object(globals.format, {{"group", options.name}, {"floor_before", reply.floor_before}, {"floor", reply.floor}});
  return Exit::ok;
}

Exit remove_group(const Globals& globals, const GroupVerb& options) {
  auto client = connect(globals);
  if (!confirmed("Remove group '" + options.name + "' and its cursor?", options.yes)) return Exit::failed;
  wire::GroupRemoveT request;
  request.name = options.name;
  ask<wire::DoneT>(client, std::move(request));
  print_object(globals.format, {{"group", options.name}, {"removed", true}});
  return Exit::ok;
}

// ---- status

Exit show_status(const Globals& globals, bool wait) {
  auto patient = globals;
  if (wait) patient.timeout = globals.timeout_or(std::chrono::seconds(30));
  auto client = connect(patient);
  const auto status = ask<wire::StatusReplyT>(client, wire::StatusRequestT{});
  print_object(globals.format,
               {{"version", status.version}, {"log_id", hexadecimal(status.log_id)}, {"history", status.history}, {"epoch", status.epoch},
                {"committed", status.committed}, {"uptime_ms", status.uptime_ms}, {"sessions", status.sessions},
                {"subscriptions", status.subscriptions}, {"topics", status.topics}, {"types", status.types}, {"groups", status.groups},
                {"publishers", status.publishers}, {"commits", status.commits}, {"events", status.events},
                {"duplicates", status.duplicates}, {"refused", status.refused}, {"delivered", status.delivered},
                {"redeliveries", status.redeliveries}, {"stale_acks", status.stale_acks}, {"staged_bytes", status.staged_bytes},
                {"keys_resident", status.keys_resident}, {"log_full", status.log_full}, {"data_dir", status.data_dir},
                {"endpoints", status.endpoints}});
  return Exit::ok;
}

std::shared_ptr<std::string> add_name(CLI::App& verb, const std::string& placeholder, const std::string& help) {
  auto name = std::make_shared<std::string>();
  verb.add_option(placeholder, *name, help)->required();
  return name;
}

}  // namespace

void define_topic(CLI::App& app, Cli& cli) {
  auto& parent = add_verb(app, "topic", "look at topics", "bus-cli topic ls");
  parent.require_subcommand(1);
  add_verb(parent, "ls", "list topics with their events and bytes", "bus-cli topic ls -o json")
      .callback([&cli] { cli.run = [&cli] { return list_topics(cli.globals); }; });
  auto& info = add_verb(parent, "info", "one topic, and the groups whose patterns match it", "bus-cli topic info health.data.updated");
  auto name = add_name(info, "TOPIC", "its name");
  info.callback([name, &cli] { cli.run = [name, &cli] { return show_topic(cli.globals, *name); }; });
}

void define_group(CLI::App& app, Cli& cli) {
  auto& parent = add_verb(app, "group", "look at consumer groups, move them, remove them", "bus-cli group ls");
  parent.require_subcommand(1);
  add_verb(parent, "ls", "list groups with their lag", "bus-cli group ls")
      .callback([&cli] { cli.run = [&cli] { return list_groups(cli.globals); }; });
  auto& info = add_verb(parent, "info", "one group: settings, cursor, members, oldest unsettled event", "bus-cli group info alerts");
  auto name = add_name(info, "GROUP", "its name");
  info.callback([name, &cli] { cli.run = [name, &cli] { return show_group(cli.globals, *name); }; });

  auto options = std::make_shared<GroupVerb>();
  auto& seek = add_verb(parent, "seek", "let a group go on from another position", "bus-cli group seek alerts @-1h --yes");
  seek.add_option("GROUP", options->name, "its name")->required();
  add_parsed(seek, "POS", options->to, [](const std::string& text) { return parse_position(text, wall_now()); },
             "its next position: start, end, N, -N, @TIME or @-1h", "")->required();
  seek.add_flag("--yes", options->yes, "do not ask at a terminal");
  seek.callback([options, &cli] { cli.run = [options, &cli] { return seek_group(cli.globals, *options); }; });

  auto& rm = add_verb(parent, "rm", "remove a group with its cursor; its members are told", "bus-cli group rm alerts --yes");
  rm.add_option("GROUP", options->name, "its name")->required();
  rm.add_flag("--yes", options->yes, "do not ask at a terminal");
  rm.callback([options, &cli] { cli.run = [options, &cli] { return remove_group(cli.globals, *options); }; });
}

void define_status(CLI::App& app, Cli& cli) {
  auto& verb = add_verb(app, "status", "who the broker is and how it stands", "bus-cli status --wait --timeout 1m");
  auto wait = std::make_shared<bool>(false);
  verb.add_flag("--wait", *wait, "wait for the broker to come up, 30s or --timeout");
  verb.callback([wait, &cli] { cli.run = [wait, &cli] { return show_status(cli.globals, *wait); }; });
}

}  // namespace bus::tools
