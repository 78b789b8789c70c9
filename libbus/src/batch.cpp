#include "batch.hpp"

#include "base/limits.hpp"
#include "wire/message.hpp"

namespace bus {

Error unconditional_broker(const std::string& version) {
  return {Code::unsupported_version, "busd " + version + " knows neither conditions nor transactions and would store without looking at them; update busd first"};
}

Buffer publish_header(const Batch& batch, std::uint64_t fence) {
  return wire::encode(wire::Body::Publish, [&](flatbuffers::FlatBufferBuilder& builder) {
    flatbuffers::Offset<flatbuffers::Vector<const wire::Condition*>> conditions;
    flatbuffers::Offset<flatbuffers::Vector<flatbuffers::Offset<flatbuffers::String>>> keys;
    flatbuffers::Offset<flatbuffers::Vector<flatbuffers::Offset<wire::Step>>> steps;
    if (!batch.conditions.empty()) conditions = builder.CreateVectorOfStructs(batch.conditions);
    if (!batch.condition_keys.empty()) keys = builder.CreateVectorOfStrings(batch.condition_keys);
    if (!batch.steps.empty()) {
      std::vector<flatbuffers::Offset<wire::Step>> all;
      for (const BatchStep& step : batch.steps) {
        std::vector<flatbuffers::Offset<wire::Settle>> settles;
        for (const auto& settle : step.settles) settles.push_back(wire::Settle::Pack(builder, &settle));
        all.push_back(wire::CreateStep(builder, step.first, step.count, builder.CreateVector(settles)));
      }
      steps = builder.CreateVector(all);
    }
    const auto count = static_cast<std::uint32_t>(batch.done.size());
    return wire::CreatePublish(builder, batch.first_sequence, count, fence, conditions, keys, steps).Union();
  });
}

Result<void> check_conditions(std::span<const Condition> conditions, bool has_key) {
  if (conditions.size() > limits::conditions_max) {
    return Error{Code::bad_argument, std::to_string(conditions.size()) + " conditions; an event or transaction has " +
                                         std::to_string(limits::conditions_max) + " at most"};
  }
  for (const Condition& condition : conditions) {
    if (condition.key.empty() && !has_key) return Error{Code::bad_argument, "a condition on the event's own key, and it has none"};
    if (condition.key.size() > limits::key_bytes_max) {
      return Error{Code::bad_key, "the key of a condition has " + std::to_string(condition.key.size()) + " bytes, the limit is " +
                                      std::to_string(limits::key_bytes_max)};
    }
  }
  return {};
}

std::size_t header_bytes(std::span<const Condition> conditions) {
  std::size_t bytes = 0;
  for (const Condition& condition : conditions) bytes += sizeof(wire::Condition) + (condition.key.empty() ? 0 : condition.key.size() + 12);
  return bytes;
}

std::size_t header_bytes(std::span<const wire::SettleT> settles) {
  std::size_t bytes = 32;  // the step
  for (const auto& settle : settles) {
    bytes += 48 + settle.settlements.size() * sizeof(wire::Settlement);
    for (const auto& text : settle.texts) bytes += 24 + text->text.size();
  }
  return bytes;
}

}  // namespace bus
