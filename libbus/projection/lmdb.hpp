// A thin, owning face of LMDB for one file; the only place of libbus-projection that knows it. Codes: log_full (end of the map,
// or no space), damaged (LMDB says so), bad_format (not an LMDB file, or another version of it), disk_error (the rest).
//
// Default flags, MDB_NOSUBDIR and MDB_NOTLS only: a reading transaction may be used by any one thread at a time; the writing one
// belongs to the thread that began it. Views point into the map: they last until the transaction ends or writes.
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

namespace bus::projection::lmdb {

using Dbi = unsigned int;
enum class Access { read, write };

struct Row {
  std::string_view key, value;
};

// Transaction is one snapshot, or the one set of changes under way; it is undone unless committed.
class Transaction {
 public:
  Transaction(Transaction&&) = default;
  Transaction& operator=(Transaction&&) = delete;  // the cursor of the one replaced would outlive it
  Result<Dbi> open_table(const char* name, bool create);  // bad_format: it is not there
  Result<std::optional<std::string_view>> get(Dbi table, std::string_view key) const;
  // The first row at or after `key`.
  Result<std::optional<Row>> find(Dbi table, std::string_view key);
  // The row after the one found last.
  Result<std::optional<Row>> next();
  Result<void> put(Dbi table, std::string_view key, std::string_view value);
  Result<void> erase(Dbi table, std::string_view key);
  // Writes and syncs. With the map full nothing was written; after any other error the outcome is unknown.
  Result<void> commit();
  // The last error was the end of the map, and of nothing else.
  bool map_is_full() const { return map_full_; }

 private:
  friend class Environment;
  struct Abort {
    void operator()(MDB_txn* txn) const;
  };
  struct Close {
    void operator()(MDB_cursor* cursor) const;
  };
  explicit Transaction(MDB_txn* txn) : txn_(txn) {}
  Error failure(int status, const char* doing);
  Result<std::optional<Row>> move(int operation, std::string_view key);

  std::unique_ptr<MDB_txn, Abort> txn_;
  std::unique_ptr<MDB_cursor, Close> cursor_;  // of the last find(); gone before the transaction is
  bool map_full_ = false;
};

// Environment is the open file with its map and its table of readers.
class Environment {
 public:
  static Result<Environment> open(const std::filesystem::path& file, std::uint64_t map_bytes, unsigned readers_max);

  Result<Transaction> begin(Access access) const;
  // Only while no transaction is open.
  Result<void> set_map_bytes(std::uint64_t bytes);
  std::uint64_t map_bytes() const;
  std::uint64_t used_bytes() const;      // up to the last page that was ever used
  int descriptor() const;                // of the file

 private:
  struct Close {
    void operator()(MDB_env* env) const;
  };
  explicit Environment(MDB_env* env) : env_(env) {}
  std::unique_ptr<MDB_env, Close> env_;
};

}  // namespace bus::projection::lmdb
