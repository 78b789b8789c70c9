// replay: reading the log without a group, to stdout or to a topic; or for a group, which gets it again.
#include <unistd.h>

#include <memory>

#include "tools/cli.hpp"
#include "tools/group_replay.hpp"
#include "tools/interrupts.hpp"
#include "tools/position.hpp"
#include "tools/progress.hpp"
#include "tools/range_options.hpp"
#include "tools/republish.hpp"
#include "tools/schemas.hpp"

namespace bus::tools {

namespace {

struct ReplayVerb {
  RangeOptions events;
  std::string to_topic, publisher, to_group;
  bool dry_run = false;
};

Exit replay(const Globals& globals, const ReplayVerb& options) {
  auto client = connect(globals);
  Schemas schemas(client);
  const auto range = options.events.range(schemas, client.server().committed);
  const GracefulEnd graceful;
  Items items(globals.format);
  Progress progress("replayed", 0);
  auto events = client.replay(range);
  const bool events_are_seen = is_terminal(STDOUT_FILENO);
  for (std::uint64_t count = 0; interrupted() == 0 && (options.events.count == 0 || count < options.events.count);) {
    const auto event = events.read().value();
    if (!event) break;
    schemas.print(items, *event);
    ++count;
    if (!events_are_seen) progress.update(0, count);
  }
  progress.clear();
  warn_of_trimmed(events.trimmed());
  if (interrupted() == 0) items.finish();
  return Exit::ok;
}

// ---- to a topic

// What names another part of the log each time cannot go on where it was.
void check_stays(const CLI::App& verb, const std::string& name) {
  const auto texts = verb.get_option(name)->results();
  if (texts.empty()) return;
  const auto& text = texts.front();
  if (text != "end" && !text.starts_with('-') && !text.starts_with("@-")) return;
  fail(Code::bad_argument, name + " " + text + " means something else when it is run again, and then events would be stored twice: --to-topic needs a position or a "
                           "full time; --dry-run with it prints the first position");
}

void check_topic(Client& client, const std::string& topic) {
  if (topic.find_first_of("*>") != topic.npos) fail(Code::bad_argument, "--to-topic: '" + topic + "' is a pattern, and not the name of one topic");
  ReplayOptions nothing;
  nothing.filter.patterns = {topic};
  nothing.from = At::end();
  const auto read = client.replay(nothing).read();
  if (!read) fail(read.error().code == Code::bad_pattern ? Code::bad_argument : read.error().code, "--to-topic: " + read.error().detail);
}

Exit exit_of(const Republish::Summary& summary, const std::string& topic) {
  const auto& published = summary.published;
  if (summary.own > 0) warn("left out, since they are of " + topic + " itself: " + count_of(summary.own, "event"));
  if (published.trouble.code != Code::ok) warn("stopped after position " + std::to_string(number(summary.last)) + ": " + describe(published.trouble));
  if (published.unknown > 0) warn(count_of(published.unknown, "event") + " got no receipt; run it again, what is stored is not stored twice");
  if (published.trouble.code != Code::ok) return exit_for(published.trouble.code);
  if (published.unknown > 0) return Exit::unavailable;
  return published.refused > 0 ? Exit::partial : Exit::ok;
}

Exit replay_to_topic(const Globals& globals, const ReplayVerb& options) {
  auto client = connect(globals);
  check_topic(client, options.to_topic);
  const auto head = client.server().committed;
  Schemas schemas(client);
  auto range = options.events.range(schemas, head);
  // What comes from now on is not of the range, also if the broker restarts meanwhile.
  if (range.to.kind == wire::Start::end && head != Position::none) range.to = At::position(head);
  if (range.from.kind == wire::Start::start) range.from = At::position(Position{1});
  const auto publisher = options.publisher.empty() ? republisher(range, options.to_topic) : options.publisher;
  if (!options.dry_run) client = connect(globals, publisher);
  const GracefulEnd graceful;
  Republish republish({options.to_topic, publisher, options.events.count, options.dry_run, globals.timeout_or(std::chrono::seconds(30))}, client);
  const auto summary = republish.run(range);
  // No receipt comes any more after this, which `republish` would have to be there for.
  client.close(summary.published.unknown > 0 ? Duration(0) : globals.patience());
  const auto position_or_null = [](Position position) { return position == Position::none ? Json() : Json(number(position)); };
  print_object(globals.format, {{"events", summary.events}, {"first", position_or_null(summary.first)}, {"last", position_or_null(summary.last)},
                                {"published", summary.published.published}, {"duplicates", summary.duplicates + summary.published.duplicates},
                                {"refused", summary.published.refused}, {"publisher", publisher}});
  return exit_of(summary, options.to_topic);
}

// ---- to a group

wire::FilterT filter_of(Client& client, const std::string& group) {
  wire::GroupsRequestT request;
  request.name = group;
  request.without_keys = true;
  const auto reply = ask<wire::GroupsReplyT>(client, std::move(request));
  const auto& filter = reply.groups.at(0)->filter;
  return filter ? *filter : wire::FilterT();
}

Exit exit_of(const GroupReplay::Summary& summary, bool was_stopped) {
  std::uint64_t refused = 0;
  for (const auto& [code, count] : summary.refused) refused += count;
  const std::string further = summary.left == Position::none ? "" : "; --from " + std::to_string(number(summary.left)) + " goes on";
  if (was_stopped) warn("stopped" + further);
  if (summary.trouble.code != Code::ok) warn("stopped: " + describe(summary.trouble) + further);
  if (summary.trouble.code != Code::ok && summary.trouble.code != Code::group_busy) return exit_for(summary.trouble.code);
  return refused > 0 || summary.left != Position::none ? Exit::partial : Exit::ok;
}

Exit replay_to_group(const Globals& globals, const ReplayVerb& options) {
  auto client = connect(globals);
  Schemas schemas(client);
  const auto head = client.server().committed;
  auto range = options.events.range(schemas, head);
  range.filter = narrowed(std::move(range.filter), filter_of(client, options.to_group));
  // What comes from now on the group gets by itself.
  if (range.to.kind == wire::Start::end && head != Position::none) range.to = At::position(head);
  const GracefulEnd graceful;
  GroupReplay replay({options.to_group, options.events.count, options.dry_run, globals.timeout_or(std::chrono::seconds(30))}, client);
  const auto summary = replay.run(range);
  std::uint64_t refused = 0;
  Json codes = Json::object();
  for (const auto& [code, count] : summary.refused) {
    refused += count;
    codes[EnumNameCode(code)] = count;
  }
  const auto position_or_null = [](Position position) { return position == Position::none ? Json() : Json(number(position)); };
  print_object(globals.format, {{"group", options.to_group}, {"events", summary.events}, {"first", position_or_null(summary.first)},
                                {"last", position_or_null(summary.last)}, {"given", summary.given}, {"refused", refused}, {"codes", codes}});
  return exit_of(summary, interrupted() != 0);
}

Exit run_replay(const Globals& globals, const CLI::App& verb, const ReplayVerb& options) {
  if (options.to_topic.empty()) {
    if (!options.publisher.empty()) fail(Code::bad_argument, "--as goes with --to-topic");
    if (!options.to_group.empty()) return replay_to_group(globals, options);
    if (options.dry_run) fail(Code::bad_argument, "--dry-run goes with --to-topic or --to-group");
    return replay(globals, options);
  }
  if (!options.to_group.empty()) fail(Code::bad_argument, "--to-topic or --to-group, not both");
  if (!options.dry_run) {
    for (const auto* name : {"--from", "--since", "--until"}) check_stays(verb, name);
  }
  return replay_to_topic(globals, options);
}

}  // namespace

void define_replay(CLI::App& app, Cli& cli) {
  auto& verb = add_verb(app, "replay", "print events of the log, up to the head at the start; or publish them again to a topic, or give them to a group again",
                        "bus-cli replay --from @-1h --topic 'health.>' -o ndjson\n"
                        "  bus-cli replay --from 1000 --to 2000 --topic 'health.>' --to-topic health.again --dry-run\n"
                        "  bus-cli replay --from @-1h --to-group reports");
  auto options = std::make_shared<ReplayVerb>();
  add_range(verb, options->events);
  verb.add_option("--to-topic", options->to_topic, "publish each again as a new event of this topic, which names its origin; run again, it goes on where it was")
      ->type_name("TOPIC");
  verb.add_option("--as", options->publisher, "publish under this name; left out: one for the same topic, --from and filter, so that events are stored once")
      ->type_name("NAME");
  verb.add_option("--to-group", options->to_group, "give each that this group has settled to it again; what the filter leaves open the group's own says")
      ->type_name("GROUP");
  verb.add_flag("--dry-run", options->dry_run, "count what --to-topic would publish, or --to-group ask for; change nothing");
  verb.callback([options, &verb, &cli] { cli.run = [options, &verb, &cli] { return run_replay(cli.globals, verb, *options); }; });
}

}  // namespace bus::tools
