// What the sagas of a definition have on the bus: names, the groups that their events wait in, and how one starts.
#pragma once

#include <string>

#include "bus/saga_worker.hpp"
#include "bus/suoke_saga_generated.h"

namespace bus::saga {

// Of the events that say what sagas of a name are; the last one counts.
std::string definition_key(const std::string& name);

// What has to be known of a definition to start an instance of it.
struct Startable {
  std::string name, hash, input_type;
  std::uint32_t steps_count = 0;
};
// As Starter::start(). `patience`: as of publish_within().
Result<Instance> start_instance(Client& client, const Startable& definition, const std::string& business_id, const Value& input, const std::string& user_id, Duration patience);

// Waits for the receipt; 0: for ever. Errors: those of Client::publish(), and timed_out: whether it is stored is not known.
Result<Receipt> publish_within(Client& client, const NewEvent& event, Duration patience);

// In which what has to be decided on waits, one event of an instance after the other; and the attempts at local steps.
std::string decisions_group(const Definition& definition);
std::string actions_group(const Definition& definition);
using ::suoke::saga::SagaDefinedT;
SagaDefinedT description_of(const Definition& definition);
// Of a service's group: commands of one saga in their order, so that an undo does not overtake what it undoes.
wire::GroupSettingsT service_settings();
wire::GroupCreateT decisions_group_of(const Definition& definition);
wire::GroupCreateT actions_group_of(const Definition& definition);

}  // namespace bus::saga
