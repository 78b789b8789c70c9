// The payload types that are compiled in: those of schemas/suoke_*.fbs.
#pragma once

#include <flatbuffers/flatbuffers.h>

#include <span>
#include <string_view>

namespace bus::broker {

struct BuiltinType {
  std::string_view name;
  bool (*verify)(flatbuffers::Verifier&);
  std::string_view bfbs;
};

std::span<const BuiltinType> builtin_types();

}  // namespace bus::broker
