#include "tools/time_format.hpp"

#include <algorithm>
#include <array>
#include <cctype>
#include <chrono>

namespace bus::tools {

namespace {

constexpr std::array<std::string_view, 12> month_names = {"january", "february", "march",     "april",   "may",      "june",
                                                          "july",    "august",   "september", "october", "november", "december"};

bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

std::string lower(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(), [](char c) { return static_cast<char>(std::tolower(static_cast<unsigned char>(c))); });
  return out;
}

std::string_view take_while(std::string_view& text, bool (*wanted)(char), std::size_t most) {
  std::size_t count = 0;
  while (count < text.size() && count < most && wanted(text[count])) ++count;
  const auto taken = text.substr(0, count);
  text.remove_prefix(count);
  return taken;
}

int to_int(std::string_view digits) {
  int value = 0;
  for (const char c : digits) value = value * 10 + (c - '0');
  return value;
}

// Length of an offset at the start of `text`: Z, +08, +0800, +08:00.
std::size_t offset_size(std::string_view text) {
  if (text.empty()) return 0;
  if (text[0] == 'Z' || text[0] == 'z') return 1;
  if (text[0] != '+' && text[0] != '-') return 0;
  const auto digits = [&](std::size_t at) { return at + 1 < text.size() && is_digit(text[at]) && is_digit(text[at + 1]); };
  if (!digits(1)) return 0;
  if (digits(3)) return 5;
  return text.size() > 3 && text[3] == ':' && digits(4) ? 6 : 3;
}

Error bad_pattern(std::string_view pattern, const std::string& why) {
  return {Code::bad_argument, "time format '" + std::string(pattern) + "': " + why};
}

}  // namespace

std::optional<int> parse_offset(std::string_view text) {
  if (text == "UTC" || text == "Z" || text == "z") return 0;
  if (text.size() < 3 || offset_size(text) != text.size()) return {};
  const int hours = to_int(text.substr(1, 2));
  const int minutes = text.size() == 3 ? 0 : to_int(text.substr(text.size() - 2));
  if (hours > 18 || minutes > 59) return {};
  return (text[0] == '-' ? -1 : 1) * (hours * 60 + minutes);
}

// What has been read of a text so far.
struct TimeFormat::Reading {
  int year = 0, month = 1, day = 1, hour = 0, minute = 0, second = 0;
  std::int64_t nanoseconds = 0;
  std::optional<bool> afternoon;
  std::optional<int> offset_minutes;
  std::optional<std::int64_t> instant;

  bool read_month(std::string_view& text) {
    const auto name = lower(take_while(text, is_letter, 9));
    const auto at = std::find_if(month_names.begin(), month_names.end(),
                                 [&](auto each) { return each == name || (name.size() == 3 && each.starts_with(name)); });
    month = static_cast<int>(at - month_names.begin()) + 1;
    return at != month_names.end();
  }

  bool read_half(std::string_view& text) {
    const auto half = lower(take_while(text, is_letter, 2));
    afternoon = half == "pm";
    return half == "am" || half == "pm";
  }

  bool read_zone(std::string_view& text) {
    const auto size = offset_size(text);
    offset_minutes = parse_offset(text.substr(0, size));
    text.remove_prefix(size);
    return offset_minutes.has_value();
  }

  bool read_fraction(std::string_view& text) {
    const auto digits = take_while(text, is_digit, 9);
    nanoseconds = to_int(digits);
    for (auto size = digits.size(); size < 9; ++size) nanoseconds *= 10;
    return !digits.empty();
  }

  // A count since 1970 whose unit is 10^-decimals seconds, with a fraction if it likes.
  bool read_unix(std::string_view& text, std::size_t decimals) {
    const bool negative = text.starts_with('-');
    if (negative) text.remove_prefix(1);
    std::string digits(take_while(text, is_digit, 19));
    if (digits.empty()) return false;
    std::string_view fraction;
    if (text.size() > 1 && text[0] == '.' && is_digit(text[1])) {
      text.remove_prefix(1);
      fraction = take_while(text, is_digit, text.size());
    }
    digits += fraction.substr(0, 9 - decimals);
    digits.append(9 - decimals - std::min(fraction.size(), 9 - decimals), '0');
    std::int64_t value = 0;
    for (const char c : digits) {
      if (__builtin_mul_overflow(value, 10, &value) || __builtin_add_overflow(value, c - '0', &value)) return false;
    }
    instant = negative ? -value : value;
    return true;
  }

  std::optional<std::int64_t> in_nanoseconds(int default_offset) const {
    using namespace std::chrono;
    if (instant) return instant;
    const auto date = std::chrono::year{year} / month / day;
    if (!date.ok() || year < 1678 || year > 2261 || hour > 23 || minute > 59 || second > 59) return {};
    if (afternoon && (hour < 1 || hour > 12)) return {};
    const int hour24 = afternoon ? hour % 12 + (*afternoon ? 12 : 0) : hour;
    const auto local = sys_days(date) + hours(hour24) + minutes(minute) + seconds(second);
    const auto utc = local - minutes(offset_minutes.value_or(default_offset));
    return utc.time_since_epoch().count() * 1'000'000'000 + nanoseconds;
  }
};

Result<TimeFormat> TimeFormat::parse(std::string_view pattern) {
  TimeFormat format;
  for (const auto& [name, decimals] : {std::pair{"unix", 0u}, {"unix_ms", 3u}, {"unix_us", 6u}, {"unix_ns", 9u}}) {
    if (pattern != name) continue;
    format.parts_.push_back({Kind::unix_time, decimals});
    format.has_zone_ = true;
    return format;
  }
  if (pattern == "rfc3339") {
    auto rfc = parse("YYYY-MM-DDTHH:mm:ssZ").value();
    rfc.optional_fraction_ = rfc.parts_.size() - 1;
    return rfc;
  }
  for (auto rest = pattern; !rest.empty();) {
    const char c = rest.front();
    if (c == '\'') {
      const auto end = rest.find('\'', 1);
      if (end == rest.npos) return bad_pattern(pattern, "a quote is not closed");
      format.parts_.push_back({Kind::literal, 0, 0, std::string(rest.substr(1, end - 1))});
      rest.remove_prefix(end + 1);
    } else if (is_letter(c) && c != 'T') {
      const auto count = rest.starts_with("AM") ? 2 : std::min(rest.find_first_not_of(c), rest.size());
      if (auto added = format.add_letters(c, count); !added) return bad_pattern(pattern, added.error().detail);
      rest.remove_prefix(count);
    } else {
      format.parts_.push_back({Kind::literal, 0, 0, std::string(1, c)});
      rest.remove_prefix(1);
    }
  }
  if (auto checked = format.check(); !checked) return bad_pattern(pattern, checked.error().detail);
  format.has_zone_ = format.has(Kind::zone);
  return format;
}

Result<void> TimeFormat::add_letters(char letter, std::size_t count) {
  struct Letters {
    char letter;
    std::size_t from, to;
    Part part;
  };
  static const Letters known[] = {
      {'Y', 4, 4, {Kind::year, 4, 4}},   {'Y', 2, 2, {Kind::year2, 2, 2}}, {'M', 1, 2, {Kind::month, 1, 2}},
      {'M', 3, 4, {Kind::month_name}},   {'D', 1, 2, {Kind::day, 1, 2}},   {'H', 1, 2, {Kind::hour, 1, 2}},
      {'h', 1, 2, {Kind::hour12, 1, 2}}, {'m', 1, 2, {Kind::minute, 1, 2}}, {'s', 1, 2, {Kind::second, 1, 2}},
      {'S', 1, 9, {Kind::fraction}},     {'A', 1, 2, {Kind::half}},        {'Z', 1, 1, {Kind::zone}},
  };
  for (const auto& each : known) {
    if (each.letter != letter || count < each.from || count > each.to) continue;
    if (has(each.part.kind)) {
      return Error{Code::bad_argument, std::string(count, letter) + " stands for what is there already" +
                                           (letter == 'M' ? "; M is the month, m the minute" : "")};
    }
    auto part = each.part;
    if (part.digits_max > 0) part.digits_min = count;  // M: one digit or two, MM: two
    parts_.push_back(part);
    return {};
  }
  return Error{Code::bad_argument, std::string(count, letter) + " means nothing; text goes into single quotes"};
}

bool TimeFormat::has(Kind kind) const {
  return std::any_of(parts_.begin(), parts_.end(), [&](const auto& part) { return part.kind == kind; });
}

Result<void> TimeFormat::check() const {
  const auto bad = [](const char* why) { return Error{Code::bad_argument, why}; };
  if (!has(Kind::year) && !has(Kind::year2)) return bad("no year; YYYY or YY");
  if (!has(Kind::month) && !has(Kind::month_name)) return bad("no month; M, MM or MMM");
  if (!has(Kind::day)) return bad("no day; D or DD");
  if (has(Kind::hour12) != has(Kind::half)) return bad("h and AM go together; H is the hour from 0 to 23");
  if (has(Kind::hour12) && has(Kind::hour)) return bad("both h and H");
  return {};
}

bool TimeFormat::read_number(const Part& part, std::string_view& text, Reading& reading) {
  const auto digits = take_while(text, is_digit, part.digits_max);
  if (digits.size() < part.digits_min) return false;
  const int value = to_int(digits);
  switch (part.kind) {
    case Kind::year: reading.year = value; return true;
    case Kind::year2: reading.year = value + (value < 69 ? 2000 : 1900); return true;  // as POSIX has it
    case Kind::month: reading.month = value; return true;
    case Kind::day: reading.day = value; return true;
    case Kind::minute: reading.minute = value; return true;
    case Kind::second: reading.second = value; return true;
    default: reading.hour = value; return true;
  }
}

bool TimeFormat::read_part(const Part& part, std::string_view& text, Reading& reading) {
  switch (part.kind) {
    case Kind::literal:
      if (!text.starts_with(part.literal)) return false;
      text.remove_prefix(part.literal.size());
      return true;
    case Kind::month_name: return reading.read_month(text);
    case Kind::half: return reading.read_half(text);
    case Kind::zone: return reading.read_zone(text);
    case Kind::fraction: return reading.read_fraction(text);
    case Kind::unix_time: return reading.read_unix(text, part.digits_min);
    default: return read_number(part, text, reading);
  }
}

std::optional<std::int64_t> TimeFormat::read(std::string_view text, int offset_minutes) const {
  Reading reading;
  for (std::size_t i = 0; i < parts_.size(); ++i) {
    if (i == optional_fraction_ && text.starts_with('.')) {
      text.remove_prefix(1);
      if (!reading.read_fraction(text)) return {};
    }
    if (!read_part(parts_[i], text, reading)) return {};
  }
  if (!text.empty()) return {};
  return reading.in_nanoseconds(offset_minutes);
}

}  // namespace bus::tools
