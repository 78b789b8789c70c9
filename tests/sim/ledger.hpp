// Ledger is what the simulator holds the broker to: which events were sent, what the log holds, and what was said to
// whom. It sees each batch at the moment it becomes durable, and each message as it enters or leaves the core; the first
// one that breaks a promise throws Violation. The world owns it; it outlives every broker.
//
// A group's life is split twice: into incarnations (created, removed) and, within one, into views (since its creation,
// or since a seek). A broker that crashes may take back what it has not confirmed, and nothing else.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <stdexcept>
#include <string>
#include <tuple>
#include <vector>

#include "broker/core/core.hpp"

namespace bus::sim {

struct Violation : std::runtime_error {
  using std::runtime_error::runtime_error;
};

void require(bool holds, const std::string& what);

// Does the topic match? Written apart from the broker's matcher on purpose.
bool matches(const std::string& pattern, const std::string& topic);

// How the ledger names things in what it complains of.
inline std::string place(std::uint64_t position) { return "position " + std::to_string(position) + ": "; }
inline std::string named(const std::string& publisher, std::uint64_t sequence) {
  return publisher + " sequence " + std::to_string(sequence) + ": ";
}
inline std::uint16_t generation_of(std::uint64_t epoch) { return static_cast<std::uint16_t>(epoch & 0xffff); }

// What must be true of a key before the event is stored.
struct Need {
  std::string key;
  wire::Expect expect = wire::Expect::version;
  std::uint64_t version = 0;
  bool is_met_at(std::uint64_t now) const {
    return expect == wire::Expect::version ? now == version : (now > 0) == (expect == wire::Expect::exists);
  }
};

struct SentEvent {
  std::string topic, key;
  Buffer bytes;
  Code refusal = Code::ok;            // bad on purpose: the code it must be refused with
  std::string sender = {};            // the client; a transient publisher is several, one after the other
  std::int64_t deliver_at = 0, expires_at = 0;
  wire::Priority priority = wire::Priority::medium;
  bool may_fail = false;              // it has conditions, or is part of a step: whether it is stored is for the broker to say
  std::vector<Need> needs = {};
  std::uint64_t step_first = 0, step_last = 0;  // sequences of the step it is part of; 0: none. Its first event has what it settles:
  std::uint64_t acks_epoch = 0;
  std::vector<std::pair<std::uint64_t, std::uint32_t>> acks = {};  // position and attempt
  std::vector<std::pair<std::string, std::uint64_t>> cancels = {};  // of its step: publishers and sequences
  bool is_no_event = false;           // stands for a step without events
  std::string unique_id = {};         // its source and id, to be stored once; empty: others may have it
  std::uint64_t snapshot_of = 0;      // a state of its key, of this version; 0: an event for the log
};

// How many snapshots of a key stay.
inline std::uint32_t kept_of(const std::string& key) { return 1 + static_cast<unsigned char>(key.back()) % 3; }

struct LogEvent {
  std::string publisher;
  std::uint64_t sequence = 0;
  const SentEvent* sent = nullptr;
  std::uint64_t version = 0;
  std::int64_t committed_at = 0;
  std::size_t topic = 0, key = 0;     // their numbers here
  bool is_removed = false;            // by retention: its body is gone from the disk,
  bool is_trimmed = false;            // with the record it was in,
  bool is_told = false;               // and the core has been told
};

class Ledger {
 public:
  // ---- what clients do. Several may send the same sequence of a transient publisher: one that has lost the name without
  // knowing it, and the one that has it now.
  void sent(const std::string& publisher, std::uint64_t sequence, SentEvent event);

  // ---- the disk
  // The core has made up its mind what goes into the next commit.
  void handed_over(const store::CommitBatch& batch, const broker::Core& core);
  // The core knows that the last batch is durable: of what that has removed nothing leaves any more.
  void reported();
  void applied(const store::CommitBatch& batch, const broker::State& names);
  // A broker has come up: what it reads from disk and what it remembers of groups.
  void restarted(const store::Store& store, const broker::Core& core);

  // ---- messages. `peer` is one connection of one client.
  void entering(const broker::Peer& peer, const wire::Message& message, const broker::Core& core);
  // After the core has taken it: groups may have come, gone or moved.
  void entered(const broker::Peer& peer, const wire::Message& message, const broker::Core& core);
  void leaving(const broker::Outgoing& message);
  void groups_changed(const broker::Core& core);

  // It is this time now, or was later once.
  void passed(WallTime now) { now_ = std::max(now_, now); }
  // Somebody asks to cancel this one, of those that were ever scheduled; nothing: there is none yet.
  std::optional<std::pair<std::string, std::uint64_t>> any_scheduled(std::uint64_t dice) const;

  // What the run came to: one that has none of a kind has not tried it.
  struct Figures {
    std::uint64_t steps = 0, conflicts = 0, stale = 0, known_ids = 0, snapshots = 0, pruned = 0, erased = 0, cancels = 0, late = 0, without_events = 0;
    std::uint64_t removed = 0, trimmed = 0, latest = 0, held = 0, for_groups = 0, told_trimmed = 0, unknown = 0, backups = 0, restored = 0;
    Figures& operator+=(const Figures& other);
  };
  const Figures& figures() const { return figures_; }
  const std::vector<LogEvent>& log() const { return log_; }
  std::uint64_t head() const { return log_.size(); }
  const LogEvent& at(std::uint64_t position) const { return log_.at(position - 1); }
  bool is_removed(std::uint64_t position) const { return at(position).is_removed; }
  // All from the first to the last; so if there are none.
  bool are_removed(std::uint64_t first, std::uint64_t last) const;
  // Of these sequences nobody may know any more what became of them, as the records that would say so are gone. 0: of none.
  std::uint64_t unknown_to(const std::string& publisher) const;
  // Checks one delivery against the log: the event is there, with these bytes and figures.
  void check_delivery(const wire::Delivery& delivery, const std::string& publisher, Bytes body) const;
  // At the end, when nothing is left to do.
  void check_settled(const broker::Core& core) const;
  // The whole log: each id that was to be stored once is there once, and is known to the next broker.
  void check_ids(store::LogReader& reader) const;
  // ---- backups
  // The log as it was.
  struct Moment {
    std::uint64_t head = 0, trimmed_to = 0;
    std::vector<bool> removed;        // by position - 1
    std::map<std::string, std::pair<std::string, std::uint64_t>> kept;  // snapshots of keys
  };
  // The broker keeps the log readable as it is now.
  void snapshot_held();
  const Moment& moment() const { return moment_; }
  void backed_up() { ++figures_.backups; }
  // A log restored from a backup that began then.
  void check_restored(const store::Store& store, const Moment& moment);

  // The last part of what verify said of the log of that moment, or of now, which counts so many events as removed.
  void check_verified(const store::VerifySlice& last, std::uint64_t removed, const Moment* moment = nullptr) const;
  // A run of retention that began at that time has ended, and nothing has happened since: what had to go is gone.
  void check_all_went(const broker::Core& core, WallTime began);

 private:
  using Peer = broker::Peer;
  using Name = std::pair<std::string, std::uint64_t>;  // publisher and sequence
  using Asked = std::pair<broker::Peer, std::uint64_t>;  // peer and request, or peer and subscription: a member
  struct PublisherBook {
    std::uint64_t created = 0, stored = 0, answered = 0;
    std::set<std::uint64_t> positions;
  };
  struct View {
    std::uint64_t start = 1;
    bool durable = false;
    bool ordered = true;                                 // of each key one after the other, all the time
    std::set<std::uint64_t> delivered, acked, settled;
    // By member, key and priority: the last first delivery.
    std::map<std::tuple<Asked, std::string, wire::Priority>, std::uint64_t> first_of_key;
  };
  struct Incarnation {
    std::vector<std::string> patterns;
    bool durable = false, gone = false;
    std::map<std::uint16_t, View> views;                 // by generation
    bool is_new = true;                                  // made since the last batch was taken,
    std::set<std::uint16_t> lately;                      // and the generations since then
    std::set<std::uint64_t> rejected;                    // which may come back from the dead letters in any of them
    std::map<std::pair<std::uint64_t, std::uint64_t>, std::uint32_t> attempts;  // epoch and position: the last one
  };
  using GroupId = std::pair<std::string, std::int64_t>;  // name and creation
  struct Change {
    GroupId group;
    std::uint16_t generation = 0;
  };
  struct Acks {
    std::uint64_t epoch = 0;
    std::vector<std::pair<std::uint64_t, std::uint32_t>> settled;  // position and attempt
  };

  void store_scheduled(const Name& event, const SentEvent& sent, WallTime committed_at);
  void check_steps(const store::CommitBatch& batch, std::set<Name> stored, const std::set<Name>& unscheduled);
  std::set<Name> leave_schedule_rows(const store::CommitBatch& batch, const broker::State& names);
  std::set<Name> keep_steps(const store::CommitBatch& batch, const broker::State& names);
  void leave_receipt(const Peer& peer, const Name& id, const wire::Receipt& receipt, const wire::RefusalT* refusal);
  void leave_stored(const Name& id, const SentEvent& event, const wire::Receipt& receipt);
  void leave_refusal(const Name& id, const SentEvent& event, const wire::RefusalT* refusal);
  bool is_conflict(const Name& id, const SentEvent& event, std::uint64_t version) const;
  void leave_step(const std::string& name, const SentEvent& event);

  // ---- snapshots
  using RowKey = std::string;                            // of table snapshots: hash of the key, version
  struct Looking {
    std::string key;
    std::uint64_t least = 0, erased = 0;                 // the newest version then, and how often the key had been erased
    std::set<Name> there;
  };
  std::set<Name> apply_snapshots(const store::CommitBatch& batch);
  Name keep_snapshot(const store::Row& row);
  void erase_snapshots(const store::Row& row);
  void check_kept(const std::string& hash) const;
  void check_snapshots(const store::Store& store, const std::map<RowKey, Name>& kept) const;
  Moment now_there() const;
  std::uint64_t newest(const std::string& key) const;
  void ask_snapshots(const Peer& peer, const wire::Request& request);
  void leave_snapshot_reply(const Peer& peer, const wire::ReplyT& reply, Bytes body);
  void leave_failure(const Peer& peer, const wire::FailureT& failure);

  // ---- retention
  struct Policy {
    std::string pattern;
    std::int64_t max_age = 0;
    std::uint64_t max_bytes = 0, max_events = 0;
    bool latest_per_key = false;
    std::int64_t latest_after = 0;
    bool past_groups = false;
    bool operator==(const Policy&) const = default;
  };
  struct Rules {
    std::map<std::string, Policy> policies;              // by pattern
    std::map<std::string, std::pair<std::string, std::string>> holds;  // pattern and key, by the key of their row
    void apply(const store::Row& row);
    const Policy* policy_of(const std::string& topic) const;
    bool is_held(const SentEvent& event) const;
    bool has_hold(const std::string& pattern, const std::string& key) const;
  };
  enum class Reason { none, age, count, latest };
  struct RuleAsked {
    std::uint64_t number = 0;
    std::string what;                                    // the pattern of a policy, or of a hold with its key
    std::optional<Policy> policy;                        // to be set
    std::optional<std::pair<std::string, std::string>> hold;  // to be set, or released
    bool releases = false;
  };
  std::vector<Reason> reasons_to_go(const Rules& rules, std::int64_t now, std::uint64_t from) const;
  bool is_free_of_groups(std::uint64_t position) const;
  bool is_letter(const broker::Core& core, std::uint64_t position) const;
  void check_removals(const std::vector<std::uint64_t>& going, const std::vector<Rules>& rules, const broker::Core& core);
  void apply_removals(const store::CommitBatch& batch);
  void ask_retention(const Peer& peer, const wire::Request& request);
  void leave_retention(const Peer& peer, const wire::ReplyT& reply);
  void leave_trimmed(const Peer& peer, const wire::FailureT& failure);
  void check_notice(std::uint64_t events, std::uint64_t to);

  void store_event(const store::Record& record, std::uint32_t at, const broker::State& names);
  void check_log(store::LogReader& reader, const Moment& moment) const;
  void revive(const GroupId& id, std::uint16_t generation);
  void settle_entering(const broker::Peer& peer, const wire::Settle& settle);
  void leave_welcome(const broker::Peer& peer, const wire::WelcomeT& message);
  void leave_result(const broker::Peer& peer, const wire::PublishResultT& message);
  void leave_deliver(const broker::Outgoing& message, const wire::DeliverT& deliver);
  void leave_group_delivery(Incarnation& group, const Asked& member, std::uint64_t epoch,
                            const wire::Delivery& delivery);
  void check_order(const Incarnation& group, const View& view, std::uint64_t position) const;
  void leave_settled(const broker::Peer& peer, const wire::SettledT& message);
  void leave_caught_up(const broker::Peer& peer, const wire::CaughtUpT& message);
  void leave_reply(const broker::Peer& peer, const wire::ReplyT& reply, Bytes body);
  void leave_schedule(const broker::Peer& peer, const wire::ReplyT& reply);
  bool is_over(std::uint64_t position) const;
  void leave_event(const wire::EventReplyT& reply, Bytes body) const;
  Incarnation* group_of(const broker::Peer& peer, std::uint64_t subscription);
  bool wants(const Incarnation& group, std::uint64_t position) const;

  std::map<Name, std::map<std::string, SentEvent>> sent_;  // by sender
  std::map<std::string, PublisherBook> publishers_;
  std::map<broker::Peer, std::string> asked_, given_;    // the names of Hello and of Welcome
  std::map<std::string, std::uint64_t> versions_, before_;  // by key; before the last commit
  std::vector<LogEvent> log_;
  std::uint64_t epoch_ = 0;
  Figures figures_;
  WallTime now_;
  std::set<Name> scheduled_;                             // those of which a receipt said so
  std::map<Name, std::uint64_t> due_;                    // those that came into the log from the schedule, and where
  std::set<Name> cancelled_, maybe_cancelled_;           // for sure; and asked for
  std::set<Name> unscheduled_;                           // those whose rows are gone
  std::map<Asked, std::vector<Name>> cancels_, runs_;    // by peer and request

  std::map<std::string, std::uint64_t> ids_;             // unique ones, and where they are
  std::set<const SentEvent*> stored_;                    // in the log, or as snapshots
  std::map<RowKey, Name> kept_;                          // as on disk
  std::map<std::string, std::string> hash_of_;           // of keys with snapshots,
  std::map<std::string, std::string> key_of_;            // and back
  std::map<std::string, std::set<std::uint64_t>> saved_; // by hash: the versions since it was last erased
  std::set<std::string> to_prune_;                       // hashes of keys that got a snapshot from this broker
  std::map<std::string, std::uint64_t> erases_asked_, erases_done_;  // by key
  std::map<Asked, Looking> looks_;                       // by peer and request

  Rules rules_;                                          // as on disk
  std::uint64_t trimmed_to_ = 0;
  std::map<std::uint64_t, std::uint32_t> records_;       // first position and count, as on disk
  std::map<Asked, RuleAsked> rules_asked_;               // by peer and request
  std::map<std::string, std::uint64_t> last_asked_;      // by what
  std::vector<std::uint64_t> untold_;                    // removed with the last batch
  std::map<Asked, std::uint64_t> gets_;                  // positions asked for, by peer and request
  std::map<std::string, std::size_t> topics_, keys_;     // their numbers here
  Moment moment_;                                        // when a snapshot was held last

  std::map<GroupId, Incarnation> groups_;
  std::map<std::string, GroupId> live_;                  // as the core has them
  std::map<Asked, std::string> group_of_;                // by peer and subscription
  std::map<Asked, Acks> acks_;                           // by peer and request
  std::map<Asked, Change> changes_;                      // by peer and request: seeks and removals not confirmed
};

}  // namespace bus::sim
