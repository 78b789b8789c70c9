// Batch is what travels as one Publish: events with consecutive sequences of this publisher, and what they come with. A plain
// value.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/frame.hpp"
#include "bus/client.hpp"

namespace bus {

// Events of a batch that are stored together or not at all, by their places in it, and what is settled and cancelled with them.
struct BatchStep {
  std::uint32_t first = 0, count = 0;
  std::vector<wire::SettleT> settles = {};     // in the order of their subscriptions
  std::vector<wire::ScheduleIdT> cancels = {};
  bool without_events = false;           // its one event is no_event
};

// What travels in the place of an event: for a sequence that is given up, or a step without events.
inline constexpr std::uint8_t no_event[8] = {};

// What not every broker knows: it would store without looking at it.
struct Needs {
  bool conditions = false;               // and steps
  bool snapshots = false;                // and unique_id
  bool cancels = false;                  // and steps without events
};

struct Batch {
  std::uint64_t first_sequence = 0;
  Frame body;                            // sent again with the same bytes
  std::vector<ReceiptCallback> done;     // one per sequence; empty where the sequence is given up
  std::vector<wire::Condition> conditions;
  std::vector<std::string> condition_keys;
  std::vector<BatchStep> steps;
  std::vector<wire::Snapshot> snapshots;
  Needs needs() const;
  // That of a step without events.
  bool is_no_event(std::size_t at) const;
  std::uint64_t last_sequence() const { return first_sequence + done.size() - 1; }
};

// Error unsupported_version: a broker of this version knows less.
Result<void> check_needs(Needs needs, Needs known, const std::string& broker);
Needs needs_of(std::span<const Condition> conditions);

// The header frame.
Buffer publish_header(const Batch& batch, std::uint64_t fence);

// Of one event with this key. Errors: bad_argument (too many, or one on the event's own key, and it has none), bad_key.
Result<void> check_conditions(std::span<const Condition> conditions, bool has_key);
// Of a snapshot. Errors: bad_argument, bad_key.
Result<void> check_snapshot(const NewSnapshot& snapshot);
// What they take in a header, at most.
std::size_t header_bytes(std::span<const Condition> conditions);
std::size_t header_bytes(const BatchStep& step);

}  // namespace bus
