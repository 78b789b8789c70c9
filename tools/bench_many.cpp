// The benches with many clients in one process: each has a connection and threads of its own, as in a service.
#include <algorithm>
#include <memory>

#include "tools/bench.hpp"
#include "tools/cli.hpp"
#include "tools/interrupts.hpp"
#include "tools/progress.hpp"

namespace bus::tools {

namespace {

// A client that publishes one event at a time: each receipt, on the client's thread, lets the next event go.
class OneByOne {
 public:
  OneByOne(const Globals& globals, const BenchOptions& options, const BenchEvents& made) : events_(made), client_(connect(globals, options)) {}

  // `over` rings once all have a receipt, one is refused, or somebody interrupts.
  void start(std::uint64_t count, std::atomic<std::uint64_t>& done, Bell& over) {
    left_ = count;
    done_ = &done;
    over_ = &over;
    publish();
  }
  bool is_over() const { return is_over_; }
  void stop() { client_.close(Duration(0)); }
  // Once it is over, or was stopped.
  const Latencies& latencies() const { return latencies_; }
  const std::optional<Error>& failed() const { return failed_; }

 private:
  void publish() {
    if (left_ == 0 || interrupted() != 0) return finish();
    --left_;
    begun_ = steady_now();
    client_.publish(events_.next(), [this](const Result<Receipt>& receipt) {
      if (!receipt) failed_ = receipt.error();
      if (!receipt) return finish();
      latencies_.add(steady_now() - begun_);
      ++*done_;
      publish();
    });
  }
  void finish() {
    is_over_ = true;
    over_->ring();
  }

  BenchEvents events_;
  Latencies latencies_;
  std::optional<Error> failed_;
  std::uint64_t left_ = 0;
  SteadyTime begun_;
  std::atomic<std::uint64_t>* done_ = nullptr;
  Bell* over_ = nullptr;
  std::atomic<bool> is_over_{false};
  Client client_;                          // last: its thread uses all of the above
};

}  // namespace

Exit bench_each(const Globals& globals, const BenchOptions& options) {
  auto asking = connect(globals, options);
  const GracefulEnd graceful;
  const BenchEvents events(options, asking);
  std::atomic<std::uint64_t> done{0};
  Bell over;
  std::vector<std::unique_ptr<OneByOne>> publishers;
  for (unsigned at = 0; at < options.publishers; ++at) publishers.push_back(std::make_unique<OneByOne>(globals, options, events));
  const auto before = written_so_far(asking);
  Progress progress("published", options.count);
  const auto begun = steady_now();
  for (unsigned at = 0; at < options.publishers; ++at) {
    publishers[at]->start(options.count * (at + 1) / options.publishers - options.count * at / options.publishers, done, over);
  }
  const auto all_over = [&] { return std::all_of(publishers.begin(), publishers.end(), [](const auto& one) { return one->is_over(); }); };
  auto last = begun;
  for (std::uint64_t seen = 0; !all_over() && interrupted() == 0 && steady_now() < last + options.patience;) {
    over.wait(std::chrono::seconds(1));
    const std::uint64_t now_done = done;
    if (std::exchange(seen, now_done) != now_done) last = steady_now();
    progress.update(now_done, now_done);
  }
  const auto seconds = std::chrono::duration<double>(steady_now() - begun).count();
  progress.clear();
  const bool is_late = !all_over() && interrupted() == 0;
  for (const auto& publisher : publishers) publisher->stop();
  if (is_late) fail(Code::timed_out, "the broker sends no receipts any more");
  const auto written = written_so_far(asking) - before;
  Latencies latencies;
  for (const auto& publisher : publishers) {
    if (interrupted() == 0 && publisher->failed()) throw Failed(*publisher->failed());
    latencies.merge(publisher->latencies());
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
