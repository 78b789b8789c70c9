// RetentionPace says when a run of retention reads on, and when what it has ready is committed. Whoever waits for a commit waits for
// all of it, and for the one before: so while others commit, a change goes with one of their commits, and only if none comes for a
// while with one of its own. And the run rests after each read, or others would wait for the reader thread. One thread.
#pragma once

#include <algorithm>
#include <optional>
#include <utility>

#include "base/limits.hpp"
#include "bus/types.hpp"

namespace bus::broker {

class RetentionPace {
 public:
  RetentionPace() = default;
  // Others are at work if they have committed within this time.
  static constexpr Duration others_stay = std::chrono::seconds(1);
  // So long a change waits for a commit of theirs.
  static constexpr Duration patience = std::chrono::milliseconds(100);
  // A run goes through the log so many times as fast as that has grown since it began, or at so many events a second if that is more, and no
  // faster. And for so many times as long as a read took nothing is read, so that others have most of the reader thread.
  static constexpr std::uint64_t gain = 8;
  static constexpr std::uint64_t events_a_second = 20'000;
  static constexpr int rest_after_read = 4;
  // What is changed with one commit: no more than so many bytes that are written anew, and such records with so many events in all; but
  // two records at least. Else a run that others commit large records beside would never gain on them.
  static constexpr std::size_t changed_bytes = 32 * limits::KiB;
  static constexpr std::size_t changed_events = 512;
  static constexpr std::size_t changed_records_least = 2;

  // A run begins, with the log at this position.
  void begin(Position head, SteadyTime now) { *this = RetentionPace(others_at_, head, now); }
  void asked(SteadyTime now) { asked_at_ = now, is_reading_ = true; }
  void answered() { is_reading_ = false, was_answered_ = true; }
  // So many events were looked at.
  void looked(std::uint64_t events) { looked_ += events; }
  void tick(Position head, SteadyTime now) {
    if (!std::exchange(was_answered_, false)) return;
    const Duration took = now - asked_at_;
    busy_ += took;
    const auto looked = std::exchange(looked_, 0);
    const Duration rest = std::max<Duration>(rest_after_read * took, looked * Duration(std::chrono::seconds(1)) / speed(head, now));
    rest_until_ = are_others_at_work(now) ? std::max(rest_until_, now + rest) : now;
  }
  bool is_reading() const { return is_reading_; }
  SteadyTime rest_until() const { return rest_until_; }
  // In all that was read. Rests and waits are no work.
  Duration busy() const { return busy_; }

  void others_commit(SteadyTime now) { others_at_ = now; }
  // When what has been ready since then should be committed, if nobody else commits.
  SteadyTime commit_due(SteadyTime ready_since, SteadyTime now) const { return are_others_at_work(now) ? ready_since + patience : now; }
  // `bytes` and `events`: of records that are written anew.
  static bool is_enough(std::size_t records, std::size_t bytes, std::size_t events) {
    return records >= changed_records_least && (bytes >= changed_bytes || events >= changed_events || records >= limits::retention_trims_max);
  }

 private:
  RetentionPace(std::optional<SteadyTime> others_at, Position head, SteadyTime now) : others_at_(others_at), began_at_(now), head_(head) {}
  // Events a second.
  std::uint64_t speed(Position head, SteadyTime now) const {
    const auto seconds = std::chrono::duration<double>(now - began_at_).count();
    const auto growth = seconds > 0 ? static_cast<double>(head - head_) / seconds : 0;
    return std::max(events_a_second, gain * static_cast<std::uint64_t>(growth));
  }
  bool are_others_at_work(SteadyTime now) const { return others_at_ && now - *others_at_ < others_stay; }

  std::optional<SteadyTime> others_at_;  // their last commit
  SteadyTime began_at_, asked_at_, rest_until_;
  Position head_ = Position::none;
  std::uint64_t looked_ = 0;             // since the last rest
  Duration busy_ = {};
  bool is_reading_ = false;
  bool was_answered_ = false;            // since the last tick
};

}  // namespace bus::broker
