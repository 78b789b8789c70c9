// What is behind a Projection: its thread, and what that shares with those who wait and read.
//
//   open ──FILE is there, and ours──────────────► following ──rebuild()──► rebuilding into FILE.new
//     └──made by another version of the fold──►┐      ▲  └──close(), error──► ended     │    │
//                                              │      └──caught up: FILE.new is FILE────┘    │
//                                              └──► rebuilding                               └──close(), error──► ended, FILE as before
#pragma once

#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "bus/projection.hpp"
#include "libbus/projection/files.hpp"
#include "libbus/projection/group.hpp"
#include "libbus/projection/pace.hpp"
#include "libbus/projection/state_file.hpp"

namespace bus {

struct Projection::Snapshot::Impl {
  std::shared_ptr<projection::Reader> reader;
  Position position;
};

struct Projection::Impl {
  Impl(Client& the_client, Options the_options, Fold the_fold) : client(the_client), options(std::move(the_options)), fold(std::move(the_fold)) {}

  Client& client;
  Options options;
  const Fold fold;
  projection::Owner owner;

  // ---- shared
  std::mutex mutex;                      // of what follows
  std::condition_variable changed;
  std::shared_ptr<projection::StateFile> file;  // that readers see
  std::vector<std::weak_ptr<projection::StateFile>> retired;  // replaced by a rebuild, and perhaps still read
  Position reached = Position::none;     // of `file`; beyond `stored` where nothing that matches came since
  Position stored = Position::none;
  std::atomic<bool> closing = false;     // with the mutex, as all of these; but the thread looks for each event
  std::atomic<std::uint64_t> rebuilds_asked = 0;
  std::uint64_t rebuilds_done = 0;
  bool ended = false;
  Result<void> why;
  std::optional<Replay> source;          // read by the thread; closed by others to wake it
  std::mutex join_mutex;
  std::thread thread;

  // ---- opening
  Result<void> check() const;
  Result<void> open();
  Result<void> open_file();
  Result<void> make_file();
  Result<void> check_identity(const projection::Identity& found) const;
  projection::Identity identity() const;
  projection::Bounds bounds() const { return {options.file_bytes_max, options.snapshot_life}; }
  Result<Position> ask_head() const;
  Error named(const Error& error) const;

  // ---- waiting
  Result<void> wait_until(Position position, SteadyTime deadline);
  bool is_nothing_between(Position from, Position to, SteadyTime deadline, std::unique_lock<std::mutex>& lock);

  // ---- the thread
  // What it is at: one file, from one start, on one subscription.
  struct Work {
    Work(std::shared_ptr<projection::StateFile> the_file, const Fold& fold, bool rebuilds, SteadyTime now)
        : file(std::move(the_file)), group(*file, fold), pace(file->position(), rebuilds, now), rebuilding(rebuilds), reached(file->position()), committed_at(now) {}
    std::shared_ptr<projection::StateFile> file;
    projection::Group group;
    projection::Pace pace;
    const bool rebuilding;
    bool caught_up = false;              // with the head of the log, once
    Position reached;
    Position head = Position::none;      // as far as it is known
    std::optional<Event> first;          // that came while it was begun
    SteadyTime committed_at;
  };
  std::unique_ptr<Work> work;
  std::uint64_t rebuild_at_work = 0;     // the last one that was begun

  void run();
  Result<void> fold_all();
  bool is_rebuild_asked() const { return rebuilds_asked > rebuild_at_work; }
  Result<void> begin_source(Position after);
  Result<void> begin_rebuild();
  Result<std::optional<Event>> next_event();
  SteadyTime next_deadline() const;
  Result<void> check_trimmed(Position folded_to) const;
  Result<void> take(Event event);
  Result<void> pause(Position position);
  Result<void> reach_head(Position position);
  Result<void> checkpoint(Position position);
  Result<void> swap_in();
  void announce(Position now_reached);
  Position furthest();
  void tell_progress(SteadyTime now);
};

}  // namespace bus
