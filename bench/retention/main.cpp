// What a retention run does to others: how long publishes at a steady rate take, while a run is under way and while none is, in turn.
//
//   bench-retention SERVER others|oldest|latest EVENTS ROUNDS [RATE]
//
// Publishes EVENTS of 256 bytes if the log has fewer. Then ROUNDS times 2,000 events at RATE a second (500), without a run and with
// one that removes
//   others   every other event, so that each record is written anew
//   oldest   the older half of all, so that whole records are deleted
//   latest   all but the last event of each of 100,000 keys, which it first has to find out
// A round in which the run ends before its events have been published does not count. Latencies are counted from when an event
// was due. Run it against a broker of its own.
#include <bus/client.hpp>
#include <bus/suoke_realtime_generated.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <random>
#include <thread>

#include "bench/latencies.hpp"

namespace {

using bus::bench::Latencies;
using Clock = std::chrono::steady_clock;
namespace wire = bus::wire;

constexpr std::uint64_t keys = 100'000, published = 2'000;

[[noreturn]] void give_up(const std::string& what) {
  std::fprintf(stderr, "bench-retention: %s\n", what.c_str());
  std::exit(1);
}

// 256 bytes with its envelope.
bus::NewEvent make_event() {
  suoke::realtime::SystemNotificationT payload;
  payload.notification_id = "notification-1";
  flatbuffers::FlatBufferBuilder builder;
  builder.Finish(suoke::realtime::SystemNotification::Pack(builder, &payload));
  bus::NewEvent event;
  event.type = suoke::realtime::SystemNotification::GetFullyQualifiedName();
  event.payload.assign(builder.GetBufferPointer(), builder.GetBufferPointer() + builder.GetSize());
  return event;
}

template <typename Question>
bus::Client::Answer ask(bus::Client& client, Question question) {
  wire::AskUnion union_of;
  union_of.Set(std::move(question));
  return client.request(std::move(union_of)).value();
}

wire::RetentionReplyT status(bus::Client& client) {
  const auto answer = ask(client, wire::RetentionRequestT());
  return std::move(*answer.reply->answer.AsRetentionReply());
}

void flush(bus::Client& client) {
  if (client.flush(std::chrono::minutes(10)).events > 0) give_up("not all was stored");
}

void fill(bus::Client& client, std::uint64_t events) {
  auto event = make_event();
  std::mt19937_64 random(1);
  for (auto at = number(client.server().committed); at < events; ++at) {
    event.topic = at % 2 == 0 ? "bench.old.stays" : "bench.old.goes";
    event.key = "key-" + std::to_string(keys + random() % keys);
    client.publish(event, [](const auto&) {});
  }
  flush(client);
}

wire::RetentionPolicyT policy_of(const std::string& what, std::uint64_t events) {
  wire::RetentionPolicyT policy;
  policy.pattern = what == "others" ? "bench.old.goes" : "bench.old.>";
  if (what == "others") policy.max_age_ms = 1;
  if (what == "oldest") policy.max_events = events / 2;
  policy.latest_per_key = what == "latest";
  return policy;
}

void begin_run(bus::Client& client, const wire::RetentionPolicyT& policy) {
  wire::RetentionSetT set;
  set.policy = std::make_unique<wire::RetentionPolicyT>(policy);
  ask(client, std::move(set));
  ask(client, wire::RetentionRunT());
}

// Gives the run up.
void end_run(bus::Client& client, const wire::RetentionPolicyT& policy) {
  wire::RetentionRemoveT remove;
  remove.pattern = policy.pattern;
  ask(client, std::move(remove));
}

Latencies publish(bus::Client& client, double rate) {
  auto event = make_event();
  event.topic = "bench.new";
  std::mutex mutex;
  Latencies latencies;
  const auto begun = Clock::now();
  for (std::uint64_t at = 0; at < published; ++at) {
    const auto due = begun + std::chrono::nanoseconds(static_cast<std::int64_t>(static_cast<double>(at) / rate * 1e9));
    std::this_thread::sleep_until(due);
    event.key = "key-" + std::to_string(at % 1000);
    client.publish(event, [&, due](const bus::Result<bus::Receipt>& receipt) {
      if (!receipt) give_up(describe(receipt.error()));
      const std::lock_guard lock(mutex);
      latencies.add(Clock::now() - due);
    });
  }
  flush(client);
  return latencies;
}

double microseconds(const Latencies& latencies, double part) { return std::chrono::duration<double, std::micro>(latencies.at(part)).count(); }

void print(const char* name, const Latencies& latencies) {
  std::printf("%-12s", name);
  for (const auto& percentile : latencies.percentiles()) std::printf(" %s %.0f us", percentile.name, percentile.microseconds);
  std::printf("\n");
}

void bench(bus::Client& client, const std::string& what, std::uint64_t events, std::uint64_t rounds, double rate) {
  fill(client, events);
  const auto policy = policy_of(what, events);
  publish(client, rate);  // everything is warm
  Latencies without, with;
  std::vector<double> ratios, speeds;
  for (std::uint64_t round = 0; round < rounds; ++round) {
    const auto quiet = publish(client, rate);
    begin_run(client, policy);
    const auto before = status(client);
    const auto begun = Clock::now();
    const auto disturbed = publish(client, rate);
    const auto after = status(client);
    const auto seconds = std::chrono::duration<double>(Clock::now() - begun).count();
    if (!after.run->running || after.run->number != before.run->number) {
      std::printf("the run is over after %llu rounds: more EVENTS make it longer\n", static_cast<unsigned long long>(round));
      break;
    }
    end_run(client, policy);
    without.merge(quiet);
    with.merge(disturbed);
    ratios.push_back(microseconds(disturbed, 0.99) / microseconds(quiet, 0.99));
    std::uint64_t removed = 0;
    for (const auto& result : after.run->results) removed += result->events;
    speeds.push_back(static_cast<double>(removed) / seconds);
    std::printf("p99 without a run %.0f us, with one %.0f us, ratio %.2f; %.0f events/s removed\n", microseconds(quiet, 0.99),
                microseconds(disturbed, 0.99), ratios.back(), speeds.back());
    std::fflush(stdout);
  }
  if (ratios.empty()) return;
  print("without a run", without);
  print("with a run", with);
  std::sort(ratios.begin(), ratios.end());
  std::sort(speeds.begin(), speeds.end());
  std::printf("ratio of p99: %.2f of all, median of %zu rounds %.2f (%.2f to %.2f); %.0f events/s removed\n",
              microseconds(with, 0.99) / microseconds(without, 0.99), ratios.size(), ratios[ratios.size() / 2], ratios.front(), ratios.back(),
              speeds[speeds.size() / 2]);
}

}  // namespace

int main(int argc, char** argv) try {
  const std::string what = argc == 5 || argc == 6 ? argv[2] : "";
  if (what != "others" && what != "oldest" && what != "latest") {
    return std::fprintf(stderr, "usage: bench-retention SERVER others|oldest|latest EVENTS ROUNDS [RATE]\n"), 2;
  }
  auto client = bus::Client::connect({.server = argv[1], .publish_timeout = std::chrono::minutes(10)}).value();
  bench(client, what, std::strtoull(argv[3], nullptr, 10), std::strtoull(argv[4], nullptr, 10), argc == 6 ? std::strtod(argv[5], nullptr) : 500);
} catch (const bus::Failed& failed) {
  std::fprintf(stderr, "bench-retention: %s\n", failed.what());
  return 1;
}
