// Values of sagas as people write and read them: JSON by the schema of their type, or plain text.
#pragma once

#include <string>

#include "bus/saga.hpp"
#include "tools/output.hpp"
#include "tools/schemas.hpp"

namespace bus::tools {

// `text` is JSON of the type, or @FILE with that; without a type it is the value's text as it stands. Empty: no value. `type` may be the
// last name. Throws Failed: bad_payload (it does not fit), unknown_type, not_found (the file).
saga::Value saga_value(Schemas& schemas, const std::string& text, const std::string& type);

// {type, value, text}; of plain text that alone, and null if there is nothing.
Json saga_value_json(Schemas& schemas, const saga::Value& value);

}  // namespace bus::tools
