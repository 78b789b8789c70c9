// StateFile is one file of state: who made it, how far it has come, and the rows. The projection's thread writes, one group of
// events in one transaction; any thread reads.
//
//   meta    "identity" → format, name, log, history, version, filter      state    key → value
//           "position" → the last position folded                         every value ends in its checksum
//
// The map doubles when it is full. LMDB can move it only while nobody looks into it: new readers wait meanwhile, and old ones
// have their life, after which they are ended. Lock order: the file's mutex, then a reader's.
#pragma once

#include <condition_variable>
#include <filesystem>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "bus/types.hpp"
#include "libbus/projection/lmdb.hpp"
#include "libbus/projection/rows.hpp"

namespace bus::projection {

// Whose state it is. All but `version` must be the same for it to be opened.
struct Identity {
  std::string name;
  std::vector<std::uint8_t> log_id;
  std::uint64_t history = 0;
  std::uint64_t version = 0;             // of the fold
  std::string filter;                    // as describe() says it
  bool operator==(const Identity&) const = default;
};

struct Bounds {
  std::uint64_t file_bytes_max = 0;
  Duration snapshot_life{};
};

class StateFile;

// Reader is one snapshot. Owned by whoever reads; the file ends it when its life is over, or the file is closed.
class Reader {
 public:
  Reader(std::shared_ptr<StateFile> file, lmdb::Transaction transaction, SteadyTime ends);
  ~Reader();
  Position position() const { return position_; }
  std::uint64_t version() const;
  // Errors: timed_out after its life, what it was ended with, and those of Rows.
  Result<std::optional<std::string>> get(std::string_view key);
  Result<std::vector<RowCopy>> some(std::string_view prefix, std::string_view after);

 private:
  friend class StateFile;
  Result<void> check_life();             // with the mutex
  void end(const Error& why);

  const std::shared_ptr<StateFile> file_;
  const SteadyTime ends_;
  Position position_ = Position::none;
  std::mutex mutex_;                     // of what follows
  std::optional<lmdb::Transaction> transaction_;
  Error why_;                            // it has no transaction any more
};

class StateFile : public std::enable_shared_from_this<StateFile> {
 public:
  // A new one, committed at position 0. Nobody else may have that path open.
  static Result<std::shared_ptr<StateFile>> create(const std::filesystem::path& path, const Identity& identity, const Bounds& bounds);
  // Errors: bad_format, damaged, disk_error, log_full.
  static Result<std::shared_ptr<StateFile>> open(const std::filesystem::path& path, const Bounds& bounds);
  ~StateFile();

  const Identity& identity() const { return identity_; }
  Position position() const { return position_; }  // of the last commit; the writing thread

  // ---- the one that writes
  Result<void> begin();
  bool is_writing() const { return writing_.has_value(); }
  bool map_is_full() const { return writing_ && writing_->map_is_full(); }
  Rows rows() { return {*writing_, state_, &changes_}; }
  // With the map full nothing was written, and map_was_full() says so: grow, and do it all again. Any other error is final.
  Result<void> commit(Position position);
  bool map_was_full() const { return map_was_full_; }
  void undo();
  // Waits for readers, at most for their life. Error: log_full, at file_bytes_max.
  Result<void> grow();

  // ---- anyone
  // Errors: busy, closed, and LMDB's.
  Result<std::shared_ptr<Reader>> read();
  // Ends the readers whose life is over.
  void end_old_readers();
  // Ends all of them, and closes the file.
  void close();

 private:
  friend class Reader;
  StateFile(lmdb::Environment env, const Bounds& bounds) : bounds_(bounds), env_(std::move(env)) {}
  static Result<std::shared_ptr<StateFile>> open_env(const std::filesystem::path& path, const Bounds& bounds);
  Result<void> write_identity(const Identity& identity);
  Result<void> load();
  Result<std::string_view> meta(const lmdb::Transaction& transaction, std::string_view key) const;
  Result<Position> position_in(const lmdb::Transaction& transaction) const;
  SteadyTime end_readers_due(SteadyTime now);

  const Bounds bounds_;
  Identity identity_;
  lmdb::Dbi meta_ = 0, state_ = 0;
  Position position_ = Position::none;
  std::optional<lmdb::Transaction> writing_;
  Changes changes_;                      // of `writing_`, not in it yet
  bool map_was_full_ = false;

  std::mutex mutex_;                     // of what follows, and of beginning to read
  std::condition_variable changed_;
  std::optional<lmdb::Environment> env_; // the writing thread uses it without the mutex: only that thread closes it
  std::set<Reader*> readers_;
  bool growing_ = false;
};

}  // namespace bus::projection
