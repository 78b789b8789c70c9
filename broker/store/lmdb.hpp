// A thin, owning face of LMDB; the only place that knows it. Codes: log_full (end of the map, or no space while
// writing), damaged (LMDB says so), bad_format (not an LMDB file, or another version of it), disk_error (the rest).
//
// Default flags and MDB_NOTLS only: a transaction may be used by any one thread at a time, one of them writes.
// Views of keys and values point into the map: they last until the transaction ends or writes.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string_view>

#include "bus/result.hpp"

struct MDB_cursor;
struct MDB_env;
struct MDB_txn;

namespace bus::store::lmdb {

using Dbi = unsigned int;

enum class Access { read, write };
enum class Place { anywhere, end };

struct TableStat {
  std::uint64_t entries = 0;
  std::uint64_t depth = 0;
  std::uint64_t tree_pages = 0;     // branches and leaves
  std::uint64_t overflow_pages = 0; // of large values
};

inline constexpr std::size_t page_bytes = 4096;
inline constexpr std::size_t page_header_bytes = 16;
// A row goes to pages of its own if two of them would not fit into a leaf; keys have up to 500 bytes.
inline constexpr std::size_t large_value_bytes = (page_bytes - page_header_bytes) / 2 - 540;
constexpr std::size_t large_value_pages(std::size_t bytes) { return (bytes + page_header_bytes + page_bytes - 1) / page_bytes; }

// Cursor walks one table inside one transaction, which must outlive it. A cursor of a write transaction must go
// before that transaction commits.
class Cursor {
 public:
  // True: it stands on a row. seek() goes to the first row at or after `key`.
  Result<bool> seek(std::string_view key);
  Result<bool> first();
  Result<bool> last();
  Result<bool> next();
  Result<bool> previous();
  std::string_view key() const { return key_; }
  std::string_view value() const { return value_; }

 private:
  friend class Transaction;
  struct Close {
    void operator()(MDB_cursor* cursor) const;
  };
  explicit Cursor(MDB_cursor* cursor) : cursor_(cursor) {}
  Result<bool> move(int operation, std::string_view key);

  std::unique_ptr<MDB_cursor, Close> cursor_;
  std::string_view key_, value_;
};

// Transaction is one snapshot, or the one set of changes under way; it is undone unless committed.
class Transaction {
 public:
  Result<Dbi> open_table(const char* name, bool create);  // not_found without `create`
  Result<std::optional<std::string_view>> get(Dbi table, std::string_view key) const;
  Result<Cursor> cursor(Dbi table) const;
  Result<TableStat> stat(Dbi table) const;

  // Place::end: the key must be greater than every other of the table.
  Result<void> put(Dbi table, std::string_view key, std::string_view value, Place place = Place::anywhere);
  Result<void> erase(Dbi table, std::string_view key);    // no error if it is not there
  // Writes and syncs. log_full: nothing was written. Any other error: the outcome is unknown.
  Result<void> commit();

  std::uint64_t changes() const { return changes_; }
  std::uint64_t large_pages() const { return large_pages_; }

 private:
  friend class Environment;
  struct Abort {
    void operator()(MDB_txn* txn) const;
  };
  explicit Transaction(MDB_txn* txn) : txn_(txn) {}

  std::unique_ptr<MDB_txn, Abort> txn_;
  std::uint64_t changes_ = 0;      // rows put or erased
  std::uint64_t large_pages_ = 0;  // pages taken by values too large for a leaf
};

// Environment is the open database: its map, its files and its lock table. Moving it does not invalidate
// transactions.
class Environment {
 public:
  // `map_bytes` 0: as the file says.
  static Result<Environment> open(const std::filesystem::path& dir, std::size_t map_bytes, Access access);

  Result<Transaction> begin(Access access) const;
  // Frees the slots of readers whose process has died.
  Result<void> drop_dead_readers();

  std::uint64_t used_bytes() const;  // up to the last page any transaction has used
  std::uint64_t map_bytes() const;
  // Writes what is committed now to this file, without pages that are free; they are not used again until it is done. Any thread.
  Result<void> copy_compacted(int descriptor) const;
  // Pages that are free again and lie side by side, `run` of them at least. Goes through the list of all of them.
  Result<std::uint64_t> free_pages(std::size_t run) const;
  // The data file. LMDB takes its locks on lock.mdb, so that using this descriptor disturbs none of them.
  int data_file() const;

 private:
  struct Close {
    void operator()(MDB_env* env) const;
  };
  explicit Environment(MDB_env* env) : env_(env) {}

  std::unique_ptr<MDB_env, Close> env_;
};

}  // namespace bus::store::lmdb
