// Reads the log from its start and adds up everybody's steps: state is what its events say.
#include <bus/client.hpp>
#include <bus/suoke_health_generated.h>

#include <cstdio>
#include <map>

int main() try {
  auto client = bus::Client::connect().value();
  std::map<std::string, double> totals;
  bus::ReplayOptions range;
  range.filter.types = {"suoke.health.HealthDataUpdate"};
  for (const bus::Event& event : client.replay(range)) {
    const auto* update = event.as<suoke::health::HealthDataUpdate>().value();
    if (update->data_type() != suoke::health::DataType::steps) continue;
    totals[update->user_id()->str()] += update->value()->number().value_or(0);
  }
  for (const auto& [user, steps] : totals) std::printf("%s\t%.0f\n", user.c_str(), steps);
} catch (const bus::Failed& failed) {
  std::fprintf(stderr, "step_totals: %s\n", failed.what());
  return 1;
}
