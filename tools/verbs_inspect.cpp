// topic and status: what the broker knows.
#include <algorithm>
#include <cstdio>
#include <memory>

#include "tools/cli.hpp"
#include "tools/position.hpp"

namespace bus::tools {

namespace {

// ---- topics

Json to_json(const wire::TopicInfoT& topic) {
  return {{"topic", topic.name}, {"events", topic.events}, {"bytes", topic.bytes},
          {"first", topic.first}, {"last", topic.last}, {"last_at", time_or_null(topic.last_at)},
          {"removed_events", topic.removed_events}, {"removed_bytes", topic.removed_bytes},
          {"retention", topic.retention.empty() ? Json() : Json(topic.retention)}};
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
                {"keys_resident", status.keys_resident}, {"dead_letters", status.dead_letters},
                {"scheduled", status.scheduled}, {"schedule_trouble", status.schedule_trouble.empty() ? Json() : Json(status.schedule_trouble)},
                {"lagging_group", status.lagging_group.empty() ? Json() : Json(status.lagging_group)}, {"lag", status.lag},
                {"oldest_at", time_or_null(status.oldest_at)}, {"log_full", status.log_full}, {"data_dir", status.data_dir},
                {"endpoints", status.endpoints}});
  return Exit::ok;
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

void define_status(CLI::App& app, Cli& cli) {
  auto& verb = add_verb(app, "status", "who the broker is and how it stands", "bus-cli status --wait --timeout 1m");
  auto wait = std::make_shared<bool>(false);
  verb.add_flag("--wait", *wait, "wait for the broker to come up, 30s or --timeout");
  verb.callback([wait, &cli] { cli.run = [wait, &cli] { return show_status(cli.globals, *wait); }; });
}

}  // namespace bus::tools
