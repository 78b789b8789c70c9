// The benches with many clients in one process: each has a connection and threads of its own, as in a service.
#include <memory>
#include <thread>

#include "tools/bench.hpp"
#include "tools/cli.hpp"
#include "tools/interrupts.hpp"
#include "tools/progress.hpp"

namespace bus::tools {

namespace {

// A client on a thread of its own that publishes one event at a time.
struct Waiting {
  Waiting(const Globals& globals, const BenchOptions& options, const BenchEvents& made) : client(connect(globals, options)), events(made) {}
  Client client;
  BenchEvents events;
  Latencies latencies;
  std::optional<Error> failed;

  void publish(std::uint64_t count, std::atomic<std::uint64_t>& done) {
    for (std::uint64_t at = 0; at < count && interrupted() == 0; ++at, ++done) {
      const auto begun = steady_now();
      const auto receipt = client.publish(events.next()).get();
      if (!receipt) {
        failed = receipt.error();
        return;
      }
      latencies.add(steady_now() - begun);
    }
  }
};

}  // namespace

Exit bench_each(const Globals& globals, const BenchOptions& options) {
  auto asking = connect(globals, options);
  const GracefulEnd graceful;
  const BenchEvents events(options, asking);
  std::vector<std::unique_ptr<Waiting>> publishers;
  for (unsigned at = 0; at < options.publishers; ++at) publishers.push_back(std::make_unique<Waiting>(globals, options, events));
  const auto before = written_so_far(asking);
  std::atomic<std::uint64_t> done{0};
  Progress progress("published", options.count);
  const auto begun = steady_now();
  std::vector<std::jthread> threads;
  for (unsigned at = 0; at < options.publishers; ++at) {
    const auto count = options.count * (at + 1) / options.publishers - options.count * at / options.publishers;
    threads.emplace_back([&, at, count] { publishers[at]->publish(count, done); });
  }
  for (auto& thread : threads) thread.join();
  const auto seconds = std::chrono::duration<double>(steady_now() - begun).count();
  progress.clear();
  const auto written = written_so_far(asking) - before;
  Latencies latencies;
  for (const auto& publisher : publishers) {
    if (publisher->failed) throw Failed(*publisher->failed);
    latencies.merge(publisher->latencies);
  }
  if (latencies.count() == 0) return Exit::ok;
  const auto published = static_cast<double>(latencies.count());
  return report(globals.format, options, {{"bench", "each"}, {"publishers", options.publishers}, {"events", latencies.count()}, {"event_bytes", events.event_bytes()},
                                          {"events_per_second", rounded(published / seconds)},
                                          {"events_per_commit", rounded(published / static_cast<double>(std::max<std::uint64_t>(1, written.commits)))},
                                          {"receipt_us", percentiles(latencies)}});
}

Exit bench_fanout(const Globals& globals, const BenchOptions& options) {
  auto client = connect(globals, options);
  const GracefulEnd graceful;
  BenchPublisher publisher(options, client, BenchEvents(options, client));
  std::atomic<std::uint64_t> delivered{0};
  const auto expected = options.count * options.subscribers;
  Bell bell;
  std::vector<Client> clients;
  std::vector<Subscription> subscriptions;
  for (unsigned at = 0; at < options.subscribers && interrupted() == 0; ++at) {
    clients.push_back(connect(globals, options));
    subscriptions.push_back(clients.back().subscribe({.patterns = {"bench"}, .group = "", .from = At::end()}, [&](const Event&) {
      if (++delivered == expected) bell.ring();
    }).value());
  }
  const auto begun = steady_now();
  publisher.publish_all();
  Progress progress("delivered", expected);
  for (std::uint64_t before = 0; delivered < expected && interrupted() == 0;) {
    progress.update(delivered, delivered);
    bell.wait(options.patience);
    if (delivered == before) break;  // none for so long
    before = delivered;
  }
  const auto seconds = std::chrono::duration<double>(steady_now() - begun).count();
  progress.clear();
  for (auto& subscription : subscriptions) subscription.close();
  if (interrupted() != 0) return Exit::ok;
  if (delivered < expected) fail(Code::timed_out, "of " + std::to_string(expected) + " deliveries only " + std::to_string(delivered) + " came");
  return report(globals.format, options, {{"bench", "fanout"}, {"subscribers", options.subscribers}, {"events", options.count}, {"event_bytes", options.size},
                                          {"events_per_second", rounded(static_cast<double>(options.count) / seconds)},
                                          {"deliveries_per_second", rounded(static_cast<double>(expected) / seconds)}});
}

}  // namespace bus::tools
