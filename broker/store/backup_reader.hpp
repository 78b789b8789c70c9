// BackupReader reads records and rows as they are stored, for backups. It may keep one read transaction open between calls, so that
// many of them see the same log; LMDB uses no page again that it sees. Owned by the reader; one thread.
#pragma once

#include <optional>

#include "broker/store/backup_slice.hpp"
#include "broker/store/log_cursor.hpp"

namespace bus::store {

// What header and sizes say of a stored record; nothing is verified but that there is a header.
Result<StoredRecord> describe(Bytes stored, Position first);

class BackupReader {
 public:
  BackupReader(const lmdb::Environment& env, const Tables& tables) : env_(env), tables_(tables) {}

  // Errors: damaged; not_found, if nothing is held.
  Result<BackupSlice> read(const BackupAsk& ask);

 private:
  Result<BackupSlice> records(const lmdb::Transaction& txn, const BackupAsk& ask) const;
  Result<BackupSlice> rows(const lmdb::Transaction& txn, const BackupAsk& ask) const;

  const lmdb::Environment& env_;
  const Tables& tables_;
  std::optional<lmdb::Transaction> held_;
};

}  // namespace bus::store
