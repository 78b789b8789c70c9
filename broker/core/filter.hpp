// Filter decides which events a subscription or group sees. Topic, type and key are decided from a record's index;
// the envelope is read only where event time, or the name behind a key's hash, is asked for.
// A pure value, immutable after make().
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "broker/core/state.hpp"
#include "bus/wire_generated.h"

namespace bus::broker {

class Filter {
 public:
  struct Spec {
    std::vector<std::string> patterns, types, keys;  // sorted, each once
    std::int64_t time_from = 0, time_to = 0;         // event time, nanoseconds, inclusive; 0: no limit
    bool operator==(const Spec&) const = default;
    bool empty() const { return *this == Spec{}; }
  };
  // Errors: bad_pattern, bad_filter (too many entries, empty types or keys, a range that ends before it begins).
  static Result<Spec> check(const wire::Filter* filter);

  Filter(Spec spec, std::uint64_t key_secret);
  const Spec& spec() const { return spec_; }
  bool matches_topic(std::string_view topic) const;
  // What depends on topic and type alone. Remembers its answer per topic number; `state` names the numbers.
  bool matches_kind(const store::format::KindRow& kind, const State& state) {
    return matches_topic_number(kind.topic, state) && matches_type(kind.type, state);
  }
  // The rest, for an event of a kind that matches.
  bool matches_event(const store::Record& record, std::uint32_t at) const {
    return is_by_kind_ || (matches_key(record, at) && matches_time(record, at));
  }

 private:
  bool matches_topic_number(std::uint32_t topic, const State& state);
  bool matches_type(std::uint32_t type, const State& state) const;
  bool matches_key(const store::Record& record, std::uint32_t at) const;
  bool matches_time(const store::Record& record, std::uint32_t at) const;

  Spec spec_;
  bool is_by_kind_;                  // no more is asked than topic and type
  std::vector<Hash128> key_hashes_;
  std::vector<std::int8_t> topics_;  // by topic number: -1 not asked yet, else the answer
};

}  // namespace bus::broker
