// What operators ask of retention: policies, legal holds, and runs.
#include <algorithm>

#include "broker/core/retention.hpp"

namespace bus::broker {

namespace {

constexpr std::uint64_t age_ms_max = std::chrono::duration_cast<std::chrono::milliseconds>(limits::retention_age_max).count();

// Out of range stays out of range: check() says so.
Duration age_of(std::uint64_t ms) { return std::chrono::milliseconds(std::min(ms, age_ms_max + 1)); }

RetentionPolicy from_wire(const wire::RetentionPolicy& policy) {
  wire::RetentionPolicyT wire;
  policy.UnPackTo(&wire);
  return {wire.pattern, age_of(wire.max_age_ms), wire.max_bytes, wire.max_events, wire.latest_per_key, age_of(wire.latest_after_ms), wire.past_groups};
}

std::unique_ptr<wire::RetentionPolicyT> to_wire(const RetentionPolicy& policy) {
  auto wire = std::make_unique<wire::RetentionPolicyT>();
  wire->pattern = policy.pattern;
  wire->max_age_ms = static_cast<std::uint64_t>(policy.max_age / std::chrono::milliseconds(1));
  wire->max_bytes = policy.max_bytes;
  wire->max_events = policy.max_events;
  wire->latest_per_key = policy.latest_per_key;
  wire->latest_after_ms = static_cast<std::uint64_t>(policy.latest_after / std::chrono::milliseconds(1));
  wire->past_groups = policy.past_groups;
  return wire;
}

std::unique_ptr<wire::LegalHoldT> to_wire(const LegalHold& hold) {
  auto wire = std::make_unique<wire::LegalHoldT>();
  wire->pattern = hold.pattern;
  wire->key = hold.key;
  wire->reason = hold.reason;
  wire->since = nanoseconds(hold.since);
  return wire;
}

}  // namespace

bool Retention::receive(Asker to, const wire::Request& message, Now now) {
  switch (message.ask_type()) {
    case wire::Ask::RetentionSet: set(to, *message.ask_as_RetentionSet(), now); break;
    case wire::Ask::RetentionRemove: remove(to, *message.ask_as_RetentionRemove(), now); break;
    case wire::Ask::LegalHoldSet: hold(to, *message.ask_as_LegalHoldSet(), now); break;
    case wire::Ask::LegalHoldRelease: release(to, *message.ask_as_LegalHoldRelease(), now); break;
    case wire::Ask::RetentionRun: run(to, *message.ask_as_RetentionRun(), now); break;
    case wire::Ask::RetentionRequest: tell(to); break;
    default: return false;
  }
  return true;
}

// From here on it counts, also for a run that is under way. The next one does not begin at once: a mistake can be taken back.
void Retention::changed(store::Row row, Now now) {
  now_ = now;
  staging_.put_row(std::move(row));
  policy_of_.clear();
  abandon("the run was given up, since policies or legal holds were changed");
  due_.reset();
  if (!policies_.policies().empty()) due_ = now.steady + limits::retention_interval;
}

Result<RetentionPolicy> Retention::admit(const wire::RetentionPolicy* wire, std::optional<std::string_view> pattern) const {
  if (wire == nullptr) return Error{Code::bad_request, "a policy is missing"};
  auto policy = from_wire(*wire);
  if (pattern) policy.pattern = *pattern;
  if (auto good = policy.check(); !good) return good.error();
  const bool is_new = !policies_.policies().contains(policy.pattern);
  if (is_new && policies_.policies().size() >= limits::retention_policies_max) {
    return Error{Code::bad_settings, "the broker may have " + std::to_string(limits::retention_policies_max) + " retention policies"};
  }
  return policy;
}

void Retention::put(RetentionPolicy policy, Now now) {
  const auto before = policies_.policies().find(policy.pattern);
  if (before != policies_.policies().end() && before->second == policy) return;
  latest_to_.erase(policy.pattern);
  changed(policies_.put(std::move(policy)), now);
}

bool Retention::erase(std::string_view pattern, Now now) {
  auto row = policies_.erase_policy(pattern);
  if (!row) return false;
  latest_to_.clear();  // topics may have another one now
  changed(std::move(*row), now);
  return true;
}

void Retention::set(Asker to, const wire::RetentionSet& ask, Now now) {
  auto policy = admit(ask.policy());
  if (!policy) return durable_.refuse(to, policy.error());
  put(std::move(*policy), now);
  durable_.answer(to, wire::DoneT());
}

void Retention::remove(Asker to, const wire::RetentionRemove& ask, Now now) {
  const auto pattern = flatbuffers::GetString(ask.pattern());
  if (!erase(pattern, now)) return durable_.refuse(to, {Code::not_found, "there is no retention policy for '" + pattern.substr(0, limits::topic_bytes_max) + "'"});
  durable_.answer(to, wire::DoneT());
}

void Retention::hold(Asker to, const wire::LegalHoldSet& ask, Now now) {
  if (ask.hold() == nullptr) return durable_.refuse(to, {Code::bad_request, "a legal hold is missing"});
  LegalHold hold{flatbuffers::GetString(ask.hold()->pattern()), flatbuffers::GetString(ask.hold()->key()), flatbuffers::GetString(ask.hold()->reason()), now.wall};
  if (auto good = hold.check(); !good) return durable_.refuse(to, good.error());
  if (policies_.holds().size() >= limits::legal_holds_max && !policies_.has_hold(hold.pattern, hold.key)) {
    return durable_.refuse(to, {Code::bad_settings, "the broker may have " + std::to_string(limits::legal_holds_max) + " legal holds"});
  }
  changed(policies_.put(std::move(hold)), now);
  durable_.answer(to, wire::DoneT());
}

void Retention::release(Asker to, const wire::LegalHoldRelease& ask, Now now) {
  const auto pattern = flatbuffers::GetString(ask.pattern()), key = flatbuffers::GetString(ask.key());
  auto row = policies_.erase_hold(pattern, key);
  if (!row) return durable_.refuse(to, {Code::not_found, "there is no legal hold on '" + pattern + "'" + (key.empty() ? "" : " and key '" + key + "'")});
  latest_to_.clear();  // what was held is looked at again
  changed(std::move(*row), now);
  durable_.answer(to, wire::DoneT());
}

void Retention::run(Asker to, const wire::RetentionRun& ask, Now now) {
  const bool is_under_way = run_ && !run_->wanted.dry && !ask.dry_run() && ask.policy() == nullptr;
  if (is_under_way) return tell(to);
  if (is_draining_) return durable_.refuse(to, {Code::shutting_down, "the broker is stopping; ask again once it is back"});
  if (run_ || !changes_.empty()) return durable_.refuse(to, {Code::busy, "a run is under way; ask again when it has ended"});
  Wanted wanted{ask.dry_run(), true, std::nullopt};
  if (ask.policy() != nullptr) {
    wanted.tried = from_wire(*ask.policy());
    if (!wanted.dry) return durable_.refuse(to, {Code::bad_request, "a policy can be tried in a dry run only; set it to have removed what it does not keep"});
    if (auto good = wanted.tried->check(); !good) return durable_.refuse(to, good.error());
  }
  now_ = now;
  begin(wanted, now);
  tell(to);
}

void Retention::tell(Asker to) {
  wire::RetentionReplyT reply;
  std::map<std::string_view, wire::RetentionInfoT*> by_pattern;
  for (const auto& [pattern, policy] : policies_.policies()) {
    auto& info = reply.policies.emplace_back(std::make_unique<wire::RetentionInfoT>());
    info->policy = to_wire(policy);
    by_pattern[pattern] = info.get();
  }
  for (std::uint32_t topic = 1; topic <= state_.topics.size() && !by_pattern.empty(); ++topic) {
    const auto* policy = policy_of(topic);
    if (policy == nullptr) continue;
    const TopicData& data = state_.topics[topic];
    wire::RetentionInfoT& info = *by_pattern.at(policy->pattern);
    const auto live = data.events - data.removed_events;
    info.topics += 1;
    info.events += live;
    info.bytes += data.bytes - data.removed_bytes;
    info.removed_events += data.removed_events;
    info.removed_bytes += data.removed_bytes;
    if (live > 0) info.first = info.first == 0 ? number(data.first) : std::min(info.first, number(data.first));
  }
  for (const auto* hold : policies_.holds()) reply.holds.push_back(to_wire(*hold));
  reply.run = run_info();
  reply.trimmed_to = number(trim_.last);
  durable_.answer(to, std::move(reply));
}

std::unique_ptr<wire::RetentionRunInfoT> Retention::run_info() const {
  const Run& run = run_ ? *run_ : last_;
  auto info = std::make_unique<wire::RetentionRunInfoT>();
  info->number = run.number;
  info->running = run_.has_value();
  info->dry_run = run.wanted.dry;
  info->from = number(run.from);
  info->at = number(run.at);
  info->to = number(run.to);
  info->began_at = nanoseconds(run.began_at);
  info->ended_at = nanoseconds(run.ended_at);
  info->trouble = run.trouble;
  for (const Share& share : run.shares) {
    if (info->results.size() == limits::retention_results_max) break;
    auto& result = info->results.emplace_back(std::make_unique<wire::RetentionResultT>());
    result->pattern = share.policy.pattern;
    result->events = share.events;
    result->bytes = share.bytes;
    result->kept_for_groups = share.kept_for_groups;
    result->group = share.group;
    result->held = share.held;
  }
  return info;
}

}  // namespace bus::broker
