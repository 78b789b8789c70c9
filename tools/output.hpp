// Results go to stdout, everything else to stderr. Tables and colours are for terminals; a pipe gets plain columns
// separated by tabs, JSON or NDJSON.
#pragma once

#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "bus/result.hpp"

namespace bus::tools {

using Json = nlohmann::ordered_json;

enum class Format { text, json, ndjson };

// Thrown when the reader of stdout has gone away: not an error, there is just nobody left to tell.
struct ClosedPipe {};

bool is_terminal(int fd);
// Colours: a terminal, and neither NO_COLOR nor TERM=dumb.
bool has_colours(int fd);
// True if the other end of stdout is closed, so that waiting for more to print is pointless.
bool stdout_closed();

// Both throw ClosedPipe, or Failed if stdout cannot be written. write() is buffered.
void write(std::string_view text);
void flush();

// For people, on stderr, with the program's name before it.
void warn(const std::string& text);
void complain(const Error& error);

// As one cell of plain text: control characters become spaces.
std::string printable(std::string_view text);
std::string hexadecimal(std::span<const std::uint8_t> bytes);
// Cells as a line: two blanks between them on a terminal, a tab otherwise.
std::string columns(const std::vector<std::string>& cells);
std::string dump(const Json& value);

// Items prints one result after the other: a line each, or one JSON array.
class Items {
 public:
  explicit Items(Format format) : format_(format) {}
  // `json` is one line of JSON, `text` the same for people; only what the format needs is looked at.
  void add(std::string_view json, std::string_view text);
  bool wants_json() const { return format_ != Format::text; }
  // Closes the array. Without it a JSON result is visibly incomplete.
  void finish();

 private:
  Format format_;
  bool begun_ = false;
};

struct Column {
  const char* title;
  const char* field;
};
// Objects as a table of these columns, or all of each object as JSON.
void print_list(Format format, const std::vector<Column>& columns, const std::vector<Json>& rows);
// One object: "name: value" lines, or JSON.
void print_object(Format format, const Json& object);

}  // namespace bus::tools
