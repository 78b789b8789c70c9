#include "tools/csv_reader.hpp"

#include <utility>

#include "tools/utf8.hpp"

namespace bus::tools {

namespace {

constexpr int end_of_text = std::streambuf::traits_type::eof();

Error at_line(std::uint64_t line, const std::string& why) {
  return {Code::bad_argument, "line " + std::to_string(line) + ": " + why};
}

bool is_blank(const CsvRow& row) { return row.cells.size() == 1 && row.cells.front().empty(); }

}  // namespace

CsvReader::CsvReader(std::istream& in, char delimiter, std::size_t skip_lines)
    : in_(*in.rdbuf()), delimiter_(delimiter), skip_lines_(skip_lines) {}

Result<std::optional<CsvRow>> CsvReader::read() {
  if (!std::exchange(begun_, true)) {
    if (auto error = begin()) return *error;
  }
  while (!over_) {
    CsvRow row;
    row.line = line_;
    fault_.clear();
    row_bytes_ = 0;
    over_ = read_row(row) == End::text || over_;
    if (!fault_.empty()) return at_line(row.line, fault_);
    if (is_blank(row)) continue;
    if (auto error = check(row)) return *error;
    return std::optional(std::move(row));
  }
  return std::optional<CsvRow>();
}

std::optional<Error> CsvReader::begin() {
  const int first = in_.sgetc();
  if (first == 0xFF || first == 0xFE) {
    over_ = true;
    return at_line(1, "this is UTF-16; convert it first: iconv -f UTF-16 -t UTF-8");
  }
  if (first == 0xEF && !(take(0xEF) && take(0xBB) && take(0xBF))) {
    over_ = true;
    return at_line(1, "not UTF-8; convert it first, with iconv");
  }
  while (skip_lines_ > 0 && in_.sgetc() != end_of_text) {
    const int c = next();
    if (c == '\n' || c == '\r') --skip_lines_;
  }
  return {};
}

bool CsvReader::take(int expected) {
  if (in_.sgetc() != expected) return false;
  in_.sbumpc();
  return true;
}

int CsvReader::byte() {
  const int c = in_.sbumpc();
  if (c == end_of_text || ++row_bytes_ <= row_bytes_max) return c;
  fault("the row has more than " + std::to_string(row_bytes_max) + " bytes; is a quote not closed?");
  over_ = true;
  return end_of_text;
}

// The next byte; CR LF counts as one line break.
int CsvReader::next() {
  const int c = byte();
  if (c == '\r') take('\n');
  if (c == '\n' || c == '\r') ++line_;
  return c;
}

void CsvReader::fault(std::string why) {
  if (fault_.empty()) fault_ = std::move(why);
}

CsvReader::End CsvReader::read_row(CsvRow& row) {
  for (;;) {
    std::string cell;
    const End end = read_cell(cell);
    if (row.cells.size() < cells_max) {
      row.cells.push_back(std::move(cell));
    } else {
      fault("the row has more than " + std::to_string(cells_max) + " cells; is the delimiter right?");
    }
    if (end != End::cell) return end;
  }
}

CsvReader::End CsvReader::read_cell(std::string& cell) {
  const bool quoted = take('"');
  if (quoted) read_quoted(cell);
  for (;;) {
    const int c = next();
    if (c == end_of_text) return End::text;
    if (c == '\n' || c == '\r') return End::row;
    if (c == static_cast<unsigned char>(delimiter_)) return End::cell;
    if (quoted) fault("text after a closing quote; quotes within a quoted cell are doubled");
    cell += static_cast<char>(c);
  }
}

// Line breaks within quotes are kept as they are, so they are counted here and not by next().
void CsvReader::read_quoted(std::string& cell) {
  for (;;) {
    const int c = byte();
    if (c == end_of_text) return fault("a quote opens and is never closed");
    if (c == '"' && !take('"')) return;
    if (c == '\n' || (c == '\r' && in_.sgetc() != '\n')) ++line_;
    cell += static_cast<char>(c);
  }
}

std::optional<Error> CsvReader::check(const CsvRow& row) {
  for (const auto& cell : row.cells) {
    if (!is_utf8(cell)) return at_line(row.line, "not UTF-8; convert the file first, with iconv");
  }
  if (width_ == 0) width_ = row.cells.size();
  if (row.cells.size() == width_) return {};
  return at_line(row.line, std::to_string(row.cells.size()) + " cells, where the first row has " + std::to_string(width_));
}

}  // namespace bus::tools
