// The rows of table `meta`: which format and log this is, and where it stands.
#pragma once

#include "broker/store/store.hpp"
#include "broker/store/tables.hpp"

namespace bus::store {

inline constexpr std::uint32_t store_version = 1;

// The head of the core, and the last batch that has a journal row: with it a lost row is noticed.
struct StoredHead {
  Head head;
  std::uint64_t journal_last = 0;
};

// Error bad_format: there is no such row, or it names another version than store_version.
Result<void> check_format(lmdb::Transaction& txn);
Result<void> put_format(lmdb::Transaction& txn, const Tables& tables);

Result<Identity> get_identity(const lmdb::Transaction& txn, const Tables& tables);
Result<void> put_identity(lmdb::Transaction& txn, const Tables& tables, const Identity& identity);
Result<void> put_epoch(lmdb::Transaction& txn, const Tables& tables, std::uint64_t epoch);

Result<StoredHead> get_head(const lmdb::Transaction& txn, const Tables& tables);
Result<void> put_head(lmdb::Transaction& txn, const Tables& tables, const StoredHead& stored);

}  // namespace bus::store
