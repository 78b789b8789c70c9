// Filter decides which events a subscription or group sees. Topic, type, priority and key are decided from a record's index;
// the envelope is read only where event time, attributes, or the name behind a key's hash are asked for.
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
  struct Attribute {
    std::string name;
    std::vector<std::string> values;                 // one of them; none: it has to be there
    bool operator==(const Attribute&) const = default;
  };
  struct Spec {
    std::vector<std::string> patterns, types, keys;  // sorted, each once
    std::int64_t time_from = 0, time_to = 0;         // event time, nanoseconds, inclusive; 0: no limit
    std::vector<std::uint8_t> priorities = {};       // sorted, each once
    std::vector<Attribute> attributes = {};          // by name, each once; all have to match
    bool operator==(const Spec&) const = default;
    bool empty() const { return *this == Spec{}; }
  };
  // Errors: bad_pattern, bad_filter (too many entries, empty types, keys or attributes, an attribute twice, an unknown priority,
  // a range that ends before it begins).
  static Result<Spec> check(const wire::Filter* filter);
  static std::unique_ptr<wire::FilterT> to_wire(const Spec& spec);
  // As in a row of table groups. Bytes that make no sense leave the reader not ok.
  static void put(Writer& writer, const Spec& spec);
  static Spec get(Reader& reader);

  Filter(Spec spec, std::uint64_t key_secret);
  const Spec& spec() const { return spec_; }
  bool matches_topic(std::string_view topic) const;
  // What depends on topic, type and priority alone. Remembers its answer per topic number; `state` names the numbers.
  bool matches_kind(const store::format::KindRow& kind, const State& state) {
    return matches_topic_number(kind.topic, state) && matches_type(kind.type, state) && matches_priority(kind.priority);
  }
  // The rest, for an event of a kind that matches.
  bool matches_event(const store::Record& record, std::uint32_t at) const {
    return is_by_kind_ || (matches_key(record, at) && matches_time(record, at) && matches_attributes(record, at));
  }
  // The same of an event whose body was removed, as far as the index tells.
  bool may_match_removed(const store::Record& record, std::uint32_t at) const { return is_by_kind_ || has_key(record, at); }

 private:
  bool matches_topic_number(std::uint32_t topic, const State& state);
  bool matches_type(std::uint32_t type, const State& state) const;
  bool matches_priority(std::uint8_t priority) const;
  bool has_key(const store::Record& record, std::uint32_t at) const;
  bool matches_key(const store::Record& record, std::uint32_t at) const;
  bool matches_time(const store::Record& record, std::uint32_t at) const;
  bool matches_attributes(const store::Record& record, std::uint32_t at) const;

  Spec spec_;
  bool is_by_kind_;                  // no more is asked than topic, type and priority
  std::vector<Hash128> key_hashes_;
  std::vector<std::int8_t> topics_;  // by topic number: -1 not asked yet, else the answer
};

}  // namespace bus::broker
