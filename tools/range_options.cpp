#include "tools/range_options.hpp"

#include "tools/schemas.hpp"

namespace bus::tools {

ReplayOptions RangeOptions::range(Schemas& schemas, Position head) const {
  ReplayOptions range;
  range.filter = filter;
  for (auto& type : range.filter.types) type = schemas.full_name(type).value();
  range.from = from.value_or(At::start());
  range.to = end_of(to, head);
  return range;
}

void add_range(CLI::App& verb, RangeOptions& options) {
  add_position(verb, "--from", options.from, "first position: start, end, N, -N (the last N), @TIME or @-1h by commit time");
  add_position(verb, "--to", options.to, "last position, inclusive");
  add_time(verb, "--since", options.filter.since, "only events that happened then or later");
  add_time(verb, "--until", options.filter.until, "only events that happened then or earlier");
  add_index_filter(verb, &options.filter.patterns, options.filter.types, options.filter.keys);
  add_envelope_filter(verb, options.filter.priorities, options.filter.attributes);
  add_number(verb, "--count", options.count, "end after so many events");
}

}  // namespace bus::tools
