// The part of Intake that decides whether events with conditions, and steps, may be stored.
#include <algorithm>
#include <set>

#include "broker/core/intake.hpp"

namespace bus::broker {

// ---- taking them

namespace {

Error malformed(const std::string& what) { return {Code::malformed, what}; }

bool may_be_in_a_step(wire::Verdict verdict) {
  return verdict == wire::Verdict::ack || verdict == wire::Verdict::nack || verdict == wire::Verdict::reject || verdict == wire::Verdict::release;
}

// What the steps of one batch take in memory, and of the schedule. Parts of a header may share their bytes, so it has to be counted before it is copied.
struct Cost {
  std::size_t settlements = 0, cancels = 0, bytes = 0;
};

// Errors: malformed.
Result<void> check_settle(const wire::Settle& settle, Cost& cost) {
  const std::size_t count = settle.settlements() != nullptr ? settle.settlements()->size() : 0;
  const std::size_t texts = settle.texts() != nullptr ? settle.texts()->size() : 0;
  cost.settlements += count;
  if (cost.settlements > limits::settlements_max) {
    return malformed("the steps of one batch have " + std::to_string(limits::settlements_max) + " settlements at most");
  }
  cost.bytes += sizeof(wire::SettleT) + count * sizeof(wire::Settlement) + texts * (sizeof(wire::SettlementTextT) + limits::error_bytes_max);
  if (auto good = Delivery::check(settle); !good) return good;
  std::uint64_t last = 0;
  for (std::uint32_t at = 0; at < count; ++at) {
    const wire::Settlement& settlement = *settle.settlements()->Get(at);
    if (!may_be_in_a_step(settlement.verdict())) return malformed("a step may ack, nack, reject and release, and no more");
    if (settlement.position() <= last) return malformed("a step settles each event once, in the order of their positions");
    last = settlement.position();
  }
  return {};
}

// Errors: malformed.
Result<void> check_settles(const wire::Step& step, Cost& cost) {
  const std::size_t count = step.settles() != nullptr ? step.settles()->size() : 0;
  if (count > limits::subscriptions_per_session_max) return malformed("a step settles for more subscriptions than a session has");
  const auto before = cost.settlements;
  for (std::uint32_t at = 0; at < count; ++at) {
    const wire::Settle& settle = *step.settles()->Get(at);
    if (settle.request() != 0) return malformed("what a step settles is answered by its receipts: no request number");
    if (at > 0 && settle.subscription() <= step.settles()->Get(at - 1)->subscription()) {
      return malformed("a step settles the events of each subscription once, in the order of their numbers");
    }
    if (auto good = check_settle(settle, cost); !good) return good;
    if (cost.settlements - before > limits::step_settlements_max) {
      return malformed("a step has " + std::to_string(limits::step_settlements_max) + " settlements at most");
    }
  }
  return {};
}

// Errors: malformed.
Result<void> check_cancels(const wire::Step& step, Cost& cost) {
  std::set<std::pair<std::string_view, std::uint64_t>> named;
  const std::size_t count = step.cancels() != nullptr ? step.cancels()->size() : 0;
  cost.cancels += count;
  if (cost.cancels > limits::schedule_ids_max) {
    return malformed("the steps of one batch cancel " + std::to_string(limits::schedule_ids_max) + " scheduled events at most");
  }
  for (std::uint32_t at = 0; at < count; ++at) {
    const wire::ScheduleId& id = *step.cancels()->Get(at);
    const auto publisher = flatbuffers::GetStringView(id.publisher());
    if (publisher.empty() || publisher.size() > limits::publisher_bytes_max || id.sequence() == 0) {
      return malformed("what a step cancels is named by its publisher and sequence");
    }
    if (!named.emplace(publisher, id.sequence()).second) return malformed("a step cancels each scheduled event once");
    cost.bytes += sizeof(wire::ScheduleIdT) + publisher.size() + limits::schedule_row_bytes;
  }
  return {};
}

}  // namespace

// Null: it is of none.
const Intake::Step* Intake::step_of(const Parked& batch, std::size_t at) {
  const auto step = std::upper_bound(batch.steps.begin(), batch.steps.end(), at, [](std::size_t place, const Step& one) { return place < one.end; });
  return step != batch.steps.end() && step->first <= at ? &*step : nullptr;
}

// One that is refused takes the others of its step with it. Those that are known by now, as they were sent before, stay so.
void Intake::refuse(Parked& batch, std::size_t at, const Error& error) {
  const Step* step = step_of(batch, at);
  const auto first = step != nullptr ? std::max(step->first, batch.receipts.size()) : at;
  const auto end = step != nullptr ? step->end : at + 1;
  for (std::size_t each = first; each < end; ++each) {
    batch.items[each] = {};
    batch.refused.insert_or_assign(each, Error{Code::step_refused, "event " + std::to_string(at - first + 1) + " of its step was refused"});
  }
  batch.items[at] = {};
  batch.refused.insert_or_assign(at, error);
}

Result<void> Intake::take_steps(const wire::Publish& message, Parked& batch) {
  std::size_t next = 0;
  Cost cost;
  for (std::uint32_t at = 0; message.steps() != nullptr && at < message.steps()->size(); ++at) {
    const wire::Step& step = *message.steps()->Get(at);
    const std::size_t first = step.first(), count = step.count();
    if (first < next || count == 0 || count > limits::step_events_max || first + count > batch.items.size()) {
      return malformed("a step has 1 to " + std::to_string(limits::step_events_max) + " events of its batch, and they are in no other");
    }
    next = first + count;
    if (auto good = check_settles(step, cost); !good) return good;
    if (auto good = check_cancels(step, cost); !good) return good;
    Step& taken = batch.steps.emplace_back();
    taken.first = first;
    taken.end = next;
    for (std::uint32_t each = 0; step.settles() != nullptr && each < step.settles()->size(); ++each) {
      step.settles()->Get(each)->UnPackTo(&taken.settles.emplace_back());
    }
    for (std::uint32_t each = 0; step.cancels() != nullptr && each < step.cancels()->size(); ++each) {
      step.cancels()->Get(each)->UnPackTo(&taken.cancels.emplace_back());
    }
    if (auto good = take_no_event(batch, step); !good) return good;
    const auto refused = batch.refused.lower_bound(first);
    if (refused != batch.refused.end() && refused->first < next) refuse(batch, refused->first, Error(refused->second));
  }
  batch.bytes += cost.bytes + batch.steps.size() * sizeof(Step);
  return {};
}

Result<void> Intake::take_conditions(const wire::Publish& message, Parked& batch) const {
  const auto* keys = message.condition_keys();
  const auto* conditions = message.conditions();
  const std::size_t count = conditions != nullptr ? conditions->size() : 0;
  if (count > limits::batch_conditions_max) return malformed("more than " + std::to_string(limits::batch_conditions_max) + " conditions in one batch");
  if (keys != nullptr && keys->size() > count) return malformed("a batch names more keys for conditions than it has conditions");
  const std::size_t names = keys != nullptr ? keys->size() : 0;  // behind them come ids
  std::size_t key_bytes = 0;
  for (std::uint32_t at = 0; keys != nullptr && at < keys->size(); ++at) {
    const auto name = keys->Get(at)->string_view();
    if (name.empty() || name.size() > limits::key_bytes_max) return malformed("a key has 1 to " + std::to_string(limits::key_bytes_max) + " bytes, also in a condition");
    key_bytes += name.size();
    if (key_bytes > limits::header_bytes_max) return malformed("the keys of the conditions have more bytes than a header may");
    batch.condition_keys.push_back({std::string(name), hash128(bytes_of(name), key_secret_)});
  }
  batch.bytes += count * sizeof(wire::Condition) + batch.condition_keys.size() * sizeof(ConditionKey) + key_bytes;
  if (count == 0) return {};
  std::size_t of_event = 0;
  std::uint32_t last = 0;
  for (const wire::Condition* condition : *conditions) {
    const auto at = condition->event();
    if (at < last || at >= batch.items.size()) return malformed("conditions are in the order of the events of their batch");
    of_event = at == last ? of_event + 1 : 1;
    last = at;
    if (of_event > limits::conditions_max) return malformed("an event has " + std::to_string(limits::conditions_max) + " conditions at most");
    if (condition->key() > names || condition->expect() > wire::Expect::MAX) return malformed("a condition names no key, or expects nothing known");
    if (condition->expect() == wire::Expect::unique_id) {
      if (condition->key() != 0) return malformed("unique_id is of the event's own id, and names no key");
      take_unique_id(batch, at);
      continue;
    }
    batch.conditions.push_back(*condition);
    const Item& item = batch.items[at];
    if (condition->key() == 0 && !item.event.empty() && !item.has_key) {
      refuse(batch, at, {Code::bad_event, "it has a condition on its own key, and no key"});
    }
  }
  return {};
}

// ---- deciding

const Hash128& Intake::key_of(const Parked& batch, const wire::Condition& condition) {
  return condition.key() == 0 ? batch.items[condition.event()].key : batch.condition_keys[condition.key() - 1].hash;
}

// Nothing: the key is as the condition wants it.
std::optional<Error> Intake::conflict(const Parked& batch, const wire::Condition& condition) const {
  const auto version = state_.keys.find(key_of(batch, condition))->version;
  const auto wanted = [&]() -> std::string {
    switch (condition.expect()) {
      case wire::Expect::version: return version == condition.version() ? "" : "not at version " + std::to_string(condition.version());
      case wire::Expect::exists: return version > 0 ? "" : "and should have an event";
      case wire::Expect::absent: return version == 0 ? "" : "and should have no event yet";
      case wire::Expect::unique_id: break;  // of no key
    }
    return "";
  }();
  if (wanted.empty()) return std::nullopt;
  const bool is_own = condition.key() == 0;
  const auto name = is_own ? wire::trusted_event(batch.items[condition.event()].event)->key()->str() : batch.condition_keys[condition.key() - 1].name;
  return Error{Code::conflict, "key '" + name + "' is at version " + std::to_string(version) + ", " + wanted, version};
}

// All but the conditions.
Result<void> Intake::decide_step(Session& session, const Parked& batch, const Step& step) const {
  if (batch.receipts.size() != step.first) return Error{Code::bad_event, "a part of its step was sent before, without the rest"};
  const auto begin = batch.items.begin() + static_cast<std::ptrdiff_t>(step.first), end = batch.items.begin() + static_cast<std::ptrdiff_t>(step.end);
  const auto scheduled = static_cast<std::uint64_t>(std::count_if(begin, end, [](const Item& item) { return item.is_scheduled(); }));
  if (const auto known = known_id(batch, step)) return *known;
  if (auto may = may_keep(batch, step.first, step.end); !may) return may;
  if (scheduled > 0 && schedule_.waiting() + scheduled > limits::schedule_max) return Schedule::full();
  for (const auto& settle : step.settles) {
    if (auto may = delivery_.may_settle(session, settle); !may) return may;
  }
  for (const auto& id : step.cancels) {
    if (const auto why = not_waiting(batch, id)) return *why;
  }
  return {};
}

// Before the item is staged: refuses it, or the step that begins with it, unless all is as it has to be. What a step settles and
// cancels is done here, as its events will be staged without fail.
void Intake::decide(Session& session, Parked& batch, std::size_t at, Ahead& ahead) {
  if (at < ahead.decided || batch.items[at].event.empty()) return;
  while (ahead.step < batch.steps.size() && batch.steps[ahead.step].end <= at) ++ahead.step;
  const bool is_step = ahead.step < batch.steps.size() && batch.steps[ahead.step].first <= at;
  const Step* step = is_step ? &batch.steps[ahead.step] : nullptr;
  ahead.decided = is_step ? step->end : at + 1;
  if (is_step) {
    if (auto may = decide_step(session, batch, *step); !may) return refuse(batch, at, may.error());
  }
  if (!is_step) {
    ahead.duplicate = event_of_id(batch, batch.items[at]);
    if (ahead.duplicate) return;
    if (auto may = may_keep(batch, at, at + 1); !may) return refuse(batch, at, may.error());
  }
  while (ahead.condition < batch.conditions.size() && batch.conditions[ahead.condition].event() < at) ++ahead.condition;
  for (; ahead.condition < batch.conditions.size() && batch.conditions[ahead.condition].event() < ahead.decided; ++ahead.condition) {
    const wire::Condition& condition = batch.conditions[ahead.condition];
    if (const auto why = conflict(batch, condition)) return refuse(batch, condition.event(), *why);
  }
  if (!is_step) return;
  for (const auto& settle : step->settles) delivery_.settle_step(session, settle, batch.came);
  cancel(batch, *step);
}

}  // namespace bus::broker
