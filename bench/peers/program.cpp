#include "bench/peers/program.hpp"

#include <CLI/CLI.hpp>

#include <algorithm>
#include <charconv>
#include <csignal>
#include <cstdio>

#include "libbus/base/memory.hpp"

namespace bus::bench {

namespace {

enum Exit { ok = 0, failed = 1, usage = 2, cannot_do = 3 };

std::size_t colon_of(const std::string& server) {
  const auto colon = server.rfind(':');
  if (colon == std::string::npos) throw Failed("'" + server + "' is no address; --server takes host:port");
  return colon;
}

void add_extras(CLI::App& app, Options& options, const Extras& extras) {
  if (extras.transaction) {
    app.add_option("--transaction", options.transaction, "publish: so many events are stored all or none; 0: each for itself");
  }
  if (extras.ack_together) app.add_flag("--ack-together", options.ack_together, "consume: acknowledge a batch with one command");
  if (!extras.in_memory) return;
  const auto take = [&options](const std::string& storage) { options.in_memory = storage == "memory"; };
  app.add_option_function<std::string>("--storage", take, "where events are: file or memory")->check(CLI::IsMember({"file", "memory"}));
}

void add_options(CLI::App& app, Options& options) {
  const auto positive = CLI::Range(1u, 1'000'000'000u);
  app.add_option("--server", options.server, "host:port")->required();
  app.add_option("--count", options.count, "events")->check(positive);
  app.add_option("--size", options.size, "bytes of one event")->check(CLI::Range(8, 1 << 20));
  app.add_option("--rate", options.rate, "e2e: events a second")->check(CLI::Range(0.001, 1e9));
  app.add_option("--publishers", options.publishers, "publish-each: each with a connection")->check(CLI::Range(1, 1000));
  app.add_option("--subscribers", options.subscribers, "fanout: each with a connection")->check(CLI::Range(1, 1000));
  app.add_option("--window", options.window, "events published and not yet acknowledged")->check(positive);
  app.add_option("--batch", options.batch, "events asked for at once")->check(positive);
  const auto take = [&options](const double& seconds) {
    options.patience = std::chrono::duration_cast<Duration>(std::chrono::duration<double>(seconds));
  };
  app.add_option_function<double>("--patience", take, "seconds to wait for any progress")->check(CLI::Range(0.001, 86'400.0));
}

Json microseconds(const Latencies& latencies) {
  Json all = Json::object();
  for (const auto& [name, value] : latencies.percentiles()) all[name] = value;
  return all;
}

Json report(const System& system, const std::string& workload, const Options& options, const Measured& measured) {
  const auto seconds = std::chrono::duration<double>(measured.took).count();
  Json report = {{"system", system.name}, {"workload", workload}, {"events", options.count}, {"event_bytes", options.size},
                 {"seconds", seconds}, {"events_per_second", seconds > 0 ? static_cast<double>(options.count) / seconds : 0},
                 {"settings", measured.settings},
                 {"acknowledged", measured.acknowledged.empty() ? system.acknowledged : measured.acknowledged}};
  if (measured.latency) report["latency_us"] = microseconds(*measured.latency);
  if (measured.receipt) report["receipt_us"] = microseconds(*measured.receipt);
  report["lost"] = measured.lost;
  return report;
}

Exit measure(const System& system, const Workload& workload, const Options& options) {
  try {
    const auto measured = workload.run(options);
    std::puts(report(system, workload.name, options, measured).dump().c_str());
    return ok;
  } catch (const CannotDo& reason) {
    std::fprintf(stderr, "bench-%s: %s\n", system.name.c_str(), reason.what());
    return cannot_do;
  } catch (const std::exception& reason) {
    std::fprintf(stderr, "bench-%s %s: %s\n", system.name.c_str(), workload.name.c_str(), reason.what());
    return failed;
  }
}

}  // namespace

std::string Options::host() const { return server.substr(0, colon_of(server)); }

int Options::port() const {
  const auto text = server.substr(colon_of(server) + 1);
  int port = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  if (error != std::errc{} || end != text.data() + text.size() || port < 1 || port > 65'535) {
    throw Failed("'" + text + "' is no port; --server takes host:port");
  }
  return port;
}

int run(int argc, char** argv, const System& system) {
  std::signal(SIGPIPE, SIG_IGN);
  keep_memory();  // as bus-cli does
  std::vector<std::string> names;
  for (const auto& workload : system.workloads) names.push_back(workload.name);
  CLI::App app("measures " + system.name + " and prints one JSON object", "bench-" + system.name);
  Options options;
  std::string wanted;
  app.option_defaults()->always_capture_default();
  app.add_option("workload", wanted)->required()->check(CLI::IsMember(names));
  add_options(app, options);
  add_extras(app, options, system.extras);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? ok : usage;
  }
  const auto named = [&wanted](const Workload& workload) { return workload.name == wanted; };
  return measure(system, *std::find_if(system.workloads.begin(), system.workloads.end(), named), options);
}

}  // namespace bus::bench
