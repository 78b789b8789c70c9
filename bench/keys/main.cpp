// What single keys cost: how long it takes to read one of 100 events in a large log, and to publish on condition beside publishing plainly.
//
//   bench-keys SERVER read EVENTS READS        publishes EVENTS of 256 bytes on EVENTS/100 keys if the log has fewer, then reads random
//                                              keys; each of 1,000 keys is read once before, so that the second figures are warm
//   bench-keys SERVER publish EVENTS ROUNDS    EVENTS plainly and on condition of their keys' versions, in turn; the ratio's median
//
// Run it against a broker of its own.
#include <bus/client.hpp>
#include <bus/suoke_realtime_generated.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <random>

#include "bench/latencies.hpp"

namespace {

constexpr std::uint64_t events_of_key = 100, keys_published = 1000, keys_warm = 1000;

std::string key_name(std::uint64_t key) { return "key-" + std::to_string(key); }

// 256 bytes with its envelope.
bus::NewEvent make_event() {
  suoke::realtime::SystemNotificationT payload;
  payload.notification_id = "notification-1";
  flatbuffers::FlatBufferBuilder builder;
  builder.Finish(suoke::realtime::SystemNotification::Pack(builder, &payload));
  bus::NewEvent event;
  event.topic = "bench.keys";
  event.type = suoke::realtime::SystemNotification::GetFullyQualifiedName();
  event.payload.assign(builder.GetBufferPointer(), builder.GetBufferPointer() + builder.GetSize());
  return event;
}

[[noreturn]] void give_up(const std::string& what) {
  std::fprintf(stderr, "bench-keys: %s\n", what.c_str());
  std::exit(1);
}

void flush(bus::Client& client) {
  if (client.flush(std::chrono::minutes(10)).events > 0) give_up("not all was stored");
}

// ---- reading

void fill(bus::Client& client, std::uint64_t events) {
  auto event = make_event();
  const auto keys = events / events_of_key;
  for (auto at = number(client.server().committed); at < events; ++at) {
    event.key = key_name(at % keys);
    client.publish(event, [](const auto&) {});
  }
  flush(client);
}

void read_keys(bus::Client& client, const std::vector<std::uint64_t>& keys, const char* name) {
  bus::bench::Latencies latencies;
  std::size_t bytes = 0, count = 0;
  for (const auto key : keys) {
    const auto begun = std::chrono::steady_clock::now();
    const auto read = client.read_key({key_name(key)}).value();
    latencies.add(std::chrono::steady_clock::now() - begun);
    if (read.events.size() != events_of_key) give_up(key_name(key) + " has " + std::to_string(read.events.size()) + " events");
    for (const auto& event : read.events) bytes += event.bytes().size(), ++count;
  }
  std::printf("%s: %zu keys of %llu events of %zu bytes:", name, keys.size(), static_cast<unsigned long long>(events_of_key), bytes / count);
  for (const auto& percentile : latencies.percentiles()) std::printf(" %s %.0f us", percentile.name, percentile.microseconds);
  std::printf("\n");
}

void bench_read(bus::Client& client, std::uint64_t events, std::uint64_t reads) {
  fill(client, events);
  std::mt19937_64 random(1);
  const auto some = [&](std::uint64_t count, std::uint64_t below) {
    std::vector<std::uint64_t> keys(count);
    for (auto& key : keys) key = random() % below;
    return keys;
  };
  const auto keys = events / events_of_key;
  read_keys(client, some(reads, keys), "any key");
  const auto warm = std::min(keys_warm, keys);
  std::vector<std::uint64_t> once(warm);
  for (std::uint64_t key = 0; key < warm; ++key) once[key] = key;
  read_keys(client, once, "each once");
  read_keys(client, some(reads, warm), "read before");
}

// ---- publishing

using Versions = std::vector<std::uint64_t>;

double publish(bus::Client& client, std::uint64_t events, Versions& versions, bool on_condition) {
  auto event = make_event();
  std::atomic<std::uint64_t> refused{0};
  const auto begun = std::chrono::steady_clock::now();
  for (std::uint64_t at = 0; at < events; ++at) {
    auto& version = versions[at % versions.size()];
    event.key = key_name(at % versions.size());
    if (on_condition) event.conditions.assign(1, bus::Condition::at(version));
    ++version;
    client.publish(event, [&](const bus::Result<bus::Receipt>& receipt) { refused += !receipt.ok(); });
  }
  flush(client);
  if (refused > 0) give_up(std::to_string(refused) + " were refused; does anybody else publish?");
  return static_cast<double>(events) / std::chrono::duration<double>(std::chrono::steady_clock::now() - begun).count();
}

void bench_publish(bus::Client& client, std::uint64_t events, std::uint64_t rounds) {
  Versions versions;
  for (std::uint64_t key = 0; key < keys_published; ++key) versions.push_back(client.key_head(key_name(key)).value().version);
  publish(client, events, versions, false);  // the log grows as it will
  std::vector<double> ratios;
  for (std::uint64_t round = 0; round < rounds; ++round) {
    const double plain = publish(client, events, versions, false);
    const double conditional = publish(client, events, versions, true);
    ratios.push_back(plain / conditional);
    std::printf("plain %.0f events/s, on condition %.0f events/s, ratio of costs %.2f\n", plain, conditional, ratios.back());
  }
  std::sort(ratios.begin(), ratios.end());
  if (!ratios.empty()) std::printf("median ratio of costs %.2f\n", ratios[ratios.size() / 2]);
}

}  // namespace

int main(int argc, char** argv) try {
  const std::string what = argc == 5 ? argv[2] : "";
  if (what != "read" && what != "publish") return std::fprintf(stderr, "usage: bench-keys SERVER read|publish EVENTS READS|ROUNDS\n"), 2;
  auto client = bus::Client::connect({.server = argv[1], .publish_timeout = std::chrono::minutes(10)}).value();
  (what == "read" ? bench_read : bench_publish)(client, std::strtoull(argv[3], nullptr, 10), std::strtoull(argv[4], nullptr, 10));
} catch (const bus::Failed& failed) {
  std::fprintf(stderr, "bench-keys: %s\n", failed.what());
  return 1;
}
