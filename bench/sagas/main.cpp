// What sagas cost: how many steps a broker and two workers do a second, and how much memory a worker takes; and how exact timers are.
//
//   bench-sagas SERVER steps INSTANCES         starts INSTANCES of four local steps, all at once, and waits for their ends; two workers in processes
//                                              of their own
//   bench-sagas SERVER timers TIMERS SECONDS   sets TIMERS that are due SECONDS from now, all over one minute, and says how late each came
//   bench-sagas SERVER past INSTANCES          the first and the last event of so many that have ended, to see what lists of others cost beside them
//
// Run it against a broker of its own.
#include <bus/saga_worker.hpp>
#include <bus/suoke_realtime_generated.h>
#include <bus/suoke_saga_generated.h>
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "bench/latencies.hpp"

namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

[[noreturn]] void give_up(const std::string& what) {
  std::fprintf(stderr, "bench-sagas: %s\n", what.c_str());
  std::exit(1);
}

bus::saga::Definition four_steps() {
  const bus::saga::Action work = [](const bus::saga::Context& context) { return bus::saga::Value{"", {}, "made by " + std::string(context.step())}; };
  bus::saga::Definition definition("bench");
  for (const char* name : {"validate", "save", "record", "analyse"}) definition.step(std::move(bus::saga::Step(name).run(work).compensate(work)));
  return definition;
}

// Nothing: none came in that time.
std::optional<bus::Event> next_of(bus::Replay& events, Clock::duration patience) {
  for (const auto deadline = Clock::now() + patience; Clock::now() < deadline;) {
    if (auto event = events.read(deadline).value()) return event;
  }
  return std::nullopt;
}

bus::Client connect(const std::string& server, const std::string& publisher) {
  bus::ClientOptions options;
  options.server = server;
  options.publisher = publisher;
  return bus::Client::connect(options).value();
}

// ---- workers

// Until its standard input ends.
int work(const std::string& server, const std::string& name) {
  auto client = connect(server, name);
  bus::saga::WorkerOptions options;
  options.decisions = options.actions = 64;
  auto worker = bus::saga::Worker::start(client, four_steps(), options).value();
  char byte = 0;
  while (read(STDIN_FILENO, &byte, 1) > 0) {}
  worker.close();
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("VmHWM:")) std::printf("%s: most memory at any time %s\n", name.c_str(), line.substr(6).c_str());
  }
  return 0;
}

class WorkerProcess {
 public:
  WorkerProcess(const std::string& program, const std::string& server, const std::string& name) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) give_up("no pipe");
    pid_ = fork();
    if (pid_ == 0) {
      dup2(ends[0], STDIN_FILENO);
      execl(program.c_str(), program.c_str(), server.c_str(), "work", name.c_str(), nullptr);
      _exit(127);
    }
    close(ends[0]);
    input_ = ends[1];
  }
  ~WorkerProcess() {
    close(input_);
    int status = 0;
    waitpid(pid_, &status, 0);
    if (status != 0) std::fprintf(stderr, "bench-sagas: a worker ended with %d\n", status);
  }
  WorkerProcess(const WorkerProcess&) = delete;
  WorkerProcess& operator=(const WorkerProcess&) = delete;

 private:
  pid_t pid_ = 0;
  int input_ = -1;
};

// ---- steps

void steps(const std::string& program, const std::string& server, std::size_t instances) {
  auto client = connect(server, "bench");
  auto starter = bus::saga::Starter::open(client, four_steps()).value();
  bus::ReplayOptions options;
  options.filter.types = {"suoke.saga.SagaCompleted", "suoke.saga.SagaFailed"};
  options.from = bus::At::end();
  options.to = {};
  auto ends = client.replay(options);
  ends.read(Clock::now() + 1s).value();  // it has begun
  const WorkerProcess first(program, server, "bench-worker-1"), second(program, server, "bench-worker-2");
  const std::string run = std::to_string(getpid()) + "-";
  const auto began = Clock::now();
  std::atomic<std::size_t> next = 0;
  std::vector<std::thread> starters;
  for (int at = 0; at < 64; ++at) {
    starters.emplace_back([&] {
      for (std::size_t one = next++; one < instances; one = next++) starter.start(run + std::to_string(one)).value();
    });
  }
  for (auto& one : starters) one.join();
  const std::chrono::duration<double> starting = Clock::now() - began;
  std::size_t ended = 0, failed = 0;
  while (ended < instances) {
    const auto event = next_of(ends, 60s);
    if (!event) give_up("only " + std::to_string(ended) + " of " + std::to_string(instances) + " have ended, and for a minute none");
    ++ended;
    failed += event->type() == "suoke.saga.SagaFailed";
  }
  const std::chrono::duration<double> took = Clock::now() - began;
  std::printf("%zu instances of 4 steps, started within %.2f s, ended within %.2f s: %.0f steps/s, %zu failed\n", instances, starting.count(), took.count(),
              4.0 * static_cast<double>(instances) / took.count(), failed);
}

// ---- what has ended

void past(const std::string& server, std::size_t instances) {
  auto client = connect(server, "bench-past");
  const auto publish = [&](const char* topic, const auto& object) {
    using Table = typename std::decay_t<decltype(object)>::TableType;
    flatbuffers::FlatBufferBuilder builder;
    builder.Finish(Table::Pack(builder, &object));
    bus::NewEvent event;
    event.topic = topic;
    event.type = Table::GetFullyQualifiedName();
    event.key = object.saga_id;
    event.payload.assign(builder.GetBufferPointer(), builder.GetBufferPointer() + builder.GetSize());
    client.publish(event, [](const auto&) {});
  };
  const std::string run = "past/" + std::to_string(getpid()) + "-";
  for (std::size_t at = 0; at < instances; ++at) {
    suoke::saga::SagaStartedT started;
    started.saga_id = run + std::to_string(at);
    started.name = "past";
    started.steps_count = 4;
    started.definition_hash = "0123456789abcdef0123456789abcdef";
    publish("saga.past.saga_started", started);
    suoke::saga::SagaCompletedT completed;
    completed.saga_id = started.saga_id;
    completed.outcome = suoke::saga::Outcome::completed;
    publish("saga.past.saga_completed", completed);
  }
  if (client.flush(10min).events > 0) give_up("not all was stored");
}

// ---- timers

double milliseconds(std::chrono::nanoseconds time) { return static_cast<double>(time.count()) / 1e6; }

void timers(const std::string& server, std::size_t count, std::chrono::seconds after) {
  auto client = connect(server, "bench-timers-" + std::to_string(getpid()));
  suoke::realtime::SystemNotificationT payload;
  payload.notification_id = "timer";
  flatbuffers::FlatBufferBuilder builder;
  builder.Finish(suoke::realtime::SystemNotification::Pack(builder, &payload));
  const std::string topic = "bench.timers." + std::to_string(getpid());
  bus::NewEvent event;
  event.topic = topic;
  event.type = suoke::realtime::SystemNotification::GetFullyQualifiedName();
  event.payload.assign(builder.GetBufferPointer(), builder.GetBufferPointer() + builder.GetSize());
  bus::ReplayOptions options;
  options.filter.patterns = {topic};
  options.from = bus::At::end();
  options.to = {};
  auto due = client.replay(options);
  due.read(Clock::now() + 1s).value();
  const auto first = std::chrono::system_clock::now() + after;
  for (std::size_t at = 0; at < count; ++at) {
    event.deliver_at = first + at * std::chrono::nanoseconds(1min) / count;
    client.publish(event, [](const bus::Result<bus::Receipt>& receipt) {
      if (!receipt) give_up(bus::describe(receipt.error()));
    });
  }
  if (client.flush(10min).events > 0) give_up("not all timers were set");
  std::printf("%zu timers are set\n", count);
  std::fflush(stdout);
  std::set<std::uint64_t> seen;
  bus::bench::Latencies late;
  while (seen.size() < count) {
    const auto one = next_of(due, after + 2min);
    if (!one) give_up("only " + std::to_string(seen.size()) + " of " + std::to_string(count) + " came");
    if (!seen.insert(one->sequence()).second) give_up("a timer came twice");
    late.add(std::chrono::system_clock::now() - *one->deliver_at());  // delivered
  }
  std::printf("late: p50 %.1f ms, p99 %.1f ms, most %.1f ms\n", milliseconds(late.at(0.5)), milliseconds(late.at(0.99)), milliseconds(late.at(1)));
}

}  // namespace

int main(int argc, char** argv) try {
  const std::vector<std::string> words(argv, argv + argc);
  const auto number = [&](std::size_t at) { return static_cast<std::size_t>(std::strtoull(words[at].c_str(), nullptr, 10)); };
  if (argc == 4 && words[2] == "work") return work(words[1], words[3]);
  if (argc == 4 && words[2] == "steps") return steps(words[0], words[1], number(3)), 0;
  if (argc == 4 && words[2] == "past") return past(words[1], number(3)), 0;
  if (argc == 5 && words[2] == "timers") return timers(words[1], number(3), std::chrono::seconds(number(4))), 0;
  std::fprintf(stderr, "bench-sagas SERVER steps INSTANCES | SERVER past INSTANCES | SERVER timers TIMERS SECONDS\n");
  return 2;
} catch (const std::exception& error) {
  give_up(error.what());
}
