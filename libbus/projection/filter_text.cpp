#include "libbus/projection/filter_text.hpp"

#include <algorithm>

namespace bus::projection {

namespace {

std::string escaped(std::string_view text) {
  std::string escaped = "\"";
  for (const char one : text) {
    if (one == '"' || one == '\\') escaped += '\\';
    escaped += one;
  }
  return escaped + '"';
}

void add(std::string& text, const std::string& name, std::vector<std::string> entries) {
  if (entries.empty()) return;
  std::sort(entries.begin(), entries.end());
  entries.erase(std::unique(entries.begin(), entries.end()), entries.end());
  text += (text.empty() ? "" : "; ") + name;
  for (const std::string& entry : entries) text += ' ' + entry;
}

std::vector<std::string> all_escaped(const std::vector<std::string>& entries) {
  std::vector<std::string> all;
  for (const std::string& entry : entries) all.push_back(escaped(entry));
  return all;
}

std::vector<std::string> time_of(const std::optional<WallTime>& time) {
  return time ? std::vector{std::to_string(nanoseconds(*time))} : std::vector<std::string>();
}

}  // namespace

std::string describe(const Filter& filter) {
  std::string text;
  add(text, "patterns", all_escaped(filter.patterns));
  add(text, "types", all_escaped(filter.types));
  add(text, "keys", all_escaped(filter.keys));
  add(text, "since", time_of(filter.since));
  add(text, "until", time_of(filter.until));
  std::vector<std::string> priorities;
  for (const Priority priority : filter.priorities) priorities.emplace_back(wire::EnumNamePriority(priority));
  add(text, "priorities", std::move(priorities));
  // Each has to match, so that each is an entry of its own.
  std::vector<std::string> attributes;
  for (const AttributeFilter& one : filter.attributes) {
    std::string values;
    add(values, "of", all_escaped(one.values));
    attributes.push_back(escaped(one.name) + (values.empty() ? "" : " (" + values + ")"));
  }
  add(text, "attributes", std::move(attributes));
  return text.empty() ? "everything" : text;
}

}  // namespace bus::projection
