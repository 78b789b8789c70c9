// Runs the saga: decides what comes next for each instance. As many as you like; kill them whenever you like.
//
//   health_saga_worker [--retry-after TIME] [--attempt-timeout TIME]
#include <bus/saga_worker.hpp>

#include "health_saga.hpp"

int main(int argc, char** argv) {
  return run_program("health_saga_worker [--retry-after TIME] [--attempt-timeout TIME]", [&] {
    const Options options(argc, argv, 1, {"--retry-after", "--attempt-timeout"});
    // What a worker publishes is stored once though it is killed, as each decision rests on what it was made on: so it needs no name of its own.
    auto client = bus::Client::connect().value();
    bus::saga::WorkerOptions settings;
    settings.on_trouble = [](const bus::Error& error) { std::fprintf(stderr, "%s\n", describe(error).c_str()); };
    auto worker = bus::saga::Worker::start(client, health_data_entry(options), settings).value();
    worker.wait().value();
    return 0;
  });
}
