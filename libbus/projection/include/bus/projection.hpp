// Projections: state that a service folds out of the log, and that a crash neither loses nor counts twice.
//
//   auto totals = bus::Projection::open(client, {.name = "daily-steps", .file = "daily_steps.state",
//                                                .filter = {.types = {"suoke.health.HealthDataUpdate"}}},
//                                       [](const bus::Event& event, bus::Projection::State& state) {
//                                         state.add<std::uint64_t>(event.key(), 1);
//                                       }).value();
//   totals.catch_up(5s).value();
//   auto count = totals.read().value().load<std::uint64_t>("user-7").value();
//
// The state is rows of bytes, in the order of their keys, in one file that belongs to this projection alone. Each checkpoint
// writes the changed rows and the position they stand for in one synced transaction; whatever came after is folded again
// after a crash, onto the state without it: exactly once, as far as the state goes. docs/PROJECTIONS.md has the rest.
#pragma once

#include <concepts>
#include <cstring>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>

#include "bus/client.hpp"

namespace bus {

// What a row's value may be besides bytes: stored as it lies in memory, so that a changed struct needs a new version of the fold.
template <typename T>
concept ProjectionValue = std::is_trivially_copyable_v<T> && !std::is_pointer_v<T> && !std::convertible_to<T, std::string_view>;

// A scan's callback; false ends the scan.
using RowCallback = std::function<bool(std::string_view key, std::string_view value)>;

// A running projection; owns a thread, which calls the fold. Thread-safe, but for being moved or destroyed.
class BUS_API Projection {
 public:
  class State;
  class Snapshot;
  // Called for each event of the filter, in the order of the log, by the projection's thread only. It must depend on nothing
  // but its arguments, and change nothing but the state: after a crash, and when the file's map grows, the events since the last
  // checkpoint are folded again. Throwing ends the projection with fold_failed.
  using Fold = std::function<void(const Event& event, State& state)>;

  // How far a build, rebuild, or catching up after a start has come.
  struct Progress {
    Position position = Position::none;  // folded up to here
    Position head = Position::none;      // of the log
    std::uint64_t events = 0;            // folded so far
    double events_per_second = 0;
    std::optional<Duration> left;        // at the rate at which positions went by; unknown at the beginning
    bool rebuilding = false;             // readers have the old state until it is done
    bool done = false;
  };

  struct Options {
    std::string name;                    // 1 to 128 bytes
    std::filesystem::path file;          // FILE; beside it FILE-lock, FILE.owner, and while it is made FILE.new
    Filter filter = {};                  // none: every event
    std::uint64_t version = 1;           // of the fold: a state made by another one has to be made anew
    bool skip_trimmed = false;           // the state is made of what retention has left; else it ends with `trimmed` where events are missing
    bool rebuild_if_changed = false;     // at once, if the version is another: readers have the old state until it is done
    // About once a second until the head of the log is reached, and then. Runs on the projection's thread: the next event waits
    // for it. It must not throw, or close the projection.
    std::function<void(const Progress&)> progress = {};
    std::uint64_t file_bytes_max = std::uint64_t{1} << 40;  // at least 64 MiB; beyond, it ends with log_full
    Duration snapshot_life = 5s;         // at most 1 min
  };

  // Opens FILE, or makes it if it is not there, and goes on after the position in it. The client has to stay where it is, and
  // to outlive this. Errors, none of which changes the file: projection_mismatch, fold_changed, log_changed, locked, damaged,
  // bad_format, disk_error, log_full, bad_argument, trimmed, and those of a subscription.
  static Result<Projection> open(Client& client, Options options, Fold fold);
  Projection(Projection&&) noexcept;
  Projection& operator=(Projection&&) noexcept;
  // close()
  ~Projection();

  // Everything up to here is in the state, and on disk.
  Position position() const;
  // Waits until position() has come to `position`: that of a receipt, for a service that wants to read what it wrote. It need not
  // be an event of the filter. Errors: timed_out, and what ended the projection.
  Result<void> wait_until(Position position, Duration deadline) const;
  // Asks the broker for the head of the log, and waits for that.
  Result<void> catch_up(Duration deadline) const;

  // The state as of one position. Any thread may read. Errors: busy, with 64 of them open; what ended the projection.
  Result<Snapshot> read() const;

  // Folds the log from its start into a file beside this one, and puts it in its place once it has caught up; until then position()
  // and readers stay where they are. Waits for that; not for the fold. Errors: what ended the projection: the old state is
  // there to be opened again.
  Result<void> rebuild();

  // Ends it: what was folded is on disk, snapshots end, and the file is free for others. Not for the fold.
  Result<void> close();
  // Waits for its end. ok after close(), else why: fold_failed, log_changed, trimmed, closed (the client was), damaged,
  // log_full, disk_error, bad_argument; the detail has the position. What was not checkpointed is undone.
  Result<void> wait() const;

 private:
  struct Impl;
  explicit Projection(std::shared_ptr<Impl> impl);
  std::shared_ptr<Impl> impl_;
};

// The rows, as the fold sees and changes them. Lives for one call of the fold.
//
// Keys have 1 to 500 bytes, values up to 1 MiB; one event may change 16,384 rows and 16 MiB. Nothing here returns an error: after
// one (a key too long, a damaged row, a full disk) the calls do nothing, and once the fold returns the projection ends with it.
class BUS_API Projection::State {
 public:
  std::optional<std::string> get(std::string_view key) const;
  void put(std::string_view key, std::string_view value);
  void erase(std::string_view key);      // nothing happens if it is not there
  // The rows whose keys begin with `prefix`, in their order; the callback may change the state, and sees what it changes
  // further on, or may not.
  void scan(std::string_view prefix, const RowCallback& row) const;

  template <ProjectionValue T>
  std::optional<T> load(std::string_view key) const {
    const auto bytes = get(key);
    if (!bytes) return std::nullopt;
    if (bytes->size() != sizeof(T)) return wrong_size(key, bytes->size(), sizeof(T)), std::nullopt;
    T value;
    std::memcpy(&value, bytes->data(), sizeof value);
    return value;
  }
  template <ProjectionValue T>
  void store(std::string_view key, const T& value) { put(key, {reinterpret_cast<const char*>(&value), sizeof value}); }
  // Adds to a number, which begins at 0; returns the sum.
  template <typename T>
    requires std::is_arithmetic_v<T>
  T add(std::string_view key, T amount) {
    const T sum = static_cast<T>(load<T>(key).value_or(T{}) + amount);
    store(key, sum);
    return sum;
  }

  struct Impl;
  explicit State(Impl& impl) : impl_(impl) {}
  State(const State&) = delete;
  State& operator=(const State&) = delete;

 private:
  void wrong_size(std::string_view key, std::size_t found, std::size_t wanted) const;
  Impl& impl_;
};

// The rows as of one position. It lives for `snapshot_life`, 5 s unless said otherwise, since what it sees cannot be given up
// while it lives; then its calls end with timed_out, and after close() with closed. One thread at a time. All that it returns is copied.
class BUS_API Projection::Snapshot {
 public:
  Position position() const;
  std::uint64_t version() const;         // of the fold that made it: during a rebuild that of the old one
  // Errors: timed_out, closed, damaged, bad_argument.
  Result<std::optional<std::string>> get(std::string_view key) const;
  Result<void> scan(std::string_view prefix, const RowCallback& row) const;

  template <ProjectionValue T>
  Result<std::optional<T>> load(std::string_view key) const {
    auto bytes = get(key);
    if (!bytes) return bytes.error();
    if (!*bytes) return std::optional<T>();
    return load<T>(key, **bytes);
  }
  // A value that a scan came by.
  template <ProjectionValue T>
  static Result<std::optional<T>> load(std::string_view key, std::string_view bytes) {
    if (bytes.size() != sizeof(T)) return wrong_size(key, bytes.size(), sizeof(T));
    T value;
    std::memcpy(&value, bytes.data(), sizeof value);
    return std::optional<T>(value);
  }

  struct Impl;
  explicit Snapshot(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}

 private:
  static Error wrong_size(std::string_view key, std::size_t found, std::size_t wanted);
  std::shared_ptr<Impl> impl_;
};

}  // namespace bus
