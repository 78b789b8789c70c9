#include "outbox.hpp"

#include <algorithm>

#include "base/limits.hpp"

namespace bus {

void Outbox::open(Window window, std::uint64_t last_sequence) {
  window_ = window;
  next_fresh_ = last_sequence + 1;
}

bool Outbox::has_room(std::size_t bytes, std::size_t events) const {
  return events_ == 0 || (bytes_ + bytes <= window_.bytes && events_ + events <= window_.events);
}

Result<std::uint64_t> Outbox::add(const Item& item, ReceiptCallback& done, std::optional<std::uint64_t> given, SteadyTime now) {
  const auto sequence = given.value_or(next_fresh_);
  if (given) {
    if (*given == 0 || *given <= last_given_) {
      return Error{Code::bad_argument, "sequence " + std::to_string(*given) + " does not rise: the last one was " +
                                           std::to_string(last_given_)};
    }
    if (*given > next_fresh_ + skip_max) {
      return Error{Code::bad_argument, "sequence " + std::to_string(*given) + " leaves out more than " +
                                           std::to_string(skip_max) + " after " + std::to_string(next_fresh_ - 1)};
    }
  }
  while (next_fresh_ < sequence) append_skipped(now);
  make_room(sequence, {item.event.size(), 1, item.header_bytes(), 0}, now);
  append(item, std::move(done));
  seal_if_full();
  last_given_ = std::max(last_given_, sequence);
  return sequence;
}

void Outbox::add_step(std::span<const Item> items, BatchStep step, const ReceiptCallback& done, SteadyTime now) {
  Size size{0, items.size(), header_bytes(step), step.cancels.size()};
  for (const Item& item : items) {
    size.bytes += item.event.size();
    size.header_bytes += item.header_bytes();
  }
  make_room(next_fresh_, size, now);
  open_.header_bytes += header_bytes(step);
  open_.cancels += step.cancels.size();
  step.first = static_cast<std::uint32_t>(open_.batch.done.size());
  step.count = static_cast<std::uint32_t>(items.size());
  open_.batch.steps.push_back(std::move(step));
  for (const Item& item : items) append(item, done);
  last_given_ = std::max(last_given_, next_fresh_ - 1);  // who names sequences is not given one of these again
  seal_if_full();
}

void Outbox::append_skipped(SteadyTime now) {
  make_room(next_fresh_, {sizeof no_event}, now);
  append({Bytes(no_event)}, {});
  seal_if_full();
}

// The batch that is open can take it, or is a new one.
void Outbox::make_room(std::uint64_t sequence, const Size& size, SteadyTime now) {
  const Batch& batch = open_.batch;
  const bool follows = !open_.is_empty() && sequence == batch.first_sequence + batch.done.size();
  const bool fits = open_.body.size() + size.bytes <= limits::batch_bytes_max && batch.done.size() + size.events <= limits::batch_events_max &&
                    open_.cancels + size.cancels <= limits::schedule_ids_max &&
                    (open_.header_bytes + size.header_bytes <= limits::condition_bytes_target || size.header_bytes == 0);
  if (!open_.is_empty() && !(follows && fits)) seal();
  if (!open_.is_empty()) return;
  open_.batch.first_sequence = sequence;
  open_.since = now;
  open_.body.reserve(last_bytes_ + last_bytes_ / 8);
  open_.batch.done.reserve(last_events_ + last_events_ / 8);
}

void Outbox::append(const Item& item, ReceiptCallback done) {
  Batch& batch = open_.batch;
  for (const Condition& condition : item.conditions) {
    if (!condition.key.empty()) batch.condition_keys.push_back(condition.key);
    const auto key = condition.key.empty() ? 0 : batch.condition_keys.size();
    batch.conditions.emplace_back(condition.version, static_cast<std::uint32_t>(batch.done.size()), static_cast<std::uint16_t>(key), condition.expect);
  }
  if (item.snapshot != nullptr) batch.snapshots.emplace_back(item.snapshot->version, static_cast<std::uint32_t>(batch.done.size()), item.snapshot->keep);
  open_.header_bytes += item.header_bytes();
  bus::append(open_.body, item.event);
  batch.done.push_back(std::move(done));
  next_fresh_ = std::max(next_fresh_, batch.first_sequence + batch.done.size());
  bytes_ += item.event.size();
  ++events_;
}

void Outbox::seal_if_full() {
  if (open_.body.size() >= batch_bytes_target) seal();
}

void Outbox::seal() {
  last_bytes_ = open_.body.size();
  last_events_ = open_.batch.done.size();
  open_.batch.body = Frame::of(std::move(open_.body));
  full_.push_back(std::move(open_.batch));
  open_ = {};
}

bool Outbox::is_ready() const {
  return !full_.empty() || (!open_.is_empty() && on_the_way_.size() < batches_ahead);
}

std::optional<SteadyTime> Outbox::due(Duration linger) const {
  if (!full_.empty()) return SteadyTime{};
  if (open_.is_empty() || on_the_way_.size() >= batches_ahead) return std::nullopt;
  return open_.since + linger;
}

std::optional<Batch> Outbox::take(SteadyTime now, Duration linger) {
  if (full_.empty()) {
    const auto when = due(linger);
    if (!when || *when > now) return std::nullopt;
    seal();
  }
  Batch batch = std::move(full_.front());
  full_.pop_front();
  on_the_way_.insert(batch.first_sequence);
  return batch;
}

void Outbox::answered(const Batch& batch) {
  on_the_way_.erase(batch.first_sequence);
  bytes_ -= batch.body.bytes.size();
  events_ -= batch.done.size();
}

std::vector<Batch> Outbox::take_all() {
  if (!open_.is_empty()) seal();
  std::vector<Batch> all(std::make_move_iterator(full_.begin()), std::make_move_iterator(full_.end()));
  full_.clear();
  for (const Batch& batch : all) on_the_way_.insert(batch.first_sequence);
  return all;
}

std::uint64_t Outbox::oldest_sequence() const {
  if (!on_the_way_.empty()) return *on_the_way_.begin();
  if (!full_.empty()) return full_.front().first_sequence;
  return open_.is_empty() ? 0 : open_.batch.first_sequence;
}

}  // namespace bus
