// KeyLanes keeps the events of each key in line: one goes out, and the others wait behind it until it is settled.
// A pure value; ConsumerGroup owns one.
//
//     scan ──note()──> waiting ──next(): armed──> go(): busy ──done()──> settled
//                        ▲                          │
//                        └───────── back() ─────────┘
//
// A lane is there while something of its key is busy or waits, so that idle keys cost nothing. It keeps the first few that
// wait in mind; of those beyond it knows only the last one, and they are searched for in the log when their turn comes.
//
// Invariants, checked by verify():
//   no lane is without anything busy or waiting
//   waiting is sorted; armed is none or its first one, and then nothing is busy
//   line <= noted <= last
#pragma once

#include <cstdint>
#include <optional>
#include <unordered_map>
#include <vector>

#include "base/hash.hpp"
#include "base/limits.hpp"
#include "broker/core/rank.hpp"
#include "bus/types.hpp"

namespace bus::broker {

class KeyLanes {
 public:
  bool contains(const Hash128& key) const { return lanes_.contains(key); }
  bool empty() const { return lanes_.empty(); }
  void clear() { *this = {}; }

  // The first event of an idle key goes out. `is_patchy`: of those behind it some may have been settled already.
  void begin(const Hash128& key, Position position, bool is_patchy);
  // Another one of a key that is not idle was looked at, as all of the key before it were. Again: nothing.
  void note(const Hash128& key, Position position, Rank rank);
  // After a start: one that is open, with its line(). Beyond that and up to `scan` more may wait.
  void restore(const Hash128& key, Position position, Rank rank, bool is_busy, Position line, Position scan, bool is_patchy);
  // An armed one goes out.
  void go(const Hash128& key, Position position);
  // A busy one is to be delivered again; or one that was given up long ago joins, of a key that may be idle.
  void back(const Hash128& key, Position position, Rank rank);
  void join(const Hash128& key, Position position, Position scan, bool is_patchy);
  // One that waits is no longer wanted.
  void leave(const Hash128& key, Position position);
  // A busy one is settled. Call next() afterwards.
  void done(const Hash128& key);

  // After done() or leave(): where the next one of the key is not known, though there may be one, it has to be searched for in
  // (after, up_to]. The lane is busy until done().
  struct Search {
    Position after = Position::none, up_to = Position::none;
  };
  std::optional<Search> begin_search(const Hash128& key);
  // After restore() of one that a search stands for: the search, again.
  Search search_of(const Hash128& key) const;
  // What a search has found, in order, and how far it has looked.
  void found(const Hash128& key, const std::vector<Position>& positions, Position complete_to);

  // Who may go out now, and who may no longer, because an earlier one has joined.
  struct Change {
    Position armed = Position::none, disarmed = Position::none;
    Rank rank = Rank::medium;            // the highest of those that wait
  };
  Change next(const Hash128& key);
  // All events of the key up to there were looked at, and not one is idle.
  bool knows(const Hash128& key, Position position) const {
    const auto lane = lanes_.find(key);
    return lane != lanes_.end() && position <= lane->second.last;
  }
  // The one that may go out; none: there is none.
  Position armed(const Hash128& key) const { return lanes_.at(key).armed; }
  // All events of the key up to here are settled or open. Of those that are open at least one has to keep it.
  Position line(const Hash128& key) const { return lanes_.at(key).line; }
  bool is_patchy(const Hash128& key) const { return lanes_.at(key).patchy; }
  // How many lanes are.
  std::size_t patchy() const { return patchy_; }

  // Of keys with something behind an open event: visit(key, how many wait that are known, whether there may be more).
  template <typename Visit>
  void each_blocked(Visit visit) const {
    for (const auto& [key, lane] : lanes_) {
      const std::size_t behind = lane.waiting.size() - (lane.armed != Position::none);
      if (behind > 0 || lane.noted < lane.last) visit(key, behind, lane.noted < lane.last);
    }
  }
  // How many of the key wait, as far as known, and whether there may be more.
  struct Waiting {
    std::size_t events = 0;
    bool is_all = true;
  };
  Waiting waiting(const Hash128& key) const;
  void verify() const;

 private:
  struct Event {
    Position position = Position::none;
    Rank rank = Rank::medium;            // found in the log: not known
  };
  struct Lane {
    std::uint32_t busy = 0;              // in flight, delayed, stopped, or what a search stands for
    std::vector<Event> waiting;          // sorted; to be delivered next
    Position armed = Position::none;
    Position line = Position::none;      // the last one that was armed, or busy
    Position noted = Position::none;     // the key's events up to here are settled, busy or in `waiting`
    Position last = Position::none;      // up to here there may be more
    bool patchy = false;                 // beyond `line` some may be settled
  };
  Lane& at(const Hash128& key) { return lanes_.at(key); }
  void insert(Lane& lane, Position position, Rank rank);
  void mark(Lane& lane, bool is_patchy);

  std::unordered_map<Hash128, Lane> lanes_;
  std::size_t waiting_ = 0, patchy_ = 0; // of all lanes
};

}  // namespace bus::broker
