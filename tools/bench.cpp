#include "tools/bench.hpp"

#include <algorithm>
#include <memory>
#include <mutex>

#include "bus/suoke_realtime_generated.h"
#include "tools/cli.hpp"
#include "tools/interrupts.hpp"
#include "tools/progress.hpp"

namespace bus::tools {

namespace {

constexpr std::uint64_t keys = 1000;

// Answers gathers receipts, which come on the client's thread. Shared with the callbacks: where waiting for them ends
// with an error, some come later.
class Answers {
 public:
  void take(const Result<Receipt>& receipt, Duration took) {
    const std::lock_guard lock(mutex_);
    ++answered_;
    latencies_.push_back(took.count());
    if (!receipt && !refusal_) refusal_ = receipt.error();
  }
  std::uint64_t answered() {
    const std::lock_guard lock(mutex_);
    return answered_;
  }
  Latencies latencies() {
    const std::lock_guard lock(mutex_);
    if (refusal_) throw Failed(*refusal_);
    return std::move(latencies_);
  }

 private:
  std::mutex mutex_;
  std::uint64_t answered_ = 0;
  Latencies latencies_;
  std::optional<Error> refusal_;
};

ReceiptCallback tell(const std::shared_ptr<Answers>& answers, SteadyTime due) {
  return [answers, due](const Result<Receipt>& receipt) { answers->take(receipt, steady_now() - due); };
}

// As long as receipts keep coming.
Latencies settle(Client& client, Answers& answers, Duration patience) {
  for (;;) {
    const auto before = answers.answered();
    if (client.flush(patience).events == 0) return answers.latencies();
    if (answers.answered() == before) fail(Code::timed_out, "the broker sends no receipts any more");
  }
}

}  // namespace

Json percentiles(Latencies& latencies) {
  if (latencies.empty()) return nullptr;
  std::sort(latencies.begin(), latencies.end());
  const auto at = [&](double part) {
    const auto index = static_cast<std::size_t>(part * static_cast<double>(latencies.size() - 1));
    return static_cast<double>(latencies[index]) / 1000;
  };
  return {{"p50", at(0.5)}, {"p90", at(0.9)}, {"p99", at(0.99)}, {"p999", at(0.999)}, {"max", at(1)}};
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const auto half = values.size() / 2;
  return values.size() % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2;
}

BenchPublisher::BenchPublisher(const BenchOptions& options, Client& client) : options_(options), client_(client) {
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

void BenchPublisher::fill(std::size_t text_bytes) {
  suoke::realtime::SystemNotificationT payload;
  payload.notification_id = "b";
  payload.title = std::string(text_bytes, 'x');
  flatbuffers::FlatBufferBuilder builder;
  builder.Finish(suoke::realtime::SystemNotification::Pack(builder, &payload));
  event_.payload.assign(builder.GetBufferPointer(), builder.GetBufferPointer() + builder.GetSize());
}

// Keys and ids of equal length, so that all events have equal size.
NewEvent BenchPublisher::next() {
  auto event = event_;
  event.key = "k" + std::to_string(1000 + made_++ % keys);
  return event;
}

double BenchPublisher::publish_all() {
  const auto answers = std::make_shared<Answers>();
  Progress progress("published", options_.count);
  const auto begun = steady_now();
  for (std::uint64_t at = 0; at < options_.count && interrupted() == 0; ++at) {
    client_.publish(next(), tell(answers, begun));
    if (at % 256 == 0) progress.update(at, at);
  }
  settle(client_, *answers, options_.patience);
  return std::chrono::duration<double>(steady_now() - begun).count();
}

Latencies BenchPublisher::publish_paced() {
  const auto answers = std::make_shared<Answers>();
  const auto begun = steady_now();
  const auto wall_begun = wall_now();
  for (std::uint64_t at = 0; at < options_.count && interrupted() == 0; ++at) {
    const Duration after(static_cast<std::int64_t>(static_cast<double>(at) / options_.rate * 1e9));
    pause_until(begun + after);
    auto event = next();
    event.time = wall_begun + after;
    client_.publish(std::move(event), tell(answers, begun + after));
  }
  return settle(client_, *answers, options_.patience);
}

}  // namespace bus::tools
