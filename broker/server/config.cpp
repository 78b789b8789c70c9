#include "broker/server/config.hpp"

#include <toml++/toml.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>

#include "broker/server/socket.hpp"

namespace bus::broker {

namespace {

std::string env(const char* name) {
  const char* value = std::getenv(name);
  return value != nullptr ? value : "";
}

std::string default_data() {
  if (const auto dir = env("STATE_DIRECTORY"); !dir.empty()) return dir.substr(0, dir.find(':'));
  if (geteuid() == 0) return "/var/lib/busd";
  if (const auto dir = env("XDG_STATE_HOME"); !dir.empty()) return dir + "/busd";
  return env("HOME") + "/.local/state/busd";
}

std::string default_listen() {
  if (const auto dir = env("RUNTIME_DIRECTORY"); !dir.empty()) return "ipc://" + dir.substr(0, dir.find(':')) + "/bus.sock";
  if (geteuid() == 0) return "ipc:///run/busd/bus.sock";
  const auto runtime = env("XDG_RUNTIME_DIR");
  return "ipc://" + (runtime.empty() ? "/tmp/busd-" + std::to_string(geteuid()) : runtime + "/busd") + "/bus.sock";
}

Error wrong_setting(const std::string& reason) { return {Code::bad_argument, reason}; }

using Values = std::vector<std::string>;

Setting size_setting(const char* name, const char* help, std::uint64_t Config::*field, std::uint64_t least, std::uint64_t most) {
  return {name, "SIZE", help, false,
          [=](Config& config, const Values& values) -> Result<void> {
            const auto size = parse_size(values.front());
            if (!size) return size.error();
            if (*size < least || *size > most) {
              return wrong_setting(std::string(name) + " must be between " + show_size(least) + " and " + show_size(most) + ", not " + values.front());
            }
            config.*field = *size;
            return {};
          },
          [=](const Config& config) { return show_size(config.*field); }};
}

Setting text_setting(const char* name, const char* value, const char* help, std::string Config::*field, Values allowed = {}) {
  return {name, value, help, false,
          [=](Config& config, const Values& values) -> Result<void> {
            if (!allowed.empty() && std::find(allowed.begin(), allowed.end(), values.front()) == allowed.end()) {
              std::string text;
              for (const auto& one : allowed) text += (text.empty() ? "" : ", ") + one;
              return wrong_setting(std::string(name) + " must be one of " + text + ", not '" + values.front() + "'");
            }
            if (values.front().empty()) return wrong_setting(std::string(name) + " must not be empty");
            config.*field = values.front();
            return {};
          },
          [=](const Config& config) { return config.*field; }};
}

Setting bool_setting(const char* name, const char* help, bool Config::*field) {
  return {name, "BOOL", help, false,
          [=](Config& config, const Values& values) -> Result<void> {
            const bool is_true = values.front() == "true";
            if (!is_true && values.front() != "false") return wrong_setting(std::string(name) + " must be true or false, not '" + values.front() + "'");
            config.*field = is_true;
            return {};
          },
          [=](const Config& config) { return std::string(config.*field ? "true" : "false"); }};
}

Setting listen_setting() {
  return {"listen", "ENDPOINT", "where to listen, ipc://PATH or tcp://127.0.0.1:PORT; may be given several times", true,
          [](Config& config, const Values& values) -> Result<void> {
            if (values.empty()) return wrong_setting("listen needs at least one endpoint");
            for (const auto& endpoint : values) {
              if (auto good = check_endpoint(endpoint); !good) return good;
            }
            config.listen = values;
            return {};
          },
          [](const Config& config) {
            std::string text;
            for (const auto& endpoint : config.listen) text += (text.empty() ? "" : " ") + endpoint;
            return text;
          }};
}

// A TOML value as the texts a flag would have.
std::optional<Values> values_of(const toml::node& node) {
  if (const auto* text = node.as_string()) return Values{text->get()};
  if (const auto* truth = node.as_boolean()) return Values{truth->get() ? "true" : "false"};
  if (const auto* number = node.as_integer()) return Values{std::to_string(number->get())};
  const auto* list = node.as_array();
  if (list == nullptr) return std::nullopt;
  Values values;
  for (const auto& item : *list) {
    const auto* text = item.as_string();
    if (text == nullptr) return std::nullopt;
    values.push_back(text->get());
  }
  return values;
}

// The tables [group.NAME].
Result<void> apply_groups(const toml::node& node, Config& config, std::uint32_t& line) {
  const auto* tables = node.as_table();
  if (tables == nullptr) return wrong_setting("group must be a table: [group.NAME]");
  for (const auto& [key, value] : *tables) {
    const std::string name = "group." + std::string(key.str());
    line = value.source().begin.line;
    if (!value.is_table()) return wrong_setting(name + " must be a table: [" + name + "]");
    auto group = read_group(std::string(key.str()), *value.as_table(), line);
    if (!group) return wrong_setting(name + ": " + group.error().detail);
    config.groups.push_back(std::move(*group));
  }
  return {};
}

// `line` is where it goes wrong, if it does.
Result<void> apply(const std::string& name, const toml::node& node, Config& config, std::uint32_t& line) {
  line = node.source().begin.line;
  if (name == "group") return apply_groups(node, config, line);
  for (const Setting& setting : settings()) {
    if (name != setting.name) continue;
    const auto values = values_of(node);
    if (!values || (!setting.list && values->size() != 1)) {
      return wrong_setting(name + (setting.list ? " must be a string or a list of strings" : " must be a single string, number or boolean"));
    }
    return setting.set(config, *values);
  }
  std::string known;
  for (const Setting& setting : settings()) known += setting.name + std::string(", ");
  return wrong_setting("there is no setting '" + name + "'; known are " + known + "and tables [group.NAME]");
}

std::string at(const std::string& path, std::uint32_t line) { return path + ":" + std::to_string(line) + ": "; }

}  // namespace

Config::Config() : data(default_data()), listen{default_listen()} {}

std::span<const Setting> settings() {
  static const std::vector<Setting> all = {
      text_setting("data", "DIR", "directory of the log; made if it does not exist", &Config::data),
      listen_setting(),
      text_setting("schema_dir", "DIR", "load every .bfbs file there as event types of your own", &Config::schema_dir),
      size_setting("map_size", "largest size the log may grow to (address space, not memory)", &Config::map_bytes,
                   limits::map_bytes_min, 64 * 1024 * limits::GiB),
      size_setting("fill_ahead", "how much of the log file is written with zeros ahead of need, while idle", &Config::fill_ahead_bytes,
                   0, 16 * limits::GiB),
      size_setting("reserve", "space kept for settlements when the disk is full", &Config::reserve_bytes, 1 * limits::MiB,
                   16 * limits::GiB),
      text_setting("compression", "METHOD", "how events are packed on disk where that pays: none, lz4 or zstd", &Config::compression,
                   {"none", "lz4", "zstd"}),
      bool_setting("auto_create_topics", "whether a topic that is published to is there; else it has to be created", &Config::auto_create_topics),
      text_setting("log_level", "LEVEL", "debug, info, warn or error", &Config::log_level, {"debug", "info", "warn", "error"}),
  };
  return all;
}

Result<void> load_config(const std::string& path, Config& config) try {
  for (const auto& [key, node] : toml::parse_file(path)) {
    std::uint32_t line = 0;
    if (auto done = apply(std::string(key.str()), node, config, line); !done) return wrong_setting(at(path, line) + done.error().detail);
  }
  return {};
} catch (const toml::parse_error& error) {
  return wrong_setting(at(path, error.source().begin.line) + std::string(error.description()));
}

Result<void> check_config(const Config& config) {
  if (!config.schema_dir.empty() && !std::filesystem::is_directory(config.schema_dir)) {
    return wrong_setting("schema_dir " + config.schema_dir + " is not a directory");
  }
  if (std::filesystem::exists(config.data) && !std::filesystem::is_directory(config.data)) {
    return wrong_setting("data " + config.data + " is not a directory");
  }
  if (config.reserve_bytes + config.fill_ahead_bytes > config.map_bytes / 2) {
    return wrong_setting("reserve and fill_ahead together must not take more than half of map_size");
  }
  return {};
}

Result<std::uint64_t> parse_size(const std::string& text) {
  std::size_t used = 0;
  std::uint64_t count = 0;
  if (text.empty() || text[0] < '0' || text[0] > '9') return wrong_setting("'" + text + "' is not a size such as 64MiB");
  try {
    count = std::stoull(text, &used);
  } catch (const std::out_of_range&) {
    return wrong_setting("size " + text + " is too large");
  }
  while (used < text.size() && text[used] == ' ') ++used;
  const auto unit = text.substr(used);
  int shift = 0;
  for (const auto& [name, bits] : {std::pair{"KiB", 10}, {"MiB", 20}, {"GiB", 30}, {"TiB", 40}}) {
    if (unit == name) shift = bits;
  }
  if (shift == 0 && !unit.empty() && unit != "B") return wrong_setting("'" + unit + "' is not a unit; use B, KiB, MiB, GiB or TiB");
  if (count > (~std::uint64_t{0} >> shift)) return wrong_setting("size " + text + " is too large");
  return count << shift;
}

std::string show_size(std::uint64_t bytes) {
  for (const auto& [name, bits] : {std::pair{"TiB", 40}, {"GiB", 30}, {"MiB", 20}, {"KiB", 10}}) {
    const auto unit = std::uint64_t{1} << bits;
    if (bytes >= unit && bytes % unit == 0) return std::to_string(bytes >> bits) + name;
  }
  return std::to_string(bytes);
}

}  // namespace bus::broker
