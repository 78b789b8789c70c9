// Schedule keeps events that are not due yet, and puts them into the log when they are. Owned by the core; one thread.
//
//   add() ──> waits in its row ──due, or run()──> in the log, and its row is gone: in one commit
//                       └──cancel()──> its row is gone: by an operator, or with a step
//
// No event is in memory: the rows lie in the order of their times, and only the next of them matters. Whatever takes rows away
// is one change after the other: it reads what is committed, and the next one begins when its own commit is done. So nothing
// is put into the log twice, and nothing that was cancelled is.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "broker/core/log_view.hpp"
#include "broker/core/schedule_rows.hpp"
#include "broker/core/staging.hpp"

namespace bus::broker {

class Schedule {
 public:
  Schedule(State& state, Staging& staging, Reads& reads) : state_(state), staging_(staging), reads_(reads) {}
  // After recovery; so many wait.
  void start(std::uint64_t waiting) { waiting_ = waiting; }

  std::uint64_t waiting() const { return waiting_; }
  bool is_full() const { return waiting_ >= limits::schedule_max; }
  static Error full();
  // Why what is due does not go on, if it does not.
  const Error& trouble() const { return trouble_; }

  // Not if it is full. Durable with the batch being gathered, for which the caller says that its sequence is used up.
  void add(const ScheduledRow& event);

  // For a step that cancels some: `held` is called in its turn, with what became of those that are known, and until release() nothing
  // else changes the schedule.
  using Fates = std::map<ScheduleId, ScheduleIdRow>;
  void hold(std::vector<ScheduleId> ids, std::function<void(Result<Fates>)> held);
  // While it is held: one that waits goes with the batch being gathered.
  void cancel(const ScheduleId& id, WallTime due) { leave(id, due, ScheduleFate::cancelled, Position::none); }
  void release() { left_.empty() ? ended() : commit(); }

  // Both change at most so many: schedule_ids_max, and one. `done` is called when it is durable. Codes: ok, not_found, conflict (it
  // is no longer waiting).
  void cancel(std::vector<ScheduleId> ids, std::function<void(Result<std::vector<Code>>)> done);
  void run(ScheduleId id, std::function<void(Result<Staged>)> done);

  // What is due goes into the log, as long as that has room. Returns when to call again.
  std::optional<SteadyTime> tick(Now now, bool has_room);

 private:
  // Of an event that is being taken out of its rows.
  struct Due {
    std::string key, value;
  };
  void enqueue(std::function<void()> change);
  void begin_next();
  void ended();
  void commit();
  WallTime next_due() const;
  void read_due();
  void take_due(WallTime now, Result<ReadAnswer> answer);
  void trouble(const Error& error);
  // Heads of keys on their way, for events that are to be staged then.
  struct Search {
    std::vector<Due> events;
    std::function<void(const Error&)> staged;  // the error: why some could not be
    std::size_t parts = 0;
    Error error;
  };
  void find_keys(std::vector<Due> events, std::function<void(const Error&)> staged);
  void ask_keys(std::vector<Hash128> keys, std::shared_ptr<Search> search);
  void part_done(Search& search);
  std::optional<Staged> stage(const ScheduledRow& event);
  void leave(const ScheduleId& id, WallTime due, ScheduleFate fate, Position position);

  State& state_;
  Staging& staging_;
  Reads& reads_;
  std::uint64_t waiting_ = 0;
  std::deque<std::function<void()>> changes_;  // that wait for their turn
  bool changing_ = false;
  bool taking_ = false;                  // one of them takes what is due
  Now now_{};                            // of the last tick
  WallTime next_read_ = WallTime::min(); // the earliest that was seen to be left, of those that were committed then;
  std::map<std::uint64_t, WallTime> added_;  // and of those added since, by batch
  std::string from_;                     // the next read begins there: behind some that cannot be published
  SteadyTime again_ = SteadyTime::min(); // after trouble
  Error trouble_;
  std::optional<Staged> last_staged_;
  std::set<std::uint32_t> left_;         // publishers of what the change has taken out
};

}  // namespace bus::broker
