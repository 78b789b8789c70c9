// Books a trip: a flight, a hotel, and the payment of both. If the payment fails, what was booked is cancelled.
//
//   first_saga TRIP BUDGET
#include <bus/saga_worker.hpp>

#include <cstdio>
#include <cstdlib>

namespace {

using bus::saga::Context;
using bus::saga::Done;
using bus::saga::Failed;
using bus::saga::Step;
using bus::saga::Value;

void say(const Context& context, const char* what) { std::printf("%s: %s\n", std::string(context.step()).c_str(), what); }

// A real one would hand attempt.idempotency_key() to whom it books with: after a crash it is called again.
Done book(const Context& attempt) {
  say(attempt, "booked");
  return Value{.text = "booking of " + std::string(attempt.step())};
}

// Called for what was booked, or may have been.
Done cancel(const Context& attempt) {
  say(attempt, "cancelled");
  return Value();
}

Done pay(const Context& attempt) {
  constexpr int price = 500;
  const int budget = std::atoi(attempt.input().text.c_str());
  if (budget < price) return Failed{"no_funds", "it costs 500, and the budget is " + attempt.input().text};
  say(attempt, ("paid, with the " + attempt.result("hotel")->text).c_str());
  return Value();
}

// "SagaCompleted" or "SagaFailed".
std::string wait_for_end(bus::Client& client, const std::string& saga_id) {
  bus::ReplayOptions options;
  options.filter.keys = {saga_id};
  options.to = {};                       // it follows the log
  for (auto events = client.replay(options);;) {
    const auto event = events.read().value();
    const std::string type(event->type().substr(event->type().rfind('.') + 1));
    if (type == "SagaCompleted" || type == "SagaFailed") return type;
  }
}

}  // namespace

int main(int argc, char** argv) try {
  if (argc != 3) return std::fprintf(stderr, "usage: first_saga TRIP BUDGET\n"), 2;
  auto client = bus::Client::connect({.publisher = "trips"}).value();

  bus::saga::RetryPolicy retry;          // three times, after 1, 2 and 4 s; but not
  retry.not_retried = {"no_funds"};
  const auto trip = bus::saga::Definition("trip")
                        .step(Step("flight").run(book).compensate(cancel))
                        .step(Step("hotel").run(book).compensate(cancel))
                        .step(Step("payment").run(pay).no_compensation().retry(retry))
                        .timeout(std::chrono::hours(1));

  const auto worker = bus::saga::Worker::start(client, trip).value();
  auto starter = bus::saga::Starter::open(client, trip).value();
  const auto started = starter.start(argv[1], Value{.text = argv[2]}).value();
  const auto end = wait_for_end(client, started.saga_id);
  std::printf("%s: %s%s\n", started.saga_id.c_str(), end.c_str(), started.is_new ? "" : ", as it was before");
} catch (const bus::Failed& failed) {
  std::fprintf(stderr, "first_saga: %s\n", failed.what());
  return 1;
}
