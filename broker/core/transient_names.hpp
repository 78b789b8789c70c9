// TransientNames gives names to publishers that bring none: anonymous-RUN-COUNT, RUN being the broker's epoch. A name
// that was published under stays in the table for life, so that a crowd of short-lived clients would fill it; therefore
// such a name goes to the next client once its holder has left. Its sequence goes on: a publisher and a sequence never
// name two events.
//
//   new ──► in use ──session ended──► held for its holder ──transient_hold──► free ──► in use, by the next one
//             ▲ └────────────────────────── Bye ─────────────────────────────▲
//             └───── its holder is back ─────┘ (from either)
//
// Only names with a row are listed here. A name without one is given once and never again, also by later runs; so
// whoever asks for it again was given it, and nothing about it has to be remembered.
// Owned by the core; one thread.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>

#include "broker/core/state.hpp"

namespace bus::broker {

class TransientNames {
 public:
  TransientNames(const State& state, std::uint64_t run) : state_(state), run_(run) {}

  // Names of this form are given by the broker and by nobody else.
  static bool has_form(std::string_view name) { return name.starts_with(prefix); }

  // After recovery: every name is held for whoever had it.
  void start(SteadyTime now);
  // The name for a client that has none. Ends with taken().
  std::string next(SteadyTime now);
  // True if a client may have a name again that no session has now. `last_sequence` is what its last Welcome said.
  bool is_of(const std::string& name, std::uint64_t instance, std::uint64_t last_sequence) const;
  // A session has the name.
  void taken(const std::string& name);
  // It has it no more: until then the name is kept for this instance.
  void left(const std::string& name, std::uint64_t instance, SteadyTime free_from);

 private:
  static constexpr std::string_view prefix = "anonymous-";
  struct Idle {
    SteadyTime free_from;
    std::optional<std::uint64_t> instance;  // that had it last; nothing: nobody since the start
  };
  void insert(std::uint32_t number, Idle idle);

  const State& state_;
  std::uint64_t run_, given_ = 0;
  std::map<std::uint32_t, Idle> idle_;                       // by number: names with a row and without a session
  std::set<std::pair<SteadyTime, std::uint32_t>> by_time_;   // the same, those first that are free first
};

}  // namespace bus::broker
