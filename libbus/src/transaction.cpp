#include "bus/transaction.hpp"

#include <map>
#include <mutex>

#include "base/limits.hpp"
#include "connection.hpp"
#include "subscription.hpp"

namespace bus {

Transaction& Transaction::require(Condition condition) { return conditions_.push_back(std::move(condition)), *this; }
Transaction& Transaction::publish(NewEvent event) { return events_.push_back(std::move(event)), *this; }
Transaction& Transaction::snapshot(NewSnapshot snapshot) { return snapshots_.push_back(std::move(snapshot)), *this; }
Transaction& Transaction::cancel(std::string schedule_id) { return cancels_.push_back(std::move(schedule_id)), *this; }

Transaction& Transaction::settle(const Subscription& subscription, const Event& event, wire::Verdict verdict, Duration delay, std::string text) {
  using State = Subscription::State;
  settlings_.push_back({subscription.state_, event.epoch(), State::settlement(event, verdict, delay), State::cut(std::move(text))});
  return *this;
}

Transaction& Transaction::ack(const Subscription& subscription, const Event& event) {
  return settle(subscription, event, wire::Verdict::ack, 0ms, {});
}
Transaction& Transaction::nack(const Subscription& subscription, const Event& event, Duration delay, std::string error) {
  return settle(subscription, event, wire::Verdict::nack, delay, std::move(error));
}
Transaction& Transaction::reject(const Subscription& subscription, const Event& event, std::string error) {
  return settle(subscription, event, wire::Verdict::reject, 0ms, std::move(error));
}
Transaction& Transaction::release(const Subscription& subscription, const Event& event) {
  return settle(subscription, event, wire::Verdict::release, 0ms, {});
}

// One Settle for each subscription, in order. Errors: bad_argument; stale_ack: they are of several starts of the broker.
Result<std::vector<wire::SettleT>> Transaction::settles(const Connection& connection) const {
  if (settlings_.size() > limits::step_settlements_max) {
    return Error{Code::bad_argument, std::to_string(settlings_.size()) + " settlements; a transaction has " +
                                         std::to_string(limits::step_settlements_max) + " at most"};
  }
  std::map<std::uint32_t, std::map<std::uint64_t, const Settling*>> sorted;
  for (const Settling& settling : settlings_) {
    if (!settling.subscription->may_transact(connection)) {
      return Error{Code::bad_argument, "a transaction settles events of its own client's subscriptions, and of those with AckMode::manual"};
    }
    if (sorted[settling.subscription->number()].emplace(settling.settlement.position(), &settling).second) continue;
    return Error{Code::bad_argument, "position " + std::to_string(settling.settlement.position()) + " is settled twice"};
  }
  std::vector<wire::SettleT> settles;
  for (const auto& [subscription, of_it] : sorted) {
    wire::SettleT& settle = settles.emplace_back();
    settle.subscription = subscription;
    settle.epoch = of_it.begin()->second->epoch;
    for (const auto& [position, settling] : of_it) {
      if (settling->epoch != settle.epoch) return Error{Code::stale_ack, "some of the events were delivered before the broker was restarted"};
      if (!settling->text.empty()) {
        auto text = std::make_unique<wire::SettlementTextT>();
        text->settlement = static_cast<std::uint32_t>(settle.settlements.size());
        text->text = settling->text;
        settle.texts.push_back(std::move(text));
      }
      settle.settlements.push_back(settling->settlement);
    }
  }
  return settles;
}

std::future<Result<std::vector<Receipt>>> Transaction::begin(Connection& connection) const {
  auto promise = std::make_shared<std::promise<Result<std::vector<Receipt>>>>();
  auto future = promise->get_future();
  const auto begin = [&]() -> Result<void> {
    const StepParts step{events_, conditions_, snapshots_};
    if (auto good = check_step(step); !good) return good;
    auto settles = this->settles(connection);
    if (!settles) return settles.error();
    auto cancels = schedule_ids(cancels_);
    if (!cancels) return cancels.error();
    if (events_.empty() && snapshots_.empty() && settles->empty() && cancels->empty()) {
      return Error{Code::bad_argument, "a transaction with nothing to store, settle or cancel"};
    }
    auto receipts = std::make_shared<StepReceipts>(step, [promise](Result<std::vector<Receipt>> all) { promise->set_value(std::move(all)); });
    return connection.transact(step, {0, 0, std::move(*settles), std::move(*cancels), false}, [receipts](Result<Receipt> receipt) { receipts->tell(std::move(receipt)); });
  };
  if (auto begun = begin(); !begun) promise->set_value(begun.error());
  return future;
}

}  // namespace bus
