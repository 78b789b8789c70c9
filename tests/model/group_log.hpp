// The log that a group reads in the model test, and what is to be known of one of its events. Pure values.
#pragma once

#include <cstdint>
#include <map>

#include "broker/core/consumer_group.hpp"

namespace bus::broker {

// The log that the group reads: stretches that match, but for every seventh event, and others that do not. Some events have no
// key, the others one of five.
inline bool matches(std::uint64_t position) { return position % 300 < 200 && position % 7 != 0; }
inline Hash128 key_of(std::uint64_t position) {
  const auto key = position * 0x9e3779b97f4a7c15 >> 61;
  return key > 4 ? Hash128{} : Hash128{key + 1, key + 1};
}

// What is to be known of an event that was looked at, and not settled.
struct Line {
  enum class Place { waits, ready, flying, delayed, stopped, parked } place = Place::waits;
  std::uint32_t attempt = 0, failures = 0, forgiven = 0, returns = 0, redrives = 0;
  MemberId member;
  std::uint64_t given = 0;               // the how manieth delivery it was
};
using Lines = std::map<std::uint64_t, Line>;

}  // namespace bus::broker
