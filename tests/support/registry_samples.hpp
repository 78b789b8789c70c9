// Samples of what is asked of schemas and topics, and of the answers, for Samples.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "tests/support/state_samples.hpp"
#include "wire/message.hpp"

namespace bus::testing {

inline std::unique_ptr<wire::TopicSettingsT> sample_settings() {
  auto settings = std::make_unique<wire::TopicSettingsT>();
  settings->name = "saga.started";
  settings->description = "one event for each saga that begins";
  auto property = std::make_unique<wire::TopicPropertyT>();
  property->name = "owner";
  property->value = "orchestration";
  settings->properties.push_back(std::move(property));
  settings->types = {"suoke.saga.SagaStarted"};
  return settings;
}

inline std::vector<std::unique_ptr<wire::SchemaChangeT>> sample_changes() {
  auto change = std::make_unique<wire::SchemaChangeT>();
  change->version = 2;
  change->rule = "field_removed";
  change->type = "clinic.Visit";
  change->member = "room";
  change->backward = change->forward = "later";
  change->breaks = true;
  change->what = "field clinic.Visit.room is gone";
  change->remedy = "keep the field and mark it (deprecated)";
  std::vector<std::unique_ptr<wire::SchemaChangeT>> changes;
  changes.push_back(std::move(change));
  return changes;
}

template <typename Ask>
void registry_asks(Ask ask) {
  wire::SchemaAddT add;
  add.bfbs = {1, 2, 3, 4};
  add.compatibility = "full_transitive";
  add.dry_run = true;
  ask(add);
  wire::SchemaEditT edit;
  edit.type = "clinic.Visit";
  edit.compatibility = "backward";
  edit.set_deprecated = true;
  edit.deprecated = "clinic.Encounter takes its place";
  ask(edit);
  wire::SchemaDiffT diff;
  diff.type = "clinic.Visit";
  diff.from = 1, diff.to = 2;
  diff.bfbs = {1, 2, 3, 4};
  ask(diff);
  wire::SchemaHistoryT history;
  history.type = "clinic.Visit";
  history.after = 1;
  ask(history);
  wire::TopicCreateT create;
  create.settings = sample_settings();
  create.retention = sample_policy();
  ask(std::move(create));
  wire::TopicEditT change;
  change.settings = sample_settings();
  change.retention = sample_policy();
  change.revision = 3;
  ask(std::move(change));
  wire::TopicRemoveT remove;
  remove.name = "saga.started";
  ask(remove);
  wire::GroupReplayT replay;
  replay.name = "reports";
  replay.positions = {7, 9};
  ask(replay);
}

template <typename Reply>
void registry_replies(Reply reply) {
  wire::SchemaAddedT added;
  auto outcome = std::make_unique<wire::SchemaOutcomeT>();
  outcome->type = "clinic.Visit";
  outcome->before = 2, outcome->version = 3;
  outcome->compatibility = "backward_transitive";
  outcome->changes = sample_changes();
  added.types.push_back(std::move(outcome));
  reply(std::move(added));
  wire::SchemaDiffReplyT diff;
  diff.from = 1, diff.to = 2;
  diff.changes = sample_changes();
  reply(std::move(diff));
  wire::SchemaHistoryReplyT history;
  auto version = std::make_unique<wire::SchemaVersionT>();
  version->version = 3;
  version->added_at = 1'800'000'000'000'000'000;
  version->bytes = 2'048;
  version->changes = sample_changes();
  history.versions.push_back(std::move(version));
  history.more = 3;
  reply(std::move(history));
  wire::GroupReplayedT replayed;
  replayed.done = 1;
  replayed.refused.emplace_back(9, Code::conflict);
  reply(replayed);
}

}  // namespace bus::testing
