// What people type for places and times: POS (`start`, `end`, `N`, `-N`, `@TIME`, `@-1h`), TIME (RFC 3339, or `-1h`)
// and durations (`5s`, `1h30m`); and times as every tool prints them. Pure: the clock is an argument.
#pragma once

#include <string>
#include <string_view>

#include "bus/client.hpp"

namespace bus::tools {

// One or more numbers with their units, the largest first or not: d, h, m, s, ms, us, ns; "0" needs none. Numbers may
// have decimals. Errors: bad_argument.
Result<Duration> parse_duration(std::string_view text);
// "1h30m", "5s", "250ms"; exact.
std::string show_duration(Duration duration);
// As much of it as says something to people: "1h30m", "5s", "1s250ms", "3ms"; "0s" for what is negative.
std::string show_about(Duration duration);

// RFC 3339 with up to nine decimals, a date alone (its midnight in UTC), or `-DURATION` before `now`.
// Errors: bad_argument.
Result<WallTime> parse_time(std::string_view text, WallTime now);
// "2016-05-12T23:59:59.000000000Z".
std::string show_time(WallTime time);

// Errors: bad_argument, naming the grammar.
Result<At> parse_position(std::string_view text, WallTime now);

}  // namespace bus::tools
