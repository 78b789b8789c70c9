// What `saga show` and `saga definitions` print.
#pragma once

#include "bus/saga_control.hpp"
#include "tools/output.hpp"
#include "tools/schemas.hpp"

namespace bus::tools {

void print_report(Format format, Schemas& schemas, const saga::Report& report);

// With all that it says, or as one row of a list.
Json definition_json(const saga::Registered& registered);
Json definition_row(const saga::Registered& registered);
void print_definition(Format format, const saga::Registered& registered);

// When the time of a step is over, or of its compensation: its timeout, else that of its attempts together with the longest delays between
// them, at most 10 years. Nothing: the definition has no limit for it.
std::optional<Duration> limit_of(const suoke::saga::StepDefinedT& step, bool compensation);

}  // namespace bus::tools
