// Outbox gathers published events into batches and counts what is without a receipt. Publishing threads add, the
// connection's thread takes; whoever owns it holds the lock.
//
//   add() ──> open batch ──full, or take()──> taken ──answered()──> gone
//
// It numbers the events: a publisher's sequences are contiguous, so what a caller leaves out is sent as given up.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <optional>
#include <set>
#include <vector>

#include "batch.hpp"

namespace bus {

class Outbox {
 public:
  // A batch is sent without waiting for company once it has this many bytes.
  static constexpr std::size_t batch_bytes_target = 128 * 1024;
  // So many batches may be on the way before events wait for company: one that is being committed, and one behind it.
  static constexpr std::size_t batches_ahead = 2;
  static constexpr std::uint64_t skip_max = 1'000'000;

  struct Window {
    std::size_t bytes = 0, events = 0;
  };
  void open(Window window, std::uint64_t last_sequence);

  // True if events of that size together fit into the window. An empty window takes any event.
  bool has_room(std::size_t bytes, std::size_t events = 1) const;
  // An encoded event, and what must be true for it to be stored; or a snapshot, encoded as one.
  struct Item {
    Bytes event;
    std::span<const Condition> conditions = {};
    const NewSnapshot* snapshot = nullptr;
    std::size_t header_bytes() const { return bus::header_bytes(conditions) + (snapshot != nullptr ? sizeof(wire::Snapshot) : 0); }
  };
  // Appends it under the next sequence or one of the caller's, and returns the sequence. Call only with room for it; `done` is
  // moved from. Error bad_argument: the sequence does not rise, or leaves out too many.
  Result<std::uint64_t> add(const Item& item, ReceiptCallback& done, std::optional<std::uint64_t> sequence, SteadyTime now);
  // Appends events that are stored together or not at all, in one batch, which has to have room for them. `done` is called for each.
  // The step is what comes with them; where they are is filled in.
  void add_step(std::span<const Item> items, BatchStep step, const ReceiptCallback& done, SteadyTime now);

  // The next batch to send, if one is due: full, or open while few are on the way and `linger` has passed.
  std::optional<Batch> take(SteadyTime now, Duration linger);
  // When take() gives one, if nothing but time passes; nothing if time alone changes nothing.
  std::optional<SteadyTime> due(Duration linger) const;
  // True if a call of take() would give one now, linger aside: the thread should be woken.
  bool is_ready() const;
  void answered(const Batch& batch);
  // What was added and never taken.
  std::vector<Batch> take_all();

  std::size_t events() const { return events_; }     // without receipt
  std::uint64_t oldest_sequence() const;               // of those; 0 if there are none
  std::uint64_t newest_sequence() const { return next_fresh_ - 1; }  // the highest that was ever used

 private:
  // What is to be one batch.
  struct Size {
    std::size_t bytes = 0, events = 1, header_bytes = 0, cancels = 0;
  };
  void make_room(std::uint64_t sequence, const Size& size, SteadyTime now);
  void append(const Item& item, ReceiptCallback done);
  void append_skipped(SteadyTime now);
  void seal_if_full();
  void seal();

  struct Open {
    Batch batch;                         // but for its body
    Buffer body;
    std::size_t header_bytes = 0, cancels = 0;
    SteadyTime since;
    bool is_empty() const { return batch.done.empty(); }
  };
  Window window_;
  std::uint64_t next_fresh_ = 1;         // the lowest sequence that was never used
  std::uint64_t last_given_ = 0;         // by a caller
  Open open_;
  std::size_t last_bytes_ = 0, last_events_ = 0;  // of the batch before: this one will be about as large
  std::deque<Batch> full_;
  std::set<std::uint64_t> on_the_way_;   // first sequences of the batches taken
  std::size_t bytes_ = 0, events_ = 0;
};

}  // namespace bus
