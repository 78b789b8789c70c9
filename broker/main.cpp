// busd: reads its settings, loads event types, and runs the server. Everything else is in broker/server.
#include <CLI/CLI.hpp>
#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <malloc.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "base/memory.hpp"
#include "broker/server/server.hpp"
#include "bus/version.hpp"

namespace {

using bus::Code;
using bus::Error;
using bus::Result;
using bus::broker::Config;

// As bus-cli's: 2 usage, 5 conflict, 6 denied, 7 unavailable.
int exit_code(const Error& error) {
  switch (error.code) {
    case Code::bad_argument: return 2;
    case Code::conflict: return 5;
    case Code::denied: return 6;
    case Code::locked: return 7;
    default: return 1;
  }
}

int complain(const Error& error) {
  std::fprintf(stderr, "busd: %s\n", error.detail.c_str());
  return exit_code(error);
}

// The map of a truncated file: nothing can be read or written any more.
[[noreturn]] void on_bus_error(int) {
  constexpr char text[] = "busd: the log file ended below its map (SIGBUS): it was truncated, or the disk failed; stopping\n";
  [[maybe_unused]] const auto written = write(STDERR_FILENO, text, sizeof text - 1);
  _exit(1);
}

// The level as journald reads it from the start of a line: <3> is an error.
class JournalLevel : public spdlog::custom_flag_formatter {
 public:
  void format(const spdlog::details::log_msg& message, const std::tm&, spdlog::memory_buf_t& out) override {
    constexpr char levels[] = {'7', '7', '6', '4', '3', '2', '6'};  // trace … critical, off
    for (const char byte : {'<', levels[message.level], '>'}) out.push_back(byte);
  }
  std::unique_ptr<custom_flag_formatter> clone() const override { return std::make_unique<JournalLevel>(); }
};

void log_to_stderr(const std::string& level) {
  auto logger = spdlog::stderr_logger_st("busd");
  auto formatter = std::make_unique<spdlog::pattern_formatter>();
  formatter->add_flag<JournalLevel>('J');
  // journald adds time and identifier itself.
  formatter->set_pattern(getenv("JOURNAL_STREAM") != nullptr ? "%J%v" : "%Y-%m-%dT%H:%M:%S.%f%z %l: %v");
  logger->set_formatter(std::move(formatter));
  logger->set_level(spdlog::level::from_str(level));
  spdlog::set_default_logger(std::move(logger));
}

Result<void> load_types(const std::string& dir, bus::broker::PayloadTypes& types) {
  if (dir.empty()) return {};
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(dir)) {
    if (entry.path().extension() == ".bfbs") files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  for (const auto& path : files) {
    std::ifstream file(path, std::ios::binary);
    std::string bytes{std::istreambuf_iterator<char>(file), {}};
    if (!file) return Error{Code::bad_argument, "cannot read " + path.string()};
    if (auto added = types.add(std::move(bytes), path.string()); !added) return added;
  }
  return {};
}

int show(const Config& config) {
  for (const auto& setting : bus::broker::settings()) std::printf("%s = %s\n", setting.name, setting.show(config).c_str());
  for (const auto& group : config.groups) {
    std::printf("[group.%s]\n", group.name.c_str());
    for (const auto& [key, value] : group.said) std::printf("%s = %s\n", key.c_str(), value.c_str());
  }
  return 0;
}

struct Flags {
  std::string config_file;
  bool check_only = false;
  std::map<std::string, std::vector<std::string>> given;
};

void define(CLI::App& app, Flags& flags) {
  app.set_version_flag("--version", "busd " BUS_VERSION);
  app.add_option("--config", flags.config_file, "TOML file with settings")->type_name("FILE")->check(CLI::ExistingFile);
  app.add_flag("--check-config", flags.check_only, "check the settings, print them, and exit");
  for (const auto& setting : bus::broker::settings()) {
    std::string flag = std::string("--") + setting.name;
    std::replace(flag.begin(), flag.end(), '_', '-');
    auto* option = app.add_option(flag, flags.given[setting.name], setting.help)->type_name(setting.value);
    option->expected(1)->multi_option_policy(setting.list ? CLI::MultiOptionPolicy::TakeAll : CLI::MultiOptionPolicy::TakeLast);
  }
  app.footer("Example:\n  busd --data ./data --listen ipc:///tmp/bus.sock\n\n"
             "Settings of the file have the names of the flags, with '_' for '-'. See busd(8).");
}

Result<Config> settle(const Flags& flags) {
  Config config;
  if (!flags.config_file.empty()) {
    if (auto loaded = bus::broker::load_config(flags.config_file, config); !loaded) return loaded.error();
  }
  for (const auto& setting : bus::broker::settings()) {
    const auto& values = flags.given.at(setting.name);
    if (values.empty()) continue;
    if (auto set = setting.set(config, values); !set) return Error{set.error().code, std::string("--") + setting.name + ": " + set.error().detail};
  }
  if (auto good = bus::broker::check_config(config); !good) return good.error();
  return config;
}

// What the settings come to. A type that is missing may be one that is registered in the log, which nobody opens for this.
int check(Config& config, const bus::broker::PayloadTypes& types) {
  for (auto& group : config.groups) {
    const auto resolved = bus::broker::resolve_types(group, types);
    if (!resolved) std::fprintf(stderr, "busd: %s, unless it is registered in the log\n", resolved.error().detail.c_str());
  }
  return show(config);
}

}  // namespace

int main(int argc, char** argv) try {
  mallopt(M_ARENA_MAX, 1);  // what one thread has made another gives back
  bus::keep_memory();
  CLI::App app{"busd: a durable, typed event bus"};
  Flags flags;
  define(app, flags);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  auto config = settle(flags);
  if (!config) return complain(config.error());
  bus::broker::PayloadTypes types;
  if (auto loaded = load_types(config->schema_dir, types); !loaded) return complain(loaded.error());
  if (flags.check_only) return check(*config, types);

  log_to_stderr(config->log_level);
  std::signal(SIGBUS, on_bus_error);
  std::signal(SIGPIPE, SIG_IGN);
  auto server = bus::broker::Server::start(*config, types);
  if (!server) return complain(server.error());
  (*server)->run();
  return 0;
} catch (const bus::Failed& failed) {
  return complain(failed.error());
} catch (const std::exception& error) {
  std::fprintf(stderr, "busd: %s\n", error.what());
  return 1;
}
