#include "tools/cli.hpp"

#include "tools/position.hpp"

namespace bus::tools {

Client connect(const Globals& globals, ClientOptions options) {
  options.server = globals.server;
  options.name = "bus-cli";
  options.connect_timeout = options.request_timeout = globals.patience();
  return Client::connect(std::move(options)).value();
}

Client connect(const Globals& globals, const std::string& publisher) {
  ClientOptions options;
  options.publisher = publisher;
  return connect(globals, std::move(options));
}

WallTime wall_now() { return std::chrono::time_point_cast<Duration>(std::chrono::system_clock::now()); }

CLI::App& add_verb(CLI::App& parent, const std::string& name, const std::string& purpose, const std::string& example) {
  auto* verb = parent.add_subcommand(name, purpose);
  verb->fallthrough();
  verb->footer("Example:\n  " + example);
  return *verb;
}

CLI::Option* add_position(CLI::App& verb, const std::string& name, std::optional<At>& into, const std::string& help) {
  return add_parsed(verb, name, into, [](const std::string& text) { return parse_position(text, wall_now()); }, help, "POS");
}

CLI::Option* add_time(CLI::App& verb, const std::string& name, std::optional<WallTime>& into, const std::string& help) {
  return add_parsed(verb, name, into, [](const std::string& text) { return parse_time(text, wall_now()); }, help, "TIME");
}

CLI::Option* add_duration(CLI::App& verb, const std::string& name, std::optional<Duration>& into, const std::string& help) {
  return add_parsed(verb, name, into, [](const std::string& text) { return parse_duration(text); }, help, "DURATION");
}

CLI::Option* add_list(CLI::App& verb, const std::string& name, std::vector<std::string>& into, const std::string& help, const std::string& value) {
  return verb.add_option(name, into, help)->type_name(value)->allow_extra_args(false)->take_all();
}

}  // namespace bus::tools
