// Delivery brings committed events to plain subscriptions and to the members of groups, within their credit, and
// takes settlements back. Owned by the core; one thread.
//
//   committed records ──watchers of their topics──> ready sources ──pump()──> Deliver messages
//
// A source is a plain subscription or a group: a place in the log and a filter. One that has seen everything follows
// the head: it costs nothing until a record comes that has a topic it watches.
#pragma once

#include <array>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "broker/core/consumer_group.hpp"
#include "broker/core/dead_letters.hpp"
#include "broker/core/filter.hpp"
#include "broker/core/log_view.hpp"
#include "broker/core/rank_turns.hpp"
#include "broker/core/sessions.hpp"
#include "broker/core/staging.hpp"
#include "wire/message.hpp"

namespace bus::broker {

// What is known of the events of a rank that lie beyond the scan of a group.
struct Ahead {
  Position looked = Position::none;      // up to here they were looked at,
  Position newest = Position::none;      // and beyond here there are none of this rank
  Position left = Position::none;        // the last one that was left to the scan, for the sake of its key
  Position blind_to = Position::none;    // something could not be read: until the scan is there nothing is taken
  Position found = Position::none;       // in the record there, says the reader, are some
  std::uint64_t search = 0;              // that looks for it; 0: none does
};

// What a group has and a plain subscription has not.
struct Group {
  std::uint32_t number = 0;
  std::string name;
  WallTime created_at;
  ConsumerGroup state;
  std::uint64_t created_batch = 0;       // the journal up to there is of others that had its number before
  bool unsaved = false;                  // its journal has moved on since its row was written
  std::array<Ahead, 2> ahead;            // high, medium
  bool knows_newest = false;             // they say what there is in the log
  RankTurns turns;
};

// For what a source reads the log; each may wait for a place of its own.
enum class ReadFor : std::uint8_t { high_ready, medium_ready, low_ready, scan, high_ahead, medium_ahead };

struct Source {
  explicit Source(Filter what) : filter(std::move(what)) {}
  std::uint64_t serial = 0;              // in the order they came
  Filter filter;
  bool following = false;                // has seen all that is committed, and waits for a topic it watches
  bool queued = false;                   // waits for its turn in pump()
  std::uint8_t reads = 0;                // a bit for each ReadFor that the log may know of
  std::uint64_t trimmed_events = 0;      // passed over as retention has removed them,
  Position trimmed_to = Position::none;  // the last of them, or of what is gone altogether, here
  std::unique_ptr<Group> group;          // null: plain
  // Plain only.
  MemberId reader;
  Position scan = Position::none;        // everything up to here was looked at
  Position to = Position::none;          // the last position; none: no end
  Credit credit;
};

// In the order they came: addresses would make two runs of the same input differ.
struct BySerial {
  bool operator()(const Source* a, const Source* b) const { return a->serial < b->serial; }
};
using Sources = std::set<Source*, BySerial>;

// Settings as the wire has them: what is there replaces what `base` has. Errors: bad_settings.
Result<GroupSettings> settings_of(const wire::GroupSettingsT* wanted, const GroupSettings& base);
std::unique_ptr<wire::GroupSettingsT> to_wire(const GroupSettings& settings);

class Delivery {
 public:
  struct Counters {
    std::uint64_t delivered = 0, stale_acks = 0;
  };
  Delivery(State& state, Sessions& sessions, Staging& staging, Reads& reads, LogView& log, std::uint64_t epoch,
           std::uint64_t key_secret)
      : state_(state), sessions_(sessions), staging_(staging), reads_(reads), log_(log), epoch_(epoch), key_secret_(key_secret) {}

  // ---- recovery
  Result<void> restore_group(std::string_view key, std::string_view value);
  Result<void> restore_chunk(std::string_view key, std::string_view value, Now now);
  Result<void> restore_letter(std::string_view key, std::string_view value);
  Result<void> apply_journal(std::uint64_t batch, std::uint32_t group, std::string_view bytes, Now now);
  void recovered(Now now);

  // ---- sessions. What is refused is returned, or said in a Failure later.
  Result<void> subscribe(Session& session, const wire::Subscribe& message, Now now);
  Result<void> unsubscribe(Session& session, std::uint32_t subscription);
  Result<void> credit(Session& session, const wire::Credit& message);
  Result<void> settle(Session& session, const wire::Settle& message, Now now);
  // What can be said of a Settle before anything is changed. Error malformed.
  static Result<void> check(const wire::Settle& message);
  // The same as part of a step, of what was checked: first whether all of it may be, then all of it. Errors: stale_ack,
  // not_delivered, unknown_subscription.
  Result<void> may_settle(Session& session, const wire::SettleT& message);
  void settle_step(Session& session, const wire::SettleT& message, Now now);
  void drop(const Session& session);

  // ---- the log
  void committed(const store::Record& record);
  // Something that sources waited for has come: a read, or room in a socket.
  void wake();
  // One turn of each source that is ready, until enough was looked at. True if there is more to do at once.
  bool pump(Now now);
  // Deadlines. Returns the next one.
  std::optional<SteadyTime> tick(Now now);
  std::optional<SteadyTime> next_due() const { return next_due_ == SteadyTime::max() ? std::nullopt : std::optional(next_due_); }

  // ---- commits
  // When settlements must be committed at the latest; nothing if there are none.
  std::optional<SteadyTime> commit_due() const { return commit_due_; }
  // The changes of every group go into the batch being gathered.
  void journal();
  // Begins a step: the rows of the groups whose number is `step` modulo key_shards, and a list of their chunks that have changed.
  void begin_checkpoint(std::size_t step);
  // The next chunks of the list, about `bytes_max` of them. False: the rest is to follow with the next commit.
  bool go_on_with_checkpoint(std::size_t bytes_max);

  // ---- operators
  using Found = std::function<void(Result<Position>)>;
  // The position that a start names, which may be one past the end. Errors: bad_filter; beyond_end, also of a time after `latest`.
  void locate(wire::Start start, std::int64_t value, WallTime latest, Found found);
  Source* find_group(std::string_view name);
  static Error unknown_group(std::string_view name);
  const std::map<std::string, std::unique_ptr<Source>, std::less<>>& groups() const { return groups_; }
  // Errors: group_exists, bad_group, bad_filter, bad_settings, too_many_groups, and of its start; said by `done` once the group
  // is durable.
  using Done = std::function<void(Result<void>)>;
  void create_group(const wire::GroupCreate& what, Now now, Done done);
  // What a settings file says of a group, by itself. Errors: bad_group, bad_pattern, bad_filter, bad_settings.
  static Result<void> check(const wire::GroupCreateT& group);
  // Makes the group, or sets the one that is there to what is given. Errors: as of check(), and too_many_groups, bad_settings (with
  // what the group is set to already).
  Result<void> declare_group(const wire::GroupCreateT& group, Now now);
  // Errors: unknown_group, bad_settings, bad_filter; nothing is changed then.
  Result<void> edit_group(const wire::GroupEdit& what, Now now);
  // Errors: unknown_group; group_busy: it has dead letters, which `letters` takes with it, unless they are too many.
  Result<void> remove_group(std::string_view name, bool letters);
  // What a seek does: the floor before, and what is forgotten.
  struct Seek {
    Position floor = Position::none;
    std::uint64_t open = 0, letters = 0;
  };
  Seek preview_seek(const Source& group, Position next) const;
  // Error group_busy: too many dead letters lie beyond, which would have to go.
  Result<Seek> seek(Source& group, Position next, Now now);
  // One dead letter, as its row has it. Errors: not_found; conflict (was redriven before, and is not to be `again`; or has died
  // once more since the row was read), group_busy.
  Code redrive(Source& group, Position position, const DeadLetterRow& row, bool again, Now now);
  Code drop(Source& group, Position position, Now now);
  // One event that the group has settled is given to it again; the record is where it lies, or lay. Errors: not_found (not of the
  // group, expired, or not looked at yet), trimmed, conflict (not settled, or a dead letter), group_busy (as of redrive()).
  Code replay(Source& group, const store::Record& record, Position position, Now now);
  // `with_keys`: also how many keys are held up, which takes a look at each.
  wire::GroupInfoT info(const Source& group, bool with_keys = false) const;
  // Everything up to here is settled.
  Position floor(const Source& group) const;
  // Up to here all groups have settled what they have of a topic; and the one that has not settled the next one, or null.
  struct Settled {
    Position up_to = Position::none;
    const Source* slowest = nullptr;
  };
  Settled settled(std::uint32_t topic);
  // A group that keeps this event of the topic as a dead letter; null: none does.
  const Source* letter_keeper(std::uint32_t topic, Position position);
  // The group with the lowest floor below the head; null: there is none.
  const Source* furthest_behind() const;

  const Counters& counters() const { return counters_; }
  std::size_t subscriptions() const { return subscriptions_.size(); }
  std::uint64_t redeliveries() const;
  std::uint64_t dead_letters() const;
  void verify() const;

 private:
  struct Subscription {
    std::uint64_t serial = 0;            // the number may be taken again while an answer is on its way
    Source* source = nullptr;            // null: its start is still being looked up
    std::unique_ptr<Source> plain;
    Position told = Position::none;      // in the last CaughtUp,
    std::pair<std::uint64_t, Position> told_trimmed;  // and of what was trimmed
  };
  // Events that follow each other in one record.
  struct Stretch {
    store::RecordPtr record;
    std::uint32_t first = 0, count = 0;
  };
  // Events for one subscription, on their way into a Deliver.
  struct Parcel {
    MemberId to;
    std::vector<wire::Delivery> deliveries;
    std::vector<std::uint32_t> publishers;
    std::uint32_t publisher = 0;         // which of them made the last event
    std::vector<Stretch> events;
    std::size_t bytes = 0;
  };
  // Where the next event of a key is looked for.
  struct Searching {
    std::uint32_t group = 0;
    ConsumerGroup::Search what;
    Position from = Position::none;      // the walk goes on there; none: at the head of the key
    std::vector<Position> found;         // so far, in order
    bool is_cut = false;                 // there are more after them
  };
  // The next urgent events of a group, sought in old records.
  struct AheadSearch {
    std::uint32_t group = 0;
    Rank rank = Rank::high;
    std::uint64_t number = 0;
    Position from = Position::none;
  };
  enum class Match : std::uint8_t { unknown, no, yes, until_it_expires };
  // Of looking for the next event: it was given, or is nearer; there is none that may go out; it has to be read, or found, or wait for
  // room.
  enum class Came : std::uint8_t { some, none, later };
  // What one turn of a source has come to.
  struct Turn {
    std::vector<Parcel> parcels;
    Parcel* parcel = nullptr;            // that had the last event
    std::size_t events = limits::deliver_events_max;  // it may still deliver,
    std::size_t rows = limits::turn_rows_max;         // and still look at
    bool more = true;                    // it should have another turn at once
    std::uint8_t reading = 0;            // a bit for each ReadFor that waits
    std::optional<Error> damage;         // it cannot read on
  };

  Position head() const { return log_.committed(); }
  Position scan_of(const Source& source) const;
  std::uint64_t epoch_of(const Source& source) const;
  Subscription* find(MemberId id);
  bool is_current(MemberId id, std::uint64_t serial) const;
  Result<Subscription*> owned(Session& session, std::uint32_t subscription);

  Result<void> check(Session& session, const wire::Subscribe& message) const;
  static Result<void> check_name(std::string_view group);
  static Error too_many_groups();
  void begin_plain(MemberId id, const wire::SubscribeT& message, Filter::Spec spec, Position next);
  void add_plain(MemberId id, const wire::SubscribeT& message, Filter::Spec spec, Position next, Position to);
  void begin_group(MemberId id, const wire::SubscribeT& message, Filter::Spec spec, Position next, Now now);
  Result<void> may_join(const Source& source, const wire::SubscribeT& message, const Filter::Spec& spec) const;
  Source& make_group(const std::string& name, Filter::Spec spec, const GroupSettings& settings, Position next, Now now);
  void join(MemberId id, Source& source, const wire::SubscribeT& message, bool created, Now now);
  void say_subscribed(MemberId id, Position next, Position to, bool created);
  void say_caught_up(Source& source);
  void refuse(MemberId id, const Error& error);
  void end(MemberId id, Code code, const std::string& detail);
  void forget(MemberId id);

  void make_ready(Source& source);
  void add_source(Source& source);
  void drop_source(Source& source);
  const std::vector<Source*>& watchers(std::uint32_t topic);
  Turn pump_source(Source& source, Now now);
  std::optional<MemberId> next_receiver(Source& source) const;
  bool waits_for_room(const Source& source) const;
  Match match_kind(Source& source, const store::Record& record, std::uint32_t kind) const;
  static bool has_expired(const store::Record& record, std::uint32_t at, Now now);
  static constexpr std::uint8_t bit_of(ReadFor what) { return static_cast<std::uint8_t>(1u << static_cast<std::uint8_t>(what)); }
  static LogView::ReaderId reader(const Source& source, ReadFor what) { return source.serial << 3 | static_cast<std::uint8_t>(what); }
  [[gnu::noinline]] Result<store::RecordPtr> read(Source& source, ReadFor what, Position position, Turn& turn);
  [[gnu::noinline]] store::RecordPtr find_record(Source& source, ReadFor what, Position position, Turn& turn);
  void leave_log(Source& source, std::uint8_t which);
  Came give_ready(Source& source, MemberId to, Position position, Rank rank, Turn& turn, Now now);
  static bool waits(ConsumerGroup& group, const store::Record& record, std::uint32_t at);
  using Bounds = std::array<Position, ranks>;
  static Bounds bounds_of(const ConsumerGroup& group, std::optional<Rank> only);
  Came look_further(Source& source, std::optional<Rank> only, std::size_t most, Turn& turn, Now now);
  enum class From : std::uint8_t { scan, ahead, ready };
  void give(Source& source, MemberId to, const store::RecordPtr& record, std::uint32_t at, Turn& turn, Now now, From from);
  enum class Taken : std::uint8_t { passed, given, stop };
  bool give_next(Source& source, MemberId to, Turn& turn, Now now);
  Came give_urgent(Source& source, MemberId to, Rank rank, Turn& turn, Now now);
  Came give_rest(Source& source, MemberId to, Turn& turn, Now now);
  void find_newest(Source& source, Turn& turn);
  Came may_be_ahead(Source& source, Rank rank, Turn& turn);
  static void note_newest(Group& group, Rank rank, Position position);
  Came look_ahead(Source& source, Rank rank, std::size_t most, Turn& turn, Now now);
  Taken take_ahead(Source& source, Rank rank, const store::RecordPtr& record, std::uint32_t at, Turn& turn, Now now);
  store::RecordPtr find_ahead(Source& source, Rank rank, Position position, Turn& turn);
  void search_ahead(Group& group, Rank rank, Position from);
  void search_ahead_on();
  Ahead* sought_by(const AheadSearch& search);
  void found_ahead(const AheadSearch& search, const Result<ReadAnswer>& answer);
  static void forget_ahead(Group& group);
  Parcel& parcel_for(Source& source, MemberId to, std::size_t bytes, Turn& turn);
  [[gnu::noinline]] Parcel& find_parcel(Source& source, MemberId to, std::size_t bytes, Turn& turn);
  [[gnu::noinline]] static void find_publisher(Parcel& parcel, std::uint32_t publisher);
  static Frame bodies_of(const Parcel& parcel);
  void advance(Source& source, Position position);
  void pass_removed(Source& source, Position position);
  void damaged(Source& source, const Error& error);
  [[gnu::noinline]] void send(Source& source, Parcel parcel);
  void touch(Source& source);
  void changed(Source& source, Now now);
  void commit_soon(SteadyTime due);
  store::Row row(const Source& source);
  static store::Row chunk_row(Group& group, std::uint64_t chunk);
  Result<Source*> owned_group(Session& session, std::uint32_t subscription);
  Code settle_one(Source& source, MemberId member, const wire::Settlement& settlement, std::string_view said, Now now);
  void keep_incidents(Source& source, Now now);
  void search_on();
  void search(Searching search);
  void searched(Searching search, Result<ReadAnswer> answer);

  State& state_;
  Sessions& sessions_;
  Staging& staging_;
  Reads& reads_;
  LogView& log_;
  std::uint64_t epoch_;
  std::uint64_t key_secret_;
  std::map<std::string, std::unique_ptr<Source>, std::less<>> groups_;
  std::map<std::uint32_t, Source*> by_number_;
  std::map<MemberId, Subscription> subscriptions_;
  std::uint64_t last_serial_ = 0;
  Sources sources_;
  std::vector<std::vector<Source*>> watchers_;   // by topic number, made when asked for
  std::vector<bool> watched_;
  Sources bounded_;                    // plain ones with an end: looked at after every commit
  std::deque<Source*> ready_;
  Sources blocked_;                    // wait for a read, or for room in a socket
  std::uint32_t last_group_ = 0;       // the highest number a group has had in this run: none is used again
  std::deque<std::pair<std::uint32_t, std::uint64_t>> to_save_;  // group and chunk, of the step of the checkpoint
  std::deque<Searching> to_search_;
  std::deque<AheadSearch> to_search_ahead_;
  std::size_t searching_ = 0, searching_ahead_ = 0;
  std::uint64_t last_search_ = 0;
  Sources touched_;                    // groups with changes to journal
  std::optional<SteadyTime> commit_due_;
  bool failures_ = false;                        // ack waits that ran out or members that left: to be committed, too
  SteadyTime next_due_ = SteadyTime::max();
  std::vector<Match> kinds_;           // of the record that is being looked at, as they are met
  Counters counters_;
};

}  // namespace bus::broker
