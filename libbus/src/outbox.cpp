#include "outbox.hpp"

#include <algorithm>

#include "base/limits.hpp"

namespace bus {

namespace {

// What travels in the place of a sequence that is given up: an event of size 0.
constexpr std::uint8_t skipped[8] = {};

}  // namespace

void Outbox::open(Window window, std::uint64_t last_sequence) {
  window_ = window;
  next_fresh_ = last_sequence + 1;
}

bool Outbox::has_room(std::size_t bytes) const {
  return events_ == 0 || (bytes_ + bytes <= window_.bytes && events_ < window_.events);
}

Result<std::uint64_t> Outbox::add(Bytes event, ReceiptCallback& done, std::optional<std::uint64_t> given, SteadyTime now) {
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
  while (next_fresh_ < sequence) append(next_fresh_, Bytes(skipped), {}, now);
  append(sequence, event, std::move(done), now);
  last_given_ = std::max(last_given_, sequence);
  return sequence;
}

void Outbox::append(std::uint64_t sequence, Bytes event, ReceiptCallback done, SteadyTime now) {
  const bool follows = !open_.done.empty() && sequence == open_.first_sequence + open_.done.size();
  const bool fits = open_.body.size() + event.size() <= limits::batch_bytes_max && open_.done.size() < limits::batch_events_max;
  if (!open_.done.empty() && !(follows && fits)) seal();
  if (open_.done.empty()) {
    open_.first_sequence = sequence;
    open_.since = now;
    open_.body.reserve(last_bytes_ + last_bytes_ / 8);
    open_.done.reserve(last_events_ + last_events_ / 8);
  }
  bus::append(open_.body, event);
  open_.done.push_back(std::move(done));
  next_fresh_ = std::max(next_fresh_, sequence + 1);
  bytes_ += event.size();
  ++events_;
  if (open_.body.size() >= batch_bytes_target) seal();
}

void Outbox::seal() {
  last_bytes_ = open_.body.size();
  last_events_ = open_.done.size();
  full_.push_back({open_.first_sequence, Frame::of(std::move(open_.body)), std::move(open_.done)});
  open_ = {};
}

bool Outbox::is_ready() const {
  return !full_.empty() || (!open_.done.empty() && on_the_way_.size() < batches_ahead);
}

std::optional<SteadyTime> Outbox::due(Duration linger) const {
  if (!full_.empty()) return SteadyTime{};
  if (open_.done.empty() || on_the_way_.size() >= batches_ahead) return std::nullopt;
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
  if (!open_.done.empty()) seal();
  std::vector<Batch> all(std::make_move_iterator(full_.begin()), std::make_move_iterator(full_.end()));
  full_.clear();
  for (const Batch& batch : all) on_the_way_.insert(batch.first_sequence);
  return all;
}

std::uint64_t Outbox::oldest_sequence() const {
  if (!on_the_way_.empty()) return *on_the_way_.begin();
  if (!full_.empty()) return full_.front().first_sequence;
  return open_.done.empty() ? 0 : open_.first_sequence;
}

}  // namespace bus
