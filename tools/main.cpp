// bus-cli: reads the command line, runs one verb, and turns its end into an exit code. docs/bus-cli.1 is its manual.
#include <csignal>
#include <cstdio>

#include "base/memory.hpp"
#include "bus/version.hpp"
#include "tools/cli.hpp"
#include "tools/interrupts.hpp"
#include "tools/position.hpp"
#include "tools/suggest.hpp"

namespace {

using namespace bus::tools;

void define(CLI::App& app, Cli& cli) {
  app.set_version_flag("--version", "bus-cli " BUS_VERSION);
  app.add_option("-s,--server", cli.globals.server, "the broker's endpoint (or $BUS_SERVER)")->type_name("ENDPOINT");
  add_duration(app, "--timeout", cli.globals.timeout, "how long to wait for the broker; 5s unless the verb says otherwise");
  add_choice<Format>(app, "-o,--output", cli.globals.format, {{"text", Format::text}, {"json", Format::json}, {"ndjson", Format::ndjson}},
                     "how results are printed on stdout");
  for (const auto define_verb : {define_pub, define_sub, define_replay, define_export, define_import, define_topic, define_group, define_dlq, define_schedule, define_event, define_key, define_snapshot, define_saga, define_retention,
                                 define_schema, define_status, define_top, define_log, define_backup, define_restore, define_bench}) {
    define_verb(app, cli);
  }
  app.require_subcommand(1);
  app.footer("Example:\n  bus-cli sub 'health.>' --from -10\n\nSee bus-cli(1).");
}

// CLI11 has exit codes of its own.
int parse_failed(CLI::App& app, const CLI::ParseError& error, const std::vector<std::string>& words) {
  if (error.get_exit_code() == 0) return app.exit(error);
  if (const auto message = wrong_verb(app, words)) {
    warn(*message);
  } else {
    warn(std::string(error.what()) + "\nRun with --help for more information.");
  }
  return status(Exit::usage);
}

int run(const Cli& cli) try {
  const auto exit = cli.run();
  flush();
  return interrupted() != 0 ? status(Exit::signal) + interrupted() : status(exit);
} catch (const ClosedPipe&) {
  return status(Exit::ok);
} catch (const bus::Failed& failed) {
  complain(failed.error());
  return interrupted() != 0 ? status(Exit::signal) + interrupted() : status(exit_for(failed.error().code));
}

}  // namespace

int main(int argc, char** argv) try {
  bus::keep_memory();
  install_signals();
  CLI::App app{"bus-cli: publish, subscribe, replay and operate the bus", "bus-cli"};
  Cli cli;
  define(app, cli);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return parse_failed(app, error, {argv + 1, argv + argc});
  }
  return run(cli);
} catch (const std::exception& error) {
  warn(error.what());
  return status(Exit::failed);
}
