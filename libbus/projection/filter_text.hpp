// A filter as text, the same for the same filter in whatever order its entries stand: it is kept in the state's file.
#pragma once

#include <string>

#include "bus/client.hpp"

namespace bus::projection {

// "everything", or "types \"a.B\" \"a.C\"; keys \"k\"".
std::string describe(const Filter& filter);

}  // namespace bus::projection
