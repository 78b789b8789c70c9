#include "tools/position.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <optional>

#include "tools/time_format.hpp"

namespace bus::tools {

namespace {

struct Unit {
  std::string_view name;
  std::int64_t nanoseconds;
};
constexpr Unit units[] = {{"d", 86'400'000'000'000}, {"h", 3'600'000'000'000}, {"m", 60'000'000'000}, {"s", 1'000'000'000},
                          {"ms", 1'000'000},         {"us", 1'000},            {"ns", 1}};

Error wrong(std::string_view text, const char* what) { return {Code::bad_argument, "'" + std::string(text) + "' is not " + what}; }

std::optional<std::int64_t> take_unit(std::string_view& text) {
  std::size_t size = 0;
  while (size < text.size() && !is_digit(text[size])) ++size;
  const auto name = text.substr(0, size);
  text.remove_prefix(size);
  for (const auto& unit : units) {
    if (unit.name == name) return unit.nanoseconds;
  }
  return {};
}

// "1.5h": the whole part exactly, the decimals rounded to a nanosecond.
std::optional<std::int64_t> take_part(std::string_view& text) {
  std::int64_t whole = 0;
  const char* end = text.data() + text.size();
  const auto [after, error] = std::from_chars(text.data(), end, whole);
  if (error != std::errc{} || !is_digit(text.front())) return {};
  text.remove_prefix(static_cast<std::size_t>(after - text.data()));
  double decimals = 0;
  if (text.starts_with('.')) {
    double place = 1;
    text.remove_prefix(1);
    if (text.empty() || !is_digit(text.front())) return {};
    for (; !text.empty() && is_digit(text.front()); text.remove_prefix(1)) decimals += (text.front() - '0') * (place /= 10);
  }
  const auto unit = take_unit(text);
  std::int64_t value = 0;
  if (!unit || __builtin_mul_overflow(whole, *unit, &value)) return {};
  const auto rest = static_cast<std::int64_t>(std::llround(decimals * static_cast<double>(*unit)));
  return __builtin_add_overflow(value, rest, &value) ? std::nullopt : std::optional(value);
}

std::optional<std::uint64_t> parse_count(std::string_view text) {
  std::uint64_t count = 0;
  const char* end = text.data() + text.size();
  const auto [after, error] = std::from_chars(text.data(), end, count);
  if (error != std::errc{} || after != end || count == 0 || count > INT64_MAX) return {};
  return count;
}

}  // namespace

Result<Duration> parse_duration(std::string_view text) {
  constexpr auto what = "a duration such as 5s, 250ms or 1h30m";
  if (text == "0") return Duration(0);
  std::int64_t sum = 0;
  if (text.empty()) return wrong(text, what);
  for (auto rest = text; !rest.empty();) {
    const auto part = take_part(rest);
    if (!part || __builtin_add_overflow(sum, *part, &sum)) return wrong(text, what);
  }
  return Duration(sum);
}

std::string show_duration(Duration duration) {
  auto rest = duration.count();
  if (rest == 0) return "0s";
  std::string text;
  for (const auto& unit : units) {
    if (const auto count = rest / unit.nanoseconds; count != 0) text += std::to_string(count) + std::string(unit.name);
    rest %= unit.nanoseconds;
  }
  return text;
}

std::string show_about(Duration duration) {
  const Duration unit = duration < std::chrono::milliseconds(1) ? Duration(std::chrono::microseconds(1))
                        : duration < std::chrono::minutes(1)    ? Duration(std::chrono::milliseconds(1))
                        : duration < std::chrono::hours(24)     ? Duration(std::chrono::seconds(1))
                                                                : Duration(std::chrono::minutes(1));
  return show_duration(std::max(Duration(0), duration) / unit * unit);
}

Result<WallTime> parse_time(std::string_view text, WallTime now) {
  constexpr auto what = "a time such as 2024-06-13T08:05:00Z or -1h";
  if (text.starts_with('-')) {
    const auto ago = parse_duration(text.substr(1));
    std::int64_t time = 0;
    if (!ago || __builtin_sub_overflow(nanoseconds(now), ago->count(), &time)) return wrong(text, what);
    return wall_time(time);
  }
  for (const auto* pattern : {"rfc3339", "YYYY-MM-DD"}) {
    const auto format = TimeFormat::parse(pattern);
    if (const auto time = format.value().read(text, 0)) return wall_time(*time);
  }
  return wrong(text, what);
}

std::string show_time(WallTime time) {
  using namespace std::chrono;
  const auto day = floor<days>(time);
  const year_month_day date(day);
  const hh_mm_ss clock(time - day);
  char text[48];
  std::snprintf(text, sizeof text, "%04d-%02u-%02uT%02d:%02d:%02d.%09lldZ", static_cast<int>(date.year()),
                static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()), static_cast<int>(clock.hours().count()),
                static_cast<int>(clock.minutes().count()), static_cast<int>(clock.seconds().count()),
                static_cast<long long>(clock.subseconds().count()));
  return text;
}

Result<At> parse_position(std::string_view text, WallTime now) {
  if (text == "start") return At::start();
  if (text == "end") return At::end();
  if (text.starts_with('@')) {
    const auto time = parse_time(text.substr(1), now);
    if (!time) return time.error();
    return At::time(*time);
  }
  const bool last = text.starts_with('-');
  if (const auto count = parse_count(last ? text.substr(1) : text)) {
    return last ? At::last(*count) : At::position(Position{*count});
  }
  return wrong(text, "a position: start, end, N from 1, -N (the last N), @TIME or @-1h");
}

}  // namespace bus::tools
