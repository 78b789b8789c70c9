// CommitPacer decides whether a commit waits a moment for company. Publishers that wait for each receipt answer a commit
// with their next events; were the next commit begun before those arrive, every publisher would have to sit out the
// commits of the others. So it waits for whoever has come back promptly before: at most as long as the last commit took,
// and once only for each that then stays away. Owned by the intake; one thread.
//
//   began() ── commit ──ended()──> answered() for each publisher that has all its receipts ──> published() ──> began()
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>

#include "bus/types.hpp"

namespace bus::broker {

class CommitPacer {
 public:
  static constexpr Duration patience_max = std::chrono::milliseconds(1);

  // What is remembered of a publisher.
  struct Habit {
    bool is_prompt = false;                // it came back in time after its last receipt
    bool is_away = false;                  // it has its receipts, and has published nothing since
    std::uint64_t expected_after = 0;      // the commit after which it is waited for
    SteadyTime answered_at;
  };

  void began(SteadyTime now) { began_at_ = now; }
  void ended(SteadyTime now) {
    ended_at_ = now;
    patience_ = std::min<Duration>(now - began_at_, patience_max);
    ++commit_;
    expected_ = 0;
  }
  // It has no event without a receipt any more.
  void answered(Habit& habit) {
    habit.is_away = true;
    habit.answered_at = ended_at_;
    if (!habit.is_prompt) return;
    habit.expected_after = commit_;
    ++expected_;
  }
  void published(Habit& habit, SteadyTime now) {
    if (!habit.is_away) return;
    left(habit);
    habit.is_away = false;
    habit.is_prompt = now - habit.answered_at <= patience_;
  }
  void left(const Habit& habit) {
    if (habit.is_away && habit.is_prompt && habit.expected_after == commit_) --expected_;
  }
  // Until when the next commit should wait; nothing if it need not.
  std::optional<SteadyTime> wait_until(SteadyTime now) const {
    const auto until = ended_at_ + patience_;
    return expected_ > 0 && now < until ? std::optional(until) : std::nullopt;
  }

 private:
  SteadyTime began_at_, ended_at_;
  Duration patience_{};
  std::uint64_t commit_ = 0;
  std::size_t expected_ = 0;               // publishers that were prompt, and are away since this commit
};

}  // namespace bus::broker
