// The wire protocol as values: checked reading of header frames, and one way to build them.
// The generated FlatBuffers headers have their home here. docs/PROTOCOL.md describes the protocol.
#pragma once

#include <cstdint>
#include <functional>
#include <string_view>
#include <utility>

#include "base/bytes.hpp"
#include "base/limits.hpp"
#include "bus/event_generated.h"
#include "bus/result.hpp"
#include "bus/types.hpp"
#include "bus/wire_generated.h"

namespace bus::wire {

inline constexpr std::uint16_t protocol_version = 1;

// Verifies a header frame with tight limits. The result points into `frame`, which must be aligned to 8 and
// outlive it. Errors: malformed, and the detail says what is wrong.
Result<const Message*> parse(Bytes frame);

// Builds a header frame around one body table:
//   Buffer header = encode(Body::Ping, [&](auto& builder) { return CreatePing(builder, 7).Union(); });
using BodyMaker = std::function<flatbuffers::Offset<void>(flatbuffers::FlatBufferBuilder&)>;
Buffer encode(Body kind, const BodyMaker& make);

// The same from an object of the generated object API (PingT, WelcomeT …).
template <typename T>
Buffer encode(const T& object) {
  return encode(BodyTraits<typename T::TableType>::enum_value,
                [&](flatbuffers::FlatBufferBuilder& builder) { return T::TableType::Pack(builder, &object).Union(); });
}

// A Failure; request, subscription and sequence as in wire.fbs.
Buffer encode_failure(const Error& error, std::uint64_t request = 0, std::uint32_t subscription = 0,
                      std::uint64_t sequence = 0);

}  // namespace bus::wire
