// bench pub|sub|e2e|replay|each|fanout: how fast this broker is on this machine, and with --floor against what its disk can do.
#include <unistd.h>

#include <charconv>
#include <memory>
#include <mutex>

#include "bench/floors/disk_floors.hpp"
#include "tools/bench.hpp"
#include "tools/cli.hpp"
#include "tools/interrupts.hpp"

namespace bus::tools {

namespace {

// ---- pub

// Beside the broker's own directory, if this machine has it: the same disk.
std::filesystem::path floor_directory(Client& client, const BenchOptions& options) {
  if (!options.data.empty()) return options.data;
  const auto status = ask<wire::StatusReplyT>(client, wire::StatusRequestT{});
  return std::filesystem::path(status.data_dir).parent_path();
}

Exit bench_pub(const Globals& globals, const BenchOptions& options) {
  auto client = connect(globals, options);
  const auto floor = options.floor ? std::optional(floor_directory(client, options)) : std::nullopt;
  const GracefulEnd graceful;
  BenchEvents events(options, client);
  const auto made_bytes = events.event_bytes();
  BenchPublisher publisher(options, client, std::move(events));
  Json rounds = Json::array();
  std::vector<double> rates, event_bytes, log_bytes, floors, ratios;
  for (unsigned at = 0; at < options.rounds && interrupted() == 0; ++at) {
    const auto before = written_so_far(client);
    const auto seconds = publisher.publish_all();
    if (interrupted() != 0) break;
    rates.push_back(static_cast<double>(options.count) / seconds);
    const auto written = written_so_far(client) - before;
    event_bytes.push_back(static_cast<double>(written.event_bytes) / static_cast<double>(options.count));
    log_bytes.push_back(static_cast<double>(written.record_bytes) / static_cast<double>(options.count));
    Json round = {{"events_per_second", rounded(rates.back())}, {"commits", written.commits}, {"records", written.records},
                  {"event_bytes", written.event_bytes}, {"record_bytes", written.record_bytes}};
    if (floor) {
      const bench::Records records{written.records, written.record_bytes / written.records, written.commits};
      floors.push_back(static_cast<double>(options.count) / bench::append(*floor, records, bench::Space::growing));
      ratios.push_back(rates.back() / floors.back());
      round["floor_events_per_second"] = rounded(floors.back());
      round["ratio"] = rounded(ratios.back());
    }
    rounds.push_back(std::move(round));
  }
  if (rates.empty()) return Exit::ok;
  const auto bytes = made_bytes > 0 ? made_bytes : static_cast<std::size_t>(median(event_bytes) + 0.5);
  Json result = {{"bench", "pub"}, {"events", options.count}, {"event_bytes", bytes}, {"log_bytes_per_event", rounded(median(log_bytes))},
                 {"events_per_second", rounded(median(rates))}, {"mib_per_second", rounded(median(rates) * static_cast<double>(bytes) / (1 << 20))}};
  if (made_bytes > 0) result.update({{"keys", options.keys}, {"topics", options.topics}});
  if (floor) result["floor_events_per_second"] = rounded(median(floors));
  if (floor) result["ratio"] = rounded(median(ratios));
  if (globals.format != Format::text) result["rounds"] = std::move(rounds);
  return report(globals.format, options, std::move(result));
}

// ---- reading

// The positions of a round's events, which are the last ones of the log.
At first_of(Client& client, const BenchOptions& options) {
  BenchPublisher publisher(options, client, BenchEvents(options, client));
  const auto first = ask<wire::StatusReplyT>(client, wire::StatusRequestT{}).committed + 1;
  publisher.publish_all();
  return At::position(Position{first});
}

using Read = std::function<std::uint64_t(Client&, const At&, const BenchOptions&)>;

Exit bench_reading(const Globals& globals, const BenchOptions& options, const char* name, const Read& read) {
  auto client = connect(globals, options);
  const GracefulEnd graceful;
  const auto from = first_of(client, options);
  std::vector<double> rates, mebibytes;
  for (unsigned at = 0; at < options.rounds && interrupted() == 0; ++at) {
    const auto begun = steady_now();
    const auto bytes = read(client, from, options);
    const auto seconds = std::chrono::duration<double>(steady_now() - begun).count();
    rates.push_back(static_cast<double>(options.count) / seconds);
    mebibytes.push_back(static_cast<double>(bytes) / seconds / (1 << 20));
  }
  if (rates.empty()) return Exit::ok;
  Json result = {{"bench", name}, {"events", options.count}, {"event_bytes", options.size}, {"rounds", rates.size()}};
  if (std::string_view(name) == "sub") result["in_flight"] = options.in_flight;
  result["events_per_second"] = rounded(median(rates));
  result["mib_per_second"] = rounded(median(mebibytes));
  return report(globals.format, options, std::move(result));
}

std::uint64_t read_by_replay(Client& client, const At& from, const BenchOptions& options) {
  ReplayOptions range;
  range.filter.patterns = {"bench"};
  range.from = from;
  auto events = client.replay(range);
  std::uint64_t bytes = 0;
  for (std::uint64_t at = 0; at < options.count && interrupted() == 0; ++at) {
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
std::uint64_t read_by_group(Client& client, const At& from, const BenchOptions& options) {
  const RoundGroup group(client);
  std::atomic<std::uint64_t> taken{0}, bytes{0};
  Bell bell;
  SubscribeOptions how{.patterns = {"bench"}, .group = group.name(), .from = from};
  how.settings.in_flight_max = options.in_flight;
  how.credit_events = 2 * options.in_flight;
  auto subscription = client.subscribe(how, [&](const Event& event) {
    bytes += event.bytes().size();
    if (++taken == options.count) bell.ring();
  }).value();
  while (taken < options.count && interrupted() == 0) bell.wait(std::chrono::seconds(1));
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
  const BenchEvents events(options, client);
  BenchPublisher publisher(options, client, events);
  std::mutex mutex;
  Latencies deliveries;
  Bell bell;
  auto subscription = client.subscribe({.patterns = {"bench"}, .group = ""}, [&](const Event& event) {
    const auto took = wall_now() - event.time();
    const std::lock_guard lock(mutex);
    deliveries.add(took);
    if (deliveries.count() == options.count) bell.ring();
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
    return deliveries.count() >= options.count;
  };
  for (const auto deadline = steady_now() + options.patience; !all() && steady_now() < deadline && interrupted() == 0;) {
    bell.wait(std::chrono::seconds(1));
  }
  subscription.close();
  if (!all()) fail(Code::timed_out, "of " + std::to_string(options.count) + " events only " + std::to_string(deliveries.count()) + " were delivered");
  return report(globals.format, options, {{"bench", "e2e"}, {"events", options.count}, {"event_bytes", events.event_bytes()}, {"rate", options.rate},
                                          {"receipt_us", percentiles(receipts)}, {"delivery_us", percentiles(deliveries)}});
}

Result<double> parse_percent(const std::string& text) {
  double value = 0;
  const auto* const end = text.data() + text.size();
  const auto [after, error] = std::from_chars(text.data(), end, value);
  const bool ends_well = after == end || std::string_view(after, static_cast<std::size_t>(end - after)) == "%";
  if (error == std::errc{} && ends_well && value >= 0 && value <= 1000) return value;
  return Error{Code::bad_argument, "'" + text + "' is not a percentage such as 10%"};
}

using Bench = std::function<Exit(const Globals&, const BenchOptions&)>;

CLI::App& add_bench(CLI::App& parent, Cli& cli, const std::shared_ptr<BenchOptions>& options, const std::string& name, const std::string& purpose,
                    const Bench& bench) {
  auto& verb = add_verb(parent, name, purpose, "bus-cli bench " + name + " --count 100000 -o json");
  add_number(verb, "--count", options->count, "events of a round")->default_str("200000");
  add_number(verb, "--size", options->size, "bytes of one event, with its envelope")->default_str("256");
  add_number(verb, "--window", options->window, "bytes on the way without receipt")->default_str("16777216");
  verb.add_option("--compare", options->base, "what `bench " + name + " -o json` printed before: exit 1 if a figure is worse")->type_name("FILE");
  add_parsed(verb, "--max-regress", options->max_regress, parse_percent, "how much worse it may be", "PERCENT")->default_str("10%");
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
  auto& parent = add_verb(app, "bench", "measure; stores events in the log of the broker", "bus-cli bench pub --floor -o json");
  parent.require_subcommand(1);
  auto options = std::make_shared<BenchOptions>();
  auto& pub = add_bench(parent, cli, options, "pub", "durable publishing, events a second", bench_pub);
  add_rounds(pub, *options);
  add_number(pub, "--keys", options->keys, "keys that the events have in turn")->default_str("1000");
  add_number(pub, "--topics", options->topics, "topics that they go to in turn: `bench`, or below it")->default_str("1");
  pub.add_option("--events", options->recorded, "publish the events of this file in turn, as `replay -o ndjson` prints them, to their own topics")
      ->type_name("FILE")->excludes("--size", "--keys", "--topics");
  pub.add_flag("--floor", options->floor, "in turn also append the same bytes with raw LMDB, and print the ratio");
  pub.add_option("--data", options->data, "directory for the floor's file; left out: beside the broker's")->type_name("DIR");
  auto& sub = add_bench(parent, cli, options, "sub", "delivery to a group with acknowledgements, events a second",
                        [](const Globals& globals, const BenchOptions& bench) { return bench_reading(globals, bench, "sub", read_by_group); });
  add_rounds(sub, *options);
  add_number(sub, "--in-flight", options->in_flight, "events delivered and not acknowledged, at most")->default_str("8192");
  auto& replay = add_bench(parent, cli, options, "replay", "replay, events a second", [](const Globals& globals, const BenchOptions& bench) {
    return bench_reading(globals, bench, "replay", read_by_replay);
  });
  add_rounds(replay, *options);
  auto& e2e = add_bench(parent, cli, options, "e2e", "latency from publish to receipt and to delivery, at a steady rate", bench_e2e);
  add_number(e2e, "--rate", options->rate, "events a second")->default_str("1000");
  auto& each = add_bench(parent, cli, options, "each", "publishers that wait for each receipt: events a second, and latency", bench_each);
  add_number(each, "--publishers", options->publishers, "clients that publish at the same time")->default_str("8");
  auto& fanout = add_bench(parent, cli, options, "fanout", "one publisher to many subscribers: published events that all of them have, a second", bench_fanout);
  add_number(fanout, "--subscribers", options->subscribers, "clients, each with a subscription")->default_str("100");
}

}  // namespace bus::tools
