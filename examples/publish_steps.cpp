// Publishes a reading and waits until it is durable.
//
//   publish_steps USER STEPS
#include <bus/client.hpp>
#include <bus/suoke_health_generated.h>

#include <cstdio>
#include <cstdlib>

int main(int argc, char** argv) try {
  if (argc != 3) return std::fprintf(stderr, "usage: publish_steps USER STEPS\n"), 2;
  auto client = bus::Client::connect({.publisher = "publish-steps"}).value();

  suoke::health::HealthDataUpdateT update;
  update.user_id = argv[1];
  update.record_id = update.user_id + "/steps/" + std::to_string(client.server().last_sequence + 1);
  update.data_type = suoke::health::DataType::steps;
  update.unit = suoke::health::Unit::steps;
  update.value = std::make_unique<suoke::health::ValueT>();
  update.value->number = std::strtod(argv[2], nullptr);

  // The future holds the receipt once the event is on disk, or says why it never will be.
  const bus::Receipt receipt = client.publish("health.data.updated", update.user_id, update).get().value();
  std::printf("stored at position %llu, version %llu of %s\n", static_cast<unsigned long long>(number(receipt.position)),
              static_cast<unsigned long long>(receipt.version), argv[1]);
} catch (const bus::Failed& failed) {
  std::fprintf(stderr, "publish_steps: %s\n", failed.what());
  return 1;
}
