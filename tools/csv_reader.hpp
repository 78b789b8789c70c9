// CsvReader takes CSV text apart into rows, as RFC 4180 has it: quoted cells may hold delimiters, line breaks and
// doubled quotes; lines end in CR LF, LF or CR; the last one need not. A byte order mark and blank lines are passed
// over. The text must be UTF-8.
//
// The packaged libraries do not serve: fast-cpp-csv-parser knows no line breaks within cells, libcsv no lines.
#pragma once

#include <cstdint>
#include <istream>
#include <optional>
#include <string>
#include <vector>

#include "bus/result.hpp"

namespace bus::tools {

struct CsvRow {
  std::uint64_t line = 0;               // where it begins in the file, from 1
  std::vector<std::string> cells;
};

// Reads an istream of the caller's, which lives longer.
class CsvReader {
 public:
  static constexpr std::size_t row_bytes_max = 1u << 20;
  static constexpr std::size_t cells_max = 4096;

  // `skip_lines` lines before the first row are passed over, whatever is in them.
  explicit CsvReader(std::istream& in, char delimiter = ',', std::size_t skip_lines = 0);

  // The next row, or nothing at the end. Errors: bad_argument, naming the line. After a row that has not as many cells
  // as the first one, or is no UTF-8, or has text after a closing quote, reading may go on with the next row; after an
  // error in the file as a whole (UTF-16, a quote that is never closed, a row without end) nothing follows.
  Result<std::optional<CsvRow>> read();

 private:
  enum class End { cell, row, text };

  std::optional<Error> begin();
  End read_row(CsvRow& row);
  End read_cell(std::string& cell);
  void read_quoted(std::string& cell);
  bool take(int expected);
  int byte();
  int next();
  void fault(std::string why);
  std::optional<Error> check(const CsvRow& row);

  std::streambuf& in_;
  char delimiter_;
  std::size_t skip_lines_;
  std::uint64_t line_ = 1;
  std::size_t row_bytes_ = 0;
  std::size_t width_ = 0;               // cells of the first row
  bool begun_ = false;
  bool over_ = false;
  std::string fault_;                   // of the row being read; the first one counts
};

}  // namespace bus::tools
