// replay and event get: reading the log without a group.
#include <unistd.h>

#include <memory>

#include "tools/cli.hpp"
#include "tools/interrupts.hpp"
#include "tools/position.hpp"
#include "tools/progress.hpp"
#include "tools/schemas.hpp"

namespace bus::tools {

namespace {

struct ReplayVerb {
  std::optional<At> from, to;
  Filter filter;
  std::uint64_t count = 0;
};

// A replay ends at the head it saw at its start, so a later end means that head.
At end_of(const std::optional<At>& to, Position head) {
  if (!to) return At::end();
  const bool beyond = to->kind == wire::Start::position && static_cast<std::uint64_t>(to->value) > number(head);
  return beyond ? At::end() : *to;
}

Exit replay(const Globals& globals, const ReplayVerb& options) {
  auto client = connect(globals);
  Schemas schemas(client);
  ReplayOptions range;
  range.filter = options.filter;
  for (auto& type : range.filter.types) type = schemas.full_name(type).value();
  range.from = options.from.value_or(At::start());
  range.to = end_of(options.to, client.server().committed);
  const GracefulEnd graceful;
  Items items(globals.format);
  Progress progress("replayed", 0);
  auto events = client.replay(range);
  const bool events_are_seen = is_terminal(STDOUT_FILENO);
  for (std::uint64_t count = 0; interrupted() == 0 && (options.count == 0 || count < options.count);) {
    const auto event = events.read().value();
    if (!event) break;
    schemas.print(items, *event);
    ++count;
    if (!events_are_seen) progress.update(0, count);
  }
  if (interrupted() == 0) items.finish();
  return Exit::ok;
}

Position position_of(const At& at, Position head) {
  const auto value = static_cast<std::uint64_t>(at.value);
  switch (at.kind) {
    case wire::Start::start: return Position{1};
    case wire::Start::position: return Position{value};
    case wire::Start::last: return value > number(head) ? Position{1} : head - (value - 1);
    case wire::Start::end: return head;
    default: fail(Code::bad_argument, "event get needs the position of one event: N, -N, start or end");
  }
}

Exit get_event(const Globals& globals, const At& at) {
  auto client = connect(globals);
  Schemas schemas(client);
  const auto event = fetch_event(client, position_of(at, client.server().committed));
  // One event is one object, in JSON too.
  Items items(globals.format == Format::json ? Format::ndjson : globals.format);
  schemas.print(items, event);
  items.finish();
  return Exit::ok;
}

}  // namespace

void define_replay(CLI::App& app, Cli& cli) {
  auto& verb = add_verb(app, "replay", "print events of the log, up to the head at the start; changes nothing",
                        "bus-cli replay --from @-1h --topic 'health.>' -o ndjson");
  auto options = std::make_shared<ReplayVerb>();
  add_position(verb, "--from", options->from, "first position: start, end, N, -N (the last N), @TIME or @-1h by commit time");
  add_position(verb, "--to", options->to, "last position, inclusive");
  add_time(verb, "--since", options->filter.since, "only events that happened then or later");
  add_time(verb, "--until", options->filter.until, "only events that happened then or earlier");
  add_index_filter(verb, &options->filter.patterns, options->filter.types, options->filter.keys);
  add_envelope_filter(verb, options->filter.priorities, options->filter.attributes);
  add_number(verb, "--count", options->count, "end after so many events");
  verb.callback([options, &cli] { cli.run = [options, &cli] { return replay(cli.globals, *options); }; });
}

void define_event(CLI::App& app, Cli& cli) {
  auto& parent = add_verb(app, "event", "look at one event", "bus-cli event get 42");
  parent.require_subcommand(1);
  auto& verb = add_verb(parent, "get", "print the event at a position", "bus-cli event get 42 -o json");
  auto at = std::make_shared<At>();
  add_parsed(verb, "POSITION", *at, [](const std::string& text) { return parse_position(text, wall_now()); }, "N, -N, start or end", "")->required();
  verb.callback([at, &cli] { cli.run = [at, &cli] { return get_event(cli.globals, *at); }; });
}

}  // namespace bus::tools
