// Checks that bytes are a sound payload, by its schema.
#pragma once

#include "base/bytes.hpp"
#include "tools/payload_schema.hpp"

namespace bus::tools {

// Whether `payload`, aligned to 8, is a FlatBuffer with the schema's type as its root, within the broker's limits of
// depth and number of tables. After that every field can be read without further checks. Members of a union that the
// schema does not know are not looked at, and must not be.
bool verify_payload(const PayloadSchema& schema, Bytes payload);

}  // namespace bus::tools
