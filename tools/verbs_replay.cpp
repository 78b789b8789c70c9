// replay: reading the log without a group.
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

}  // namespace bus::tools
