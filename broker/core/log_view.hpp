// LogView is the one way by which the core reads events: the records committed last are kept in memory, all others
// are asked of the reader thread and kept for a while. Live delivery, catching up and replay all go through at().
// Owned by the core; one thread.
//
//   at() finds nothing ──> in line ──> has a place: its read is asked for ──> reads what came ──> at() finds nothing …
//
// There are few places, so that what was read is still there when its reader comes to look; whoever has read it all stands
// in line again, behind those who have waited meanwhile.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <unordered_map>
#include <utility>

#include "broker/core/io.hpp"

namespace bus::broker {

// Read requests on their way, and who waits for which.
class Reads {
 public:
  using Done = std::function<void(Result<ReadAnswer>)>;
  void ask(ReadAsk what, Done done);
  // Calls the one who asked. False: nobody did.
  bool done(ReadResult result);
  std::vector<ReadRequest> take();
  std::size_t pending() const { return waiting_.size(); }

 private:
  std::uint64_t next_id_ = 1;
  std::vector<ReadRequest> asked_;
  std::map<std::uint64_t, Done> waiting_;
};

class LogView {
 public:
  LogView(Reads& reads, std::function<void()> arrived) : reads_(reads), arrived_(std::move(arrived)) {}

  // Recovery, and after each commit.
  void start(Position committed, Position begin = Position{1}) { committed_ = committed, begin_ = begin; }
  void append(store::RecordPtr record);
  Position committed() const { return committed_; }
  // This has taken the place of the record that lies there.
  void change(store::RecordPtr record);
  // The records up to here are gone.
  void trim(Position last);

  // Those who read on in the log, by numbers that are never used again. Each waits for one position at a time.
  using ReaderId = std::uint64_t;
  // Found: the record that holds `position`, or where that was trimmed the next one. Nothing: the reader waits until it
  // is read, and `arrived` will be called. Error damaged: these bytes cannot be read.
  Result<store::RecordPtr> at(Position position, ReaderId reader);
  // The record that holds `position`, if it is in memory.
  store::RecordPtr recent(Position position) const;
  // The reader waits for nothing, and does not read on at once in what was read for it.
  void leave(ReaderId reader);
  static bool pending(const Result<store::RecordPtr>& found) { return found.ok() && *found == nullptr; }

 private:
  struct Waiting {
    std::uint64_t ticket = 0;
    Position position = Position::none;
  };
  // Of those whom the reader thread works for, reads_in_flight_max at most.
  struct Place {
    bool has_begun = false;              // to read what came
  };
  store::RecordPtr in_tail(Position position) const;
  store::RecordPtr in_cold(Position position) const;
  void wait(Position position, ReaderId reader);
  void serve();
  void request(Position position);
  void arrived(Position position, Result<ReadAnswer> answer);
  void keep(store::RecordPtr record);

  Reads& reads_;
  std::function<void()> arrived_;
  Position committed_ = Position::none;
  Position begin_{1};                             // before it all is gone
  std::deque<store::RecordPtr> tail_;
  std::size_t tail_bytes_ = 0;
  std::map<std::uint64_t, store::RecordPtr> cold_;  // by first position
  std::deque<std::uint64_t> cold_order_;          // as they came
  std::size_t cold_bytes_ = 0;
  std::unordered_map<ReaderId, Place> places_;
  std::unordered_map<ReaderId, Waiting> waiting_; // for a place
  std::map<std::uint64_t, ReaderId> line_;        // of those, by ticket: who has waited longest is first
  std::uint64_t last_ticket_ = 0;
  // A record that has changed: what was asked for before, up to this ask, may bring it as it was.
  struct Changed {
    std::uint64_t asks = 0;
    store::RecordPtr record;
  };
  std::map<std::uint64_t, std::uint64_t> asked_;  // positions on their way, and which ask it was: they are answered in that order
  std::uint64_t asks_ = 0;
  std::map<std::uint64_t, Changed> changed_;      // by first position
  std::map<std::uint64_t, Error> damaged_;
};

}  // namespace bus::broker
