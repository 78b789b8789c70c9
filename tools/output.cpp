#include "tools/output.hpp"

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace bus::tools {

namespace {

void check_stdout(bool good) {
  if (good) return;
  const int why = errno;
  if (why == EPIPE) throw ClosedPipe{};
  throw Failed({Code::disk_error, std::string("cannot write to stdout: ") + std::strerror(why)});
}

std::string cell_text(const Json& value) {
  if (value.is_null()) return "-";
  if (value.is_string()) return printable(value.get_ref<const std::string&>());
  if (!value.is_array()) return dump(value);
  std::string text;
  for (const auto& item : value) text += (text.empty() ? "" : ", ") + cell_text(item);
  return text.empty() ? "-" : text;
}

// Characters, so that columns of names in any script line up about right.
std::size_t width_of(std::string_view text) {
  return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; }));
}

std::string padded(const std::string& text, std::size_t width, bool right) {
  const std::string blanks(width - std::min(width, width_of(text)), ' ');
  return right ? blanks + text : text + blanks;
}

struct Grid {
  std::vector<std::vector<std::string>> rows;  // the first has the titles
  std::vector<bool> right;                     // columns of numbers
};

Grid lay_out(const std::vector<Column>& columns, const std::vector<Json>& rows) {
  Grid table;
  auto& titles = table.rows.emplace_back();
  for (const auto& column : columns) {
    titles.push_back(column.title);
    table.right.push_back(!rows.empty() && rows.front().at(column.field).is_number());
  }
  for (const auto& row : rows) {
    auto& cells = table.rows.emplace_back();
    for (const auto& column : columns) cells.push_back(cell_text(row.at(column.field)));
  }
  return table;
}

void write_table(const Grid& table) {
  std::vector<std::size_t> widths(table.right.size());
  for (const auto& row : table.rows) {
    for (std::size_t at = 0; at < row.size(); ++at) widths[at] = std::max(widths[at], width_of(row[at]));
  }
  const bool bold = has_colours(STDOUT_FILENO);
  for (const auto& row : table.rows) {
    std::string line;
    for (std::size_t at = 0; at < row.size(); ++at) {
      const bool last = at + 1 == row.size() && !table.right[at];
      line += (at > 0 ? "  " : "") + (last ? row[at] : padded(row[at], widths[at], table.right[at]));
    }
    const bool is_head = &row == &table.rows.front();
    write(is_head && bold ? "\033[1m" + line + "\033[0m\n" : line + "\n");
  }
}

void write_tabs(const Grid& table) {
  for (std::size_t at = 1; at < table.rows.size(); ++at) write(columns(table.rows[at]) + "\n");
}

}  // namespace

bool is_terminal(int fd) { return isatty(fd) == 1; }

bool has_colours(int fd) {
  const char* off = std::getenv("NO_COLOR");
  const char* term = std::getenv("TERM");
  const bool dumb = term == nullptr || std::strcmp(term, "dumb") == 0;
  return is_terminal(fd) && (off == nullptr || *off == '\0') && !dumb;
}

bool stdout_closed() {
  pollfd out{STDOUT_FILENO, 0, 0};
  return poll(&out, 1, 0) > 0 && (out.revents & (POLLERR | POLLNVAL)) != 0;
}

void write(std::string_view text) { check_stdout(std::fwrite(text.data(), 1, text.size(), stdout) == text.size()); }
void flush() { check_stdout(std::fflush(stdout) == 0); }

void warn(const std::string& text) { std::fprintf(stderr, "bus-cli: %s\n", text.c_str()); }
void complain(const Error& error) { warn(describe(error)); }

std::string printable(std::string_view text) {
  std::string out(text);
  std::replace_if(out.begin(), out.end(), [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7F; }, ' ');
  return out;
}

std::string hexadecimal(std::span<const std::uint8_t> bytes) {
  std::string text;
  for (const unsigned byte : bytes) {
    text += "0123456789abcdef"[byte >> 4];
    text += "0123456789abcdef"[byte & 15];
  }
  return text;
}

std::string columns(const std::vector<std::string>& cells) {
  static const char* const between = is_terminal(STDOUT_FILENO) ? "  " : "\t";
  std::string line;
  for (const auto& cell : cells) line += (&cell == &cells.front() ? "" : between) + cell;
  return line;
}

std::string dump(const Json& value) { return value.dump(-1, ' ', false, Json::error_handler_t::replace); }

void Items::add(std::string_view json, std::string_view text) {
  if (format_ == Format::json) write(begun_ ? ",\n" : "[\n");
  begun_ = true;
  write(wants_json() ? json : text);
  if (format_ != Format::json) write("\n");
}

void Items::finish() {
  if (format_ == Format::json) write(begun_ ? "\n]\n" : "[]\n");
  flush();
}

void print_list(Format format, const std::vector<Column>& columns, const std::vector<Json>& rows) {
  if (format != Format::text) {
    Items items(format);
    for (const auto& row : rows) items.add(dump(row), "");
    return items.finish();
  }
  const auto table = lay_out(columns, rows);
  is_terminal(STDOUT_FILENO) ? write_table(table) : write_tabs(table);
  flush();
}

void print_object(Format format, const Json& object) {
  if (format != Format::text) {
    write(dump(object) + "\n");
    return flush();
  }
  std::size_t width = 0;
  for (const auto& [name, value] : object.items()) width = std::max(width, name.size());
  for (const auto& [name, value] : object.items()) {
    std::string label = name;
    std::replace(label.begin(), label.end(), '_', ' ');
    write(padded(label + ":", width + 2, false) + cell_text(value) + "\n");
  }
  flush();
}

}  // namespace bus::tools
