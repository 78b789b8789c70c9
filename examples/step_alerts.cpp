// A member of a consumer group: praises whoever has walked far. Start it several times, and the members share the work.
//
//   step_alerts THRESHOLD [COUNT]      ends after COUNT events, or runs until it is killed
#include <bus/client.hpp>
#include <bus/suoke_health_generated.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>

int main(int argc, char** argv) try {
  if (argc < 2) return std::fprintf(stderr, "usage: step_alerts THRESHOLD [COUNT]\n"), 2;
  const double threshold = std::strtod(argv[1], nullptr);
  const std::uint64_t count = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 0;
  auto client = bus::Client::connect().value();

  std::atomic<std::uint64_t> seen{0};
  std::promise<void> enough;
  bus::SubscribeOptions options;
  options.patterns = {"health.data.>"};
  options.group = "step-alerts";
  // When this returns the event is acknowledged; when it throws, it comes again, to one member or another.
  auto subscription = client.subscribe(options, [&](const bus::Event& event) {
    const auto* update = event.as<suoke::health::HealthDataUpdate>().value();
    if (update->data_type() == suoke::health::DataType::steps && update->value()->number().value_or(0) >= threshold) {
      std::printf("%s walked %.0f steps\n", update->user_id()->c_str(), *update->value()->number());
      std::fflush(stdout);
    }
    if (++seen == count) enough.set_value();
  }).value();
  if (count == 0) subscription.wait().value();
  enough.get_future().wait();
  client.close();
} catch (const bus::Failed& failed) {
  std::fprintf(stderr, "step_alerts: %s\n", failed.what());
  return 1;
}
