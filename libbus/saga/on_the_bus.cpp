#include "libbus/saga/facts.hpp"
#include "libbus/saga/registration.hpp"

namespace bus::saga {

namespace {

using ::suoke::saga::RetryDefinedT;
using ::suoke::saga::StepDefinedT;

std::int64_t count_of(std::optional<Duration> time) { return time ? std::chrono::nanoseconds(*time).count() : 0; }

std::unique_ptr<RetryDefinedT> described(const RetryPolicy& policy) {
  auto defined = std::make_unique<RetryDefinedT>();
  defined->kind = static_cast<::suoke::saga::RetryKind>(policy.kind);
  defined->retries = policy.retries;
  defined->first_ns = count_of(policy.first);
  defined->cap_ns = count_of(policy.cap);
  defined->jitter = policy.jitter;
  defined->not_retried = policy.not_retried;
  return defined;
}

wire::GroupCreateT group_of(const std::string& name, const Definition& definition, std::vector<std::string> types, wire::Sharing sharing) {
  wire::GroupCreateT create;
  create.name = name;
  create.from = wire::Start::end;        // of what is not registered there are no instances
  create.filter = std::make_unique<wire::FilterT>();
  create.filter->patterns = {"saga." + definition.name() + ".*"};
  create.filter->types = std::move(types);
  auto& attribute = create.filter->attributes.emplace_back(std::make_unique<wire::AttributeFilterT>());
  attribute->name = hash_attribute;
  attribute->values = {definition.hash()};
  create.settings = std::make_unique<wire::GroupSettingsT>();
  create.settings->sharing = sharing;
  create.settings->attempts_max = ~std::uint32_t{0};  // its errors are the broker's and the network's
  return create;
}

}  // namespace

wire::GroupSettingsT service_settings() {
  wire::GroupSettingsT settings;
  settings.sharing = wire::Sharing::key_ordered;
  settings.attempts_max = ~std::uint32_t{0};
  return settings;
}

SagaDefinedT description_of(const Definition& definition) {
  SagaDefinedT defined;
  defined.name = definition.name();
  defined.definition_hash = definition.hash();
  defined.input_type = definition.input_type();
  defined.timeout_ns = count_of(definition.timeout());
  defined.compensates_in_parallel = definition.compensates_in_parallel();
  for (std::size_t at = 0; at < definition.steps().size(); ++at) {
    const Step& step = definition.steps()[at];
    auto& one = defined.steps.emplace_back(std::make_unique<StepDefinedT>());
    one->name = step.name();
    one->stage = static_cast<std::uint32_t>(definition.stage_of(at));
    one->kind = static_cast<::suoke::saga::StepKind>(step.kind());
    one->topic = step.topic();
    one->signal = step.signal();
    one->pivot = step.is_pivot();
    one->compensation = static_cast<::suoke::saga::CompensationKind>(step.compensation().kind);
    one->compensation_topic = step.compensation().topic;
    one->parks = step.compensation().on_failure == Compensation::OnFailure::park;
    one->retry = described(step.retry());
    one->retry_compensation = described(step.compensation().retry);
    one->attempt_timeout_ns = count_of(step.attempt_timeout());
    one->timeout_ns = count_of(step.timeout());
    one->result_type = step.result();
  }
  return defined;
}

std::string decisions_group(const Definition& definition) { return "saga." + definition.name() + "." + definition.hash().substr(0, 8); }
std::string actions_group(const Definition& definition) { return decisions_group(definition) + ".actions"; }

wire::GroupCreateT decisions_group_of(const Definition& definition) {
  return group_of(decisions_group(definition), definition, decided_types(), wire::Sharing::key_ordered);
}
wire::GroupCreateT actions_group_of(const Definition& definition) {
  return group_of(actions_group(definition), definition, done_types(), wire::Sharing::round_robin);
}

}  // namespace bus::saga
