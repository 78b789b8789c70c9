#include "tests/sim/member.hpp"

namespace bus::sim {

std::string SimMember::state() const {
  return name_ + " of " + group_ + (begun_ ? " is a member" : " is none") + ", credit " + std::to_string(credit_) +
         ", holds " + std::to_string(held_.size());
}

void SimMember::begin(const wire::Welcome&) { subscribe(); }

void SimMember::end() {
  begun_ = false;
  subscription_ = 0;
  held_.clear();
  old_.clear();
}

void SimMember::subscribe() {
  subscription_ = next_id_++;
  credit_ = env_.random.percent(30) ? limits::credit_events_max : env_.random.between(0, 20);
  ask_start_ = !env_.calm && env_.random.percent(10);
  wire::SubscribeT message;
  message.subscription = subscription_;
  message.group = group_;
  message.filter = std::make_unique<wire::FilterT>();
  message.filter->patterns = {pattern_};
  if (ask_start_) message.from = wire::Start::start;
  message.credit_events = static_cast<std::uint32_t>(credit_);
  message.credit_bytes = limits::credit_bytes_max;
  message.settings = std::make_unique<wire::GroupSettingsT>();
  message.settings->ack_wait_ms = 500;
  message.settings->in_flight_max = 8;
  message.settings->attempts_max = broker::GroupSettings::unlimited;
  message.settings->retry_delay_max_ms = 1000;
  names_sharing_ = !env_.calm && env_.random.percent(60);
  if (names_sharing_) message.settings->sharing = sharing_;
  send(message);
}

void SimMember::take(const wire::Message& message, Bytes body) {
  if (const auto* subscribed = message.body_as_Subscribed()) begun_ = begun_ || subscribed->subscription() == subscription_;
  if (const auto* failure = message.body_as_Failure()) take_failure(*failure);
  const auto* over = message.body_as_SubscriptionEnd();
  if (over != nullptr && over->subscription() == subscription_) {
    require(over->code() == Code::group_removed || over->code() == Code::ok, name_ + ": ended with an error");
    end();
  }
  const auto* deliver = message.body_as_Deliver();
  if (deliver == nullptr) return;
  const bool mine = deliver->subscription() == subscription_ && begun_;
  require(mine, name_ + " got a delivery for subscription " + std::to_string(deliver->subscription()));
  wire::EventCursor cursor(body);
  for (const auto* delivery : *deliver->deliveries()) {
    const auto event = cursor.next();
    require(event.ok(), name_ + " got a body that is cut off");
    env_.ledger.check_delivery(*delivery, deliver->publishers()->Get(delivery->publisher())->str(), *event);
    require(credit_-- > 0, name_ + " got more than its credit");
    held_.push_back({deliver->epoch(), delivery->position(), delivery->attempt()});
  }
}

void SimMember::take_failure(const wire::Failure& failure) {
  const Code code = failure.code();
  const bool expected = (code == Code::group_mismatch && (ask_start_ || names_sharing_)) || code == Code::group_removed ||
                        code == Code::unknown_subscription;
  require(expected, name_ + " got " + EnumNameCode(code) + ": " + failure.detail()->str());
  if (failure.subscription() == subscription_ && code != Code::unknown_subscription) end();
}

void SimMember::work() {
  if (subscription_ == 0) {
    if (env_.calm || env_.random.percent(20)) subscribe();
    return;
  }
  if (!begun_) return;
  if (credit_ < 5 && (env_.calm || env_.random.percent(30))) give_credit();
  settle_some();
  if (env_.calm || !env_.random.percent(1)) return;
  wire::UnsubscribeT message;
  message.subscription = subscription_;
  send(message);
}

void SimMember::give_credit() {
  wire::CreditT credit;
  credit.subscription = subscription_;
  credit.events = static_cast<std::uint32_t>(env_.random.between(1, 30));
  credit.bytes = limits::credit_bytes_max;
  credit_ += credit.events;
  send(credit);
}

void SimMember::settle_some() {
  if (env_.calm) {
    settle(std::exchange(held_, {}), wire::Verdict::ack);
    return;
  }
  std::vector<Held> which, kept;
  for (const Held& one : held_) (env_.random.percent(40) ? which : kept).push_back(one);
  held_ = std::move(kept);
  switch (env_.random.below(10)) {
    case 0: settle(which, wire::Verdict::nack); break;
    case 8: settle(which, env_.random.percent(50) ? wire::Verdict::reject : wire::Verdict::release); break;
    case 9: settle_up_to(which); break;
    case 1: break;  // forgotten: their ack wait runs out
    case 2:
      settle(which, wire::Verdict::extend);
      held_.insert(held_.end(), which.begin(), which.end());
      break;
    default: settle(which, wire::Verdict::ack);
  }
  if (env_.random.percent(10)) settle(std::exchange(old_, {}), static_cast<wire::Verdict>(env_.random.below(5)));
}

// All that is held up to one of them; which a key_ordered group refuses, so that they are settled one by one as well.
void SimMember::settle_up_to(const std::vector<Held>& which) {
  if (which.empty()) return;
  wire::SettleT message;
  message.subscription = subscription_;
  message.epoch = which.back().epoch;
  message.settlements.emplace_back(which.back().position, which.back().attempt, 0, wire::Verdict::ack_up_to);
  send(message);
  held_.insert(held_.end(), which.begin(), which.end());
}

void SimMember::settle(const std::vector<Held>& which, wire::Verdict verdict) {
  if (which.empty()) return;
  wire::SettleT message;
  message.subscription = subscription_;
  message.epoch = which.front().epoch;
  if (env_.random.percent(40)) message.request = next_request_++;
  for (const Held& one : which) {
    if (one.epoch != message.epoch) {
      if (env_.calm || env_.random.percent(50)) held_.push_back(one);
      continue;
    }
    const auto delay = env_.random.percent(50) ? 0 : static_cast<std::uint32_t>(env_.random.below(3000));
    message.settlements.emplace_back(one.position, one.attempt, delay, verdict);
    const bool has_text = verdict != wire::Verdict::ack && env_.random.percent(50);
    if (has_text) {
      auto text = std::make_unique<wire::SettlementTextT>();
      text->settlement = static_cast<std::uint32_t>(message.settlements.size() - 1);
      text->text = "for a reason";
      message.texts.push_back(std::move(text));
    }
    if (old_.size() < 20 && verdict != wire::Verdict::extend) old_.push_back(one);
  }
  send(message);
}

}  // namespace bus::sim
