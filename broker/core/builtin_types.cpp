#include "broker/core/builtin_types.hpp"

#include "bus/embedded_schemas.hpp"
#include "bus/suoke_diagnosis_generated.h"
#include "bus/suoke_health_generated.h"
#include "bus/suoke_realtime_generated.h"
#include "bus/suoke_saga_generated.h"

namespace bus::broker {

namespace {

// Flat: generated verifiers are trees of small functions, and every event passes through one.
template <typename Table>
[[gnu::flatten]] bool verify(flatbuffers::Verifier& verifier) {
  return verifier.VerifyBuffer<Table>(nullptr);
}

template <typename Table>
BuiltinType type(std::string_view bfbs) {
  return {Table::GetFullyQualifiedName(), verify<Table>, bfbs};
}

}  // namespace

std::span<const BuiltinType> builtin_types() {
  namespace saga = suoke::saga;
  static const BuiltinType types[] = {
      type<saga::SagaStarted>(embedded::suoke_saga),
      type<saga::StepStarted>(embedded::suoke_saga),
      type<saga::StepCompleted>(embedded::suoke_saga),
      type<saga::StepFailed>(embedded::suoke_saga),
      type<saga::CompensationStarted>(embedded::suoke_saga),
      type<saga::StepCompensated>(embedded::suoke_saga),
      type<saga::StepCompensationFailed>(embedded::suoke_saga),
      type<saga::CompensationCompleted>(embedded::suoke_saga),
      type<saga::SagaCompleted>(embedded::suoke_saga),
      type<saga::SagaFailed>(embedded::suoke_saga),
      type<saga::StepAttemptFailed>(embedded::suoke_saga),
      type<saga::StepCompensationStarted>(embedded::suoke_saga),
      type<saga::SagaTimerSet>(embedded::suoke_saga),
      type<saga::SagaTimer>(embedded::suoke_saga),
      type<saga::StepCommand>(embedded::suoke_saga),
      type<saga::StepReply>(embedded::suoke_saga),
      type<saga::SagaSignalled>(embedded::suoke_saga),
      type<saga::SagaParked>(embedded::suoke_saga),
      type<saga::SagaPaused>(embedded::suoke_saga),
      type<saga::SagaResumed>(embedded::suoke_saga),
      type<saga::SagaCancelRequested>(embedded::suoke_saga),
      type<saga::StepRetryRequested>(embedded::suoke_saga),
      type<saga::StepSkipped>(embedded::suoke_saga),
      type<saga::CompensationRequested>(embedded::suoke_saga),
      type<saga::SagaDefined>(embedded::suoke_saga),
      type<suoke::health::HealthDataUpdate>(embedded::suoke_health),
      type<suoke::diagnosis::DiagnosisResult>(embedded::suoke_diagnosis),
      type<suoke::realtime::AgentResponse>(embedded::suoke_realtime),
      type<suoke::realtime::SystemNotification>(embedded::suoke_realtime),
      type<suoke::realtime::SyncRequest>(embedded::suoke_realtime),
  };
  return types;
}

}  // namespace bus::broker
