// The log on disk: one LMDB environment, one writer, behind our own lock file.
//
// Three users, each on a thread of its own: main opens it and recovers; then the committer thread calls
// commit() and fill_ahead(); then the reader thread owns a LogReader. Nothing here is called by the loop.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "broker/store/backup_slice.hpp"
#include "broker/store/batch.hpp"
#include "broker/store/compression.hpp"

namespace bus::store {

struct Identity {
  LogId log_id{};
  std::uint64_t history = 1;          // rises with each restore
  std::uint64_t epoch = 0;            // rises with each open; committed before open() returns
  std::uint64_t secret = 0;           // seeds the hash of keys
};

struct Options {
  std::filesystem::path dir;
  std::size_t map_bytes = limits::map_bytes_default;
  std::size_t fill_ahead_bytes = limits::fill_ahead_bytes;  // zero-filled ahead while idle
  std::size_t reserve_bytes = limits::settle_reserve_bytes; // publishes are refused before this is touched
  Compression compression = Compression::none;              // of records from now on; older ones stay as they are
  // 32 random bytes for a new log: id and secret. The store has no randomness of its own.
  std::array<std::uint8_t, 32> seed{};
};

// How much more fits. A publish is admitted only if `free_bytes` covers its pages and the reserve.
struct Space {
  std::uint64_t file_bytes = 0;
  std::uint64_t used_bytes = 0;       // pages LMDB has handed out so far
  std::uint64_t free_bytes = 0;       // allocated on disk and not used yet
  bool full = false;                  // the file could not be grown: ENOSPC or end of the map
  std::uint64_t reusable_bytes = 0;   // if full: in pages that are free again, side by side, as of a little while ago
};

struct Stat {
  Position first = Position::none, last = Position::none;
  std::uint64_t records = 0, record_bytes = 0, journal_entries = 0;
  WallTime first_at, last_at;
  Head head;
  Space space;
  std::uint64_t map_bytes = 0;
};

struct Fault {
  Position position = Position::none; // none: not a record; `what` names table and key
  std::string what;
};

// Positions that the log knows to be gone: salvage or repair has not found them. Both ends belong to it.
struct LostRange {
  Position first = Position::none, last = Position::none;
};

struct VerifySlice {
  Position next = Position::none;     // none: the end was reached
  std::uint64_t chain = 0;            // at the end: that of the head
  Position last = Position::none;     // the head
  std::uint64_t records = 0, events = 0, removed = 0;  // of the events retention has removed so many
  std::vector<Fault> faults;
  Position trimmed_to = Position::none;  // with the last slice: records up to here are gone
  std::vector<LostRange> lost;        // that begin in this slice; no faults
};

// What became of one sequence of a publisher.
struct SequenceHit {
  Position position = Position::none; // none: never stored
  std::uint64_t version = 0;
};

// One part of the walk back along a publisher's chain.
struct SequenceSlice {
  std::vector<SequenceHit> hits;      // of each sequence asked; those before `open` are not known yet
  std::size_t open = 0;               // how many are still to be found, the lowest ones
  Position next = Position::none;     // where the walk goes on to find them; none: nowhere, and those that are open
  std::string gone;                   // are unknown: why that part of the log is gone for good
};

// One part of the walk back along a key's chain.
struct KeySlice {
  std::vector<Position> positions;    // of the key, in order: the oldest of those that were met
  bool is_cut = false;                // others were met after them
  Position next = Position::none;     // where the walk goes on to older ones; none: there are none that were asked for
};

// Events of one key, in the order of their versions or backwards.
struct KeyRange {
  KeyHead start;                      // from where the walk may go back: the key's last event, or KeyEvents::next
  std::uint64_t from = 1;             // the first version that is wanted
  bool backwards = false;
  std::size_t events_max = 1, bytes_max = 1, records_max = 1;  // of one part; one event at least
};
struct KeyEvent {
  Position position = Position::none;
  std::uint64_t version = 0;
  WallTime committed_at;
  std::uint32_t publisher = 0;
  std::uint64_t sequence = 0;
  Buffer body;                        // verified
};
struct KeyEvents {
  std::vector<KeyEvent> events;
  // Forwards there may be fewer than fit: those up to the next row that leads to the key.
  // Forwards: the first event was not reached, ask again with this as `start`; none: it was. Backwards: what comes next; none: nothing.
  KeyHead next;
  std::uint64_t trimmed = 0;          // the highest version that was asked for and that retention has removed; 0: none
};

// Rows of a table, with their keys: `most` of them, and no more once they have `bytes_max`.
enum class Damaged { error, empty };  // what a damaged row is: an error, or a row with an empty value
struct RowRange {
  Table table;
  std::string from, until;            // from here up to before there; until empty: to the end
  std::size_t most = 1;
  std::size_t bytes_max = ~std::size_t{0};
  Damaged damaged = Damaged::error;
  bool backwards = false;             // the last ones, the last first
  bool keys_only = false;             // values stay empty, and are not verified
};
using Rows = std::vector<std::pair<std::string, std::string>>;

// Records that follow each other, without their bodies.
struct IndexSlice {
  std::vector<RecordPtr> records;
  std::optional<Error> damage;        // why one of those that lie there is not among them
  Position next = Position::none;     // where the next record begins; none: there is no other
};

// One part of the way forward to the next event of some priorities.
struct PrioritySlice {
  bool is_found = false;
  Position next{1};                   // where it is; or where to go on, maybe one past the end
};

// Reads the committed log. Each call opens and ends a read transaction of its own, bounded in bytes, so that
// no page is pinned for long. One thread at a time.
class LogReader {
 public:
  virtual ~LogReader() = default;

  // The record that holds `from`, or the next one if `from` was trimmed, and those after it while they fit into
  // `bytes_max` together; at least one if there is one, none beyond the end. A damaged record ends the list;
  // if it is the first one, the error is damaged and names it. Bodies are verified here, once per load.
  virtual Result<std::vector<RecordPtr>> records(Position from, std::size_t bytes_max) = 0;

  // The first position whose commit time is >= time; one past the end if there is none. O(log n).
  virtual Result<Position> position_at(WallTime time) = 0;

  // The checkpointed head of each key, in the order asked; nothing where the key is unknown.
  virtual Result<std::vector<std::optional<KeyHead>>> key_heads(std::span<const Hash128> keys) = 0;

  // Costs a look into the index of as many records as events are read, and 64 more, whatever the key has. Errors: damaged.
  virtual Result<KeyEvents> key_events(const KeyRange& range) = 0;

  // Walks the publisher's runs back from its event at `from` to each of `sequences` (ascending, all of them
  // below or at the sequence of that event). Looks into at most `records_max` records (not 0); the caller asks again for
  // the sequences that are open then, from `next` on.
  virtual Result<SequenceSlice> find_sequences(std::uint32_t publisher, Position from, std::span<const std::uint64_t> sequences,
                                               std::size_t records_max) = 0;

  // Walks the key's events back from the one at `from` (none: from its checkpointed head) while they are after `after`. Keeps the
  // oldest `most`. Looks into at most `records_max` records (not 0); the caller asks again from `next` on. What was trimmed ends
  // the walk.
  virtual Result<KeySlice> find_key(const Hash128& key, Position from, Position after, std::size_t most, std::size_t records_max) = 0;

  // The first event from `from` on that has one of these priorities, a bit for each. Looks into at most `records_max` records (not
  // 0), of which it touches the index only.
  virtual Result<PrioritySlice> find_priority(Position from, std::uint8_t priorities, std::size_t records_max) = 0;

  // The record that holds `from` or the next one, and those after it: `records_max` of them.
  virtual Result<IndexSlice> indexes(Position from, std::size_t records_max) = 0;

  // Errors: damaged.
  virtual Result<Rows> rows(const RowRange& range) = 0;

  virtual Result<Stat> stat() = 0;

  // Reads every byte from `from` on for about `bytes_max`: record keys, gaps, checksums of headers, indexes
  // and bodies, links between records, and the chain, which continues from `chain` (ignored for the first
  // record). The last slice also checks every row of every other table. Position::none as `from`: the start.
  // `from` may lie inside a record. A fault at the position before `from` says that the chain there is not `chain`;
  // no other fault names a position before `from`.
  virtual Result<VerifySlice> verify(Position from, std::uint64_t chain, std::size_t bytes_max) = 0;

  // What lies in the store, for a backup. The only calls of which the transaction may stay open between them. Errors: damaged.
  virtual Result<BackupSlice> backup(const BackupAsk& ask) = 0;
};

class Store {
 public:
  // Takes the lock, creates the log if the directory is empty or absent (in a temporary directory beside it,
  // committed and fsynced, then renamed), opens it, commits the next epoch.
  // Errors: locked, bad_format (not ours, or another format version), damaged, disk_error.
  static Result<std::unique_ptr<Store>> open(const Options& options);
  // The same, reading only: no epoch, no write, for offline verify. Still takes the lock.
  static Result<std::unique_ptr<Store>> open_read_only(const std::filesystem::path& dir);
  virtual ~Store() = default;

  virtual const Identity& identity() const = 0;
  virtual const Head& head() const = 0;
  virtual const Trim& trim() const = 0;

  // Recovery. Each calls back in key order, with the checksum verified and cut off. Errors: damaged, disk_error.
  using RowVisitor = std::function<Result<void>(std::string_view key, std::string_view value)>;
  virtual Result<void> each_row(Table table, const RowVisitor& visit) const = 0;
  virtual Result<std::uint64_t> count_rows(Table table) const = 0;
  using JournalVisitor = std::function<Result<void>(std::uint64_t batch, std::string_view bytes)>;
  virtual Result<void> each_journal(std::uint64_t from_batch, const JournalVisitor& visit) const = 0;
  // Header and index only are touched; bodies are neither read nor verified.
  using RecordVisitor = std::function<Result<void>(const Record& record)>;
  virtual Result<void> each_record(Position from, const RecordVisitor& visit) const = 0;

  // Applies the batch in one transaction and fsyncs. Any error but log_full means the outcome is unknown or
  // the disk is broken: the caller ends the process and never calls again. log_full: nothing was written; by
  // admission this never happens to a publish.
  virtual Result<void> commit(const CommitBatch& batch) = 0;

  // Prepares one slice of file ahead of the last page (zeros, fdatasync). Called between commits while idle, or
  // by commit() itself when free space runs short. False: nothing left to do, or no space (see space().full).
  virtual Result<bool> fill_ahead() = 0;

  // Safe to call from any thread: a copy of the figures after the last commit or fill.
  virtual Space space() const = 0;

  virtual std::unique_ptr<LogReader> reader() const = 0;
};

}  // namespace bus::store
