// The rows that `saga ls` and `saga stuck` look at: one for each saga, with what it is at, and one of an index by that. They are folded out of
// the log as a projection, in a file that bus-cli keeps; so listing what runs costs what runs, however many have ended.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "bus/projection.hpp"

namespace bus::tools {

struct SagaRow {
  // A step that has begun and not ended.
  struct Active {
    std::string step, status;            // running, retrying, parked, compensating, compensation_retrying or compensation_parked
    std::string error;                   // why it is parked
    WallTime since, begun;               // its status has been what it is; its first attempt began
    Duration paused{0};                  // the saga was, since then; a pause that has not ended does not count
    bool is_undone() const { return status.starts_with("compensati"); }
    bool is_parked() const { return status.ends_with("parked"); }
  };
  std::string saga_id, definition, hash, user_id;
  std::string error;                     // why it was not, or will not be, completed
  std::string status;                    // running, compensating, completed, compensated or compensation_failed
  std::optional<WallTime> paused_at;     // nothing: it is not paused
  WallTime started_at, since;            // its state has been what it is
  WallTime last_at;                      // of its last event but for timers and replies
  std::vector<Active> active;

  bool has_ended() const { return status != "running" && status != "compensating"; }
  // One of saga_states.
  std::string_view state() const;
  // Its error, and those of what is parked.
  std::string errors() const;

  std::string encode() const;
  static SagaRow decode(std::string_view bytes);
};

inline constexpr std::string_view saga_states[] = {"running", "compensating", "paused", "parked", "completed", "compensated", "compensation_failed"};
inline constexpr std::size_t saga_states_open = 4;  // the first ones have not ended

Filter saga_index_filter();
// A fold of what saga_index_filter() lets pass. Another version of it needs another number.
inline constexpr std::uint64_t saga_index_version = 2;
void fold_saga(const Event& event, Projection::State& state);

struct SagaQuery {
  std::vector<std::string_view> states;  // of saga_states
  std::string definition, step, user;    // empty: any
  std::optional<WallTime> started_before;
  std::size_t limit = 0;                 // 0: none
};
// The last that was started first. Throws Failed.
std::vector<SagaRow> find_sagas(const Projection::Snapshot& rows, const SagaQuery& query);

}  // namespace bus::tools
