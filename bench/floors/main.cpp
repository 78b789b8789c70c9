// bench-floors: what disk, LMDB and ZeroMQ do on this machine without a bus. One JSON object on stdout; read by bench/compare.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <functional>
#include <nlohmann/json.hpp>

#include "bench/floors/disk_floors.hpp"
#include "bench/floors/wire_floor.hpp"

namespace {

using namespace bus::bench;
using Json = nlohmann::ordered_json;

struct Options {
  std::string dir = ".";
  std::size_t bytes = 256;
  std::uint64_t count = 10'000;
  Records records{10'000, 64 * 1024, 100};
  std::uint64_t events = 0;
  bool zero_filled = false;
  std::size_t event_bytes = 256;
  Frames frames;

  Space space() const { return zero_filled ? Space::zero_filled : Space::growing; }
};

Json disk_settings(const Options& options, std::size_t bytes) {
  return {{"file", options.zero_filled ? "zeros were written to it before" : "grows as it is written to"}, {"record_bytes", bytes}};
}

Json rate(const char* workload, std::uint64_t events, double seconds) {
  return {{"system", "floor"}, {"workload", workload}, {"events", events}, {"seconds", seconds},
          {"events_per_second", static_cast<double>(events) / seconds}};
}

// Of a loop that writes `options.bytes` and syncs, each time.
Json run_each(const char* workload, const Options& options, const Timed& timed, const char* acknowledged) {
  auto result = rate(workload, timed.latencies.count(), timed.seconds);
  for (const auto& [name, microseconds] : timed.latencies.percentiles()) result["latency_us"][name] = microseconds;
  result["settings"] = disk_settings(options, options.bytes);
  result["acknowledged"] = acknowledged;
  return result;
}

Json run_sync(const Options& options) {
  return run_each("fdatasync", options, sync_each(options.dir, options.bytes, options.count, options.space()), "fdatasync has returned");
}

Json run_append(const Options& options) {
  const auto seconds = append(options.dir, options.records, options.space());
  auto result = rate("lmdb", options.events > 0 ? options.events : options.records.count, seconds);
  result["bytes_per_second"] = static_cast<double>(options.records.count * options.records.bytes) / seconds;
  result["settings"] = disk_settings(options, options.records.bytes);
  result["settings"]["records"] = options.records.count;
  result["settings"]["commits"] = options.records.commits;
  result["acknowledged"] = "LMDB has committed and synced";
  return result;
}

Json run_commit(const Options& options) {
  return run_each("lmdb-each", options, commit_each(options.dir, options.bytes, options.count, options.space()), "LMDB has committed and synced");
}

Json run_zmq(const Options& options) {
  auto frames = options.frames;
  frames.messages = std::max<std::uint64_t>(1, options.count * options.event_bytes / frames.body_bytes);
  const auto seconds = exchange(frames);
  auto result = rate("zmq", frames.messages * frames.body_bytes / options.event_bytes, seconds);
  result["event_bytes"] = options.event_bytes;
  result["settings"] = {{"transport", "ipc"}, {"header_bytes", frames.header_bytes}, {"body_bytes", frames.body_bytes},
                        {"answer_bytes", frames.answer_bytes}, {"window_bytes", frames.window_bytes}};
  result["acknowledged"] = "the other side has received it; nothing is stored";
  return result;
}

template <typename Number>
void add_number(CLI::App& verb, const std::string& name, Number& value, const std::string& purpose) {
  const auto positive = [](const std::string& text) { return text == "0" ? std::string("must be greater than 0") : std::string(); };
  verb.add_option(name, value, purpose)->check(positive)->capture_default_str();
}

using Run = std::function<Json(const Options&)>;

CLI::App& add_floor(CLI::App& app, const std::string& name, const std::string& purpose, const Run& run, Options& options) {
  auto& verb = *app.add_subcommand(name, purpose);
  verb.callback([run, &options] { std::printf("%s\n", run(options).dump().c_str()); });
  return verb;
}

void add_disk(CLI::App& verb, Options& options) {
  verb.add_option("--dir", options.dir, "where the file stands")->check(CLI::ExistingDirectory)->capture_default_str();
  verb.add_flag("--zero-filled", options.zero_filled, "write zeros to the file before, untimed");
}

void define(CLI::App& app, Options& options) {
  app.require_subcommand(1);
  for (const auto& [name, purpose, run] : {std::tuple<const char*, const char*, Run>{"fdatasync", "write and fdatasync, again and again", run_sync},
                                           {"lmdb-each", "append one record to LMDB and commit, again and again", run_commit}}) {
    auto& verb = add_floor(app, name, purpose, run, options);
    add_disk(verb, options);
    add_number(verb, "--bytes,--record-bytes", options.bytes, "bytes of one write");
    add_number(verb, "--count", options.count, "writes");
  }
  auto& lmdb = add_floor(app, "lmdb", "append records to LMDB in durable commits", run_append, options);
  add_disk(lmdb, options);
  add_number(lmdb, "--records", options.records.count, "records in all");
  add_number(lmdb, "--record-bytes", options.records.bytes, "bytes of one record");
  add_number(lmdb, "--commits", options.records.commits, "commits that share the records");
  add_number(lmdb, "--events", options.events, "events that the records stand for; left out: one each");
  auto& zmq = add_floor(app, "zmq", "frames from a DEALER to a ROUTER, each answered", run_zmq, options);
  add_number(zmq, "--count", options.count, "events that the bodies stand for");
  add_number(zmq, "--size", options.event_bytes, "bytes of one event");
  add_number(zmq, "--header", options.frames.header_bytes, "bytes of the header frame");
  add_number(zmq, "--batch", options.frames.body_bytes, "bytes of the body frame");
  add_number(zmq, "--answer", options.frames.answer_bytes, "bytes of an answer");
  add_number(zmq, "--window", options.frames.window_bytes, "bytes of bodies on the way without an answer");
}

}  // namespace

int main(int argc, char** argv) try {
  CLI::App app{"bench-floors: what disk, LMDB and ZeroMQ do without a bus; one JSON object on stdout", "bench-floors"};
  Options options;
  define(app, options);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  return 0;
} catch (const std::exception& error) {
  std::fprintf(stderr, "bench-floors: %s\n", error.what());
  return 1;
}
