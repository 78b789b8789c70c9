#include "tools/bench.hpp"

#include <algorithm>
#include <cstdio>
#include <memory>

#include "bus/suoke_realtime_generated.h"
#include "tools/cli.hpp"
#include "tools/interrupts.hpp"
#include "tools/line_reader.hpp"
#include "tools/progress.hpp"
#include "tools/schemas.hpp"

namespace bus::tools {

Client connect(const Globals& globals, const BenchOptions& options) {
  ClientOptions client;
  client.window_bytes = options.window;
  client.publish_timeout = options.patience;
  return connect(globals, std::move(client));
}

Json percentiles(const Latencies& latencies) {
  if (latencies.count() == 0) return nullptr;
  Json json;
  for (const auto& [name, microseconds] : latencies.percentiles()) json[name] = microseconds;
  return json;
}

double rounded(double value) { return static_cast<double>(static_cast<std::int64_t>(value * 1000 + 0.5)) / 1000; }

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const auto half = values.size() / 2;
  return values.size() % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2;
}

Written written_so_far(Client& client) {
  const auto status = ask<wire::StatusReplyT>(client, wire::StatusRequestT{});
  const auto stat = ask<wire::LogStatReplyT>(client, wire::LogStatRequestT{});
  return {status.commits, stat.records, stat.record_bytes, stat.event_bytes};
}

Written operator-(const Written& after, const Written& before) {
  return {after.commits - before.commits, after.records - before.records, after.record_bytes - before.record_bytes,
          after.event_bytes - before.event_bytes};
}

// ---- events

namespace {

// The first of `count` numbers that all have as many digits.
std::uint64_t first_number(std::uint64_t count) {
  std::uint64_t first = 1;
  while (first < count) first *= 10;
  return first;
}

std::vector<NewEvent> read_events(const std::string& path, Client& client) {
  const std::unique_ptr<FILE, int (*)(FILE*)> file(std::fopen(path.c_str(), "re"), std::fclose);
  if (!file) fail(Code::not_found, path + ": cannot be read");
  std::vector<NewEvent> events;
  Schemas schemas(client);
  LineReader lines(fileno(file.get()));
  while (const auto line = lines.next().value()) {
    auto event = schemas.event_of(*line);
    if (!event) fail(event.error().code, path + ":" + std::to_string(lines.line()) + ": " + event.error().detail);
    events.push_back(std::move(*event));
  }
  if (events.empty()) fail(Code::bad_argument, path + ": it has no events");
  return events;
}

}  // namespace

BenchEvents::BenchEvents(const BenchOptions& options, Client& client)
    : keys_(options.keys), topics_(options.topics), first_key_(first_number(keys_)), first_topic_(first_number(topics_)) {
  if (!options.recorded.empty()) {
    recorded_ = read_events(options.recorded, client);
    return;
  }
  event_.topic = "bench";
  event_.type = suoke::realtime::SystemNotification::GetFullyQualifiedName();
  fill(0);
  const auto receipt = client.publish(next()).get().value();
  const auto events = client.replay({.from = At::position(receipt.position), .to = At::position(receipt.position)}).read().value();
  if (!events) fail(Code::not_found, "the event that was just stored cannot be read");
  event_bytes_ = events->bytes().size();
  if (options.size <= event_bytes_) return;
  fill(options.size - event_bytes_);
  event_bytes_ = options.size;
}

void BenchEvents::fill(std::size_t text_bytes) {
  suoke::realtime::SystemNotificationT payload;
  payload.notification_id = "b";
  payload.title = std::string(text_bytes, 'x');
  flatbuffers::FlatBufferBuilder builder;
  builder.Finish(suoke::realtime::SystemNotification::Pack(builder, &payload));
  event_.payload.assign(builder.GetBufferPointer(), builder.GetBufferPointer() + builder.GetSize());
}

// Names of equal length, so that all events have equal size.
const NewEvent& BenchEvents::next() {
  if (!recorded_.empty()) return recorded_[made_++ % recorded_.size()];
  event_.key = "k" + std::to_string(first_key_ + made_ % keys_);
  if (topics_ > 1) event_.topic = "bench." + std::to_string(first_topic_ + made_ % topics_);
  ++made_;
  return event_;
}

// ---- publishing

// On the client's thread, or on the publishing one where nothing was taken.
void BenchPublisher::take(const Result<Receipt>& receipt) {
  ++answered_;
  if (receipt) return;
  const std::lock_guard lock(mutex_);
  if (!refused_.exchange(true)) refusal_ = receipt.error();
}

bool BenchPublisher::over() const { return refused_ || interrupted() != 0; }

// As long as receipts keep coming. Afterwards none comes any more.
void BenchPublisher::settle() {
  for (auto before = answered_.load(); client_.flush(options_.patience).events > 0; before = answered_) {
    if (answered_ != before) continue;
    client_.close(Duration(0));
    fail(Code::timed_out, "the broker sends no receipts any more");
  }
  const std::lock_guard lock(mutex_);
  if (refusal_) throw Failed(*refusal_);
}

double BenchPublisher::publish_all() {
  Progress progress("published", options_.count);
  const auto begun = steady_now();
  for (std::uint64_t at = 0; at < options_.count && !over(); ++at) {
    client_.publish(events_.next(), [this](const Result<Receipt>& receipt) { take(receipt); });
    if (at % 256 == 0) progress.update(at, at);
  }
  settle();
  return std::chrono::duration<double>(steady_now() - begun).count();
}

Latencies BenchPublisher::publish_paced() {
  Latencies latencies;
  const auto begun = steady_now();
  const auto wall_begun = wall_now();
  for (std::uint64_t at = 0; at < options_.count && !over(); ++at) {
    const Duration after(static_cast<std::int64_t>(static_cast<double>(at) / options_.rate * 1e9));
    pause_until(begun + after);
    events_.set_time(wall_begun + after);
    client_.publish(events_.next(), [this, &latencies, due = begun + after](const Result<Receipt>& receipt) {
      take(receipt);
      const std::lock_guard lock(mutex_);
      latencies.add(steady_now() - due);
    });
  }
  settle();
  return latencies;
}

}  // namespace bus::tools
