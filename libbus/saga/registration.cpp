// What has to be on the bus before sagas of a definition can run: its description, and the groups that their events wait in.
#include "libbus/saga/registration.hpp"

#include "bus/saga_worker.hpp"
#include "libbus/saga/state.hpp"

namespace bus::saga {

namespace {

using ::suoke::saga::RetryDefinedT;
using ::suoke::saga::SagaDefinedT;
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

SagaDefinedT described(const Definition& definition) {
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

Result<void> make_group(Client& client, wire::GroupCreateT create) {
  wire::AskUnion ask;
  ask.Set(std::move(create));
  const auto made = client.request(std::move(ask));
  if (!made && made.error().code != Code::group_exists) return made.error();
  return {};
}

}  // namespace

std::string definition_key(const std::string& name) { return "saga-definition/" + name; }

Result<void> register_definition(Client& client, const Definition& definition) {
  if (auto good = definition.check(); !good) return good;
  if (auto made = make_group(client, decisions_group_of(definition)); !made) return made;
  if (auto made = make_group(client, actions_group_of(definition)); !made) return made;
  const std::string key = definition_key(definition.name());
  for (;;) {
    KeyRange last;
    last.key = key;
    last.backwards = true;
    last.limit = 1;
    const auto known = client.read_key(last);
    if (!known) return known.error();
    if (!known->events.empty()) {
      const auto defined = known->events.front().as<::suoke::saga::SagaDefined>();
      if (defined && (*defined)->definition_hash()->string_view() == definition.hash()) return {};
    }
    NewEvent event;
    event.topic = "saga." + definition.name() + ".saga_defined";
    event.key = key;
    set_payload(event, described(definition));
    event.conditions = {Condition::at(known->head.version)};
    const auto stored = client.publish(event).get();
    if (stored) return {};
    if (stored.error().code != Code::conflict) return stored.error();  // somebody else was faster
  }
}

Result<Starter> Starter::open(Client& client, Definition definition) {
  if (auto registered = register_definition(client, definition); !registered) return registered.error();
  return Starter(client, std::move(definition));
}

Result<Instance> Starter::start(const std::string& business_id, const Value& input, const std::string& user_id) {
  return start_instance(*client_, {definition_.name(), hash_, definition_.input_type(), static_cast<std::uint32_t>(definition_.steps().size())}, business_id, input, user_id, 0s);
}

Result<Receipt> publish_within(Client& client, const NewEvent& event, Duration patience) {
  auto receipt = client.publish(event);
  if (patience > 0s && receipt.wait_for(patience) != std::future_status::ready) {
    return Error{Code::timed_out, "no receipt for " + event.type + " of '" + event.key + "' came in time: whether it is stored is not known, so look again before asking again"};
  }
  return receipt.get();
}

Result<Instance> start_instance(Client& client, const Startable& definition, const std::string& business_id, const Value& input, const std::string& user_id, Duration patience) {
  if (business_id.empty() || business_id.size() > business_id_bytes_max) {
    return Error{Code::bad_argument, "the business id of a saga has 1 to " + std::to_string(business_id_bytes_max) + " bytes"};
  }
  if (!definition.input_type.empty() && input.type != definition.input_type) {
    return Error{Code::bad_argument, "the input of saga '" + definition.name + "' is a " + definition.input_type + ", not " + (input.type.empty() ? "nothing" : "a " + input.type)};
  }
  if (bytes_of_value(input) > values_bytes_max) return Error{Code::bad_argument, "the input is too large: values of a saga have " + std::to_string(values_bytes_max) + " bytes together"};
  SagaStartedT started;
  started.saga_id = definition.name + "/" + business_id;
  started.name = definition.name;
  started.steps_count = definition.steps_count;
  started.definition_hash = definition.hash;
  started.user_id = user_id;
  started.input = to_wire(input);
  const std::string id = started.saga_id;
  auto event = event_of(Fact(std::move(started)), definition.name, definition.hash, std::chrono::system_clock::now());
  event.subject = user_id;
  event.conditions = {Condition::absent()};
  const auto stored = publish_within(client, event, patience);
  if (stored) return Instance{id, true};
  if (stored.error().code == Code::conflict) return Instance{id, false};
  return stored.error();
}

}  // namespace bus::saga
