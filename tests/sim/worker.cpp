#include "tests/sim/worker.hpp"

#include <algorithm>

#include "tests/support/events.hpp"

namespace bus::sim {

namespace {

constexpr std::size_t batches_max = 40, ahead_max = 4;

}  // namespace

std::string SimWorker::state() const {
  return name_ + (begun_ ? " is a member" : " is none") + ", holds " + std::to_string(held_.size()) + ", waits for batch " +
         std::to_string(first_unanswered_) + " of " + std::to_string(batches_.size());
}

void SimWorker::begin(const wire::Welcome& welcome) {
  fence_ = welcome.fence();
  used_ = welcome.last_sequence();
  next_ = first_unanswered_ - (first_unanswered_ > 0 && env_.random.percent(20) ? 1 : 0);
  subscribe();
}

void SimWorker::end() {
  begun_ = false;
  held_.clear();
}

void SimWorker::subscribe() {
  subscription_ = next_id_++;
  credit_ = 30;
  wire::SubscribeT message;
  message.subscription = subscription_;
  message.group = group;
  message.filter = std::make_unique<wire::FilterT>();
  message.filter->patterns = {pattern_};
  message.credit_events = static_cast<std::uint32_t>(credit_);
  message.credit_bytes = limits::credit_bytes_max;
  message.settings = std::make_unique<wire::GroupSettingsT>();
  message.settings->ack_wait_ms = 500;
  message.settings->in_flight_max = 8;
  message.settings->attempts_max = broker::GroupSettings::unlimited;
  message.settings->retry_delay_max_ms = 1000;
  message.settings->sharing = sharing_;
  send(message);
}

void SimWorker::take(const wire::Message& message, Bytes body) {
  if (const auto* subscribed = message.body_as_Subscribed()) begun_ = begun_ || subscribed->subscription() == subscription_;
  if (const auto* deliver = message.body_as_Deliver()) take_deliver(*deliver, body);
  if (const auto* result = message.body_as_PublishResult()) take_result(*result);
  if (const auto* failure = message.body_as_Failure()) take_failure(*failure);
}

void SimWorker::take_deliver(const wire::Deliver& message, Bytes body) {
  wire::EventCursor cursor(body);
  for (const auto* delivery : *message.deliveries()) {
    const auto event = cursor.next();
    require(event.ok(), name_ + " got a body that is cut off");
    env_.ledger.check_delivery(*delivery, message.publishers()->Get(delivery->publisher())->str(), *event);
    require(credit_-- > 0, name_ + " got more than its credit");
    held_.push_back({message.epoch(), delivery->position(), delivery->attempt()});
  }
}

void SimWorker::take_result(const wire::PublishResult& message) {
  const auto is_of = [&](const Batch& batch) { return batch.message.first_sequence == message.first_sequence(); };
  const auto batch = std::find_if(batches_.begin(), batches_.end(), is_of);
  require(batch != batches_.end(), name_ + " got receipts for what it never sent");
  first_unanswered_ = std::max<std::size_t>(first_unanswered_, static_cast<std::size_t>(batch - batches_.begin()) + 1);
  for (std::uint32_t at = 0; at < message.receipts()->size(); ++at) {
    const auto& receipt = *message.receipts()->Get(at);
    const auto& key = batch->keys.at(at);
    if (receipt.position() != 0 && !key.empty()) versions_[key] = std::max(versions_[key], receipt.version());
  }
  for (const auto* refusal : *message.refusals()) {
    if (refusal->code() != Code::conflict || refusal->version() == 0) continue;
    const auto at = refusal->sequence() - message.first_sequence();
    for (const auto& condition : batch->message.conditions) {
      if (condition.event() == at && condition.key() != 0) versions_[batch->message.condition_keys[condition.key() - 1u]] = refusal->version();
    }
  }
}

void SimWorker::take_failure(const wire::Failure& failure) {
  const Code code = failure.code();
  const bool expected = code == Code::busy || code == Code::log_full || code == Code::sequence_gap || code == Code::shutting_down ||
                        code == Code::publisher_fenced || code == Code::unknown_subscription;
  require(expected, name_ + " got " + EnumNameCode(code) + ": " + failure.detail()->str());
  if (failure.sequence() == 0) return;
  next_ = first_unanswered_;
  pause_until_ = env_.now.steady + std::chrono::milliseconds(env_.random.below(50));
}

void SimWorker::work() {
  if (!begun_) return;
  if (credit_ < 10) {
    wire::CreditT credit;
    credit.subscription = subscription_;
    credit.events = 20;
    credit.bytes = limits::credit_bytes_max;
    credit_ += credit.events;
    send(credit);
  }
  const bool may_make = !env_.calm && batches_.size() < batches_max && batches_.size() - first_unanswered_ < ahead_max;
  if (may_make && env_.random.percent(30)) make_batch();
  if (env_.now.steady >= pause_until_ && next_ < batches_.size()) send_batch();
  if (env_.calm || batches_.size() == batches_max) ack_rest();
}

void SimWorker::send_batch() {
  Batch& batch = batches_[next_++];
  batch.message.fence = fence_;
  send_frames({wire::encode(batch.message), test::join(batch.events)});
}

void SimWorker::ack_rest() {
  for (const Held& one : std::exchange(held_, {})) {
    wire::SettleT message;
    message.subscription = subscription_;
    message.epoch = one.epoch;
    message.settlements.emplace_back(one.position, one.attempt, 0, wire::Verdict::ack);
    send(message);
  }
}

}  // namespace bus::sim
