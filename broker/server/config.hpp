// What an operator can set: one list of settings, each a key of the TOML file and a flag of the same name; and consumer groups, in
// the file only. A flag wins over the file, the file over the default. A pure value; reading it opens no sockets and changes nothing.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "base/limits.hpp"
#include "broker/server/group_config.hpp"
#include "bus/result.hpp"

namespace bus::broker {

struct Config {
  std::string data;
  std::vector<std::string> listen;
  std::string schema_dir;
  std::uint64_t map_bytes = limits::map_bytes_default;
  std::uint64_t fill_ahead_bytes = limits::fill_ahead_bytes;
  std::uint64_t reserve_bytes = limits::settle_reserve_bytes;
  std::string compression = "none";
  bool auto_create_topics = true;
  std::string log_level = "info";
  std::vector<GroupConfig> groups;

  // With the default places: $STATE_DIRECTORY and $RUNTIME_DIRECTORY (systemd sets them), else /var/lib/busd and
  // /run/busd for root, else those of the XDG base directory specification.
  Config();
};

struct Setting {
  const char* name;         // key in the file; the flag has '-' for '_'
  const char* value;        // placeholder for help texts: "DIR", "SIZE" …
  const char* help;
  bool list = false;
  std::function<Result<void>(Config&, const std::vector<std::string>&)> set;
  std::function<std::string(const Config&)> show;
};
std::span<const Setting> settings();

// Sets what the file sets. Errors: bad_argument; the detail is "FILE:LINE: reason".
Result<void> load_config(const std::string& path, Config& config);

// What no single setting can tell: endpoints and folders that make no sense.
Result<void> check_config(const Config& config);

// "64MiB", "1 GiB", "4096"; the units are KiB, MiB, GiB, TiB.
Result<std::uint64_t> parse_size(const std::string& text);
std::string show_size(std::uint64_t bytes);

}  // namespace bus::broker
