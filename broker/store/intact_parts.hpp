// What is left of a record of which some bodies are damaged.
#pragma once

#include <vector>

#include "broker/store/record.hpp"

namespace bus::store {

// The events that are intact, each run of them as a record with the chain that belongs to its place. `record` has its bodies.
std::vector<RecordPtr> intact_parts(const Record& record);

}  // namespace bus::store
