// The rows of the tables `failures` and `dead`: what went wrong with an event of a group, and what the group gave up on.
// Pure values; docs/STORAGE.md gives their fields.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/hash.hpp"
#include "broker/core/consumer_group.hpp"
#include "broker/store/batch.hpp"

namespace bus::broker {

using Cause = ConsumerGroup::Incident::Cause;

struct DeadLetterRow {
  WallTime died_at;
  Cause cause = Cause::nack;
  bool stopped = false;                  // it holds up its key
  std::uint32_t attempt = 0, failures = 0, returns = 0, redrives = 0;
  EventFacts event;
  std::string reason;                    // the last error

  std::string encode() const;
  static std::optional<DeadLetterRow> decode(std::string_view value);
};

struct FailureRow {
  std::uint32_t attempt = 0;
  WallTime at;
  Cause cause = Cause::nack;
  std::string member, error;

  std::string encode() const;
  static std::optional<FailureRow> decode(std::string_view value);
};

// Keys, in the order of groups, positions and failures; and the first key behind all of a group, or of an event.
std::string event_key(std::uint32_t group, Position position);
std::string failure_key(std::uint32_t group, Position position, std::uint32_t failure);
std::string after_group(std::uint32_t group);
// 0 and none: it is no such key.
std::uint32_t group_of_key(std::string_view key);
Position position_of_key(std::string_view key);
std::uint32_t failure_of_key(std::string_view key);

}  // namespace bus::broker
