// Samples of what is asked of snapshots and of retention, and of the answers, for Samples.
#pragma once

#include <memory>
#include <string>

#include "wire/message.hpp"

namespace bus::testing {

inline std::unique_ptr<wire::RetentionPolicyT> sample_policy() {
  auto policy = std::make_unique<wire::RetentionPolicyT>();
  policy->pattern = "saga.>";
  policy->max_age_ms = 86'400'000;
  policy->max_bytes = 1u << 30;
  policy->max_events = 1'000'000;
  policy->latest_per_key = true;
  policy->latest_after_ms = 3'600'000;
  policy->past_groups = true;
  return policy;
}

inline std::unique_ptr<wire::LegalHoldT> sample_hold() {
  auto hold = std::make_unique<wire::LegalHoldT>();
  hold->pattern = "saga.>";
  hold->key = "saga-7";
  hold->reason = "case 4711";
  hold->since = 1'800'000'000'000'000'000;
  return hold;
}

template <typename Ask>
void state_asks(Ask ask) {
  wire::SnapshotGetT snapshot;
  snapshot.key = "saga-7";
  snapshot.version = 12, snapshot.brief = true;
  ask(snapshot);
  wire::SnapshotsEraseT erase;
  erase.key = "saga-7";
  ask(erase);
  wire::RetentionSetT set;
  set.policy = sample_policy();
  ask(std::move(set));
  wire::RetentionRemoveT remove;
  remove.pattern = "saga.>";
  ask(remove);
  wire::LegalHoldSetT hold;
  hold.hold = sample_hold();
  ask(std::move(hold));
  wire::LegalHoldReleaseT release;
  release.pattern = "saga.>";
  release.key = "saga-7";
  ask(release);
  wire::RetentionRunT run;
  run.dry_run = true;
  run.policy = sample_policy();
  ask(std::move(run));
  ask(wire::RetentionRequestT());
}

template <typename Reply>
void state_replies(Reply reply) {
  wire::SnapshotReplyT snapshot;
  snapshot.version = 12, snapshot.saved_at = 1'800'000'000'000'000'000;
  snapshot.type = "suoke.saga.SagaCompleted", snapshot.bytes = 64;
  reply(snapshot);
  wire::SnapshotsErasedT erased;
  erased.count = 2;
  reply(erased);
  wire::RetentionReplyT retention;
  auto info = std::make_unique<wire::RetentionInfoT>();
  info->policy = sample_policy();
  info->topics = 3;
  info->events = 900;
  info->bytes = 90'000;
  info->first = 101;
  info->removed_events = 100;
  info->removed_bytes = 10'000;
  retention.policies.push_back(std::move(info));
  retention.holds.push_back(sample_hold());
  retention.run = std::make_unique<wire::RetentionRunInfoT>();
  retention.run->number = 2;
  retention.run->running = retention.run->dry_run = true;
  retention.run->from = 1;
  retention.run->at = 500;
  retention.run->to = 1'000;
  retention.run->began_at = 1'800'000'000'000'000'000;
  retention.run->ended_at = 1'800'000'001'000'000'000;
  retention.run->trouble = "the record at position 7 cannot be read";
  auto result = std::make_unique<wire::RetentionResultT>();
  result->pattern = "saga.>";
  result->events = 100;
  result->bytes = 10'000;
  result->kept_for_groups = 5;
  result->group = "reports";
  result->held = 2;
  retention.run->results.push_back(std::move(result));
  retention.trimmed_to = 90;
  reply(std::move(retention));
}

}  // namespace bus::testing
