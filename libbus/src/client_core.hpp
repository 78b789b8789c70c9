// ClientCore is the client's side of the protocol as a deterministic state machine: no sockets, no threads, no
// clock. bus::Client drives it with a DEALER socket; the simulator drives it with a fake network.
//
//   disconnected ──tick()──> connecting ──Welcome──> ready ──silence, Failure, lost()──> disconnected
//                                 ▲──── back-off ────────────────────────────────────────────┘
//
// Everything published stays here until its receipt or refusal is known; after each Welcome all of it is sent
// again, in order, with the same sequences.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/bytes.hpp"
#include "bus/client.hpp"
#include "wire/message.hpp"

namespace bus {

// What the core wants the shell to do, in order.
struct ClientAction {
  enum class Kind { connect, disconnect, send } kind;
  Buffer header;                 // send
  Buffer body;                   // send; empty: one frame
};

// What happened to something the caller asked for. Delivered by take_outcomes(), in order.
// (implementer: shape this as fits; receipts by sequence, deliveries, subscribed, caught up, ended, settled, reply)

}  // namespace bus
