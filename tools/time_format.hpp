// TimeFormat reads points in time that are written in one way, such as "M/D/YYYY h:mm:ss AM". Immutable.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "bus/result.hpp"

namespace bus::tools {

// In every locale.
constexpr bool is_digit(char c) { return c >= '0' && c <= '9'; }

class TimeFormat {
 public:
  // A pattern of docs/bus-import-map.5, or rfc3339, unix, unix_ms, unix_us, unix_ns. Errors: bad_argument.
  static Result<TimeFormat> parse(std::string_view pattern);

  // Nanoseconds since 1970-01-01T00:00:00Z. `offset_minutes` is the zone of texts that do not state theirs, to the
  // east of Greenwich. Nothing if the text is not written in this way, or is no time there is (13/32/2016), or is
  // outside the years 1678 to 2261, which 64 bits can count.
  std::optional<std::int64_t> read(std::string_view text, int offset_minutes) const;

  // Whether texts of this format state their zone themselves.
  bool has_zone() const { return has_zone_; }

 private:
  enum class Kind { literal, year, year2, month, month_name, day, hour, hour12, minute, second, fraction, half, zone, unix_time };
  struct Part {
    Kind kind;
    std::size_t digits_min = 0, digits_max = 0;  // of numbers; of unix_time, min is its number of decimals
    std::string literal = {};
  };
  struct Reading;

  Result<void> add_letters(char letter, std::size_t count);
  Result<void> check() const;
  bool has(Kind kind) const;
  static bool read_part(const Part& part, std::string_view& text, Reading& reading);
  static bool read_number(const Part& part, std::string_view& text, Reading& reading);

  std::vector<Part> parts_;
  std::optional<std::size_t> optional_fraction_;  // rfc3339: where a fraction may stand
  bool has_zone_ = false;
};

// Minutes to the east of Greenwich: "+08:00", "-0330", "Z" and "UTC".
std::optional<int> parse_offset(std::string_view text);

}  // namespace bus::tools
