// Retention removes events that no policy keeps. The log stays gapless and provable: of an event only its body goes, and the
// oldest records altogether once nothing of them is kept. Owned by the core; one thread.
//
//   due, or asked for ──> ages become positions ──> last events of keys ──> from record to record:
//     read the index ──> nothing goes: the next one
//                    └─> some go: read the record without them ──> commit ──> the next one
//
// Each step is one bounded read or one change of a few records, so that others have their turn in between; RetentionPace says when.
#pragma once

#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "broker/core/answers.hpp"
#include "broker/core/delivery.hpp"
#include "broker/core/durable_answers.hpp"
#include "broker/core/last_events.hpp"
#include "broker/core/log_view.hpp"
#include "broker/core/retention_pace.hpp"
#include "broker/core/retention_policies.hpp"
#include "broker/core/staging.hpp"
#include "broker/core/trusted_clock.hpp"

namespace bus::broker {

class Retention {
 public:
  Retention(State& state, Sessions& sessions, Staging& staging, Reads& reads, LogView& log, Delivery& delivery, std::uint64_t key_secret)
      : state_(state), staging_(staging), reads_(reads), log_(log), delivery_(delivery), answers_(sessions), durable_(staging, answers_), policies_(key_secret) {}

  // Recovery.
  Result<void> restore_row(std::string_view key, std::string_view value) { return policies_.restore_row(key, value); }
  void start(const store::Trim& trim, Now now);
  // The broker is stopping: a run under way ends, and none begins.
  void drain();

  // False: it is a request of another kind.
  bool receive(Asker to, const wire::Request& message, Now now);
  // Goes on with a run, or begins one. Returns when it wants to be called again at the latest.
  std::optional<SteadyTime> tick(Now now);
  // When what is ready should be committed if there is nothing else to commit; nothing: nothing is ready.
  std::optional<SteadyTime> commit_due(SteadyTime now) const;
  // A commit is about to be taken: what is ready goes with it. `others`: it is not for that alone.
  void join(bool others, SteadyTime now);
  // What was staged is durable.
  void committed(SteadyTime now);

  const RetentionPolicies& policies() const { return policies_; }
  // The policy that is asked for, with this pattern if one is given. Errors: bad_request (it is missing), bad_pattern, bad_settings.
  Result<RetentionPolicy> admit(const wire::RetentionPolicy* wire, std::optional<std::string_view> pattern = std::nullopt) const;
  // Durable with the batch being gathered.
  void put(RetentionPolicy policy, Now now);
  // False: there is none of this pattern.
  bool erase(std::string_view pattern, Now now);
  bool is_running() const { return run_.has_value(); }

 private:
  // What one run does for one policy.
  struct Share {
    RetentionPolicy policy;
    Position age_until{1};               // events before it are too old
    Position latest_from{1}, latest_until{1};  // events between have a part in saying which is the last of its key
    bool counts = false;                 // there seem to be too many: it is counted how many there are
    std::uint64_t live_events = 0, live_bytes = 0;
    std::uint64_t surplus_events = 0, surplus_bytes = 0;  // that are still too many
    std::uint64_t events = 0, bytes = 0; // removed, or if dry: that would be
    std::uint64_t kept_for_groups = 0, held = 0;
    std::string group;                   // one for which events are kept
  };
  struct TopicPlan {
    std::int32_t share = -1;             // none: its events stay
    bool was_met = false;                // an event of it that stays
    std::optional<RetentionPolicies::Held> held;  // once it is asked for
  };
  struct Wanted {
    bool dry = false;                    // counts only
    bool forced = false;                 // by an operator: even if it is hardly worth it
    std::optional<RetentionPolicy> tried;  // as if it was set
  };
  enum class Step : std::uint8_t { none, gather, read_on, go_on };
  struct Run {
    std::uint64_t number = 0;
    Wanted wanted;
    WallTime began_at, ended_at;
    std::optional<RetentionPolicies> policies;  // as they were when it began, and one that is only tried
    std::vector<Share> shares;
    std::vector<TopicPlan> topics;       // by number
    std::deque<std::pair<std::size_t, bool>> to_locate;  // share, and whether it is of latest_after
    std::unique_ptr<LastEvents> last_of;
    Position from{1}, at{1}, to;         // goes through these; `to` is the last one
    std::deque<store::RecordPtr> records;  // read, and not looked at yet
    Position next_read{1};               // none: there is no other record
    bool at_front = false;               // all before the next record is gone
    Step step = Step::none;              // the next one; none: the run waits for a read or a commit
    std::string trouble;
  };
  // Of a record, not staged yet.
  struct Ready {
    store::RecordPtr record;             // its index
    std::vector<std::uint32_t> going;
    store::RecordPtr rewritten;          // null: it goes
  };
  // Of a record, staged.
  struct Change {
    std::uint64_t batch = 0;
    Position last = Position::none;      // of the record
    store::RecordPtr record;             // null: it goes
  };
  // What becomes of one event.
  enum class Fate : std::uint8_t { stays, goes };

  void begin(const Wanted& wanted, Now now);
  void abandon(std::string why);
  void finish();
  void go_to(Step step);
  void locate();
  void plan();
  void gather();
  void gather_from(const store::Record& record);
  void walk();
  void read_on();
  void go_on();
  bool may_go_after(Position position) const;
  Fate decide(const store::Record& record, std::uint32_t at);
  const RetentionPolicies::Held& held(std::uint32_t topic);
  const Source* keeper(std::uint32_t topic, Position position);
  bool is_superseded(const Share& share, std::int32_t number, const store::Record& record, std::uint32_t at) const;
  bool may_trim(const store::Record& record, std::size_t going) const;
  void trim(const store::Record& record, const std::vector<std::uint32_t>& going);
  void make_ready(Ready ready);
  bool is_enough_ready() const;
  bool may_still_go(const Ready& ready);
  void rewrite(const store::RecordPtr& record, std::vector<std::uint32_t> going);
  void change(store::RecordChange change, Position last);
  void keep(const store::Record& record, const std::vector<std::uint32_t>& going);
  void count(const store::Record& record, const std::vector<std::uint32_t>& going);
  void settle_first();
  void note(const std::optional<Error>& error);
  std::optional<std::int32_t> share_of(const store::Record& record, std::uint32_t at) const;
  const RetentionPolicy* policy_of(std::uint32_t topic) const;
  template <typename Done>
  void ask(ReadAsk what, Done done);

  void set(Asker to, const wire::RetentionSet& ask, Now now);
  void remove(Asker to, const wire::RetentionRemove& ask, Now now);
  void hold(Asker to, const wire::LegalHoldSet& ask, Now now);
  void release(Asker to, const wire::LegalHoldRelease& ask, Now now);
  void run(Asker to, const wire::RetentionRun& ask, Now now);
  void tell(Asker to);
  void changed(store::Row row, Now now);
  std::unique_ptr<wire::RetentionRunInfoT> run_info() const;

  State& state_;
  Staging& staging_;
  Reads& reads_;
  LogView& log_;
  Delivery& delivery_;
  Answers answers_;
  DurableAnswers durable_;               // also lists and refusals: what they tell may be staged
  RetentionPolicies policies_;
  store::Trim trim_;                     // staged
  std::vector<Ready> ready_;             // of the run under way, for the next commit
  SteadyTime ready_since_;
  RetentionPace pace_;
  TrustedClock clock_;
  std::deque<Change> changes_;           // a run goes on when they are durable
  std::map<std::string, Position, std::less<>> latest_to_;  // by pattern: up to here the last events of keys are known to be the only ones
  std::map<std::uint32_t, Delivery::Settled> settled_;  // by topic, of the record that is looked at
  mutable std::vector<std::optional<const RetentionPolicy*>> policy_of_;  // by topic number, as asked for
  std::optional<Run> run_;
  Run last_;                             // the one before
  std::vector<std::unique_ptr<LastEvents>> leavings_;  // of runs that have ended
  std::uint64_t runs_ = 0;
  std::optional<SteadyTime> due_;        // the next run
  bool is_draining_ = false;
  Now now_{};                            // of the last tick or request
};

}  // namespace bus::broker
