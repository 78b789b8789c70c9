// sub: events as they come, alone or as a member of a group.
#include <memory>

#include "tools/cli.hpp"
#include "tools/group_options.hpp"
#include "tools/subscriber.hpp"

namespace bus::tools {

namespace {

struct SubVerb {
  std::vector<std::string> patterns, types, keys;
  std::string group, command;
  std::optional<At> from;
  std::optional<Duration> idle_exit;
  GroupSettings settings;
  std::vector<Priority> priorities;
  std::vector<AttributeFilter> attributes;
  std::uint64_t count = 0;
  bool until_end = false, peek = false;
};

void check(const Globals& globals, const SubVerb& options) {
  const bool grouped = !options.group.empty() && !options.peek;
  if (options.patterns.empty() && options.group.empty()) fail(Code::bad_argument, "sub needs a PATTERN; '>' is every topic");
  if (!is_empty(options.settings) && !grouped) fail(Code::bad_argument, "--ack-wait, --sharing and the like are settings of a group");
  const bool ends = options.count > 0 || options.until_end || options.idle_exit;
  if (globals.format == Format::json && options.command.empty() && !ends) {
    fail(Code::bad_argument, "-o json needs an end: --count, --until-end or --idle-exit; or use -o ndjson");
  }
}

// What the group has not settled, seen without being a member.
void peek_at(Client& client, const SubVerb& options, SubscribeOptions& plain) {
  plain.from = options.from.value_or(At::start());
  if (options.group.empty()) return;
  wire::GroupsRequestT request;
  request.name = options.group;
  const auto group = std::move(ask<wire::GroupsReplyT>(client, std::move(request)).groups.at(0));
  if (!options.from) plain.from = At::position(Position{group->floor + 1});
  if (options.patterns.empty()) plain.patterns = group->patterns;
  if (options.types.empty()) plain.types = group->types;
  if (options.keys.empty()) plain.keys = group->keys;
  if (!group->filter) return;
  if (options.priorities.empty()) plain.priorities.assign(group->filter->priorities.begin(), group->filter->priorities.end());
  if (!options.attributes.empty()) return;
  for (const auto& one : group->filter->attributes) plain.attributes.push_back({one->name, one->values});
}

// An event that waits behind a command's others uses up its time to be acknowledged.
void set_credit(const SubVerb& options, SubscribeOptions& subscription) {
  if (!options.command.empty()) subscription.credit_events = 1;
  if (options.count > 0 && options.count < subscription.credit_events) {
    subscription.credit_events = static_cast<std::uint32_t>(options.count);
  }
}

// A name alone is that of a group which is there: a slip of the pen is not to make one that takes every event.
void check_group(Client& client, const SubVerb& options) {
  const bool says_what = !options.patterns.empty() || !options.types.empty() || !options.keys.empty() || !options.priorities.empty() || !options.attributes.empty();
  if (options.group.empty() || options.peek || says_what) return;
  try {
    wire::GroupsRequestT request;
    request.name = options.group;
    request.without_keys = true;
    ask<wire::GroupsReplyT>(client, std::move(request));
  } catch (const Failed& failed) {
    if (failed.error().code != Code::unknown_group) throw;
    fail(Code::unknown_group, "there is no group '" + options.group + "'; to make it, say what it is to get: '>' is every topic");
  }
}

SubscribeOptions subscription_of(Client& client, Schemas& schemas, const SubVerb& options) {
  SubscribeOptions subscription;
  subscription.patterns = options.patterns;
  for (const auto& type : options.types) subscription.types.push_back(schemas.full_name(type).value());
  subscription.keys = options.keys;
  subscription.priorities = options.priorities;
  subscription.attributes = options.attributes;
  subscription.ack = AckMode::manual;
  if (options.peek) {
    peek_at(client, options, subscription);
  } else {
    subscription.group = options.group;
    if (options.from) subscription.from = *options.from;
  }
  const bool plain = subscription.group.empty();
  if (options.until_end && plain) subscription.to = At::end();
  subscription.settings = options.settings;
  set_credit(options, subscription);
  return subscription;
}

Exit subscribe(const Globals& globals, const SubVerb& options) {
  check(globals, options);
  auto client = connect(globals);
  check_group(client, options);
  Schemas schemas(client);
  SubscriberOptions run;
  run.subscription = subscription_of(client, schemas, options);
  run.format = globals.format;
  run.count = options.count;
  run.until_end = options.until_end;
  run.idle_exit = options.idle_exit;
  run.command = options.command;
  run.patience = globals.patience();
  const bool all_done = Subscriber(std::move(run), client, schemas).run();
  client.close(globals.patience());
  return all_done ? Exit::ok : Exit::partial;
}

}  // namespace

void define_sub(CLI::App& app, Cli& cli) {
  auto& verb = add_verb(app, "sub", "print events as they come; in a group, acknowledge each after it was printed",
                        "bus-cli sub 'health.>' --group alerts -o ndjson");
  auto options = std::make_shared<SubVerb>();
  verb.add_option("PATTERN", options->patterns, "topics: `*` is one token, `>` one or more at the end");
  verb.add_option("--group", options->group, "take part in this consumer group; with a PATTERN or filter it is made if there is none, from the start of the log");
  add_position(verb, "--from", options->from, "start there; without a group the default is the end");
  add_index_filter(verb, nullptr, options->types, options->keys);
  add_envelope_filter(verb, options->priorities, options->attributes);
  add_number(verb, "--count", options->count, "end after so many events");
  verb.add_flag("--until-end", options->until_end, "end at what was the head of the log at the start");
  add_duration(verb, "--idle-exit", options->idle_exit, "end when nothing came for so long");
  verb.add_flag("--peek", options->peek, "look without taking part: with --group at what the group has not settled");
  verb.add_option("--exec", options->command, "run this for each event, which it finds on its input; exit 0 acknowledges, 65 sends it to the dead letters, any other has it again later")->type_name("CMD");
  add_group_settings(verb, options->settings);
  verb.callback([options, &cli] { cli.run = [options, &cli] { return subscribe(cli.globals, *options); }; });
}

}  // namespace bus::tools
