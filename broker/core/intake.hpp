// Intake takes published batches: verifies every event, finds the receipts of those sent before, waits for cold
// keys, and stages the rest, in each publisher's order. Owned by the core; one thread.
//
//   publish() ──> parked ──duplicates found, keys known, room in the commit──> staged ──committed──> PublishResult
//                    └──a look-up failed──> given back: Failure
//
// A batch is refused as a whole (and uses up nothing) or taken as a whole; of a batch that is taken each event gets a
// receipt or a refusal. One that is given back has used up nothing either. What is stored together or not at all is a step:
// events of one batch, with the settlements and cancels that go with them. A batch that cancels scheduled events holds the schedule from
// when it looks for them until it is staged.
#pragma once

#include <deque>
#include <map>
#include <string>
#include <unordered_map>

#include "broker/core/commit_pacer.hpp"
#include "broker/core/delivery.hpp"
#include "broker/core/log_view.hpp"
#include "broker/core/payload_types.hpp"
#include "broker/core/schedule.hpp"
#include "broker/core/sessions.hpp"
#include "broker/core/snapshots.hpp"
#include "broker/core/staging.hpp"
#include "broker/core/topic_settings.hpp"
#include "wire/envelope.hpp"
#include "wire/event_codec.hpp"

namespace bus::broker {

class Intake {
 public:
  struct Counters {
    std::uint64_t events = 0, duplicates = 0, refused = 0;
  };
  Intake(State& state, Sessions& sessions, Staging& staging, Reads& reads, Schedule& schedule, Delivery& delivery,
         Snapshots& snapshots, const PayloadTypes& types, TopicTable& topics, std::uint64_t key_secret)
      : state_(state), sessions_(sessions), staging_(staging), reads_(reads), schedule_(schedule), delivery_(delivery), snapshots_(snapshots), types_(types), topics_(topics),
        key_secret_(key_secret) {}

  // The session will publish as session.publisher; whoever did so before is fenced. Returns the last sequence used
  // up, and in `batch` the one that must have committed before that is said.
  std::uint64_t claim(Session& session, std::uint64_t& batch);
  // Who publishes under the name now; 0: nobody.
  SessionId holder(const std::string& publisher) const;
  // The session is over: what it has parked is dropped. True if it had its name to the end.
  bool drop(const Session& session);

  // One Publish. Errors refuse it as a whole; receipts follow by themselves.
  Result<void> publish(Session& session, const wire::Publish& message, Frame body, Now now);

  // Until when the next commit should wait for more; nothing if it need not, or is full.
  std::optional<SteadyTime> wait_until(SteadyTime now) const { return line_.empty() ? pacer_.wait_until(now) : std::nullopt; }
  // The batch that was gathered is with the committer: those who waited for room in the next one go on.
  void taken(SteadyTime now);
  // It is durable; the answers follow.
  void durable(SteadyTime now) { pacer_.ended(now); }
  // They were given: batches that waited for this commit go on.
  void committed();
  // The free pages cover so many bytes more.
  // May an operator's request put rows of so many bytes? Errors: log_full; busy: as much as may wait for the disk does.
  Result<void> admit_rows(std::size_t bytes) const;
  bool has_space(std::size_t bytes) const { return staging_.bytes() + parked_bytes_ + bytes <= admissible_bytes_; }
  void set_space(const store::Space& space, std::size_t reserve_bytes);
  void drain() { draining_ = true; }

  // Events of the topic are parked, to go into the log at once.
  bool holds_topic(std::string_view topic) const;
  bool idle() const { return parked_bytes_ == 0; }
  std::size_t parked_bytes() const { return parked_bytes_; }
  bool log_full() const { return log_full_; }
  const Counters& counters() const { return counters_; }

 private:
  struct Item {
    Bytes event;                        // empty: refused or skipped
    Hash128 key;
    std::uint32_t topic = 0, type = 0;  // their numbers; 0: not known yet
    std::uint8_t priority = 0, flags = 0;
    bool has_key = false;
    bool is_snapshot = false;           // of its key; not for the log
    bool is_no_event = false;           // stands for a step without events
    bool is_deprecated = false;         // its type, when it came
    std::uint16_t unique_id = 0;        // which of the batch's condition_keys, from 1; 0: others may have its id
    std::int64_t deliver_at = 0;        // 0: at once
    std::int64_t added_at = 0;          // scheduled: when it came
    bool is_scheduled() const { return deliver_at != 0; }
  };
  // A key that conditions name, or an id that is to be unique, which is a key of its own without a name.
  struct ConditionKey {
    std::string name;
    Hash128 hash;
  };
  // Items [first, end).
  struct Step {
    std::size_t first = 0, end = 0;
    std::vector<wire::SettleT> settles;
    std::vector<wire::ScheduleIdT> cancels;
  };
  struct Parked {
    Frame body;
    std::size_t bytes = 0;                // what it takes, of memory and of the log
    Now came;
    std::uint64_t first_sequence = 0;
    std::vector<Item> items;
    std::vector<wire::Condition> conditions;  // in the order of their items, as are
    std::vector<Step> steps;
    std::vector<ConditionKey> condition_keys;
    bool has_unique_ids = false;
    std::vector<wire::Snapshot> snapshots;    // in the order of their items
    bool has_steps_without_events = false;
    bool holds_schedule = false;
    Schedule::Fates fates;                    // of what its steps cancel, while it does
    std::map<std::size_t, Error> refused;
    std::vector<wire::Receipt> receipts;  // of the items done so far
    bool waiting = false;                 // for a read or a commit
    std::uint64_t search = 0;             // the number of the search it waits for
    std::uint64_t answered_after = 0;     // the batch that has to commit first; 0: these are duplicates, read from committed records
    std::uint64_t last_sequence() const { return first_sequence + items.size() - 1; }
  };
  // The walk back along a publisher's chain, in as many reads as it takes, for what became of `hits.size()` sequences.
  struct Search {
    std::uint64_t number = 0;
    std::uint32_t publisher = 0;
    std::uint64_t first_sequence = 0;
    std::vector<store::SequenceHit> hits;
    std::vector<bool> scheduled;          // those that are not in the chain, and are or were in the schedule,
    std::vector<std::uint64_t> snapshots; // or were taken as snapshots, of these versions; 0: none
    std::vector<bool> steps;              // or stood for steps without events
    std::size_t open = 0;                 // of them are still to be found, the lowest ones,
    Position next = Position::none;       // from here on; none: nobody knows of those any more,
    std::string gone;                     // for this reason
  };
  struct Publisher {
    SessionId holder = 0;
    std::uint64_t fence = 0;
    std::uint64_t accepted = 0;           // last sequence parked or staged
    std::deque<Parked> parked;
    bool in_line = false;                 // for room in a commit
    std::size_t window_bytes = 0, window_events = 0;  // without receipt
    CommitPacer::Habit habit;
  };

  Result<void> admit(const Session& session, const Publisher& publisher, const wire::Publish& message, std::size_t bytes) const;
  Result<void> admit_scheduled(const Parked& batch) const;
  bool has_room(const Publisher& publisher, std::size_t bytes) const;
  Result<Parked> unpack(const wire::Publish& message, Frame body, Now now);
  Result<void> take_conditions(const wire::Publish& message, Parked& batch) const;
  void take_unique_id(Parked& batch, std::size_t at) const;
  static Result<void> take_snapshots(const wire::Publish& message, Parked& batch);
  static Result<void> take_steps(const wire::Publish& message, Parked& batch);
  static Result<void> take_no_event(Parked& batch, const wire::Step& step);
  static const Step* step_of(const Parked& batch, std::size_t at);
  static void refuse(Parked& batch, std::size_t at, const Error& error);
  Result<void> check(Item& item, WallTime now);
  void note_deprecated(const Item& item, const std::string& publisher);
  static Result<void> check_snapshot(const wire::Envelope& envelope);
  Result<void> check_new_topic(std::string_view topic) const;
  const PayloadTypes::Type* payload_type(std::uint32_t number);
  std::uint64_t last_staged(const std::string& name) const;

  void advance(const std::string& name);
  bool find_duplicates(const std::string& name, Parked& batch);
  void walk(const std::string& name, Search search);
  void walked(const std::string& name, Search search, const Result<ReadAnswer>& answer);
  void find_rows(const std::string& name, Search search, SequenceRow kind);
  void find_more(const std::string& name, Search search, std::optional<SequenceRow> asked);
  Parked* wanted_by(const std::string& name, std::uint64_t search);
  void take_duplicates(Parked& batch, const Search& search);
  void take_duplicate_ids(Parked& batch);
  bool find_cold_keys(const std::string& name, Parked& batch);
  bool find_cold_key(const std::string& name, const Hash128& key, std::vector<Hash128>& ask);
  void ask_keys(std::vector<Hash128> keys);
  void take_keys(const std::vector<Hash128>& keys, Result<ReadAnswer> answer);
  static bool wants_id(const Parked& batch, std::size_t at);
  void fail_key(const std::string& name, const Hash128& key, const Error& error);
  void give_back(const std::string& name, const Error& error);
  void forget(std::deque<Parked>& parked);
  bool find_cancels(const std::string& name, Parked& batch);
  void take_fates(const std::string& name, std::uint64_t search, Result<Schedule::Fates> fates);
  ScheduleId id_of(const wire::ScheduleIdT& id) const;
  std::optional<Error> not_waiting(const Parked& batch, const wire::ScheduleIdT& id) const;
  void cancel(Parked& batch, const Step& step);
  bool fits_commit(const Parked& batch) const;
  void stage(const std::string& name, Publisher& publisher, Parked& batch);
  Result<void> stage(const Item& item, Staging::NewEntry& entry, wire::Receipt& receipt);
  Result<void> schedule(const Item& item, const Staging::NewEntry& entry);
  void keep(const Parked& batch, std::size_t at, const Staging::NewEntry& entry, wire::Receipt& receipt);
  void keep_step(const Staging::NewEntry& entry);
  // The conditions and steps of a batch that are still ahead while it is staged.
  struct Ahead {
    std::size_t condition = 0, step = 0;
    std::size_t decided = 0;              // items before it are
    std::optional<wire::Receipt> duplicate;  // the item's id is in the log: this is the answer
  };
  void decide(Session& session, Parked& batch, std::size_t at, Ahead& ahead);
  Result<void> decide_step(Session& session, const Parked& batch, const Step& step) const;
  std::optional<Error> conflict(const Parked& batch, const wire::Condition& condition) const;
  Result<void> may_keep(const Parked& batch, std::size_t first, std::size_t end) const;
  std::optional<wire::Receipt> event_of_id(const Parked& batch, const Item& item) const;
  std::optional<Error> known_id(const Parked& batch, const Step& step) const;
  static const Hash128& key_of(const Parked& batch, const wire::Condition& condition);
  void answer(SessionId session, const std::string& name, const Parked& batch);
  static Buffer result_of(const Parked& batch);
  Parked* waiting_front(const std::string& name);

  State& state_;
  Sessions& sessions_;
  Staging& staging_;
  Reads& reads_;
  Schedule& schedule_;
  Delivery& delivery_;
  Snapshots& snapshots_;
  const PayloadTypes& types_;
  TopicTable& topics_;
  std::uint64_t key_secret_;
  std::vector<const PayloadTypes::Type*> payload_types_;   // by the number of the type, as they are asked for; 0: none
  std::unordered_map<std::string, Publisher> publishers_;  // by name, those with a session
  std::map<std::uint64_t, std::vector<std::string>> waiting_for_commit_;
  std::deque<std::string> line_;  // publishers that wait for room in a commit; some have left since
  std::unordered_map<Hash128, std::vector<std::string>> cold_;  // being read, and who else waits
  std::uint64_t next_fence_ = 1, last_search_ = 0;
  std::size_t parked_bytes_ = 0;
  std::uint64_t admissible_bytes_ = limits::staged_bytes_max;  // what the free pages cover, beyond the reserve
  bool log_full_ = false, space_full_ = false, draining_ = false;
  Counters counters_;
  CommitPacer pacer_;
};

}  // namespace bus::broker
