#include "bus/transaction.hpp"

#include <algorithm>
#include <charconv>
#include <map>
#include <mutex>
#include <set>

#include "base/limits.hpp"
#include "batch.hpp"
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

// Errors: bad_argument.
Result<std::vector<wire::ScheduleIdT>> Transaction::cancels() const {
  if (cancels_.size() > limits::schedule_ids_max) {
    return Error{Code::bad_argument, std::to_string(cancels_.size()) + " cancels; a transaction has " + std::to_string(limits::schedule_ids_max) + " at most"};
  }
  std::vector<wire::ScheduleIdT> ids;
  std::set<std::pair<std::string, std::uint64_t>> named;
  for (const std::string& text : cancels_) {
    const auto slash = text.rfind('/');
    wire::ScheduleIdT id;
    if (slash != std::string::npos) {
      id.publisher = text.substr(0, slash);
      const auto* end = text.data() + text.size();
      const auto [after, error] = std::from_chars(text.data() + slash + 1, end, id.sequence);
      if (error != std::errc{} || after != end) id.sequence = 0;
    }
    if (id.publisher.empty() || id.publisher.size() > limits::publisher_bytes_max || id.sequence == 0) {
      return Error{Code::bad_argument, "'" + text + "' is no schedule id, which is a publisher's name, / and a sequence, as a receipt has it"};
    }
    if (!named.emplace(id.publisher, id.sequence).second) return Error{Code::bad_argument, "scheduled event '" + text + "' is cancelled twice"};
    ids.push_back(std::move(id));
  }
  return ids;
}

namespace {

// The receipts of a step as they come, in order: those of its events first. A step without events has one, which tells no more.
struct Receipts {
  std::promise<Result<std::vector<Receipt>>> promise;
  std::size_t wanted = 0, events = 0;
  std::size_t told = 0;
  std::vector<Receipt> receipts;
  std::optional<Error> error;              // step_refused only tells that there is another

  void tell(Result<Receipt> receipt) {
    if (receipt) receipts.push_back(*std::move(receipt));
    else if (!error || error->code == Code::step_refused) error = receipt.error();
    if (++told < wanted) return;
    if (error) return promise.set_value(*std::move(error));
    receipts.resize(events);
    promise.set_value(std::move(receipts));
  }
};

// Errors: bad_argument, bad_key.
Result<void> check(const Connection::Step& step) {
  const auto items = step.events.size() + step.snapshots.size();
  if (items > limits::step_events_max) {
    return Error{Code::bad_argument, std::to_string(items) + " events and snapshots; a transaction has " + std::to_string(limits::step_events_max) + " at most"};
  }
  std::size_t count = step.conditions.size();
  if (auto good = check_conditions(step.conditions, false); !good) return good;
  for (const Condition& condition : step.conditions) {
    if (condition.expect == wire::Expect::unique_id) return Error{Code::bad_argument, "unique_id is a condition of an event, not of the transaction"};
  }
  for (const NewEvent& event : step.events) {
    count += event.conditions.size();
    if (auto good = check_conditions(event.conditions, !event.key.empty()); !good) return good;
  }
  for (const NewSnapshot& snapshot : step.snapshots) {
    if (auto good = check_snapshot(snapshot); !good) return good;
  }
  if (count <= limits::conditions_max) return {};
  return Error{Code::bad_argument, std::to_string(count) + " conditions; a transaction has " + std::to_string(limits::conditions_max) + " at most"};
}

}  // namespace

std::future<Result<std::vector<Receipt>>> Transaction::begin(Connection& connection) const {
  auto receipts = std::make_shared<Receipts>();
  receipts->events = events_.size();
  receipts->wanted = std::max<std::size_t>(events_.size() + snapshots_.size(), 1);
  auto future = receipts->promise.get_future();
  const auto begin = [&]() -> Result<void> {
    const Connection::Step step{events_, conditions_, snapshots_};
    if (auto good = check(step); !good) return good;
    auto settles = this->settles(connection);
    if (!settles) return settles.error();
    auto cancels = this->cancels();
    if (!cancels) return cancels.error();
    if (events_.empty() && snapshots_.empty() && settles->empty() && cancels->empty()) {
      return Error{Code::bad_argument, "a transaction with nothing to store, settle or cancel"};
    }
    return connection.transact(step, {0, 0, std::move(*settles), std::move(*cancels), false}, [receipts](Result<Receipt> receipt) { receipts->tell(std::move(receipt)); });
  };
  if (auto begun = begin(); !begun) receipts->promise.set_value(begun.error());
  return future;
}

}  // namespace bus
