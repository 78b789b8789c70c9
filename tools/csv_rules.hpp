// What a map file says, compiled: columns have numbers, time formats and templates are parsed, and nothing is left
// that could be wrong apart from the cells themselves.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "tools/csv_map.hpp"
#include "tools/time_format.hpp"

namespace bus::tools {

using Json = nlohmann::ordered_json;
using ColumnNumber = std::size_t;       // index into CsvMap::Rules::columns

// "{Id}/{@time}": text with columns and facts of the row in it.
struct Template {
  enum class Fact { line, time };
  using Part = std::variant<std::string, ColumnNumber, Fact>;
  std::vector<Part> parts;
};

struct TimeRule {
  ColumnNumber column = 0;
  std::vector<TimeFormat> formats;
  std::string formats_text;             // for errors
  int offset_minutes = 0;               // of texts without a zone; 0 also if theirs is not known
};

// How a cell becomes a value.
struct Cell {
  enum class Convert { number, integer, text, boolean, time, lookup };
  ColumnNumber column = 0;
  Convert convert = Convert::text;
  double scale = 1, offset = 0;         // value = cell * scale + offset
  TimeRule time;
  std::vector<std::pair<std::string, Json>> values;  // of lookup
  std::optional<Json> otherwise;        // of lookup, for texts that are not in values
};

struct FieldRule {
  enum class Empty { error, omit };    // what an empty cell in `from` does
  std::vector<std::string> path;        // names from the outside in
  bool appends = false;                 // to the list at path
  std::variant<Json, Cell, Template, std::vector<FieldRule>> from;
  Empty empty = Empty::error;
};

struct CsvMap::Rules {
  CsvLayout layout;
  bool trim = true;
  char decimal = '.';
  char thousands = 0;                   // 0: none
  std::vector<std::string> missing;     // texts that mean an empty cell
  std::string type;
  Template topic, key, id, subject, source;
  std::vector<std::pair<std::string, Template>> attributes;
  std::optional<TimeRule> time;
  std::vector<FieldRule> fields;
  std::vector<std::string> columns;     // all that are used, by ColumnNumber
};

// Compiles a map file. Errors: bad_argument, "NAME:LINE: reason".
Result<CsvMap::Rules> parse_csv_rules(std::string_view toml, const std::string& name);

}  // namespace bus::tools
