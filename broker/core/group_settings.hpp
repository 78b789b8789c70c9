// GroupSettings are what may be set of a consumer group, with the rules that every set of them keeps. A pure value.
#pragma once

#include <cstdint>
#include <string>

#include "base/bytes.hpp"
#include "base/limits.hpp"
#include "bus/result.hpp"
#include "bus/types.hpp"

namespace bus::broker {

// Who gets the next event. The numbers are the ones of schemas/wire.fbs.
enum class Sharing : std::uint8_t {
  round_robin = 0,       // each member in turn
  least_in_flight = 1,   // the member that holds the fewest
  exclusive = 2,         // one member; the others stand by, and the next takes over when it leaves or stalls
  key_ordered = 3        // in turn, but of each key one event at a time, in order
};

// How the delay grows from failure to failure of an event.
enum class Backoff : std::uint8_t { fixed = 0, linear = 1, exponential = 2 };

// What becomes of an event that the group gives up on.
enum class DeadLetter : std::uint8_t {
  park = 0,              // kept among the dead letters; the group goes on
  stop_key = 1,          // the same, and its key waits until an operator decides
  skip = 2               // counted, not kept
};

struct GroupSettings {
  static constexpr std::uint32_t unlimited = ~std::uint32_t{0};

  Sharing sharing = Sharing::round_robin;
  Duration ack_wait = limits::ack_wait_default;              // an attempt not settled by then has failed
  std::uint32_t in_flight_max = limits::in_flight_default;   // out to all members together
  std::uint32_t member_in_flight_max = unlimited;            // and to each
  std::uint32_t attempts_max = limits::attempts_default;     // so many failures, and the group gives up; unlimited: never
  Backoff backoff = Backoff::exponential;
  Duration retry_delay = limits::retry_delay_default;        // after the first failure
  Duration retry_delay_max = limits::retry_delay_max_default;
  std::uint32_t jitter_percent = limits::jitter_default;     // of the delay, added or taken away
  DeadLetter dead_letter = DeadLetter::park;
  bool paused = false;                                       // delivers nothing; settlements are taken

  bool operator==(const GroupSettings&) const = default;
  bool is_ordered() const { return sharing == Sharing::key_ordered; }

  // Error bad_settings: names the setting, its bounds, or the two that contradict each other.
  Result<void> check() const;
  // Before the attempt that follows the `failures`-th failure. `salt` spreads those that fail together.
  Duration delay_after(std::uint32_t failures, std::uint64_t salt) const;

  // As in a row of table groups. Bytes that make no sense leave the reader not ok.
  void put(Writer& writer) const;
  static GroupSettings get(Reader& reader);
};

}  // namespace bus::broker
