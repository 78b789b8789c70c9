#include "tools/csv_map.hpp"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cmath>
#include <cstring>
#include <fstream>
#include <sstream>

#include "tools/csv_rules.hpp"

namespace bus::tools {

namespace {

// Ends the work on a row; never leaves this file.
struct BadCell {
  std::string why;
};
// A cell is empty that a value was to come from.
struct Empty {
  std::string column;
};

std::string_view trimmed(std::string_view text) {
  const auto begin = text.find_first_not_of(" \t\r\n");
  if (begin == text.npos) return {};
  return text.substr(begin, text.find_last_not_of(" \t\r\n") - begin + 1);
}

std::string shown(std::string_view text) {
  std::string out = "'";
  for (const char c : text.substr(0, 64)) out += static_cast<unsigned char>(c) < 0x20 ? ' ' : c;
  return out + (text.size() > 64 ? "…'" : "'");
}

// "2016-05-12T23:59:59Z", with as many decimals as there are.
std::string rfc3339(std::int64_t nanoseconds) {
  using namespace std::chrono;
  const auto seconds = floor<std::chrono::seconds>(sys_time<std::chrono::nanoseconds>(std::chrono::nanoseconds(nanoseconds)));
  const auto day = floor<days>(seconds);
  const year_month_day date(day);
  const hh_mm_ss clock(seconds - day);
  char text[32];
  std::snprintf(text, sizeof text, "%04d-%02u-%02uT%02d:%02d:%02d", static_cast<int>(date.year()), static_cast<unsigned>(date.month()),
                static_cast<unsigned>(date.day()), static_cast<int>(clock.hours().count()),
                static_cast<int>(clock.minutes().count()), static_cast<int>(clock.seconds().count()));
  std::string fraction = std::to_string(1'000'000'000 + nanoseconds - seconds.time_since_epoch().count() * 1'000'000'000);
  fraction.erase(fraction.find_last_not_of('0') + 1);
  return text + (fraction.size() > 1 ? "." + fraction.substr(1) : std::string()) + "Z";
}

bool same_word(std::string_view text, std::string_view word) {
  return text.size() == word.size() && std::equal(text.begin(), text.end(), word.begin(), [](char a, char b) {
           return (a >= 'A' && a <= 'Z' ? static_cast<char>(a + 32) : a) == b;
         });
}

// Maps one row.
class RowMapper {
 public:
  RowMapper(const CsvMap::Rules& rules, const std::vector<std::size_t>& cell_of, const std::vector<std::string>& cells, std::uint64_t line)
      : rules_(rules), cell_of_(cell_of), cells_(cells), line_(line) {}

  MappedRow map() {
    MappedRow out;
    out.type = rules_.type;
    if (rules_.time) out.time_ns = time_ = time(*rules_.time);
    out.topic = filled(rules_.topic);
    out.key = filled(rules_.key);
    out.id = filled(rules_.id);
    out.subject = filled(rules_.subject);
    out.source = filled(rules_.source);
    for (const auto& [name, rule] : rules_.attributes) out.attributes.emplace_back(name, filled(rule));
    Json payload = Json::object();
    fill(rules_.fields, payload);
    out.payload_json = payload.dump(-1, ' ', false, Json::error_handler_t::replace);
    return out;
  }

 private:
  [[noreturn]] void refuse(ColumnNumber column, const std::string& why) const {
    throw BadCell{"column '" + rules_.columns[column] + "': " + why};
  }

  std::string_view raw(ColumnNumber column) const {
    const std::string_view text = cells_[cell_of_[column]];
    return rules_.trim ? trimmed(text) : text;
  }

  std::string_view cell(ColumnNumber column) const {
    const auto text = raw(column);
    const bool missing = std::find(rules_.missing.begin(), rules_.missing.end(), text) != rules_.missing.end();
    if (text.empty() || missing) throw Empty{rules_.columns[column]};
    return text;
  }

  std::string filled(const Template& rule) const {
    std::string out;
    for (const auto& part : rule.parts) {
      if (const auto* literal = std::get_if<std::string>(&part)) out += *literal;
      if (const auto* column = std::get_if<ColumnNumber>(&part)) out += cell(*column);
      if (const auto* fact = std::get_if<Template::Fact>(&part)) {
        out += *fact == Template::Fact::line ? std::to_string(line_) : rfc3339(*time_);
      }
    }
    return out;
  }

  std::int64_t time(const TimeRule& rule) const {
    const auto text = cell(rule.column);
    for (const auto& format : rule.formats) {
      if (const auto time = format.read(text, rule.offset_minutes)) return *time;
    }
    refuse(rule.column, shown(text) + " is no time of the form " + rule.formats_text);
  }

  void fill(const std::vector<FieldRule>& fields, Json& object) const {
    for (const auto& field : fields) {
      try {
        place(field, value_of(field), object);
      } catch (const Empty&) {
        if (field.empty != FieldRule::Empty::omit) throw;
      }
    }
  }

  static void place(const FieldRule& field, Json value, Json& object) {
    auto* at = &object;
    for (const auto& name : field.path) at = &(*at)[name];
    if (field.appends) at->push_back(std::move(value));
    else *at = std::move(value);
  }

  Json group(const std::vector<FieldRule>& fields) const {
    Json object = Json::object();
    fill(fields, object);
    return object;
  }

  Json value_of(const FieldRule& field) const {
    if (const auto* constant = std::get_if<Json>(&field.from)) return *constant;
    if (const auto* rule = std::get_if<Template>(&field.from)) return filled(*rule);
    if (const auto* fields = std::get_if<std::vector<FieldRule>>(&field.from)) return group(*fields);
    const auto& rule = std::get<Cell>(field.from);
    switch (rule.convert) {
      case Cell::Convert::number: return number(rule);
      case Cell::Convert::integer: return integer(rule);
      case Cell::Convert::boolean: return boolean(rule);
      case Cell::Convert::time: return time(rule.time);
      case Cell::Convert::lookup: return lookup(rule);
      default: return std::string(cell(rule.column));
    }
  }

  // The digits as C++ reads them.
  std::string digits(const Cell& rule) const {
    std::string text(cell(rule.column));
    if (rules_.thousands != 0) std::erase(text, rules_.thousands);
    if (rules_.decimal != '.') {
      if (text.find('.') != text.npos) return {};
      std::replace(text.begin(), text.end(), rules_.decimal, '.');
    }
    if (text.size() > 1 && text[0] == '+' && text[1] != '-') text.erase(0, 1);
    return text;
  }

  double number(const Cell& rule) const {
    const auto text = digits(rule);
    double value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc{} || end != text.data() + text.size()) refuse(rule.column, shown(raw(rule.column)) + " is not a number");
    value = value * rule.scale + rule.offset;
    if (!std::isfinite(value)) refuse(rule.column, shown(raw(rule.column)) + " is not a finite number");
    return value;
  }

  std::int64_t integer(const Cell& rule) const {
    if (rule.scale != 1 || rule.offset != 0) return whole(rule, number(rule));
    const auto text = digits(rule);
    std::int64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error == std::errc::result_out_of_range) refuse(rule.column, shown(raw(rule.column)) + " does not fit 64 bits");
    if (error != std::errc{} || end != text.data() + text.size()) refuse(rule.column, shown(raw(rule.column)) + " is not an integer");
    return value;
  }

  // Beyond 2^53 a double has no units any more.
  std::int64_t whole(const Cell& rule, double value) const {
    if (value != std::floor(value) || std::abs(value) > 9007199254740992.0) {
      refuse(rule.column, shown(raw(rule.column)) + " with scale and offset gives no exact integer");
    }
    return static_cast<std::int64_t>(value);
  }

  bool boolean(const Cell& rule) const {
    const auto text = cell(rule.column);
    for (const auto* word : {"true", "t", "yes", "y", "1"}) {
      if (same_word(text, word)) return true;
    }
    for (const auto* word : {"false", "f", "no", "n", "0"}) {
      if (same_word(text, word)) return false;
    }
    refuse(rule.column, shown(text) + " is neither true nor false");
  }

  Json lookup(const Cell& rule) const {
    const auto text = cell(rule.column);
    std::string known;
    for (const auto& [name, value] : rule.values) {
      if (name == text) return value;
      known += (known.empty() ? "" : ", ") + shown(name);
    }
    if (rule.otherwise) return *rule.otherwise;
    refuse(rule.column, shown(text) + " is not among the map's values " + known);
  }

  const CsvMap::Rules& rules_;
  const std::vector<std::size_t>& cell_of_;
  const std::vector<std::string>& cells_;
  std::uint64_t line_;
  std::optional<std::int64_t> time_;
};

Error bad_map(std::string why) { return {Code::bad_argument, std::move(why)}; }

}  // namespace

CsvMap::CsvMap(std::shared_ptr<const Rules> rules) : rules_(std::move(rules)) {}

const CsvLayout& CsvMap::layout() const { return rules_->layout; }
const std::string& CsvMap::type() const { return rules_->type; }

Result<CsvMap> CsvMap::load(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return Error{Code::not_found, path.string() + ": " + std::strerror(errno)};
  std::string text(map_bytes_max + 1, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<std::size_t>(file.gcount()));
  if (file.bad()) return bad_map(path.string() + ": cannot be read");
  return parse(text, path.string());
}

Result<CsvMap> CsvMap::parse(std::string_view toml, const std::string& name) {
  if (toml.size() > map_bytes_max) return bad_map(name + ": more than " + std::to_string(map_bytes_max) + " bytes; is this a map?");
  auto rules = parse_csv_rules(toml, name);
  if (!rules) return rules.error();
  return CsvMap(std::make_shared<const Rules>(*std::move(rules)));
}

Result<void> CsvMap::bind(const std::vector<std::string>& header) {
  std::vector<std::size_t> cell_of;
  for (const auto& column : rules_->columns) {
    const auto is_it = [&](const std::string& name) { return (rules_->trim ? trimmed(name) : std::string_view(name)) == column; };
    const auto at = std::find_if(header.begin(), header.end(), is_it);
    if (at == header.end()) {
      std::string known;
      for (const auto& name : header) known += (known.empty() ? "" : ", ") + shown(trimmed(name));
      return bad_map("the map uses the column '" + column + "', the file has " + known);
    }
    if (std::find_if(at + 1, header.end(), is_it) != header.end()) return bad_map("the file has two columns '" + column + "'");
    cell_of.push_back(static_cast<std::size_t>(at - header.begin()));
  }
  cell_of_ = std::move(cell_of);
  width_ = header.size();
  return {};
}

Result<MappedRow> CsvMap::row(const std::vector<std::string>& cells, std::uint64_t line) const {
  if (cells.size() != width_) {
    return bad_map(std::to_string(cells.size()) + " cells, the header has " + std::to_string(width_));
  }
  try {
    return RowMapper(*rules_, cell_of_, cells, line).map();
  } catch (const BadCell& refused) {
    return bad_map(refused.why);
  } catch (const Empty& empty) {
    return bad_map("column '" + empty.column + "': the cell is empty; if that may be, say empty = \"omit\" in the map");
  }
}

}  // namespace bus::tools
