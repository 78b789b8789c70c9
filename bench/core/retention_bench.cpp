// How much longer publishes take while a retention run is under way, on a disk whose speed does not change: the real core and the
// real store, in memory, on a clock that is reckoned.
//
//   retention_bench others|oldest|latest [RATE]     1.5 million events of 296 bytes, then publishes at RATE a second (500), Poisson
//
// A commit takes two syncs and as long as the disk needs for its bytes; a read as long as the processor needed for it, and so does
// each turn of the loop. The loop, the committer and the reader do one thing at a time, side by side. `others` removes every other
// event, so that each record is written anew; `oldest` the older half, so that records are deleted; `latest` all but the last event
// of each of 100,000 keys.
#include <time.h>

#include <algorithm>
#include <cstdio>
#include <deque>
#include <iostream>
#include <random>
#include <stdexcept>

#include "bus/suoke_realtime_generated.h"
#include "tests/support/samples.hpp"
#include "tests/support/store_dir.hpp"
#include "broker/core/core.hpp"

namespace bus::bench {

namespace {

using broker::Core;
using broker::PayloadTypes;
using namespace std::chrono_literals;

constexpr Duration sync_takes = 150us;               // of which a commit has two
constexpr double disk_bytes_per_ns = 1;              // a gigabyte a second
constexpr Duration hand_over = 10us;                 // between two threads
constexpr std::uint64_t log_events = 1'500'000, batch_events = 256, keys = 100'000, quiet_events = 4'000;

Duration processor_time() {
  timespec time{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return std::chrono::seconds(time.tv_sec) + std::chrono::nanoseconds(time.tv_nsec);
}

// Machine is a busd whose threads take turns on one, each at its own time.
class Machine {
 public:
  Machine() : store_(store::Store::open(options()).value()), reader_(store_->reader()), core_({.about = {"bench", "data", {}}, .secret = 1}, types_, store_->identity()) {
    core_.set_space(store_->space());
    core_.recover(*store_, at(now_)).value();
    wire::HelloT hello;
    hello.protocol = wire::protocol_version;
    hello.publisher = "publisher";
    turn([&] { receive({wire::encode(hello)}); });
  }

  SteadyTime now() const { return now_; }
  Core& core() { return core_; }

  void publish(const std::vector<Buffer>& events) {
    wire::PublishT publish;
    publish.first_sequence = sequence_;
    publish.count = static_cast<std::uint32_t>(events.size());
    publish.fence = 1;
    sequence_ += events.size();
    receive({wire::encode(publish), testing::join(events)});
  }
  template <typename Question>
  void ask(Question question) {
    wire::RequestT request;
    request.request = 1;
    request.ask.Set(std::move(question));
    receive({wire::encode(request)});
  }

  // One turn of the loop at the earliest at `time`, in which `arrives` has come.
  template <typename Arrives>
  void turn(Arrives arrives) {
    const auto before = processor_time();
    arrives();
    wake_ = core_.tick(at(now_));
    if (auto batch = core_.take_batch(at(now_))) commit(*batch);
    for (auto& request : core_.take_reads()) asked_.push_back(std::move(request));
    for (const auto& message : core_.take_outgoing()) note(message);
    now_ += processor_time() - before - spent_elsewhere_;
    spent_elsewhere_ = {};
    read_next();
  }

  // All that happens before `until`, and until then nothing arrives.
  void wait(SteadyTime until) {
    while (true) {
      const auto next = std::min({committed_at_.value_or(SteadyTime::max()), answered_at_.value_or(SteadyTime::max()), wake_});
      if (next > until) break;
      now_ = std::max(now_, next);
      turn([&] {
        if (committed_at_ && *committed_at_ <= now_) committed();
        if (answered_at_ && *answered_at_ <= now_) core_.read_done(std::move(*answer_)), answered_at_.reset();
      });
    }
    now_ = std::max(now_, until);
  }

  bool is_run_over() const { return is_run_over_; }

 private:
  store::Options options() const {
    auto options = dir_.options(4 * limits::GiB);
    options.fill_ahead_bytes = limits::fill_ahead_bytes;
    return options;
  }
  static Now at(SteadyTime steady) { return {wall_time(1'700'000'001'000'000'000) + steady.time_since_epoch(), steady}; }

  void receive(std::vector<Buffer> frames) {
    std::vector<Frame> owned;
    for (auto& frame : frames) owned.push_back(Frame::of(std::move(frame)));
    core_.receive("peer", owned, at(now_));
  }

  void commit(const store::CommitBatch& batch) {
    const auto before = processor_time();
    store_->commit(batch).value();
    const auto took = processor_time() - before;
    spent_elsewhere_ += took;
    std::size_t bytes = 0;
    for (const auto& record : batch.records) bytes += record->bytes().size();
    for (const auto& change : batch.changes) bytes += change.record != nullptr ? change.record->bytes().size() : 0;
    committed_at_ = now_ + hand_over + took + 2 * sync_takes + Duration(static_cast<std::int64_t>(static_cast<double>(bytes) / disk_bytes_per_ns)) + hand_over;
  }
  void committed() {
    committed_at_.reset();
    core_.set_space(store_->space());
    core_.committed(now_);
  }
  void read_next() {
    if (asked_.empty() || answered_at_) return;
    const auto before = processor_time();
    answer_ = broker::perform(*reader_, asked_.front());
    asked_.pop_front();
    answered_at_ = now_ + hand_over + (processor_time() - before) + hand_over;
  }
  void note(const broker::Outgoing& message) {
    const auto* parsed = wire::parse(message.header.bytes).value();
    if (const auto* failure = parsed->body_as_Failure()) throw std::runtime_error(failure->detail()->str());
    const auto* reply = parsed->body_as_Reply();
    const auto* retention = reply == nullptr ? nullptr : reply->answer_as_RetentionReply();
    if (retention != nullptr) is_run_over_ = !retention->run()->running();
  }

  testing::StoreDir dir_;
  PayloadTypes types_;
  std::unique_ptr<store::Store> store_;
  std::unique_ptr<store::LogReader> reader_;
  Core core_;
  SteadyTime now_{1h}, wake_ = SteadyTime::max();
  Duration spent_elsewhere_{};
  std::uint64_t sequence_ = 1;
  std::optional<SteadyTime> committed_at_, answered_at_;
  std::optional<broker::ReadResult> answer_;
  std::deque<broker::ReadRequest> asked_;
  bool is_run_over_ = false;
};

Buffer make_event(std::uint64_t number, const std::string& topic) {
  static const auto payload = [] {
    flatbuffers::FlatBufferBuilder builder;
    suoke::realtime::SystemNotificationT notification;
    notification.notification_id = "n-1";
    notification.title = std::string(40, 'x');
    builder.Finish(suoke::realtime::SystemNotification::Pack(builder, &notification));
    return std::vector<std::uint8_t>(builder.GetBufferPointer(), builder.GetBufferPointer() + builder.GetSize());
  }();
  wire::EventT event;
  event.topic = topic;
  event.type = suoke::realtime::SystemNotification::GetFullyQualifiedName();
  event.key = "key-" + std::to_string(keys + number * 7919 % keys);
  event.id = "01234567-89ab-7cde-8f01-" + std::to_string(100'000'000'000 + number);
  event.payload = payload;
  return testing::encode_event(event);
}

void fill(Machine& machine) {
  for (std::uint64_t made = 0; made < log_events;) {
    std::vector<Buffer> events;
    for (std::uint64_t at = 0; at < batch_events; ++at, ++made) events.push_back(make_event(made, made % 2 == 0 ? "old.stays" : "old.goes"));
    machine.turn([&] { machine.publish(events); });
    // As many as make large records.
    while (made - number(machine.core().head()) > 4 * batch_events) machine.wait(machine.now() + 100us);
  }
  machine.wait(machine.now() + 1s);
}

struct Figures {
  std::vector<Duration> latencies;
  Duration took{};
  Duration at(double part) const { return latencies[std::min(latencies.size() - 1, static_cast<std::size_t>(part * static_cast<double>(latencies.size())))]; }
};

// Publishes until `is_over`, one event at a time.
template <typename IsOver>
Figures publish(Machine& machine, double rate, IsOver is_over) {
  std::mt19937_64 random(1);
  std::exponential_distribution<double> pause(rate / 1e9);
  Figures figures;
  const auto begun = machine.now();
  auto due = begun;
  std::deque<std::pair<std::uint64_t, SteadyTime>> waiting;  // by position
  const auto take_receipts = [&] {
    for (; !waiting.empty() && waiting.front().first <= number(machine.core().head()); waiting.pop_front()) figures.latencies.push_back(machine.now() - waiting.front().second);
  };
  auto position = number(machine.core().head());
  for (std::uint64_t count = 0; !is_over(count); ++count) {
    due += Duration(static_cast<std::int64_t>(pause(random)));
    // Until then, one turn after the other, so that each receipt is seen in its own.
    while (machine.now() < due) {
      machine.wait(std::min(due, machine.now() + 5us));
      take_receipts();
    }
    waiting.emplace_back(++position, due);
    machine.turn([&] { machine.publish({make_event(count, "new")}); });
    take_receipts();
  }
  std::sort(figures.latencies.begin(), figures.latencies.end());
  figures.took = machine.now() - begun;
  return figures;
}

wire::RetentionPolicyT policy_of(const std::string& what) {
  wire::RetentionPolicyT policy;
  policy.pattern = what == "others" ? "old.goes" : "old.>";
  if (what == "others") policy.max_age_ms = 1;
  if (what == "oldest") policy.max_events = log_events / 2;
  policy.latest_per_key = what == "latest";
  return policy;
}

double microseconds(Duration duration) { return std::chrono::duration<double, std::micro>(duration).count(); }

void print(const char* name, const Figures& figures) {
  std::printf("%-14s %6zu publishes: p50 %5.0f us, p90 %5.0f us, p99 %5.0f us, p999 %5.0f us\n", name, figures.latencies.size(), microseconds(figures.at(0.5)),
              microseconds(figures.at(0.9)), microseconds(figures.at(0.99)), microseconds(figures.at(0.999)));
}

void run(const std::string& what, double rate) {
  Machine machine;
  fill(machine);
  const auto quiet = publish(machine, rate, [](auto count) { return count == quiet_events; });
  wire::RetentionSetT set;
  set.policy = std::make_unique<wire::RetentionPolicyT>(policy_of(what));
  machine.turn([&] { machine.ask(std::move(set)); });
  machine.wait(machine.now() + 10ms);
  machine.turn([&] { machine.ask(wire::RetentionRunT()); });
  const auto begun = machine.now();
  const auto beside = publish(machine, rate, [&](auto count) {
    if (count % 64 == 0) machine.turn([&] { machine.ask(wire::RetentionRequestT()); });
    return machine.is_run_over();
  });
  const auto seconds = std::chrono::duration<double>(machine.now() - begun).count();
  print("without a run", quiet);
  print("with one", beside);
  std::printf("ratio of p50 %.2f, of p99 %.2f; the run went through %.0f events a second\n", microseconds(beside.at(0.5)) / microseconds(quiet.at(0.5)),
              microseconds(beside.at(0.99)) / microseconds(quiet.at(0.99)), static_cast<double>(log_events) / seconds);
}

}  // namespace

}  // namespace bus::bench

int main(int argc, char** argv) {
  const std::string what = argc == 2 || argc == 3 ? argv[1] : "";
  if (what != "others" && what != "oldest" && what != "latest") return std::cerr << "usage: retention_bench others|oldest|latest [RATE]\n", 2;
  bus::bench::run(what, argc == 3 ? std::stod(argv[2]) : 500);
  return 0;
}
