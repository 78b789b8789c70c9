// Facts are the events of a saga as values: what its workers decide, what comes to it, and what people ask for. Pure: no broker, no clock.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "bus/event.hpp"
#include "bus/saga.hpp"
#include "bus/suoke_saga_generated.h"

namespace bus::saga {

using ::suoke::saga::CompensationCompletedT;
using ::suoke::saga::CompensationRequestedT;
using ::suoke::saga::CompensationStartedT;
using ::suoke::saga::SagaCancelRequestedT;
using ::suoke::saga::SagaCompletedT;
using ::suoke::saga::SagaFailedT;
using ::suoke::saga::SagaParkedT;
using ::suoke::saga::SagaPausedT;
using ::suoke::saga::SagaResumedT;
using ::suoke::saga::SagaSignalledT;
using ::suoke::saga::SagaStartedT;
using ::suoke::saga::SagaTimerSetT;
using ::suoke::saga::SagaTimerT;
using ::suoke::saga::StepAttemptFailedT;
using ::suoke::saga::StepCommandT;
using ::suoke::saga::StepCompensatedT;
using ::suoke::saga::StepCompensationFailedT;
using ::suoke::saga::StepCompensationStartedT;
using ::suoke::saga::StepCompletedT;
using ::suoke::saga::StepFailedT;
using ::suoke::saga::StepReplyT;
using ::suoke::saga::StepRetryRequestedT;
using ::suoke::saga::StepSkippedT;
using ::suoke::saga::StepStartedT;
using ::suoke::saga::TimerKind;

using Fact = std::variant<SagaStartedT, StepStartedT, StepAttemptFailedT, StepCompletedT, StepFailedT, CompensationStartedT, StepCompensationStartedT, StepCompensatedT,
                          StepCompensationFailedT, CompensationCompletedT, SagaCompletedT, SagaFailedT, SagaTimerSetT, SagaTimerT, StepReplyT, SagaSignalledT, SagaParkedT,
                          SagaPausedT, SagaResumedT, SagaCancelRequestedT, StepRetryRequestedT, StepSkippedT, CompensationRequestedT>;

// The event is the root table of that name, such as "StepStarted", as its topic ends: "step_started".
std::string_view fact_name(const Fact& fact);
std::string topic_word(std::string_view table);
const std::string& saga_id_of(const Fact& fact);

// An event of the saga's key, on topic "saga.DEFINITION.WORD". What a worker has to decide on, and attempts at steps, have the attribute
// saga_definition with the hash, so that they come to workers of that definition.
inline constexpr const char* hash_attribute = "saga_definition";
NewEvent event_of(const Fact& fact, const std::string& definition, const std::string& hash, WallTime now);
// Nothing: it is no fact, such as a command, or of a type that is not known here.
std::optional<Fact> fact_of(std::string_view type, std::span<const std::uint8_t> payload);
// Full names of the types that a worker has to decide on; and of those by which an attempt at a step begins.
std::vector<std::string> decided_types();
std::vector<std::string> done_types();

template <typename Object>
void set_payload(NewEvent& event, const Object& object) {
  flatbuffers::FlatBufferBuilder builder;
  builder.Finish(Object::TableType::Pack(builder, &object));
  event.type = Object::TableType::GetFullyQualifiedName();
  event.payload.assign(builder.GetBufferPointer(), builder.GetBufferPointer() + builder.GetSize());
}

Value value_of(const std::unique_ptr<::suoke::saga::ValueT>& value);
std::unique_ptr<::suoke::saga::ValueT> to_wire(const Value& value);  // null: it is empty

}  // namespace bus::saga
