// How fast a projection folds the log, beside a plain replay of the same log by the same client, in turn.
//
//   bench-projection SERVER EVENTS ROUNDS      publishes EVENTS if the log has fewer; one line a round, and the ratio's median
//
// The fold counts per key, 1,000 of them: one read and one changed row an event. Run it against a broker of its own.
#include <bus/projection.hpp>
#include <bus/suoke_realtime_generated.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>

namespace {

using Seconds = std::chrono::duration<double>;

bus::NewEvent make_event(std::uint64_t number) {
  suoke::realtime::SystemNotificationT payload;
  payload.notification_id = "n-1";
  payload.title = std::string(100, 'x');
  flatbuffers::FlatBufferBuilder builder;
  builder.Finish(suoke::realtime::SystemNotification::Pack(builder, &payload));
  bus::NewEvent event;
  event.topic = "bench.projection";
  event.type = suoke::realtime::SystemNotification::GetFullyQualifiedName();
  event.key = "key-" + std::to_string(number * 7919 % 1000);
  event.payload.assign(builder.GetBufferPointer(), builder.GetBufferPointer() + builder.GetSize());
  return event;
}

template <typename Work>
double rate(std::uint64_t events, const Work& work) {
  const auto begun = std::chrono::steady_clock::now();
  work();
  return static_cast<double>(events) / Seconds(std::chrono::steady_clock::now() - begun).count();
}

void replay(bus::Client& client, std::uint64_t events) {
  std::uint64_t seen = 0;
  for (const bus::Event& event : client.replay()) seen += !event.key().empty();
  if (seen < events) std::exit(1);
}

void fold(bus::Client& client, const std::filesystem::path& file) {
  bus::Projection::Options options;
  options.name = "bench";
  options.file = file;
  auto projection = bus::Projection::open(client, options, [](const bus::Event& event, bus::Projection::State& state) {
    state.add<std::uint64_t>(event.key(), 1);
  }).value();
  projection.catch_up(std::chrono::minutes(10)).value();
  projection.close().value();
}

}  // namespace

int main(int argc, char** argv) try {
  if (argc != 4) return std::fprintf(stderr, "usage: bench-projection SERVER EVENTS ROUNDS\n"), 2;
  const std::uint64_t wanted = std::strtoull(argv[2], nullptr, 10);
  auto client = bus::Client::connect({.server = argv[1]}).value();
  for (auto at = number(client.server().committed); at < wanted; ++at) client.publish(make_event(at), [](const auto&) {});
  if (client.flush(std::chrono::minutes(10)).events > 0) return std::fprintf(stderr, "bench-projection: not all was stored\n"), 1;
  const auto events = std::max(wanted, number(client.server().committed));
  const std::filesystem::path file = "bench-projection.state";
  std::vector<double> ratios;
  for (int round = 0; round < std::atoi(argv[3]); ++round) {
    std::filesystem::remove(file);
    const double plain = rate(events, [&] { replay(client, events); });
    const double folded = rate(events, [&] { fold(client, file); });
    ratios.push_back(folded / plain);
    std::printf("replay %.0f events/s, projection %.0f events/s, ratio %.2f\n", plain, folded, ratios.back());
  }
  std::sort(ratios.begin(), ratios.end());
  if (!ratios.empty()) std::printf("median ratio %.2f\n", ratios[ratios.size() / 2]);
} catch (const bus::Failed& failed) {
  std::fprintf(stderr, "bench-projection: %s\n", failed.what());
  return 1;
}
