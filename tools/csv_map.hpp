// CsvMap says how the rows of a CSV file become events: `bus-cli import csv FILE --map MAP.toml`. The format of the
// map file is docs/bus-import-map.5.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "bus/result.hpp"

namespace bus::tools {

// One row as an event to publish. What the map leaves out is empty.
struct MappedRow {
  std::string topic;
  std::string type;
  std::string key;
  std::string id;
  std::string subject;
  std::string source;
  std::optional<std::int64_t> time_ns;  // nanoseconds since 1970-01-01T00:00:00Z
  std::vector<std::pair<std::string, std::string>> attributes;
  std::string payload_json;             // one line, for PayloadJson of `type`
};

// How the text of the file is to be read; for CsvReader.
struct CsvLayout {
  char delimiter = ',';
  std::size_t skip_lines = 0;
  std::vector<std::string> columns;     // names for a file without a header row; empty: the first row has them
};

// A value; copies share what was loaded. row() is thread-safe once the map is bound.
class CsvMap {
 public:
  static constexpr std::size_t map_bytes_max = 1u << 20;
  static constexpr std::size_t fields_max = 4096;

  // Errors: not_found, bad_argument, each naming file, line and reason.
  static Result<CsvMap> load(const std::filesystem::path& path);
  // The same from text; `name` stands for the file in errors.
  static Result<CsvMap> parse(std::string_view toml, const std::string& name);

  const CsvLayout& layout() const;
  const std::string& type() const;      // the same for all rows

  // Finds the columns that the map uses; layout().columns where the file has no header row. Errors: bad_argument,
  // naming a column that is not there, or is there twice.
  Result<void> bind(const std::vector<std::string>& header);

  // Maps one row; after bind(). `line` is its place in the file, for {@line}. Errors: bad_argument, naming column,
  // value and reason.
  Result<MappedRow> row(const std::vector<std::string>& cells, std::uint64_t line) const;

  struct Rules;

 private:
  explicit CsvMap(std::shared_ptr<const Rules> rules);

  std::shared_ptr<const Rules> rules_;
  std::vector<std::size_t> cell_of_;    // by column number of the rules: where it is in a row
  std::size_t width_ = 0;               // cells of the header
};

}  // namespace bus::tools
