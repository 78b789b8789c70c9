// The numbers and times that bus, broker and tools share.
#pragma once

#include <chrono>
#include <cstdint>

namespace bus {

// An event's place in the log. The first is 1; there are no gaps; none means no event.
enum class Position : std::uint64_t { none = 0 };

constexpr std::uint64_t number(Position position) { return static_cast<std::uint64_t>(position); }
constexpr Position operator+(Position position, std::uint64_t count) { return Position{number(position) + count}; }
constexpr Position operator-(Position position, std::uint64_t count) { return Position{number(position) - count}; }
constexpr std::uint64_t operator-(Position to, Position from) { return number(to) - number(from); }

using Duration = std::chrono::nanoseconds;

// Nanoseconds since 1970-01-01T00:00:00Z; may jump when the clock is set.
using WallTime = std::chrono::sys_time<Duration>;
// Never jumps; means nothing outside this process.
using SteadyTime = std::chrono::time_point<std::chrono::steady_clock, Duration>;

// One reading of both clocks. Code below the shell never reads a clock; it is handed one of these.
struct Now {
  WallTime wall;
  SteadyTime steady;
};

constexpr std::int64_t nanoseconds(WallTime time) { return time.time_since_epoch().count(); }
constexpr WallTime wall_time(std::int64_t nanoseconds) { return WallTime{Duration{nanoseconds}}; }

}  // namespace bus
