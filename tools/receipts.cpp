#include "tools/receipts.hpp"

#include <utility>

#include "tools/cli.hpp"
#include "tools/interrupts.hpp"

namespace bus::tools {

namespace {

Json to_json(const Receipts::Sent& sent, const Receipt& receipt) {
  const bool is_scheduled = !receipt.schedule_id.empty();
  Json json = {{"position", is_scheduled ? Json() : Json(number(receipt.position))}, {"topic", sent.topic}};
  json["key"] = sent.key.empty() ? Json() : Json(sent.key);
  if (is_scheduled) {
    json["schedule_id"] = receipt.schedule_id;
    json["duplicate"] = receipt.duplicate;
    return json;
  }
  json["version"] = receipt.version;
  json["duplicate_of"] = receipt.duplicate ? Json(number(receipt.position)) : Json();
  return json;
}

std::string to_text(const Receipts::Sent& sent, const Receipt& receipt) {
  const bool is_scheduled = !receipt.schedule_id.empty();
  std::vector<std::string> cells = {is_scheduled ? "scheduled" : std::to_string(number(receipt.position)), sent.topic,
                                    sent.key.empty() ? "-" : printable(sent.key),
                                    is_scheduled ? printable(receipt.schedule_id) : std::to_string(receipt.version)};
  if (receipt.duplicate) cells.push_back("duplicate");
  return columns(cells);
}

std::string located(const std::string& where, const Error& error) {
  return (where.empty() ? "" : where + ": ") + describe(error);
}

}  // namespace

Receipts::Receipts(Format format, bool single, Duration patience)
    : items_(single && format == Format::json ? Format::ndjson : format), single_(single), patience_(patience),
      thread_([this] { run(); }) {}

Receipts::~Receipts() {
  {
    const std::lock_guard lock(mutex_);
    closed_ = over_ = true;
  }
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void Receipts::wait_for_room() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return over_ || (open_bytes_ < open_bytes_max && open_events_ < open_events_max); });
}

void Receipts::add(Sent sent) {
  {
    const std::lock_guard lock(mutex_);
    open_bytes_ += sent.bytes;
    ++open_events_;
    sent_.push_back(std::move(sent));
  }
  changed_.notify_all();
}

void Receipts::refuse(const std::string& where, const Error& error) {
  warn(located(where, error));
  const std::lock_guard lock(mutex_);
  ++summary_.refused;
  summary_.worst = error.code;
}

bool Receipts::over() {
  const std::lock_guard lock(mutex_);
  return over_;
}

void Receipts::run() {
  std::unique_lock lock(mutex_);
  while (!over_) {
    changed_.wait(lock, [this] { return closed_ || over_ || !sent_.empty(); });
    if (sent_.empty()) return;
    auto next = std::move(sent_.front());
    sent_.pop_front();
    const auto bytes = next.bytes;
    lock.unlock();
    try {
      print(std::move(next));
    } catch (...) {
      failure_ = std::current_exception();
    }
    lock.lock();
    open_bytes_ -= bytes;
    --open_events_;
    over_ = over_ || failure_ != nullptr || summary_.unknown != Code::ok;
    changed_.notify_all();
  }
}

void Receipts::print(Sent sent) {
  const bool answered = sent.receipt.wait_for(patience_) == std::future_status::ready;
  const auto receipt = answered ? sent.receipt.get() : Result<Receipt>(Error{Code::timed_out, "no receipt; it may be stored or not"});
  if (receipt) {
    items_.add(items_.wants_json() ? dump(to_json(sent, *receipt)) : "", items_.wants_json() ? "" : to_text(sent, *receipt));
    // Whoever waits for a receipt at the other end of a pipe shall have it before it stops sending.
    flush();
    ++summary_.stored;
    return;
  }
  const auto code = receipt.error().code;
  if ((!is_refusal(code) || code == Code::busy) && summary_.unknown == Code::ok) summary_.unknown = code;
  refuse(sent.where, receipt.error());
}

Receipts::Summary Receipts::finish() {
  {
    const std::lock_guard lock(mutex_);
    closed_ = true;
  }
  changed_.notify_all();
  thread_.join();
  if (failure_) std::rethrow_exception(failure_);
  summary_.refused += sent_.size();
  if (!single_) items_.finish();
  flush();
  return summary_;
}

}  // namespace bus::tools
