// The rows of table `meta`: which format and log this is, and where it stands.
#pragma once

#include "broker/store/store.hpp"
#include "broker/store/tables.hpp"

namespace bus::store {

inline constexpr std::uint32_t store_version = 1;
inline constexpr std::uint32_t store_version_with_removed = 2;  // retention has removed something
inline constexpr std::string_view lost_key = "lost", trim_key = "trim";
inline constexpr std::size_t lost_ranges_max = 1u << 20;  // 16 MiB in one row

// The head of the core, and the last batch that has a journal row: with it a lost row is noticed.
struct StoredHead {
  Head head;
  std::uint64_t journal_last = 0;
};

// Error bad_format: there is no such row, or it names a version that is not known.
Result<void> check_format(lmdb::Transaction& txn);
Result<void> put_format(lmdb::Transaction& txn, const Tables& tables, std::uint32_t version);

Result<Identity> get_identity(const lmdb::Transaction& txn, const Tables& tables);
Result<void> put_identity(lmdb::Transaction& txn, const Tables& tables, const Identity& identity);
// Of a log that is made of one with this history: another one each time, also where it is made twice of the same.
std::uint64_t next_history(std::uint64_t history, WallTime now);
Result<void> put_epoch(lmdb::Transaction& txn, const Tables& tables, std::uint64_t epoch);

// Nothing: this is not the value of such a row.
std::optional<StoredHead> read_head(std::string_view value);
std::optional<std::vector<LostRange>> read_lost(std::string_view value);
std::optional<Identity> read_identity(std::string_view value);  // without the epoch
Result<StoredHead> get_head(const lmdb::Transaction& txn, const Tables& tables);
Result<void> put_head(lmdb::Transaction& txn, const Tables& tables, const StoredHead& stored);

// In the order of their positions; none where there is no such row, as in most logs.
Result<std::vector<LostRange>> get_lost(const lmdb::Transaction& txn, const Tables& tables);
Result<void> put_lost(lmdb::Transaction& txn, const Tables& tables, std::span<const LostRange> lost);

// Nothing was trimmed where there is no such row.
Result<Trim> get_trim(const lmdb::Transaction& txn, const Tables& tables);
std::optional<Trim> read_trim(std::string_view value);
Result<void> put_trim(lmdb::Transaction& txn, const Tables& tables, const Trim& trim);

}  // namespace bus::store
