// What the sagas of a definition have on the bus: names, and the groups that their events wait in.
#pragma once

#include <string>

#include "bus/saga.hpp"
#include "bus/wire_generated.h"

namespace bus::saga {

// In which what has to be decided on waits, one event of an instance after the other; and the attempts at local steps.
std::string decisions_group(const Definition& definition);
std::string actions_group(const Definition& definition);
wire::GroupCreateT decisions_group_of(const Definition& definition);
wire::GroupCreateT actions_group_of(const Definition& definition);

}  // namespace bus::saga
