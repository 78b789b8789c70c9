// Names of what the sagas of a definition have on the bus.
#pragma once

#include <string>

#include "bus/saga_worker.hpp"

namespace bus::saga {

// In which what has to be decided on waits, one event of an instance after the other; and the attempts at local steps.
std::string decisions_group(const Definition& definition);
std::string actions_group(const Definition& definition);

}  // namespace bus::saga
