// ConsumerGroup decides which member receives which event next, and when one must be sent again.
//
// It is a pure state machine: no sockets, no storage, no clock. Time and events arrive as arguments; changes that must
// outlive the process leave through take_journal() and the rows of a checkpoint. Delivery owns it, and the tests drive
// it directly.
//
//     in the log ──open()──> in flight ──ack()──────────> settled, until the floor passes it
//                             │     ▲
//      nack(), ack wait over  │     │ open()
//        ▼                    │     │
//     delayed ──tick()──> ready again <── release(), leave(), restart
//        │
//        └── after attempts_max failures, or reject(): given up ──> settled: parked or skipped
//                                                             └──> stopped: its key waits, until redrive() or drop()
//
// Events of a higher class may be taken from beyond the scan, ahead of what lies between: what is taken is remembered until the
// scan has passed it. Which one goes next is Delivery's choice; the group says which may.
//
// With sharing key_ordered an event whose key has an open one waits behind it (KeyLanes). Only the first of each key is
// open, so what waits takes no place; once it is settled the next one is known, or searched for in the log.
//
// Invariants, checked by verify():
//   floor() <= scan()
//   each position in (floor(), scan()], and each that was taken beyond it, is settled (or did not match), or waits behind an open one of its key, or is open
//   in exactly one of the states in flight, delayed, ready, stopped, searching (settled, and the next of its key is sought)
//   the in-flight count of a member is the number of positions it holds
#pragma once

#include <array>
#include <cstdint>
#include <limits>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/bytes.hpp"
#include "base/hash.hpp"
#include "base/limits.hpp"
#include "broker/core/credit.hpp"
#include "broker/core/group_settings.hpp"
#include "broker/core/key_lanes.hpp"
#include "broker/core/position_map.hpp"
#include "broker/core/position_set.hpp"
#include "bus/result.hpp"
#include "bus/types.hpp"

namespace bus::broker {

// A member is one subscription of one session.
struct MemberId {
  std::uint64_t session = 0;
  std::uint32_t subscription = 0;
  auto operator<=>(const MemberId&) const = default;
};

// What a group keeps of an event that it hands out. A zero key is none.
struct EventFacts {
  Hash128 key;
  std::uint32_t topic = 0, type = 0;
};

// What an operator sees of one open event.
struct PendingEvent {
  enum class Place : std::uint8_t { in_flight = 0, delayed = 1, ready = 2, stopped = 3, searching = 4 };
  Position position = Position::none;
  Place place = Place::ready;
  std::uint32_t attempt = 0, failures = 0, returns = 0;
  MemberId member;                       // in flight
  SteadyTime given_at;                   // in flight
  SteadyTime due;                        // in flight: end of the ack wait; delayed: not before
  std::string note;                      // what the holder said last when it asked for more time
  std::size_t waiting = 0;               // events of its key behind it, as far as they are known,
  bool knows_all = true;                 // and whether that is all of them
};

class ConsumerGroup {
 public:
  // A new group looks at everything after `scan`.
  ConsumerGroup(const GroupSettings& settings, Position scan) : settings_(settings), scan_(scan) {}
  ConsumerGroup(ConsumerGroup&&) = default;
  ConsumerGroup& operator=(ConsumerGroup&&) = default;

  // ---- members
  void join(MemberId member, Credit credit);
  // What it held is ready again at once, as a return, not a failure.
  void leave(MemberId member);
  void add_credit(MemberId member, std::uint32_t events, std::uint32_t bytes);
  std::size_t members() const { return members_.size(); }
  const std::vector<MemberId>& member_ids() const { return turn_; }
  std::uint64_t in_flight() const { return in_flight_; }

  // ---- settings
  const GroupSettings& settings() const { return settings_; }
  // From now on. What is open stays open; an ack wait counts for what is given out next. A key whose events wait in line
  // stays so until none of them waits any more.
  void change(const GroupSettings& settings);

  // ---- delivery
  // The member that is to have the next event, among those with credit that `may` receive; nothing while the group may
  // not send.
  template <typename May>
  std::optional<MemberId> next_member(const May& may) {
    if (in_flight_ >= settings_.in_flight_max || settings_.paused) return std::nullopt;
    const auto is_open = [&](const MemberId& id) {
      const Member& member = member_of(id);
      return member.credit.is_open() && member.held < settings_.member_in_flight_max && may(id);
    };
    if (settings_.sharing == Sharing::exclusive) {
      return !turn_.empty() && is_open(turn_.front()) ? std::optional(turn_.front()) : std::nullopt;
    }
    const bool is_fewest = settings_.sharing == Sharing::least_in_flight;
    std::optional<MemberId> best;
    for (std::size_t at = next_turn_, step = 0; step < turn_.size(); ++at, ++step) {
      if (at >= turn_.size()) at = 0;
      const MemberId& member = turn_.data()[at];
      if (!is_open(member)) continue;
      if (!is_fewest) return member;
      if (!best || member_of(member).held < member_of(*best).held) best = member;
    }
    return best;
  }
  // The oldest position of this rank that is open and may go out, if there is one: again, or because its turn among the events
  // of its key has come. It has the rank of the most urgent of those that wait behind it, where that is higher than its own.
  std::optional<Position> next_ready(Rank rank) const {
    const auto& ready = ready_[at_rank(rank)];
    return ready.empty() ? std::nullopt : std::optional(*ready.begin());
  }
  // The oldest of them that its member may not have seen: it left before it settled it.
  std::optional<Position> next_lost(Rank rank) const {
    const auto& lost = lost_[at_rank(rank)];
    return lost.empty() ? std::nullopt : std::optional(*lost.begin());
  }
  bool has_lost() const { return next_lost(Rank::high) || next_lost(Rank::medium) || next_lost(Rank::low); }
  bool has_ready() const { return next_ready(Rank::high) || next_ready(Rank::medium) || next_ready(Rank::low); }
  // True if a new event may be opened; what is ready always may.
  bool may_open() const { return open_.size() < limits::open_max; }
  // True if the next event beyond scan() has to wait, as one of its key is open. Then wait(), else open().
  bool must_wait(const Hash128& key) const { return lanes_.contains(key); }
  // False: none has to, whatever its key.
  bool keeps_keys_in_line() const { return settings_.is_ordered() || !lanes_.empty(); }
  void wait(Position position, const Hash128& key, Rank rank);
  // The event at `position` goes to `member`, which has credit: one that is ready, or the first delivery of a position
  // beyond scan(). Returns the attempt, from 1.
  std::uint32_t open(Position position, const EventFacts& event, Rank rank, MemberId member, std::size_t bytes, SteadyTime now);

  // ---- ahead of the scan
  // What may become of an event beyond scan() whose turn has not come: nothing, until the scan is there; it stands in line
  // behind one of its key: wait_ahead(); or it is delivered: open_ahead(). `previous` is the event of its key before it, or none.
  enum class Ahead : std::uint8_t { no, wait, open };
  bool may_reach(Position position) const {
    return position - scan_ <= limits::ahead_max && taken_.chunks() <= limits::ahead_max / PositionMap<Open>::chunk_positions;
  }
  Ahead may_go_ahead(Position position, const Hash128& key, Position previous) const;
  void wait_ahead(Position position, const Hash128& key, Rank rank);
  std::uint32_t open_ahead(Position position, const EventFacts& event, Rank rank, MemberId member, std::size_t bytes, SteadyTime now);
  // It was delivered ahead: the scan passes it by.
  bool is_taken(Position position) const { return position > scan_ && taken_.contains(position); }
  bool has_taken() const { return !taken_.empty(); }

  // The event is ready, and does not match or has expired: it is settled, and counted if it expired or had been delivered before.
  void pass_over(Position position, bool has_expired = false, bool was_removed = false);
  // One that would have been delivered has expired.
  void count_expired() { ++counts_.expired, changed_ = true; }
  // One was never opened, since retention had removed it.
  void count_skipped() { ++counts_.skipped, changed_ = true; }
  // Everything up to `position` was looked at.
  void advance(Position position);
  Position scan() const { return scan_; }
  // Everything up to here is settled.
  Position floor() const;
  std::size_t open_count() const { return open_.size(); }

  // ---- settlement. `ok`, stale_ack (another attempt or holder is current) or not_delivered; only ok changes
  // anything.
  // What any of them would say but ack_up_to.
  Code may_settle(MemberId member, Position position, std::uint32_t attempt);
  Code ack(MemberId member, Position position, std::uint32_t attempt);
  // That one, and with it all that the member holds up to there and was given no later. bad_settings under key_ordered, where
  // events settle one by one.
  Code ack_up_to(MemberId member, Position position, std::uint32_t attempt);
  // Failed: again after `delay`, or where that is 0 when the retry policy says so.
  Code nack(MemberId member, Position position, std::uint32_t attempt, Duration delay, std::string error, Now now);
  // Given back, not failed: again at once.
  Code release(MemberId member, Position position, std::uint32_t attempt);
  // To the dead letters now.
  Code reject(MemberId member, Position position, std::uint32_t attempt, std::string error, Now now);
  // Still at work, at what the note says.
  Code extend(MemberId member, Position position, std::uint32_t attempt, std::string note, SteadyTime now);

  // Ends attempts whose ack wait is over and delays that are due; returns when to call again. The more is open the
  // later a deadline may be noticed, by a microsecond each.
  std::optional<SteadyTime> tick(Now now);
  std::optional<SteadyTime> next_due() const {
    const auto next = delayed_.empty() ? next_due_ : std::min(next_due_, delayed_.begin()->first);
    return next == SteadyTime::max() ? std::nullopt : std::optional(next);
  }

  // What went wrong since the last call, in order: to be kept with the commit that holds the change.
  struct Incident {
    enum class Cause : std::uint8_t { nack = 0, ack_wait = 1, reject = 2 };
    enum class Fate : std::uint8_t { retried = 0, parked = 1, stopped = 2, skipped = 3 };
    Position position = Position::none;
    EventFacts event;
    std::uint32_t failure = 0;           // which one of the event, from 1
    std::uint32_t attempt = 0;
    std::uint32_t returns = 0, redrives = 0;
    MemberId member;
    Cause cause = Cause::nack;
    Fate fate = Fate::retried;
    std::string error;
  };
  bool has_incidents() const { return !incidents_.empty() || !forgotten_.empty(); }
  std::vector<Incident> take_incidents() { return std::exchange(incidents_, {}); }
  // Events with failures that are settled since the last call, or forgotten: what was kept of them may go.
  std::vector<Position> take_forgotten() { return std::exchange(forgotten_, {}); }

  // ---- dead letters
  // A parked event is to be delivered again, its attempts counting on, and it may fail as often as a new one; or a stopped
  // one. `redrives` is with this one. Errors: not_found (there is no such dead letter), conflict (it
  // has died with another attempt), group_busy (as much is open as may be).
  struct Letter {
    Position position = Position::none;
    Hash128 key;                         // zero: none
    std::uint32_t attempt = 0, failures = 0, returns = 0, redrives = 0;
  };
  Code redrive(const Letter& letter);
  // A dead letter is given up for good: a stopped one is settled. not_found: there is none.
  Code drop(Position position);
  const PositionMap<std::uint32_t>& letters() const { return letters_; }

  // ---- replay
  // A settled event is to be delivered again, with an attempt that is higher than any that was given before, and it may fail as
  // often as a new one. Errors: not_found (it was not looked at), conflict (it is not settled, or a dead letter), group_busy.
  Code replay(Position position, const Hash128& key, Rank rank);

  // ---- searches: where the next event of a key that follows a settled one is not known
  struct Search {
    Hash128 key;
    Position settled = Position::none;   // that stands for it
    Position after = Position::none, up_to = Position::none;
    std::uint16_t generation = 0;
  };
  std::vector<Search> take_searches() { return std::exchange(searches_, {}); }
  // The first events of the key after `after` that are known, in order; all up to `complete_to`.
  void found(const Search& search, const std::vector<Position>& positions, Position complete_to);
  // False: the group has moved on, and the answer is of no use.
  bool is_wanted(const Search& search) const;
  // It could not be done, and is to be taken again.
  void search_again(const Search& search) { searches_.push_back(search); }

  // Looks at everything after `scan` again, or skips to it. What was open is forgotten, and the dead letters after `scan`,
  // which come by themselves: acks of attempts made before are not of this generation.
  void seek(Position scan);
  std::uint16_t generation() const { return generation_; }
  // A generation is never used again in the life of a group.
  bool may_seek() const { return generation_ < std::numeric_limits<std::uint16_t>::max(); }

  // ---- durability
  // True if something changed that a crash should not undo; deliveries alone can wait for company.
  bool settled_since_journal() const { return urgent_; }
  bool changed_since_journal() const { return changed_; }
  // The changes since the last call, for apply_journal() after a crash.
  std::string take_journal();
  // Applies one of them; false if the bytes make no sense. Older ones may be applied again if all later ones are, too.
  bool apply_journal(std::string_view bytes, Now now);
  // The durable state, for a checkpoint: its head, and the open events in chunks.
  std::string head() const;
  // The chunks that have changed since they were taken last; each is to be saved afterwards, as it is by then.
  std::vector<std::uint64_t> take_changed_chunks();
  std::string save_chunk(std::uint64_t number);          // empty: nothing is open there
  static std::optional<ConsumerGroup> restore(const GroupSettings& settings, std::string_view head);
  bool restore_chunk(std::uint64_t number, std::string_view bytes, Now now);
  void restore_letter(Position position, std::uint32_t attempt) { letters_.add(position) = attempt; }
  // After all journals are applied: what was in flight when the broker stopped is ready again, as a return.
  void recovered();

  // ---- for operators. Of the group's life, but for redeliveries and stale acks, which are of this process.
  std::uint64_t acked() const { return counts_.acked; }
  std::uint64_t skipped() const { return counts_.skipped; }
  std::uint64_t expired() const { return counts_.expired; }
  std::uint64_t failures() const { return failures_; }
  std::uint64_t redeliveries() const { return redeliveries_; }
  std::uint64_t stale_acks() const { return stale_acks_; }
  void count_stale() { ++stale_acks_; }
  // Open events after `after`, `most` of them; `blocking`: only those behind which others of their key wait. Looks at pending_rows
  // of them at most; `looked_to` is the last one, or none if all were.
  static constexpr std::size_t pending_rows = 4096;
  std::vector<PendingEvent> pending(Position after, bool blocking, std::size_t most, Position& looked_to) const;
  const KeyLanes& lanes() const { return lanes_; }
  void verify() const;

 private:
  using Place = PendingEvent::Place;
  // The order is by size: there are many of them.
  struct Open {
    Place place = Place::ready;
    bool durable = false;               // a crash would bring it back by itself
    bool touched = false;               // changed since the last journal
    bool laned = false;                 // in the lane of its key
    bool noted = false;                 // there is a note
    bool lost = false;                  // the member that had it last may not have seen it
    Rank rank = Rank::medium;
    bool patchy = false;                // laned: beyond `line` some of its key may be settled, having been taken ahead
    std::uint32_t attempt = 0;          // the last one; 0: none yet
    std::uint32_t failures = 0;         // nacks and ack waits that ran out
    std::uint32_t returns = 0;          // members that left, brokers that stopped
    std::uint32_t redrives = 0;         // from the dead letters,
    std::uint32_t forgiven = 0;         // and failures before the last of them
    std::uint32_t subscription = 0;     // in flight: of
    std::uint64_t session = 0;          // the member
    EventFacts event;                   // topic and type are known once it was given out
    Position line = Position::none;     // laned: all events of the key up to here are settled or open
    SteadyTime due;                     // in flight: end of the ack wait; delayed: not before
    std::int64_t time = 0;              // in flight: given out, of the steady clock; delayed: not before, of the other one

    MemberId member() const { return {session, subscription}; }
    bool is_of(MemberId id) const { return session == id.session && subscription == id.subscription; }
    SteadyTime given_at() const { return SteadyTime(Duration(time)); }
    WallTime retry_at() const { return wall_time(time); }
  };
  struct Member {
    Credit credit;
    std::uint64_t held = 0;             // in flight to it
  };
  struct Holding {
    Open* open = nullptr;
    Code code = Code::ok;
  };
  // Of the group's life, and durable.
  struct Counts {
    std::uint64_t acked = 0;
    std::uint64_t skipped = 0, expired = 0;
  };
  // Most of what happens in a row is about one member.
  Member& member_of(MemberId id) {
    if (lately_ == nullptr || lately_id_ != id) {
      lately_ = &members_.at(id);
      lately_id_ = id;
    }
    return *lately_;
  }
  Holding holding(MemberId member, Position position, std::uint32_t attempt);
  void touch(Open& open);
  void let_go(const Open& open);
  void take_back(MemberId member);
  void make_ready(Position position, Open& open);
  void set_ready(Position position, const Open& open) {
    ready_[at_rank(open.rank)].insert(position);
    if (open.lost) lost_[at_rank(open.rank)].insert(position);
  }
  bool unset_ready(Position position, const Open& open) {
    lost_[at_rank(open.rank)].erase(position);
    return ready_[at_rank(open.rank)].erase(position) > 0;
  }
  bool is_linked(const Hash128& key, Position previous) const;
  void stand_in_line(Position position, const Hash128& key, Rank rank);
  void raise(const Hash128& key, Rank rank);
  void take(Position position);
  void go_to(Position scan);
  void forget_taken();
  std::uint32_t begin(Position position, const EventFacts& event, Rank rank, MemberId member, std::size_t bytes, SteadyTime now);
  std::uint32_t hand_out(Open& open, MemberId member, std::size_t bytes, SteadyTime now);
  bool has_chunk(std::uint64_t number) const { return open_.has_chunk(number) || taken_.has_chunk(number); }
  void arm(const Hash128& key);
  void fail(Position position, Open& open, Incident::Cause cause, std::string error, Duration delay, Now now);
  bool may_give_up() const;
  bool waits_in_line(Position position, const Hash128& key) const;
  void reopen(Position position, Open& open, const Hash128& key);
  void give_up(Position position, Open& open, Incident incident);
  void settle(Position position, Open& open);
  void forget(Position position, Open& open);
  void close(Position position, Open& open);
  void erase(Position position, Open& open);
  void set_due(Open& open, SteadyTime due);
  void end_attempts(Now now);
  void rebuild_lanes();
  void mark_chunk(Position position);
  void take_marks();
  void put_head(Writer& writer) const;
  void get_head(Reader& reader);
  static void put_open(Writer& writer, Position position, const Open& open);
  Position get_open(Reader& reader, Now now);

  GroupSettings settings_;
  Position scan_;
  std::uint16_t generation_ = 0;
  PositionMap<Open> open_;
  std::array<std::set<Position>, ranks> ready_;            // those of them that may go out at once
  std::array<std::set<Position>, ranks> lost_;             // of those, not in line, what was lost with its member
  PositionSet taken_;                                      // beyond the scan: those that were opened
  std::vector<Position> newly_taken_;                      // since the last journal
  Position patchy_to_ = Position::none;                    // what was taken up to here is needed while lanes are patchy
  Position ordered_from_ = Position::none;                 // what was taken up to here was not kept in order of its key
  std::set<std::pair<SteadyTime, Position>> delayed_;      // when
  KeyLanes lanes_;
  std::map<Position, std::string> notes_;
  PositionMap<std::uint32_t> letters_;                     // parked or stopped: the attempt with which it died
  SteadyTime next_due_ = SteadyTime::max();                // when to look for attempts whose ack wait is over
  std::map<MemberId, Member> members_;
  Member* lately_ = nullptr;                       // the one that was looked for last,
  MemberId lately_id_;                             // and whose it is
  std::vector<MemberId> turn_;                             // in the order of their turns; exclusive: the first one is active
  std::size_t next_turn_ = 0;
  std::uint64_t in_flight_ = 0;
  SteadyTime last_given_;                                  // no two are given out at the same time
  std::uint32_t highest_attempt_ = 1;                      // of all events that were given out, by this process
  std::uint32_t touched_ = 0;                              // how many of open_ have changed since the last journal
  std::vector<Position> closed_;                           // settled since the last journal, and durable before
  std::set<std::uint64_t> changed_chunks_, stored_chunks_; // since the last checkpoint; that have a row
  std::vector<std::uint64_t> marks_;                       // in which this journal has changed something
  bool changed_ = false, urgent_ = false;
  bool seeked_ = false;
  std::vector<Search> searches_;
  std::vector<Incident> incidents_;
  std::vector<Position> forgotten_;
  Counts counts_;
  std::uint64_t failures_ = 0, redeliveries_ = 0, stale_acks_ = 0;
};

}  // namespace bus::broker
