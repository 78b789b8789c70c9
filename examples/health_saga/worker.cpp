// Runs the saga: decides what comes next for each instance. As many as you like; kill them whenever you like.
//
//   health_saga_worker [--retry-after TIME] [--attempt-timeout TIME]
#include <bus/saga_worker.hpp>
#include <unistd.h>

#include "health_saga.hpp"

int main(int argc, char** argv) {
  return run_program("health_saga_worker [--retry-after TIME] [--attempt-timeout TIME]", [&] {
    const Options options(argc, argv, 1, {"--retry-after", "--attempt-timeout"});
    auto client = bus::Client::connect({.publisher = "health-saga-worker"}).value();
    bus::saga::WorkerOptions settings;
    settings.on_trouble = [](const bus::Error& error) { std::fprintf(stderr, "%s\n", describe(error).c_str()); };
    const auto worker = bus::saga::Worker::start(client, health_data_entry(options), settings).value();
    return pause();                      // it works on threads of its own, until the process is killed
  });
}
