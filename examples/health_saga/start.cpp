// Starts an instance of the saga with a reading as its input, and prints what happens to it, until it has ended.
//
//   health_saga_start [--id ID] [--user USER] [--steps N] [--retry-after TIME] [--attempt-timeout TIME]
//
// It exits with 0 if all steps were done, 3 if they were undone, 4 if one of them could not be. Started again with the same id, it shows the same
// instance from its beginning.
#include <bus/saga_worker.hpp>
#include <bus/suoke_health_generated.h>

#include "health_saga.hpp"
#include "timeline.hpp"

namespace {

bus::saga::Value reading(const std::string& id, const std::string& user, unsigned long steps) {
  suoke::health::HealthDataUpdateT update;
  update.record_id = id;
  update.user_id = user;
  update.data_type = suoke::health::DataType::steps;
  update.unit = suoke::health::Unit::steps;
  update.value = std::make_unique<suoke::health::ValueT>();
  update.value->number = static_cast<double>(steps);
  return bus::saga::Value::of(update);
}

constexpr const char* start_usage = "health_saga_start [--id ID] [--user USER] [--steps N] [--retry-after TIME] [--attempt-timeout TIME]";

}  // namespace

int main(int argc, char** argv) {
  return run_program(start_usage, [&] {
    const Options options(argc, argv, 1, {"--id", "--user", "--steps", "--retry-after", "--attempt-timeout"});
    const std::string id = options.text("--id", "r-1"), user = options.text("--user", "user-7");
    auto client = bus::Client::connect().value();
    auto starter = bus::saga::Starter::open(client, health_data_entry(options)).value();
    const auto started = starter.start(id, reading(id, user, options.count("--steps", 4200)), user).value();
    return follow(client, started.saga_id);
  });
}
