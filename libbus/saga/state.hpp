// State is what the events of one saga come to: apply() one after the other, in the order of their versions. Pure; the same for
// whoever has the same events. decide() says what follows from it, as the definition has it: the next fact, until nothing follows.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "libbus/saga/facts.hpp"

namespace bus::saga {

enum class StepStatus : std::uint8_t {
  pending,
  running,                               // an attempt has begun
  retrying,                              // one has failed, and the next one will begin
  parked,                                // it has failed, and a person decides
  completed,
  skipped,                               // a person said that it counts as completed
  failed,
  compensating,
  compensation_retrying,
  compensation_parked,
  compensated,
  compensation_failed
};
enum class Status : std::uint8_t { none, running, compensating, completed, compensated, compensation_failed };

struct Outcome {
  bool failed = false;
  std::string code, error;
  Value value;
};
inline constexpr const char* timeout_code = "timeout";
// The attempt has had its effect, and what it made is of no use: it is not tried again, and it is undone.
inline constexpr const char* too_large_code = "too_large";
inline constexpr const char* bad_result_code = "bad_result";
inline bool has_effect(std::string_view code) { return code == too_large_code || code == bad_result_code; }

struct StepState {
  StepStatus status = StepStatus::pending;
  std::uint32_t attempt = 0;             // the last one that began: at the step, or at its compensation once there was one
  std::uint32_t failures = 0;            // of those attempts
  bool is_open = false;                  // it has not ended, or what came of it was not decided on
  std::optional<Outcome> outcome;        // what came of it
  bool is_due = false;                   // the next attempt may begin
  bool timed_out = false;                // all attempts together took too long
  std::uint32_t timed_from = 0;          // there is a timer for that, from this attempt on; 0: there is none
  // An attempt took too long: its effect may be there, so it is undone like that of a step that was completed.
  bool is_uncertain = false;
  WallTime started_at, changed_at;       // when the first attempt began, and its status was another last
  Value result;
  std::string code, error;               // of the last failure
};

struct Timer {
  TimerKind kind = TimerKind::unspecified;
  std::string step;
  std::uint32_t attempt = 0;
  bool compensation = false;
  WallTime due;
  bool is_same(const Timer& other) const { return kind == other.kind && step == other.step && attempt == other.attempt && compensation == other.compensation; }
};

struct State {
  std::string saga_id, definition, hash, user_id;
  Status status = Status::none;
  bool is_paused = false;
  bool is_cancelled = false;             // somebody has asked for it
  bool is_failing = false;               // a step has failed for good, or somebody wants it undone
  bool is_forced = false;                // also after the pivot
  bool has_timed_out = false;
  bool is_timed = false;                 // there is a timer for that
  bool is_compensated = false;           // all were tried
  Value input;
  std::map<std::string, StepState, std::less<>> steps;
  std::vector<std::string> completed;    // or skipped, in this order
  std::map<std::string, Value, std::less<>> signals;
  std::vector<Timer> timers;             // that are not due yet
  std::uint64_t late_replies = 0;
  WallTime started_at, ended_at;
  std::string error;                     // why it was not completed

  bool has_ended() const { return status == Status::completed || status == Status::compensated || status == Status::compensation_failed; }
  bool is_parked() const;
  // One that is no use any more is not waited for.
  bool is_wanted(const Timer& timer) const;
  const StepState* find(std::string_view step) const;
  // Of the values that it holds; and whether one more fits, of at most values_bytes_max.
  std::size_t value_bytes() const;
  bool has_room(const Value& value) const;

  // The saga's next event. What does not fit, as it came too late, changes nothing.
  void apply(const Fact& fact, WallTime time);
};

std::size_t bytes_of_value(const Value& value);

// What follows; nothing: it waits for something. The same for the same state but for the time, from which durations and timers count.
std::optional<Fact> decide(const Definition& definition, const State& state, WallTime now);
// All that follows, applied to the state.
std::vector<Fact> advance(const Definition& definition, State& state, WallTime now);

}  // namespace bus::saga
