// What has to be on the bus before sagas of a definition can run: its description, and the groups that their events wait in.
#include "libbus/saga/registration.hpp"

#include "bus/saga_worker.hpp"
#include "libbus/saga/state.hpp"

namespace bus::saga {

namespace {

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
    last.skip_trimmed = true;            // it is registered again
    const auto known = client.read_key(last);
    if (!known) return known.error();
    if (!known->events.empty()) {
      const auto defined = known->events.front().as<::suoke::saga::SagaDefined>();
      if (defined && (*defined)->definition_hash()->string_view() == definition.hash()) return {};
    }
    NewEvent event;
    event.topic = "saga." + definition.name() + ".saga_defined";
    event.key = key;
    set_payload(event, description_of(definition));
    event.conditions = {Condition::at(known->head.version)};
    const auto stored = client.publish(event).get();
    if (stored) return {};
    if (stored.error().code != Code::conflict) return stored.error();  // somebody else was faster
  }
}

Result<Starter> Starter::open(Client& client, Definition definition, Duration patience) {
  if (auto registered = register_definition(client, definition); !registered) return registered.error();
  return Starter(client, std::move(definition), patience);
}

Result<Instance> Starter::start(const std::string& business_id, const Value& input, const std::string& user_id) {
  return start_instance(*client_, {definition_.name(), hash_, definition_.input_type(), static_cast<std::uint32_t>(definition_.steps().size())}, business_id, input, user_id, patience_);
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
