#include "tools/source_publisher.hpp"

#include <chrono>

#include "tools/cli.hpp"
#include "tools/position.hpp"

namespace bus::tools {

void SourcePublisher::give_up(const Error& why) {
  const std::lock_guard lock(mutex_);
  if (!over_.exchange(true)) trouble_ = why;
  bell_.ring();
}

void SourcePublisher::take(std::uint64_t place, const Result<Receipt>& receipt) {
  ++answers_;
  if (receipt) {
    ++(receipt->duplicate ? duplicates_ : published_);
    return;
  }
  const auto code = receipt.error().code;
  // An earlier run had its answer, and nobody knows it any more: mostly a receipt.
  if (code == Code::trimmed) return void(++duplicates_);
  if (!is_refusal(code) || code == Code::busy) {
    ++unknown_;
    return give_up(receipt.error());
  }
  ++refused_;
  warn(std::string(words_.place) + " " + std::to_string(place) + ": " + describe(receipt.error()) +
       (code == Code::refused_before ? words_.refused_before : ""));
}

// Stays below the client's window, so that publishing itself never waits for a broker that is gone.
bool SourcePublisher::wait_for_room() {
  const auto is_full = [this] { return open_bytes_ >= open_bytes_max || open_events_ >= open_events_max; };
  waiting_ = true;
  auto answers = answers_.load();
  for (auto deadline = steady_now() + patience_; is_full() && !over();) {
    bell_.wait(deadline - steady_now());
    if (answers_ == answers && steady_now() >= deadline) break;
    if (answers_ != answers) deadline = steady_now() + patience_;
    answers = answers_;
  }
  waiting_ = false;
  return !is_full();
}

bool SourcePublisher::publish(std::uint64_t sequence, std::uint64_t place, const NewEvent& event) {
  if (!wait_for_room()) {
    if (!over()) give_up({Code::timed_out, "no receipt came for " + show_duration(patience_)});
    return false;
  }
  const auto bytes = event.payload.size();
  open_bytes_ += bytes;
  ++open_events_;
  client_.publish_at(sequence, event, [this, place, bytes](const Result<Receipt>& receipt) {
    take(place, receipt);
    open_bytes_ -= bytes;
    --open_events_;
    if (waiting_) bell_.ring();
  });
  return true;
}

std::uint64_t SourcePublisher::settle() {
  for (;;) {
    const auto before = answers_.load();
    const auto unknown = client_.flush(interrupted() != 0 ? Duration(std::chrono::seconds(1)) : patience_);
    if (unknown.events > 0 && !over() && answers_ != before) continue;
    if (unknown.events > 0 && unknown.reason.code != Code::ok) give_up(unknown.reason);
    return unknown.events;
  }
}

SourcePublisher::Summary SourcePublisher::finish() {
  Summary summary;
  summary.unknown = settle() + unknown_;
  summary.published = published_;
  summary.duplicates = duplicates_;
  summary.refused = refused_;
  const std::lock_guard lock(mutex_);
  summary.trouble = trouble_;
  return summary;
}

}  // namespace bus::tools
