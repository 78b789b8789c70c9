// A program that runs sagas for the system tests of bus-cli saga, until its standard input ends: one that succeeds, one that fails, one that is
// parked past its pivot, one that waits, and one that cannot be undone. Prints "ready" once they can be started.
//
//   saga_runner ENDPOINT
//
// With a FILE, it makes that as a bus-cli with other rows of sagas would, and ends.
//
//   saga_runner ENDPOINT FILE
#include <cstdio>
#include <iostream>
#include <string>
#include <vector>

#include "bus/projection.hpp"
#include "bus/saga_worker.hpp"
#include "tools/saga_index.hpp"

namespace {

using namespace bus::saga;

std::variant<Value, Failed> works(const Context& context) { return Value{"", {}, "made by " + std::string(context.step())}; }
std::variant<Value, Failed> fails(const Context&) { return Failed{"broken", "never works"}; }
// As a service that is down when it is asked first.
std::variant<Value, Failed> works_the_second_time(const Context& context) {
  if (context.attempt() == 1) return Failed{"down", "the \"carrier\" is down"};
  return works(context);
}

Step step(const std::string& name, Action action) { return std::move(Step(name).run(std::move(action)).compensate(works).retry(RetryPolicy::none())); }

std::vector<Definition> definitions() {
  RetryPolicy soon;
  soon.kind = RetryPolicy::Kind::fixed;
  soon.first = 10ms;
  soon.retries = 2;
  std::vector<Definition> all;
  all.push_back(std::move(Definition("plain").step(step("a", works)).parallel({step("b1", works), step("b2", works)}).step(std::move(step("c", works_the_second_time).retry(soon)))));
  all.push_back(std::move(Definition("failing").step(step("a", works)).step(step("b", fails))));
  all.push_back(std::move(Definition("parking").step(std::move(step("charge", works).pivot())).step(std::move(step("ship", works_the_second_time).compensate_by_command("ship.commands")))));
  all.push_back(std::move(Definition("waiting").input("suoke.realtime.SystemNotification").step(step("a", works))
                              .step(std::move(Step("approve").wait_for("approval").result("suoke.realtime.SystemNotification").timeout(1h))).step(step("b", works)).timeout(24h)));
  all.push_back(std::move(Definition("undoing").step(std::move(step("a", works).compensate(fails).retry_compensation(RetryPolicy::none()).on_compensation_failure(Compensation::OnFailure::park)))
                              .step(step("b", fails))));
  all.push_back(std::move(Definition("slow").step(std::move(Step("ask").command("nobody.commands").no_compensation())).step(step("b", works))));
  return all;
}

// Its rows are where the ones of bus-cli are, and none of them can be read as one.
void make_old_rows(bus::Client& client, const char* file) {
  bus::Projection::Options options;
  options.name = "bus-cli-sagas";
  options.file = file;
  options.filter = bus::tools::saga_index_filter();
  options.version = bus::tools::saga_index_version - 1;
  options.skip_trimmed = true;
  auto rows = bus::Projection::open(client, options, [](const bus::Event& event, bus::Projection::State& state) {
    state.put("ia12345678" + std::string(event.key()), "+");
    state.put("s" + std::string(event.key()), "old");
  }).value();
  rows.catch_up(std::chrono::seconds(30)).value();
  rows.close().value();
}

}  // namespace

int main(int argc, char** argv) try {
  if (argc != 2 && argc != 3) return std::fprintf(stderr, "usage: saga_runner ENDPOINT [FILE]\n"), 2;
  bus::ClientOptions options;
  options.server = argv[1];
  options.connect_timeout = options.request_timeout = std::chrono::seconds(30);
  auto client = bus::Client::connect(options).value();
  if (argc == 3) return make_old_rows(client, argv[2]), 0;
  std::vector<Worker> workers;
  for (const auto& definition : definitions()) workers.push_back(Worker::start(client, definition, {.decisions = 2, .actions = 2}).value());
  std::puts("ready");
  std::fflush(stdout);
  for (std::string line; std::getline(std::cin, line);) {}
} catch (const std::exception& error) {
  std::fprintf(stderr, "saga_runner: %s\n", error.what());
  return 1;
}
