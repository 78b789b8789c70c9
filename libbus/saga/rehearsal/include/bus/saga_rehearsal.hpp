// Rehearsal plays sagas in the process of a test: on a broker of its own, with the core and the log that busd has, in a directory of its own; with
// the decisions of a real worker; and on a clock that stands still while there is something to do and then goes to where there is. So days pass at
// once, and the same things happen each time.
//
//   bus::saga::Rehearsal rehearsal(entry);
//   rehearsal.script("update_blockchain", {bus::saga::fails("busy"), bus::saga::works()});
//   rehearsal.start("1");
//   rehearsal.run();
//   EXPECT_EQ(rehearsal.status("1"), "completed");
//   EXPECT_EQ(rehearsal.history("1"), text_of("golden/entry.txt"));
//
// What a service must bear is rehearsed with it: with_every_crash() plays it again with a crash at each write and each attempt.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "bus/event.hpp"
#include "bus/saga.hpp"

namespace bus::saga {

// What an attempt comes to.
struct Played {
  enum class Kind : std::uint8_t { works, fails, hangs };
  Kind kind = Kind::works;
  Value value;                           // works
  Failed failed;                         // fails
  Duration takes = {};                   // until the reply; what it does it does at once
};
inline Played works(Value value = {}, Duration takes = {}) { return {Played::Kind::works, std::move(value), {}, takes}; }
inline Played fails(std::string code, std::string error = "broken", Duration takes = {}) { return {Played::Kind::fails, {}, {std::move(code), std::move(error)}, takes}; }
inline Played hangs() { return {Played::Kind::hangs, {}, {}, {}}; }

// Whose process ends: the one that is at hand, a worker's or a service's, or where none is the first worker's; or the broker's.
enum class Crash : std::uint8_t { process, broker, both };

struct RehearsalOptions {
  unsigned workers = 1;                  // that share the work, each in a process of its own
  std::optional<std::pair<std::size_t, Crash>> crash = {};  // at this moment, counted from 0: before and after each write of the broker, and each attempt
  std::size_t* moments = nullptr;        // where to say how many there were, at the end
};

// Not thread-safe. It throws (std::exception) what cannot be gone on from: a definition that check() refuses, a name it does not have, a disk that
// is full, and what never ends.
class Rehearsal {
 public:
  explicit Rehearsal(Definition definition, RehearsalOptions options = {});
  Rehearsal(Rehearsal&&) noexcept;
  Rehearsal& operator=(Rehearsal&&) noexcept;
  ~Rehearsal();

  // ---- what attempts come to. Without a script local steps run their functions, and remote ones those of serve(); or they hang.
  // Of one step, one attempt after another; the last one counts for all that follow. `effect` is called for each that does not hang, before
  // what it comes to is told.
  using Effect = std::function<void(const Context&)>;
  Rehearsal& script(const std::string& step, std::vector<Played> attempts, Effect effect = {});
  Rehearsal& script_undo(const std::string& step, std::vector<Played> attempts, Effect effect = {});
  // A service for the commands of this topic.
  Rehearsal& serve(const std::string& topic, Action action);

  // ---- what happens. Each waits until the broker has it; what makes no sense for the saga as it is throws, as Control would refuse it.
  // False: there was an instance of this id.
  bool start(const std::string& business_id, const Value& input = {}, const std::string& user_id = "");
  void signal(const std::string& business_id, const std::string& signal, const Value& value = {});
  void pause(const std::string& business_id, const std::string& reason);
  void resume(const std::string& business_id, const std::string& reason);
  void cancel(const std::string& business_id, const std::string& reason);
  void retry_step(const std::string& business_id, const std::string& step, const std::string& reason);
  void skip_step(const std::string& business_id, const std::string& step, const std::string& reason, const Value& value = {});
  void compensate(const std::string& business_id, const std::string& reason);
  // Until every saga has ended, or waits for what only run_for(), or somebody, brings: a signal, a person, a reply that never comes.
  void run();
  // The same, and so much time passes.
  void run_for(Duration time);

  // ---- what came of it
  WallTime now() const;
  // "running", "parked", "paused", "compensating", "completed", "compensated", "compensation_failed", or "unknown".
  std::string status(const std::string& business_id);
  std::vector<Event> events(const std::string& business_id);
  // A line for each event: when, since the first one, what, and which step and attempt. The same each time, for golden files.
  std::string history(const std::string& business_id);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// Calls `play` with options that it makes its Rehearsal of, plays and checks: first without a crash, and then for each moment there was and each kind
// of crash. Returns how often.
std::size_t with_every_crash(const std::function<void(const RehearsalOptions&)>& play);

// Whether each decision among the events of one saga, in the order of their versions, is the one that the definition leads to: what a worker of today
// would decide, it decided then. Error bad_argument: which one is not, and what would be instead.
Result<void> check_history(const Definition& definition, const std::vector<Event>& events);

}  // namespace bus::saga
