// What nearly every source of bus-cli includes, compiled once.
#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "bus/client.hpp"
