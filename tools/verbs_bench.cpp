// bench pub|sub|e2e|replay: how fast this broker is on this machine, and with --floor against what its disk can do.
#include <unistd.h>

#include <memory>
#include <mutex>

#include "tools/bench.hpp"
#include "tools/cli.hpp"
#include "tools/interrupts.hpp"

namespace bus::tools {

namespace {

Client connect(const Globals& globals, const BenchOptions& options) {
  ClientOptions client;
  client.window_bytes = options.window;
  client.publish_timeout = options.patience;
  return connect(globals, std::move(client));
}

double rounded(double value) { return static_cast<double>(static_cast<std::int64_t>(value * 1000 + 0.5)) / 1000; }

// ---- pub

Written written_so_far(Client& client) {
  const auto status = ask<wire::StatusReplyT>(client, wire::StatusRequestT{});
  const auto stat = ask<wire::LogStatReplyT>(client, wire::LogStatRequestT{});
  return {status.commits, stat.records, stat.record_bytes};
}

Written operator-(const Written& after, const Written& before) {
  return {after.commits - before.commits, after.records - before.records, after.record_bytes - before.record_bytes};
}

// Beside the broker's own directory, if this machine has it: the same disk.
std::filesystem::path floor_directory(Client& client, const BenchOptions& options) {
  if (!options.data.empty()) return options.data;
  const auto status = ask<wire::StatusReplyT>(client, wire::StatusRequestT{});
  return std::filesystem::path(status.data_dir).parent_path();
}

Exit bench_pub(const Globals& globals, const BenchOptions& options) {
  auto client = connect(globals, options);
  std::unique_ptr<BenchFloor> floor;
  if (options.floor) floor = std::make_unique<BenchFloor>(floor_directory(client, options));
  const GracefulEnd graceful;
  BenchPublisher publisher(options, client);
  Json rounds = Json::array();
  std::vector<double> rates, floors, ratios;
  for (unsigned at = 0; at < options.rounds && interrupted() == 0; ++at) {
    const auto before = written_so_far(client);
    const auto seconds = publisher.publish_all();
    if (interrupted() != 0) break;
    rates.push_back(static_cast<double>(options.count) / seconds);
    const auto written = written_so_far(client) - before;
    Json round = {{"events_per_second", rounded(rates.back())}, {"commits", written.commits}, {"records", written.records}};
    if (floor) {
      floors.push_back(static_cast<double>(options.count) / floor->append(written));
      ratios.push_back(rates.back() / floors.back());
      round["floor_events_per_second"] = rounded(floors.back());
      round["ratio"] = rounded(ratios.back());
    }
    rounds.push_back(std::move(round));
  }
  if (rates.empty()) return Exit::ok;
  Json result = {{"bench", "pub"}, {"events", options.count}, {"event_bytes", publisher.event_bytes()},
                 {"events_per_second", rounded(median(rates))},
                 {"mib_per_second", rounded(median(rates) * static_cast<double>(publisher.event_bytes()) / (1 << 20))}};
  if (floor) result["floor_events_per_second"] = rounded(median(floors));
  if (floor) result["ratio"] = rounded(median(ratios));
  if (globals.format != Format::text) result["rounds"] = std::move(rounds);
  print_object(globals.format, result);
  return Exit::ok;
}

// ---- reading

// The positions of a round's events, which are the last ones of the log.
At first_of(Client& client, const BenchOptions& options) {
  BenchPublisher publisher(options, client);
  const auto first = ask<wire::StatusReplyT>(client, wire::StatusRequestT{}).committed + 1;
  publisher.publish_all();
  return At::position(Position{first});
}

using Read = std::function<std::uint64_t(Client&, const At&, std::uint64_t)>;

Exit bench_reading(const Globals& globals, const BenchOptions& options, const char* name, const Read& read) {
  auto client = connect(globals, options);
  const GracefulEnd graceful;
  const auto from = first_of(client, options);
  std::vector<double> rates, mebibytes;
  for (unsigned at = 0; at < options.rounds && interrupted() == 0; ++at) {
    const auto begun = steady_now();
    const auto bytes = read(client, from, options.count);
    const auto seconds = std::chrono::duration<double>(steady_now() - begun).count();
    rates.push_back(static_cast<double>(options.count) / seconds);
    mebibytes.push_back(static_cast<double>(bytes) / seconds / (1 << 20));
  }
  if (rates.empty()) return Exit::ok;
  print_object(globals.format, {{"bench", name}, {"events", options.count}, {"rounds", rates.size()},
                                {"events_per_second", rounded(median(rates))}, {"mib_per_second", rounded(median(mebibytes))}});
  return Exit::ok;
}

std::uint64_t read_by_replay(Client& client, const At& from, std::uint64_t count) {
  ReplayOptions range;
  range.filter.patterns = {"bench"};
  range.from = from;
  auto events = client.replay(range);
  std::uint64_t bytes = 0;
  for (std::uint64_t at = 0; at < count && interrupted() == 0; ++at) {
    const auto event = events.read().value();
    if (!event) fail(Code::not_found, "the replay ended after " + std::to_string(at) + " events");
    bytes += event->bytes().size();
  }
  return bytes;
}

// RoundGroup is a consumer group of one round, removed at its end.
class RoundGroup {
 public:
  explicit RoundGroup(Client& client) : client_(client), name_("bench-" + std::to_string(getpid()) + "-" + std::to_string(made++)) {}
  ~RoundGroup() {
    wire::GroupRemoveT request;
    request.name = name_;
    wire::AskUnion question;
    question.Set(std::move(request));
    [[maybe_unused]] const auto removed = client_.request(std::move(question));
  }
  RoundGroup(const RoundGroup&) = delete;
  RoundGroup& operator=(const RoundGroup&) = delete;
  const std::string& name() const { return name_; }

 private:
  static inline unsigned made = 0;
  Client& client_;
  std::string name_;
};

// All delivered to a group of one member, acknowledged, and the acknowledgements durable.
std::uint64_t read_by_group(Client& client, const At& from, std::uint64_t count) {
  const RoundGroup group(client);
  std::atomic<std::uint64_t> taken{0}, bytes{0};
  Bell bell;
  auto subscription = client.subscribe({.patterns = {"bench"}, .group = group.name(), .from = from}, [&](const Event& event) {
    bytes += event.bytes().size();
    if (++taken == count) bell.ring();
  }).value();
  while (taken < count && interrupted() == 0) bell.wait(std::chrono::seconds(1));
  const auto flushed = subscription.flush();
  subscription.close();
  flushed.value();
  return bytes;
}

// ---- e2e

// An event is late by all that it waited since it was due, in the publisher too.
Exit bench_e2e(const Globals& globals, const BenchOptions& options) {
  auto client = connect(globals, options);
  const GracefulEnd graceful;
  BenchPublisher publisher(options, client);
  std::mutex mutex;
  Latencies deliveries;
  Bell bell;
  auto subscription = client.subscribe({.patterns = {"bench"}, .group = ""}, [&](const Event& event) {
    const auto took = (wall_now() - event.time()).count();
    const std::lock_guard lock(mutex);
    deliveries.push_back(took);
    if (deliveries.size() == options.count) bell.ring();
  }).value();
  Latencies receipts;
  try {
    receipts = publisher.publish_paced();
  } catch (...) {
    subscription.close();  // it uses what is here
    throw;
  }
  const auto all = [&] {
    const std::lock_guard lock(mutex);
    return deliveries.size() >= options.count;
  };
  for (const auto deadline = steady_now() + options.patience; !all() && steady_now() < deadline && interrupted() == 0;) {
    bell.wait(std::chrono::seconds(1));
  }
  subscription.close();
  print_object(globals.format, {{"bench", "e2e"}, {"events", options.count}, {"delivered", deliveries.size()}, {"event_bytes", publisher.event_bytes()},
                                {"rate", options.rate}, {"receipt_us", percentiles(receipts)}, {"delivery_us", percentiles(deliveries)}});
  return deliveries.size() >= options.count ? Exit::ok : Exit::unavailable;
}

using Bench = std::function<Exit(const Globals&, const BenchOptions&)>;

CLI::App& add_bench(CLI::App& parent, Cli& cli, const std::shared_ptr<BenchOptions>& options, const std::string& name, const std::string& purpose,
                    const Bench& bench) {
  auto& verb = add_verb(parent, name, purpose, "bus-cli bench " + name + " --count 100000 -o json");
  add_number(verb, "--count", options->count, "events of a round")->default_str("200000");
  add_number(verb, "--size", options->size, "bytes of one event, with its envelope")->default_str("256");
  add_number(verb, "--window", options->window, "bytes on the way without receipt")->default_str("16777216");
  verb.callback([options, bench, &cli] {
    cli.run = [options, bench, &cli] {
      options->patience = cli.globals.timeout_or(std::chrono::seconds(30));
      return bench(cli.globals, *options);
    };
  });
  return verb;
}

void add_rounds(CLI::App& verb, BenchOptions& options) {
  add_number(verb, "--rounds", options.rounds, "how often; the median counts")->default_str("5");
}

}  // namespace

void define_bench(CLI::App& app, Cli& cli) {
  auto& parent = add_verb(app, "bench", "measure; stores events of topic `bench` in the log of the broker", "bus-cli bench pub --floor -o json");
  parent.require_subcommand(1);
  auto options = std::make_shared<BenchOptions>();
  auto& pub = add_bench(parent, cli, options, "pub", "durable publishing, events a second", bench_pub);
  add_rounds(pub, *options);
  pub.add_flag("--floor", options->floor, "in turn also append the same bytes with raw LMDB, and print the ratio");
  pub.add_option("--data", options->data, "directory for the floor's file; left out: beside the broker's")->type_name("DIR");
  auto& sub = add_bench(parent, cli, options, "sub", "delivery to a group with acknowledgements, events a second",
                        [](const Globals& globals, const BenchOptions& bench) { return bench_reading(globals, bench, "sub", read_by_group); });
  add_rounds(sub, *options);
  auto& replay = add_bench(parent, cli, options, "replay", "replay, events a second", [](const Globals& globals, const BenchOptions& bench) {
    return bench_reading(globals, bench, "replay", read_by_replay);
  });
  add_rounds(replay, *options);
  auto& e2e = add_bench(parent, cli, options, "e2e", "latency from publish to receipt and to delivery, at a steady rate", bench_e2e);
  add_number(e2e, "--rate", options->rate, "events a second")->default_str("1000");
}

}  // namespace bus::tools
