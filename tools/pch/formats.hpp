// What nearly every source that reads or writes text includes, compiled once.
#include <nlohmann/json.hpp>

#include "bus/client.hpp"
