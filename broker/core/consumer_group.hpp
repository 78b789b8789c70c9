// ConsumerGroup decides which member receives which event next, and when one must be sent again.
//
// It is a pure state machine: no sockets, no storage, no clock. Time and events arrive as arguments; changes
// that must outlive the process leave through take_journal(). Delivery owns it, and the tests drive it directly.
//
//     in the log ──open()──> in flight ──ack()──────────> settled, until the floor passes it
//                             │     ▲
//      nack()                 │     │ open()
//        ▼                    │     │
//     delayed ──tick()──> ready again <── tick(): ack wait over, leave(), restart
//
// Invariants, checked by verify():
//   floor() <= scan()
//   each position in (floor(), scan()] is either settled (or did not match), or open in exactly one of the states
//   in flight, delayed, ready
//   the in-flight count of a member is the number of positions it holds
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/bytes.hpp"
#include "base/limits.hpp"
#include "broker/core/position_map.hpp"
#include "bus/result.hpp"
#include "bus/types.hpp"

namespace bus::broker {

// A member is one subscription of one session.
struct MemberId {
  std::uint64_t session = 0;
  std::uint32_t subscription = 0;
  auto operator<=>(const MemberId&) const = default;
};

// How much more a subscription accepts. The last event may overdraw the bytes; the debt counts against what is given next,
// so that never more than one event is out beyond what was given.
class Credit {
 public:
  Credit() = default;
  Credit(std::uint32_t events, std::uint32_t bytes) { add(events, bytes); }
  // What is beyond the limits is cut off.
  void add(std::uint32_t events, std::uint32_t bytes);
  // For one event; call only while is_open().
  void use(std::size_t bytes);
  bool is_open() const { return events_ > 0 && bytes_ > 0; }

 private:
  std::int64_t events_ = 0;
  std::int64_t bytes_ = 0;              // below 0: overdrawn
};

struct GroupLimits {
  Duration ack_wait = limits::ack_wait_default;
  std::uint32_t in_flight_max = limits::in_flight_default;
};

class ConsumerGroup {
 public:
  // A new group looks at everything after `scan`.
  ConsumerGroup(GroupLimits limits, Position scan) : limits_(limits), scan_(scan) {}
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

  // ---- delivery
  // The member whose turn it is, among those with credit that `may` receive; nothing while the group may not send.
  template <typename May>
  std::optional<MemberId> next_member(const May& may) {
    if (in_flight_ >= limits_.in_flight_max) return std::nullopt;
    for (std::size_t at = next_turn_, step = 0; step < turn_.size(); ++at, ++step) {
      if (at >= turn_.size()) at = 0;
      const MemberId& member = turn_.data()[at];
      if (member_of(member).credit.is_open() && may(member)) return member;
    }
    return std::nullopt;
  }
  // The oldest position that must be delivered again, if there is one.
  std::optional<Position> next_redelivery() const;
  // True if a new event may be opened; redeliveries are always allowed.
  bool may_open() const { return open_.size() < limits::open_max; }
  // The event at `position` goes to `member`, which has credit: a redelivery, or the first delivery of a position
  // beyond scan(). Returns the attempt, from 1.
  std::uint32_t open(Position position, MemberId member, std::size_t bytes, SteadyTime now);
  // Everything up to `position` was looked at.
  void advance(Position position);
  Position scan() const { return scan_; }
  // Everything up to here is settled.
  Position floor() const;
  std::size_t open_count() const { return open_.size(); }

  // ---- settlement. `ok`, stale_ack (another attempt or holder is current) or not_delivered; only ok changes
  // anything.
  Code ack(MemberId member, Position position, std::uint32_t attempt);
  Code nack(MemberId member, Position position, std::uint32_t attempt, Duration delay, Now now);
  Code extend(MemberId member, Position position, std::uint32_t attempt, SteadyTime now);

  // Ends attempts whose ack wait is over and delays that are due; returns when to call again. Deadlines are looked for only
  // when the next one may have come: most events are settled long before theirs.
  std::optional<SteadyTime> tick(SteadyTime now);

  // Looks at everything after `scan` again, or skips to it. What was open is forgotten: acks of attempts made before
  // are not of this generation.
  void seek(Position scan);
  std::uint16_t generation() const { return generation_; }

  // ---- durability
  // True if something changed that a crash should not undo; deliveries alone can wait for company.
  bool settled_since_journal() const { return urgent_; }
  bool changed_since_journal() const { return changed_; }
  // The changes since the last call, for apply_journal() after a crash.
  std::string take_journal();
  // Applies one of them; false if the bytes make no sense.
  bool apply_journal(std::string_view bytes, Now now);
  // The whole durable state, for a checkpoint, and back.
  std::string snapshot() const;
  static std::optional<ConsumerGroup> restore(GroupLimits limits, std::string_view bytes, Now now);
  // After all journals are applied: what was in flight when the broker stopped is ready again, as a return.
  void recovered();

  const GroupLimits& group_limits() const { return limits_; }
  std::uint64_t acked() const { return acked_; }
  std::uint64_t redeliveries() const { return redeliveries_; }
  std::uint64_t stale_acks() const { return stale_acks_; }
  void count_stale() { ++stale_acks_; }
  void verify() const;

 private:
  enum class Place : std::uint8_t { in_flight, delayed, ready };
  struct Open {
    Place place = Place::ready;
    bool durable = false;               // a crash would bring it back by itself
    bool touched = false;               // changed since the last journal
    std::uint32_t attempt = 0;          // the last one
    std::uint32_t failures = 0;         // nacks and ack waits that ran out
    std::uint32_t returns = 0;          // members that left, brokers that stopped
    MemberId member;                    // in flight
    SteadyTime due;                     // in flight: end of the ack wait; delayed: not before
    WallTime retry_at;                  // delayed
  };
  struct Member {
    Credit credit;
    std::uint64_t held = 0;             // in flight to it
  };
  struct Holding {
    Open* open = nullptr;
    Code code = Code::ok;
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
  void make_ready(Position position, Open& open);
  void set_due(Open& open, SteadyTime due);
  void put_open(Writer& writer, Position position, const Open& open) const;

  GroupLimits limits_;
  Position scan_;
  std::uint16_t generation_ = 0;
  PositionMap<Open> open_;
  std::set<Position> ready_;
  SteadyTime next_due_ = SteadyTime::max();                // no attempt or delay ends before
  std::map<MemberId, Member> members_;
  Member* lately_ = nullptr;                       // the one that was looked for last,
  MemberId lately_id_;                             // and whose it is
  std::vector<MemberId> turn_;                             // round robin
  std::size_t next_turn_ = 0;
  std::uint64_t in_flight_ = 0;
  std::uint32_t touched_ = 0;                              // how many of open_ have changed since the last journal
  std::vector<Position> closed_;                           // settled since the last journal, and durable before
  bool changed_ = false, urgent_ = false;
  bool seeked_ = false;
  std::uint64_t acked_ = 0, redeliveries_ = 0, stale_acks_ = 0;
};

}  // namespace bus::broker
