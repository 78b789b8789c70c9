// group: consumer groups, seen, made, changed, moved and removed.
#include <algorithm>
#include <memory>

#include "tools/group_options.hpp"
#include "tools/position.hpp"
#include "tools/subscriber.hpp"

namespace bus::tools {

namespace {

struct GroupVerb {
  std::string name, other;
  std::vector<std::string> patterns, types, keys;
  std::vector<Priority> priorities;
  std::vector<AttributeFilter> attributes;
  std::optional<At> from;
  At to;
  GroupSettings settings;
  std::uint64_t count = 1;
  bool yes = false, dry_run = false, dead_letters = false;
};

// ---- looking

Json to_json(const wire::GroupInfoT& group) {
  Json priorities = Json::array(), attributes = Json::object();
  if (group.filter) {
    for (const auto priority : group.filter->priorities) priorities.push_back(wire::EnumNamePriority(priority));
    for (const auto& one : group.filter->attributes) attributes[one->name] = one->values;
  }
  Json json = {{"group", group.name}, {"patterns", group.patterns}, {"types", group.types}, {"keys", group.keys}, {"priorities", priorities},
               {"attributes", attributes}, {"members", group.members}, {"lag", group.lag}, {"floor", group.floor}, {"delivered", group.delivered},
               {"committed", group.committed}, {"open", group.open}, {"in_flight", group.in_flight}, {"blocked_keys", group.blocked_keys},
               {"dead_letters", group.dead_letters}, {"acked", group.acked}, {"skipped", group.skipped}, {"expired", group.expired}, {"failures", group.failures},
               {"redeliveries", group.redeliveries}, {"stale_acks", group.stale_acks}};
  if (group.settings) json.update(settings_to_json(*group.settings));
  json["created_at"] = time_or_null(group.created_at);
  return json;
}

std::unique_ptr<wire::GroupInfoT> info_of(Client& client, const std::string& name) {
  wire::GroupsRequestT request;
  request.name = name;
  return std::move(ask<wire::GroupsReplyT>(client, std::move(request)).groups.at(0));
}

Exit list(const Globals& globals) {
  auto client = connect(globals);
  std::vector<Json> rows;
  ask_all<wire::GroupsReplyT>(client, wire::GroupsRequestT{}, [&](const auto& reply) {
    for (const auto& group : reply.groups) rows.push_back(to_json(*group));
  });
  print_list(globals.format, {{"GROUP", "group"}, {"PATTERNS", "patterns"}, {"SHARING", "sharing"}, {"MEMBERS", "members"}, {"LAG", "lag"},
                              {"OPEN", "open"}, {"IN FLIGHT", "in_flight"}, {"DEAD", "dead_letters"}, {"ACKED", "acked"}, {"PAUSED", "paused"}}, rows);
  return Exit::ok;
}

Exit show(const Globals& globals, const std::string& name) {
  auto client = connect(globals);
  const auto group = info_of(client, name);
  auto json = to_json(*group);
  json["member_names"] = group->member_names;
  json["oldest_at"] = time_or_null(group->oldest_at);
  print_object(globals.format, json);
  return Exit::ok;
}

// In events, and in the age of the oldest that is not settled.
Exit show_lag(const Globals& globals, const std::string& only) {
  auto client = connect(globals);
  std::vector<std::string> names;
  if (!only.empty()) names.push_back(only);
  if (only.empty()) {
    ask_all<wire::GroupsReplyT>(client, wire::GroupsRequestT{}, [&](const auto& reply) {
      for (const auto& group : reply.groups) names.push_back(group->name);
    });
  }
  std::vector<Json> rows;
  for (const auto& name : names) {
    const auto group = info_of(client, name);
    const auto age = group->oldest_at == 0 ? Duration(0) : wall_now() - wall_time(group->oldest_at);
    rows.push_back({{"group", group->name}, {"lag", group->lag}, {"lag_seconds", std::max<std::int64_t>(age / std::chrono::seconds(1), 0)},
                    {"oldest_at", time_or_null(group->oldest_at)}, {"open", group->open}, {"in_flight", group->in_flight},
                    {"blocked_keys", group->blocked_keys}, {"dead_letters", group->dead_letters}, {"members", group->members}, {"paused", is_paused(*group)}});
  }
  print_list(globals.format, {{"GROUP", "group"}, {"LAG", "lag"}, {"SECONDS", "lag_seconds"}, {"OPEN", "open"}, {"IN FLIGHT", "in_flight"},
                              {"BLOCKED KEYS", "blocked_keys"}, {"DEAD", "dead_letters"}, {"MEMBERS", "members"}, {"PAUSED", "paused"}}, rows);
  return Exit::ok;
}

// "3.2s"; null where there is no such time. Of what is to come it is how long till then.
Json age(std::int64_t from, std::int64_t to) {
  if (from == 0 || to == 0) return {};
  return show_duration(std::chrono::duration_cast<std::chrono::milliseconds>(Duration(std::max<std::int64_t>(to - from, 0))));
}

Exit show_pending(const Globals& globals, const GroupVerb& options, bool blocking) {
  auto client = connect(globals);
  std::vector<Json> rows;
  wire::GroupPendingT request;
  request.name = options.name;
  request.blocking = blocking;
  ask_all<wire::PendingReplyT>(client, std::move(request), [&](const auto& reply) {
    const auto now = nanoseconds(wall_now());
    for (const auto& event : reply.events) {
      rows.push_back({{"position", event->position}, {"state", wire::EnumNamePendingPlace(event->place)}, {"topic", event->topic},
                      {"key", event->key.empty() ? Json() : Json(event->key)}, {"member", event->member.empty() ? Json() : Json(event->member)},
                      {"attempt", event->attempt}, {"failures", event->failures}, {"returns", event->returns},
                      {"age", age(event->given_at, now)}, {"due_in", age(now, event->due_at)}, {"waiting", event->waiting},
                      {"waiting_more", event->waiting_more}, {"note", event->note.empty() ? Json() : Json(event->note)},
                      {"given_at", time_or_null(event->given_at)}, {"due_at", time_or_null(event->due_at)}, {"type", event->type}});
    }
  });
  if (blocking) {
    print_list(globals.format, {{"KEY", "key"}, {"WAITING", "waiting"}, {"MORE", "waiting_more"}, {"BEHIND", "position"}, {"STATE", "state"},
                                {"MEMBER", "member"}, {"ATTEMPT", "attempt"}, {"FAILURES", "failures"}, {"AGE", "age"}, {"DUE IN", "due_in"}}, rows);
  } else {
    print_list(globals.format, {{"POSITION", "position"}, {"STATE", "state"}, {"KEY", "key"}, {"MEMBER", "member"}, {"ATTEMPT", "attempt"},
                                {"FAILURES", "failures"}, {"AGE", "age"}, {"DUE IN", "due_in"}, {"NOTE", "note"}}, rows);
  }
  return Exit::ok;
}

// ---- making and changing

std::unique_ptr<wire::FilterT> filter_of(Client& client, const GroupVerb& options) {
  Schemas schemas(client);
  Filter filter{options.patterns, {}, options.keys, {}, {}, options.priorities, options.attributes};
  for (const auto& type : options.types) filter.types.push_back(schemas.full_name(type).value());
  return to_wire(filter);
}

Exit create(const Globals& globals, const GroupVerb& options) {
  auto client = connect(globals);
  wire::GroupCreateT request;
  request.name = options.name;
  request.filter = filter_of(client, options);
  if (options.from) request.from = options.from->kind;
  if (options.from) request.from_value = options.from->value;
  request.settings = to_wire(options.settings);
  ask<wire::DoneT>(client, std::move(request));
  print_object(globals.format, to_json(*info_of(client, options.name)));
  return Exit::ok;
}

Exit edit(const Globals& globals, const GroupVerb& options) {
  const bool has_filter = !options.patterns.empty() || !options.types.empty() || !options.keys.empty() || !options.priorities.empty() ||
                          !options.attributes.empty();
  if (!has_filter && is_empty(options.settings)) fail(Code::bad_argument, "nothing to change: name a setting, or a new filter");
  auto client = connect(globals);
  wire::GroupEditT request;
  request.name = options.name;
  if (has_filter) request.filter = filter_of(client, options);
  request.settings = to_wire(options.settings);
  ask<wire::DoneT>(client, std::move(request));
  print_object(globals.format, to_json(*info_of(client, options.name)));
  return Exit::ok;
}

Exit pause(const Globals& globals, const std::string& name, bool paused) {
  auto client = connect(globals);
  wire::GroupEditT request;
  request.name = name;
  request.settings = std::make_unique<wire::GroupSettingsT>();
  request.settings->paused = paused;
  ask<wire::DoneT>(client, std::move(request));
  print_object(globals.format, {{"group", name}, {"paused", paused}});
  return Exit::ok;
}

// Filter, settings and place; not what is open.
Exit copy(const Globals& globals, const GroupVerb& options) {
  auto client = connect(globals);
  auto group = info_of(client, options.name);
  wire::GroupCreateT request;
  request.name = options.other;
  request.filter = std::move(group->filter);
  const auto from = options.from.value_or(At::position(Position{group->floor + 1}));
  request.from = from.kind;
  request.from_value = from.value;
  request.settings = std::move(group->settings);
  ask<wire::DoneT>(client, std::move(request));
  print_object(globals.format, to_json(*info_of(client, options.other)));
  return Exit::ok;
}

Exit seek(const Globals& globals, const GroupVerb& options) {
  auto client = connect(globals);
  wire::GroupSeekT request;
  request.name = options.name;
  request.to = options.to.kind;
  request.to_value = options.to.value;
  request.preview = true;
  const auto preview = ask<wire::SeekReplyT>(client, wire::GroupSeekT(request));
  const auto group = info_of(client, options.name);
  const auto back = group->delivered > preview.floor ? group->delivered - preview.floor : 0;
  const auto over = preview.floor > group->delivered ? preview.floor - group->delivered : 0;
  const auto say = [&](const wire::SeekReplyT& reply, bool moved) {
    print_object(globals.format, {{"group", options.name}, {"floor_before", reply.floor_before}, {"floor", reply.floor}, {"again", back}, {"skipped", over},
                                  {"open_forgotten", reply.open}, {"dead_letters_removed", reply.dead_letters}, {"moved", moved}});
    return Exit::ok;
  };
  if (options.dry_run) return say(preview, false);
  const auto what = back > 0 ? "gets up to " + count_of(back, "event") + " again" : "skips up to " + count_of(over, "event");
  const auto forgets = count_of(preview.open, "open event") + " and " + count_of(preview.dead_letters, "dead letter");
  if (!confirmed("Move group '" + options.name + "'? It " + what + ", and forgets " + forgets + ".", options.yes)) return Exit::failed;
  request.preview = false;
  const auto reply = ask<wire::SeekReplyT>(client, std::move(request));
  return say(reply, true);
}

Exit remove(const Globals& globals, const GroupVerb& options) {
  auto client = connect(globals);
  const std::string letters = options.dead_letters ? ", its cursor and its dead letters?" : " and its cursor?";
  if (!confirmed("Remove group '" + options.name + "'" + letters, options.yes)) return Exit::failed;
  wire::GroupRemoveT request;
  request.name = options.name;
  request.dead_letters = options.dead_letters;
  ask<wire::DoneT>(client, std::move(request));
  print_object(globals.format, {{"group", options.name}, {"removed", true}});
  return Exit::ok;
}

// Takes part for so many events, and no longer.
Exit next(const Globals& globals, const GroupVerb& options) {
  auto client = connect(globals);
  Schemas schemas(client);
  const auto group = info_of(client, options.name);  // it is not made by asking for its next event
  if (group->settings && group->settings->paused.value_or(false)) fail(Code::conflict, "group '" + options.name + "' is paused; resume it first");
  SubscriberOptions run;
  run.subscription.group = options.name;
  run.subscription.ack = AckMode::manual;
  run.subscription.credit_events = static_cast<std::uint32_t>(std::min<std::uint64_t>(options.count, 4096));
  run.format = globals.format;
  run.count = options.count;
  run.idle_exit = globals.timeout_or(std::chrono::seconds(1));
  run.patience = globals.patience();
  const bool all_done = Subscriber(std::move(run), client, schemas).run();
  client.close(globals.patience());
  return all_done ? Exit::ok : Exit::partial;
}

void add_filter(CLI::App& verb, GroupVerb& options) {
  add_index_filter(verb, &options.patterns, options.types, options.keys);
  add_envelope_filter(verb, options.priorities, options.attributes);
}

void define_looking(CLI::App& parent, Cli& cli) {
  add_verb(parent, "ls", "list groups with their lag", "bus-cli group ls")
      .callback([&cli] { cli.run = [&cli] { return list(cli.globals); }; });
  auto& info = add_verb(parent, "info", "one group: settings, cursor, members, oldest unsettled event", "bus-cli group info alerts");
  auto name = add_name(info, "GROUP", "its name");
  info.callback([name, &cli] { cli.run = [name, &cli] { return show(cli.globals, *name); }; });

  auto& lag = add_verb(parent, "lag", "how far groups are behind, in events and in seconds", "bus-cli group lag");
  auto only = std::make_shared<std::string>();
  lag.add_option("GROUP", *only, "one group; all if left out");
  lag.callback([only, &cli] { cli.run = [only, &cli] { return show_lag(cli.globals, *only); }; });

  auto options = std::make_shared<GroupVerb>();
  auto& pending = add_verb(parent, "pending", "the events that are open: who has each, since when, and until when", "bus-cli group pending alerts -o ndjson");
  pending.add_option("GROUP", options->name, "its name")->required();
  pending.callback([options, &cli] { cli.run = [options, &cli] { return show_pending(cli.globals, *options, false); }; });
  auto& keys = add_verb(parent, "keys", "the keys that are held up: how many events wait, and behind which", "bus-cli group keys billing");
  keys.add_option("GROUP", options->name, "its name")->required();
  keys.callback([options, &cli] { cli.run = [options, &cli] { return show_pending(cli.globals, *options, true); }; });
}

void define_changing(CLI::App& parent, Cli& cli) {
  auto options = std::make_shared<GroupVerb>();
  auto& create_verb = add_verb(parent, "create", "make a group, before anybody takes part in it",
                               "bus-cli group create billing --topic 'orders.>' --sharing key_ordered --attempts-max 5");
  create_verb.add_option("GROUP", options->name, "its name")->required();
  add_filter(create_verb, *options);
  add_position(create_verb, "--from", options->from, "where it begins; the default is the start of the log");
  add_group_settings(create_verb, options->settings);
  create_verb.callback([options, &cli] { cli.run = [options, &cli] { return create(cli.globals, *options); }; });

  auto& edit_verb = add_verb(parent, "edit", "change settings of a group while it works, or its whole filter", "bus-cli group edit billing --ack-wait 2m");
  edit_verb.add_option("GROUP", options->name, "its name")->required();
  add_filter(edit_verb, *options);
  add_group_settings(edit_verb, options->settings);
  edit_verb.callback([options, &cli] { cli.run = [options, &cli] { return edit(cli.globals, *options); }; });

  auto& pause_verb = add_verb(parent, "pause", "deliver nothing to a group for now", "bus-cli group pause billing");
  auto& resume_verb = add_verb(parent, "resume", "let a group that was paused go on", "bus-cli group resume billing");
  for (auto* verb : {&pause_verb, &resume_verb}) {
    auto name = add_name(*verb, "GROUP", "its name");
    const bool paused = verb == &pause_verb;
    verb->callback([name, paused, &cli] { cli.run = [name, paused, &cli] { return pause(cli.globals, *name, paused); }; });
  }

  auto& copy_verb = add_verb(parent, "copy", "make a group with the filter, settings and place of another", "bus-cli group copy billing billing-test");
  copy_verb.add_option("GROUP", options->name, "the one there is")->required();
  copy_verb.add_option("NEW", options->other, "the name of the new one")->required();
  add_position(copy_verb, "--from", options->from, "where it begins; the default is where the other one is");
  copy_verb.callback([options, &cli] { cli.run = [options, &cli] { return copy(cli.globals, *options); }; });

  auto& next_verb = add_verb(parent, "next", "take the next event of a group, print and acknowledge it; waits 1s for one, or --timeout", "bus-cli group next alerts --count 10");
  next_verb.add_option("GROUP", options->name, "its name")->required();
  add_number(next_verb, "--count", options->count, "so many of them, if there are");
  next_verb.callback([options, &cli] { cli.run = [options, &cli] { return next(cli.globals, *options); }; });
}

void define_moving(CLI::App& parent, Cli& cli) {
  auto options = std::make_shared<GroupVerb>();
  auto& seek_verb = add_verb(parent, "seek", "let a group go on from another position", "bus-cli group seek alerts @-1h --dry-run");
  seek_verb.add_option("GROUP", options->name, "its name")->required();
  add_parsed(seek_verb, "POS", options->to, [](const std::string& text) { return parse_position(text, wall_now()); },
             "its next position: start, end, N, -N, @TIME or @-1h", "")->required();
  seek_verb.add_flag("--dry-run", options->dry_run, "say what it would get again or skip, and change nothing");
  seek_verb.add_flag("--yes", options->yes, "do not ask at a terminal");
  seek_verb.callback([options, &cli] { cli.run = [options, &cli] { return seek(cli.globals, *options); }; });

  auto& rm = add_verb(parent, "rm", "remove a group with its cursor; its members are told", "bus-cli group rm alerts --yes");
  rm.add_option("GROUP", options->name, "its name")->required();
  rm.add_flag("--dead-letters", options->dead_letters, "with its dead letters; without this a group that has some stays");
  rm.add_flag("--yes", options->yes, "do not ask at a terminal");
  rm.callback([options, &cli] { cli.run = [options, &cli] { return remove(cli.globals, *options); }; });
}

}  // namespace

void define_group(CLI::App& app, Cli& cli) {
  auto& parent = add_verb(app, "group", "look at consumer groups, make and change them, move them, remove them", "bus-cli group ls");
  parent.require_subcommand(1);
  define_looking(parent, cli);
  define_changing(parent, cli);
  define_moving(parent, cli);
}

}  // namespace bus::tools
