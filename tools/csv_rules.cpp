#include "tools/csv_rules.hpp"

#include <toml++/toml.h>

#include <algorithm>
#include <initializer_list>
#include <set>

namespace bus::tools {

namespace {

// Ends the work on a map; never leaves this file.
struct BadMap {
  std::uint32_t line;
  std::string why;
};

std::uint32_t line_of(const toml::node& node) { return node.source().begin.line; }

[[noreturn]] void refuse(const toml::node& at, const std::string& why) { throw BadMap{line_of(at), why}; }

std::string in_quotes(std::string_view text) { return "'" + std::string(text) + "'"; }

std::string listed(std::initializer_list<std::string_view> names) {
  std::string out;
  for (const auto name : names) out += (out.empty() ? "" : ", ") + std::string(name);
  return out;
}

// A table of the map, in which each wrong name and each wrong type is an error with its line.
class Section {
 public:
  Section(const toml::table& table, std::initializer_list<std::string_view> names) : table_(table) {
    for (const auto& [key, node] : table) {
      if (std::find(names.begin(), names.end(), key.str()) != names.end()) continue;
      throw BadMap{key.source().begin.line, "there is no " + in_quotes(key.str()) + " here; there is " + listed(names)};
    }
  }

  const toml::table& table() const { return table_; }
  const toml::node* find(std::string_view name) const { return table_.get(name); }

  template <typename T>
  std::optional<T> get(std::string_view name, const char* wanted) const {
    const auto* node = find(name);
    if (node == nullptr) return {};
    const auto value = node->value<T>();
    if (!value) refuse(*node, std::string(name) + " must be " + wanted);
    return value;
  }
  std::optional<std::string> text(std::string_view name) const {
    const auto* node = find(name);
    if (node != nullptr && !node->is_string()) refuse(*node, std::string(name) + " must be a string");
    return get<std::string>(name, "a string");
  }
  std::string needed_text(std::string_view name) const {
    auto value = text(name);
    if (!value || value->empty()) refuse(table_, std::string(name) + " is missing");
    return *value;
  }
  std::optional<double> number(std::string_view name) const { return get<double>(name, "a number"); }

  // A string of one byte.
  char byte(std::string_view name, char absent) const {
    const auto value = text(name);
    if (!value) return absent;
    if (value->size() != 1 || *value == "\"" || *value == "\n") refuse(*find(name), std::string(name) + " must be one ASCII character, no quote");
    return value->front();
  }

  std::vector<std::string> texts(std::string_view name) const {
    std::vector<std::string> out;
    const auto* node = find(name);
    if (node == nullptr) return out;
    if (!node->is_array()) refuse(*node, std::string(name) + " must be a list of strings");
    for (const auto& each : *node->as_array()) {
      if (!each.is_string()) refuse(each, std::string(name) + " must be a list of strings");
      out.push_back(each.as_string()->get());
    }
    return out;
  }

  const toml::table* subtable(std::string_view name) const {
    const auto* node = find(name);
    if (node != nullptr && !node->is_table()) refuse(*node, std::string(name) + " must be a table");
    return node == nullptr ? nullptr : node->as_table();
  }

 private:
  const toml::table& table_;
};

Json constant(const toml::node& node) {
  if (const auto* text = node.as_string()) return text->get();
  if (const auto* integer = node.as_integer()) return integer->get();
  if (const auto* real = node.as_floating_point()) return real->get();
  if (const auto* boolean = node.as_boolean()) return boolean->get();
  refuse(node, "must be a string, a number, true or false");
}

class Compiler {
 public:
  CsvMap::Rules compile(const toml::table& document) {
    const Section map(document, {"type", "topic", "key", "id", "subject", "source", "attributes", "csv", "time", "values", "fields"});
    read_csv(map);
    read_values(map);
    if (const auto* time = map.subtable("time")) {
      const Section section(*time, {"column", "formats", "timezone"});
      rules_.time = time_rule(section, section.needed_text("column"));
    }
    rules_.type = map.needed_text("type");
    map.needed_text("topic");
    for (const auto& [name, target] : {std::pair{"topic", &rules_.topic}, {"key", &rules_.key}, {"id", &rules_.id},
                                       {"subject", &rules_.subject}, {"source", &rules_.source}}) {
      if (const auto text = map.text(name)) *target = template_of(*text, *map.find(name));
    }
    read_attributes(map);
    rules_.fields = fields_of(map);
    if (rules_.fields.empty()) refuse(document, "no [[fields]]; the payload would be empty");
    return std::move(rules_);
  }

 private:
  void read_csv(const Section& map) {
    const auto* table = map.subtable("csv");
    if (table == nullptr) return;
    const Section csv(*table, {"delimiter", "decimal", "thousands", "skip_lines", "columns", "missing", "trim"});
    rules_.layout.delimiter = csv.byte("delimiter", ',');
    rules_.decimal = csv.byte("decimal", '.');
    rules_.thousands = csv.byte("thousands", 0);
    rules_.trim = csv.get<bool>("trim", "true or false").value_or(true);
    rules_.missing = csv.texts("missing");
    rules_.layout.columns = csv.texts("columns");
    const auto skip = csv.get<std::int64_t>("skip_lines", "a number of lines").value_or(0);
    if (skip < 0 || skip > 1'000'000) refuse(*csv.find("skip_lines"), "skip_lines must be 0 to 1000000");
    rules_.layout.skip_lines = static_cast<std::size_t>(skip);
    if (rules_.decimal == rules_.thousands) refuse(*table, "decimal and thousands are the same character");
  }

  void read_values(const Section& map) {
    const auto* tables = map.subtable("values");
    if (tables == nullptr) return;
    for (const auto& [name, node] : *tables) {
      if (!node.is_table()) refuse(node, "values." + std::string(name.str()) + " must be a table");
      shared_values_.emplace_back(name.str(), node.as_table());
    }
  }

  void read_attributes(const Section& map) {
    const auto* table = map.subtable("attributes");
    if (table == nullptr) return;
    for (const auto& [name, node] : *table) {
      if (!node.is_string()) refuse(node, "attributes." + std::string(name.str()) + " must be a string");
      rules_.attributes.emplace_back(name.str(), template_of(node.as_string()->get(), node));
    }
  }

  ColumnNumber column(const std::string& name) {
    const auto at = std::find(rules_.columns.begin(), rules_.columns.end(), name);
    if (at == rules_.columns.end()) return rules_.columns.push_back(name), rules_.columns.size() - 1;
    return static_cast<ColumnNumber>(at - rules_.columns.begin());
  }

  Template template_of(std::string_view text, const toml::node& at) {
    Template out;
    std::string literal;
    for (std::size_t i = 0; i < text.size(); ++i) {
      const bool doubled = i + 1 < text.size() && text[i + 1] == text[i];
      if (text[i] == '}' && !doubled) refuse(at, "a '}' without '{'; write }} for the character");
      if (text[i] != '{' || doubled) {
        literal += text[i];
        i += (text[i] == '{' || text[i] == '}') ? 1 : 0;
        continue;
      }
      const auto end = text.find('}', i);
      if (end == text.npos) refuse(at, "a '{' without '}'; write {{ for the character");
      if (!literal.empty()) out.parts.emplace_back(std::exchange(literal, {}));
      out.parts.push_back(reference(text.substr(i + 1, end - i - 1), at));
      i = end;
    }
    if (!literal.empty()) out.parts.emplace_back(literal);
    return out;
  }

  Template::Part reference(std::string_view name, const toml::node& at) {
    if (name == "@line") return Template::Fact::line;
    if (name == "@time") {
      if (!rules_.time) refuse(at, "{@time} needs a [time]");
      return Template::Fact::time;
    }
    if (name.empty() || name.front() == '@') refuse(at, "{" + std::string(name) + "} is no column; @line and @time are the facts there are");
    return column(std::string(name));
  }

  TimeRule time_rule(const Section& section, const std::string& column_name) {
    TimeRule rule;
    rule.column = column(column_name);
    const auto* node = section.find("formats");
    if (node == nullptr) refuse(section.table(), "formats is missing; a list such as [\"YYYY-MM-DD HH:mm:ss\", \"rfc3339\"]");
    bool all_have_zone = true;
    for (const auto& text : section.texts("formats")) {
      auto format = TimeFormat::parse(text);
      if (!format) refuse(*node, format.error().detail);
      all_have_zone = all_have_zone && format->has_zone();
      rule.formats.push_back(*std::move(format));
      rule.formats_text += (rule.formats_text.empty() ? "" : ", ") + in_quotes(text);
    }
    if (rule.formats.empty()) refuse(*node, "formats is empty");
    rule.offset_minutes = zone(section, all_have_zone);
    return rule;
  }

  static int zone(const Section& section, bool all_have_zone) {
    static const char* choices = "\"UTC\", an offset such as \"+08:00\", or \"unknown\" for local times of an unknown zone";
    const auto text = section.text("timezone");
    if (!text && all_have_zone) return 0;
    if (!text) refuse(section.table(), std::string("timezone is missing: ") + choices);
    if (*text == "unknown") return 0;
    const auto offset = parse_offset(*text);
    if (!offset) refuse(*section.find("timezone"), "timezone must be " + std::string(choices));
    return *offset;
  }

  std::vector<FieldRule> fields_of(const Section& section) {
    std::vector<FieldRule> out;
    const auto* node = section.find("fields");
    if (node == nullptr) return out;
    if (!node->is_array()) refuse(*node, "fields must be a list of tables: [[fields]]");
    std::set<std::string> taken;
    for (const auto& each : *node->as_array()) {
      if (!each.is_table()) refuse(each, "fields must be a list of tables: [[fields]]");
      if (++field_count_ > CsvMap::fields_max) refuse(each, "more than " + std::to_string(CsvMap::fields_max) + " fields");
      out.push_back(field(*each.as_table(), taken));
    }
    return out;
  }

  FieldRule field(const toml::table& table, std::set<std::string>& taken) {
    const Section section(table, {"path", "column", "constant", "template", "fields", "convert", "formats", "timezone", "scale",
                                  "offset", "values", "otherwise", "empty"});
    FieldRule rule;
    read_path(section, rule, taken);
    const int sources = (section.find("column") != nullptr) + (section.find("constant") != nullptr) +
                        (section.find("template") != nullptr) + (section.find("fields") != nullptr);
    if (sources != 1) refuse(table, "say one of column, constant, template and fields");
    rule.empty = empty_of(section);
    if (section.find("column") == nullptr) refuse_cell_settings(section);
    if (const auto* node = section.find("constant")) rule.from = constant(*node);
    if (const auto text = section.text("template")) rule.from = template_of(*text, *section.find("template"));
    if (section.find("fields") != nullptr) rule.from = fields_of(section);
    if (const auto name = section.text("column")) rule.from = cell(section, *name);
    return rule;
  }

  static void refuse_cell_settings(const Section& section) {
    for (const auto* name : {"convert", "formats", "timezone", "scale", "offset", "values", "otherwise"}) {
      if (const auto* node = section.find(name)) refuse(*node, std::string(name) + " belongs to a column");
    }
  }

  // Each place in the payload is filled once, so that no field is silently lost.
  static void read_path(const Section& section, FieldRule& rule, std::set<std::string>& taken) {
    std::string path = section.needed_text("path");
    const auto& at = *section.find("path");
    rule.appends = path.ends_with("[]");
    if (rule.appends) path.resize(path.size() - 2);
    for (std::size_t begin = 0; begin <= path.size();) {
      const auto end = std::min(path.find('.', begin), path.size());
      rule.path.push_back(path.substr(begin, end - begin));
      if (rule.path.back().empty() || rule.path.back().find_first_of("[]") != std::string::npos) {
        refuse(at, "path is made of names with dots between; [] may only end it");
      }
      begin = end + 1;
    }
    const auto full = path + (rule.appends ? "[]" : "");
    for (const auto& other : taken) {
      const bool same = other == full && !rule.appends;
      const bool inside = (path + ".").starts_with(bare(other) + ".") || (bare(other) + ".").starts_with(path + ".");
      if (same || (inside && other != full)) refuse(at, "path '" + full + "' and '" + other + "' fill the same place");
    }
    taken.insert(full);
  }

  static std::string bare(const std::string& path) { return path.ends_with("[]") ? path.substr(0, path.size() - 2) : path; }

  static FieldRule::Empty empty_of(const Section& section) {
    const auto text = section.text("empty").value_or("error");
    if (text == "error") return FieldRule::Empty::error;
    if (text == "omit") return FieldRule::Empty::omit;
    refuse(*section.find("empty"), "empty must be \"error\" or \"omit\"");
  }

  Cell cell(const Section& section, const std::string& name) {
    Cell out;
    out.column = column(name);
    out.convert = convert_of(section);
    out.scale = section.number("scale").value_or(1);
    out.offset = section.number("offset").value_or(0);
    const bool is_number = out.convert == Cell::Convert::number || out.convert == Cell::Convert::integer;
    const bool is_time = out.convert == Cell::Convert::time;
    const bool is_lookup = out.convert == Cell::Convert::lookup;
    for (const auto& [setting, fits, kind] : {std::tuple{"scale", is_number, "number or integer"}, {"offset", is_number, "number or integer"},
                                              {"formats", is_time, "time"}, {"timezone", is_time, "time"},
                                              {"values", is_lookup, "enum"}, {"otherwise", is_lookup, "enum"}}) {
      if (section.find(setting) != nullptr && !fits) refuse(*section.find(setting), std::string(setting) + " needs convert = " + in_quotes(kind));
    }
    if (is_time) out.time = field_time(section, name);
    if (is_lookup) read_lookup(section, out);
    return out;
  }

  static Cell::Convert convert_of(const Section& section) {
    const auto text = section.needed_text("convert");
    if (text == "number") return Cell::Convert::number;
    if (text == "integer") return Cell::Convert::integer;
    if (text == "text") return Cell::Convert::text;
    if (text == "bool") return Cell::Convert::boolean;
    if (text == "time") return Cell::Convert::time;
    if (text == "enum") return Cell::Convert::lookup;
    refuse(*section.find("convert"), "convert must be number, integer, text, bool, time or enum");
  }

  TimeRule field_time(const Section& section, const std::string& name) {
    if (section.find("formats") != nullptr) return time_rule(section, name);
    if (section.find("timezone") != nullptr) refuse(section.table(), "timezone without formats");
    if (!rules_.time) refuse(section.table(), "formats is missing, and there is no [time] to take them from");
    auto rule = *rules_.time;
    rule.column = column(name);
    return rule;
  }

  void read_lookup(const Section& section, Cell& cell) {
    const auto* node = section.find("values");
    if (node == nullptr) refuse(section.table(), "values is missing: a table { \"text of the cell\" = \"name\" }, or the name of a [values.NAME]");
    const auto* table = node->is_string() ? shared_values(node->as_string()->get(), *node) : node->as_table();
    if (table == nullptr) refuse(*node, "values must be a table or the name of one");
    for (const auto& [text, value] : *table) cell.values.emplace_back(text.str(), constant(value));
    if (const auto* otherwise = section.find("otherwise")) cell.otherwise = constant(*otherwise);
  }

  const toml::table* shared_values(const std::string& name, const toml::node& at) const {
    for (const auto& [known, table] : shared_values_) {
      if (known == name) return table;
    }
    refuse(at, "there is no [values." + name + "]");
  }

  CsvMap::Rules rules_;
  std::vector<std::pair<std::string, const toml::table*>> shared_values_;
  std::size_t field_count_ = 0;
};

Error error_at(const std::string& name, std::uint32_t line, std::string_view why) {
  return {Code::bad_argument, name + ":" + std::to_string(line) + ": " + std::string(why)};
}

}  // namespace

Result<CsvMap::Rules> parse_csv_rules(std::string_view toml, const std::string& name) {
  try {
    return Compiler().compile(toml::parse(toml));
  } catch (const toml::parse_error& error) {
    return error_at(name, error.source().begin.line, error.description());
  } catch (const BadMap& refused) {
    return error_at(name, std::max(refused.line, 1u), refused.why);
  }
}

}  // namespace bus::tools
