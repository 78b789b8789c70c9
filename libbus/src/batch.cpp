#include "batch.hpp"

#include <algorithm>

#include "base/limits.hpp"
#include "wire/message.hpp"

namespace bus {

Result<void> check_needs(Needs needs, Needs known, const std::string& broker) {
  if (needs.conditions && !known.conditions) {
    return Error{Code::unsupported_version, "busd " + broker + " knows neither conditions nor transactions and would store without looking at them; update busd first"};
  }
  if (needs.snapshots && !known.snapshots) {
    return Error{Code::unsupported_version, "busd " + broker + " knows neither snapshots nor unique ids; update busd first"};
  }
  if (needs.cancels && !known.cancels) {
    return Error{Code::unsupported_version, "busd " + broker + " knows neither transactions that cancel nor those without events; update busd first"};
  }
  return {};
}

Needs needs_of(std::span<const Condition> conditions) {
  const auto is_unique_id = [](const Condition& condition) { return condition.expect == wire::Expect::unique_id; };
  return {!conditions.empty(), std::any_of(conditions.begin(), conditions.end(), is_unique_id), false};
}

Needs Batch::needs() const {
  const auto is_unique_id = [](const wire::Condition& condition) { return condition.expect() == wire::Expect::unique_id; };
  const auto is_new = [](const BatchStep& step) { return step.without_events || !step.cancels.empty(); };
  return {!conditions.empty() || !steps.empty(), !snapshots.empty() || std::any_of(conditions.begin(), conditions.end(), is_unique_id),
          std::any_of(steps.begin(), steps.end(), is_new)};
}

bool Batch::is_no_event(std::size_t at) const {
  return std::any_of(steps.begin(), steps.end(), [at](const BatchStep& step) { return step.without_events && step.first == at; });
}

Buffer publish_header(const Batch& batch, std::uint64_t fence) {
  return wire::encode(wire::Body::Publish, [&](flatbuffers::FlatBufferBuilder& builder) {
    flatbuffers::Offset<flatbuffers::Vector<const wire::Condition*>> conditions;
    flatbuffers::Offset<flatbuffers::Vector<flatbuffers::Offset<flatbuffers::String>>> keys;
    flatbuffers::Offset<flatbuffers::Vector<flatbuffers::Offset<wire::Step>>> steps;
    flatbuffers::Offset<flatbuffers::Vector<const wire::Snapshot*>> snapshots;
    if (!batch.conditions.empty()) conditions = builder.CreateVectorOfStructs(batch.conditions);
    if (!batch.condition_keys.empty()) keys = builder.CreateVectorOfStrings(batch.condition_keys);
    if (!batch.steps.empty()) {
      std::vector<flatbuffers::Offset<wire::Step>> all;
      for (const BatchStep& step : batch.steps) {
        std::vector<flatbuffers::Offset<wire::Settle>> settles;
        for (const auto& settle : step.settles) settles.push_back(wire::Settle::Pack(builder, &settle));
        std::vector<flatbuffers::Offset<wire::ScheduleId>> cancels;
        for (const auto& id : step.cancels) cancels.push_back(wire::CreateScheduleId(builder, builder.CreateSharedString(id.publisher), id.sequence));
        all.push_back(wire::CreateStep(builder, step.first, step.count, builder.CreateVector(settles), builder.CreateVector(cancels), step.without_events));
      }
      steps = builder.CreateVector(all);
    }
    if (!batch.snapshots.empty()) snapshots = builder.CreateVectorOfStructs(batch.snapshots);
    const auto count = static_cast<std::uint32_t>(batch.done.size());
    return wire::CreatePublish(builder, batch.first_sequence, count, fence, conditions, keys, steps, snapshots).Union();
  });
}

Result<void> check_conditions(std::span<const Condition> conditions, bool has_key) {
  if (conditions.size() > limits::conditions_max) {
    return Error{Code::bad_argument, std::to_string(conditions.size()) + " conditions; an event or transaction has " +
                                         std::to_string(limits::conditions_max) + " at most"};
  }
  for (const Condition& condition : conditions) {
    if (condition.expect == wire::Expect::unique_id) {
      if (condition.key.empty()) continue;
      return Error{Code::bad_argument, "unique_id is of the event's own id, and names no key"};
    }
    if (condition.key.empty() && !has_key) return Error{Code::bad_argument, "a condition on the event's own key, and it has none"};
    if (condition.key.size() > limits::key_bytes_max) {
      return Error{Code::bad_key, "the key of a condition has " + std::to_string(condition.key.size()) + " bytes, the limit is " +
                                      std::to_string(limits::key_bytes_max)};
    }
  }
  return {};
}

Result<void> check_snapshot(const NewSnapshot& snapshot) {
  if (snapshot.key.empty() || snapshot.key.size() > limits::key_bytes_max) {
    return Error{Code::bad_key, "a snapshot is of a key, which has 1 to " + std::to_string(limits::key_bytes_max) + " bytes"};
  }
  if (snapshot.version == 0) return Error{Code::bad_argument, "a snapshot of key '" + snapshot.key + "' without the version that its state belongs to"};
  if (snapshot.keep >= 1 && snapshot.keep <= limits::snapshots_max) return {};
  return Error{Code::bad_argument, std::to_string(snapshot.keep) + " snapshots to be kept of key '" + snapshot.key + "'; 1 to " + std::to_string(limits::snapshots_max) + " can be"};
}

std::size_t header_bytes(std::span<const Condition> conditions) {
  std::size_t bytes = 0;
  for (const Condition& condition : conditions) bytes += sizeof(wire::Condition) + (condition.key.empty() ? 0 : condition.key.size() + 12);
  return bytes;
}

std::size_t header_bytes(const BatchStep& step) {
  std::size_t bytes = 48;
  for (const auto& settle : step.settles) {
    bytes += 48 + settle.settlements.size() * sizeof(wire::Settlement);
    for (const auto& text : settle.texts) bytes += 24 + text->text.size();
  }
  for (const auto& id : step.cancels) bytes += 40 + id.publisher.size();
  return bytes;
}

}  // namespace bus
