// What SimWorker sends.
#include <algorithm>

#include "tests/sim/worker.hpp"
#include "tests/support/events.hpp"

namespace bus::sim {

namespace {

const std::vector<std::string> output_keys = {"k1", "k2", "k3", "w1", "w2"};

}  // namespace

SentEvent SimWorker::make_event(Batch& batch) {
  wire::EventT event = test::event(env_.random.percent(50) ? "done.x" : "done.y", env_.random.percent(80) ? env_.random.pick(output_keys) : "");
  event.id = name_ + "-" + std::to_string(++sequences_);
  event.payload = test::notification(std::string(env_.random.between(1, 300), 's'));
  SentEvent sent{event.topic, event.key, {}, Code::ok, name_};
  if (env_.random.percent(10)) make_unique(batch, event, sent);
  sent.bytes = test::encode(event);
  batch.events.push_back(sent.bytes);
  batch.keys.push_back(event.key);
  return sent;
}

// No two of a batch have the same: a step with two would be bad.
void SimWorker::make_unique(Batch& batch, wire::EventT& event, SentEvent& sent) {
  any_id(event, env_);
  event.id += "-" + std::to_string(batch.events.size());
  sent.unique_id = event.source + "/" + event.id;
  batch.message.conditions.emplace_back(0, static_cast<std::uint32_t>(batch.events.size()), 0, wire::Expect::unique_id);
}

SentEvent SimWorker::make_no_event(Batch& batch) {
  SentEvent sent{"", "", test::skipped(), Code::ok, name_};
  sent.is_no_event = true;
  ++sequences_;
  batch.events.push_back(sent.bytes);
  batch.keys.emplace_back();
  return sent;
}

SentEvent SimWorker::make_snapshot(Batch& batch, const std::string& key, std::uint64_t version) {
  wire::EventT event = test::event("", key);
  event.id = name_ + "-" + std::to_string(++sequences_);
  event.payload = test::notification(std::string(env_.random.between(1, 300), 'z'));
  SentEvent sent{"", key, test::encode(event), Code::ok, name_};
  sent.snapshot_of = std::max<std::uint64_t>(version, 1);
  sent.may_fail = true;
  batch.message.snapshots.emplace_back(sent.snapshot_of, static_cast<std::uint32_t>(batch.events.size()), kept_of(key));
  batch.events.push_back(sent.bytes);
  batch.keys.emplace_back();
  return sent;
}

// Mostly of what the step makes of a key; else of a version that the key has, had, or does not have.
SentEvent SimWorker::make_snapshot_of(Batch& batch, const std::vector<SentEvent>& step) {
  const auto key = std::find_if(step.begin(), step.end(), [](const SentEvent& one) { return !one.key.empty(); });
  if (key == step.end() || env_.random.percent(20)) {
    const auto& any = env_.random.pick(output_keys);
    return make_snapshot(batch, any, versions_[any] + env_.random.below(3) - std::min<std::uint64_t>(versions_[any], 1));
  }
  const auto more = std::count_if(step.begin(), step.end(), [&](const SentEvent& one) { return one.key == key->key; });
  return make_snapshot(batch, key->key, versions_[key->key] + static_cast<std::uint64_t>(more));
}

// Mostly what it has heard last of the key, which others may have changed since.
void SimWorker::add_needs(Batch& batch, std::uint32_t at, SentEvent& sent) {
  for (auto count = env_.random.below(3); count > 0; --count) {
    const auto& key = env_.random.pick(output_keys);
    const auto expect = env_.random.percent(80) ? wire::Expect::version : env_.random.percent(50) ? wire::Expect::exists : wire::Expect::absent;
    const auto version = versions_[key] + (env_.random.percent(20) ? 1 : 0);
    batch.message.condition_keys.push_back(key);
    batch.message.conditions.emplace_back(version, at, static_cast<std::uint16_t>(batch.message.condition_keys.size()), expect);
    sent.needs.push_back({key, expect, version});
  }
}

// Settles some of what it holds; some of that it will be too late for.
wire::StepT SimWorker::make_step(std::uint32_t first, std::uint32_t count, SentEvent& sent) {
  wire::StepT step;
  step.first = first;
  step.count = count;
  auto settle = std::make_unique<wire::SettleT>();
  settle->subscription = subscription_;
  std::sort(held_.begin(), held_.end(), [](const Held& a, const Held& b) { return a.position < b.position; });
  std::vector<Held> kept;
  for (const Held& one : held_) {
    const bool is_next = settle->settlements.empty() || (settle->epoch == one.epoch && settle->settlements.back().position() < one.position);
    if (!is_next || settle->settlements.size() == 3) {
      kept.push_back(one);
      continue;
    }
    settle->epoch = one.epoch;
    const auto verdict = env_.random.percent(80) ? wire::Verdict::ack : env_.random.percent(50) ? wire::Verdict::nack : wire::Verdict::release;
    settle->settlements.emplace_back(one.position, one.attempt, 0, verdict);
    if (verdict == wire::Verdict::ack) sent.acks.emplace_back(one.position, one.attempt);
  }
  held_ = std::move(kept);
  sent.acks_epoch = settle->epoch;
  if (!settle->settlements.empty()) step.settles.push_back(std::move(settle));
  step.without_events = sent.is_no_event;
  if (env_.random.percent(40)) add_cancels(step, sent);
  return step;
}

// Those that still wait, those that did once, and some that nobody has scheduled.
void SimWorker::add_cancels(wire::StepT& step, SentEvent& sent) {
  for (auto count = env_.random.between(1, 2); count > 0; --count) {
    const auto any = env_.ledger.any_scheduled(env_.random.below(1000));
    const auto id = any && env_.random.percent(95) ? *any : std::pair<std::string, std::uint64_t>(name_, sequences_ + 1000);
    if (std::find(sent.cancels.begin(), sent.cancels.end(), id) != sent.cancels.end()) continue;
    sent.cancels.push_back(id);
    auto& named = *step.cancels.emplace_back(std::make_unique<wire::ScheduleIdT>());
    named.publisher = id.first;
    named.sequence = id.second;
  }
}

// Perhaps an event alone, or a snapshot, and a step.
void SimWorker::make_batch() {
  Batch batch;
  batch.message.first_sequence = sequences_ + 1;
  std::vector<SentEvent> sent;
  if (env_.random.percent(30)) {
    sent.push_back(make_event(batch));
    add_needs(batch, 0, sent.back());
    sent.back().may_fail = !sent.back().needs.empty();
  } else if (env_.random.percent(50)) {
    sent.push_back(make_snapshot_of(batch, {}));
    if (env_.random.percent(30)) add_needs(batch, 0, sent.back());
  }
  std::vector<SentEvent> step;
  const auto first = static_cast<std::uint32_t>(sent.size());
  if (env_.random.percent(25)) step.push_back(make_no_event(batch));
  else for (auto count = env_.random.between(1, 3); count > 0; --count) step.push_back(make_event(batch));
  if (!step[0].is_no_event && env_.random.percent(60)) step.push_back(make_snapshot_of(batch, step));
  const auto count = static_cast<std::uint32_t>(step.size());
  add_needs(batch, first, step[0]);
  batch.message.steps.push_back(std::make_unique<wire::StepT>(make_step(first, count, step[0])));
  for (SentEvent& one : step) {
    one.step_first = batch.message.first_sequence + first;
    one.step_last = one.step_first + count - 1;
    one.may_fail = true;
    sent.push_back(std::move(one));
  }
  const auto by_event = [](const wire::Condition& a, const wire::Condition& b) { return a.event() < b.event(); };
  std::stable_sort(batch.message.conditions.begin(), batch.message.conditions.end(), by_event);
  auto sequence = batch.message.first_sequence;
  batch.message.count = static_cast<std::uint32_t>(sent.size());
  for (auto& one : sent) env_.ledger.sent(name_, sequence++, std::move(one));
  batches_.push_back(std::move(batch));
}

}  // namespace bus::sim
