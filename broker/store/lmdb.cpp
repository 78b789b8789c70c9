#include "broker/store/lmdb.hpp"

#include <lmdb.h>

#include <cerrno>
#include <string>
#include <vector>

#include "base/bytes.hpp"
#include "base/check.hpp"

namespace bus::store::lmdb {

namespace {

constexpr unsigned tables_max = 32;
constexpr unsigned readers_max = 64;
constexpr mdb_mode_t file_mode = 0640;

// BUS_CANARY_NO_METASYNC exists for one test only, which must find the damage it does.
#ifdef BUS_CANARY_NO_METASYNC
constexpr unsigned extra_flags = MDB_NOMETASYNC;
#else
constexpr unsigned extra_flags = 0;
#endif

Code code_of(int status) {
  switch (status) {
    case MDB_MAP_FULL:
    case ENOSPC:
    case EDQUOT: return Code::log_full;
    case MDB_INVALID:
    case MDB_VERSION_MISMATCH:
    case MDB_INCOMPATIBLE: return Code::bad_format;
    case MDB_CORRUPTED:
    case MDB_PAGE_NOTFOUND:
    case MDB_CURSOR_FULL:
    case MDB_KEYEXIST: return Code::damaged;
    default: return Code::disk_error;
  }
}

Error failure(int status, const std::string& doing, Code code) {
  return {code, "lmdb cannot " + doing + ": " + mdb_strerror(status) + " (" + std::to_string(status) + ")"};
}
Error failure(int status, const std::string& doing) { return failure(status, doing, code_of(status)); }

// LMDB does not write through the pointer it is given.
MDB_val value_of(std::string_view bytes) { return {bytes.size(), const_cast<char*>(bytes.data())}; }
std::string_view view_of(const MDB_val& value) { return {static_cast<const char*>(value.mv_data), value.mv_size}; }

}  // namespace

// ---- Environment

void Environment::Close::operator()(MDB_env* env) const { mdb_env_close(env); }

Result<Environment> Environment::open(const std::filesystem::path& dir, std::size_t map_bytes, Access access) {
  MDB_env* raw = nullptr;
  if (const int status = mdb_env_create(&raw)) return failure(status, "start");
  Environment env(raw);
  mdb_env_set_maxdbs(raw, tables_max);
  mdb_env_set_maxreaders(raw, readers_max);
  if (map_bytes != 0) mdb_env_set_mapsize(raw, map_bytes / page_bytes * page_bytes);
  const unsigned flags = MDB_NOTLS | (access == Access::read ? MDB_RDONLY : extra_flags);
  if (const int status = mdb_env_open(raw, dir.c_str(), flags, file_mode)) {
    return failure(status, "open " + dir.string());
  }
  return env;
}

Result<Transaction> Environment::begin(Access access) const {
  MDB_txn* raw = nullptr;
  const int status = mdb_txn_begin(env_.get(), nullptr, access == Access::read ? MDB_RDONLY : 0, &raw);
  if (status != 0) return failure(status, "begin a transaction");
  return Transaction(raw);
}

Result<void> Environment::drop_dead_readers() {
  int dropped = 0;
  if (const int status = mdb_reader_check(env_.get(), &dropped)) return failure(status, "check its readers");
  return {};
}

std::uint64_t Environment::used_bytes() const {
  MDB_envinfo info;
  mdb_env_info(env_.get(), &info);
  return (info.me_last_pgno + 1) * page_bytes;
}

std::uint64_t Environment::map_bytes() const {
  MDB_envinfo info;
  mdb_env_info(env_.get(), &info);
  return info.me_mapsize;
}

Result<void> Environment::copy_compacted(int descriptor) const {
  if (const int status = mdb_env_copyfd2(env_.get(), descriptor, MDB_CP_COMPACT)) return failure(status, "copy the log");
  return {};
}

// Each row of LMDB's own table has the pages that one transaction has freed: how many, and their numbers.
Result<std::uint64_t> Environment::free_pages(std::size_t run) const {
  constexpr Dbi free_table = 0;
  const auto txn = begin(Access::read);
  if (!txn) return txn.error();
  auto cursor = txn->cursor(free_table);
  if (!cursor) return cursor.error();
  std::vector<bool> is_free(used_bytes() / page_bytes + 1);
  auto found = cursor->first();
  for (; found && *found; found = cursor->next()) {
    const std::string_view row = cursor->value();
    for (std::size_t at = sizeof(std::uint64_t); at + sizeof(std::uint64_t) <= row.size(); at += sizeof(std::uint64_t)) {
      const auto page = load<std::uint64_t>(bytes_of(row).data() + at);
      if (page < is_free.size()) is_free[page] = true;
    }
  }
  if (!found) return found.error();
  std::uint64_t pages = 0;
  std::size_t length = 0;
  for (std::size_t page = 0; page < is_free.size(); ++page) {
    length = is_free[page] ? length + 1 : 0;
    if (length == run) pages += run;
    if (length > run) ++pages;
  }
  return pages;
}

int Environment::data_file() const {
  mdb_filehandle_t file = -1;
  mdb_env_get_fd(env_.get(), &file);
  return file;
}

// ---- Transaction

void Transaction::Abort::operator()(MDB_txn* txn) const { mdb_txn_abort(txn); }

Result<Dbi> Transaction::open_table(const char* name, bool create) {
  Dbi table = 0;
  const int status = mdb_dbi_open(txn_.get(), name, create ? MDB_CREATE : 0, &table);
  if (status == MDB_NOTFOUND) return Error{Code::not_found, std::string("there is no table ") + name};
  if (status != 0) return failure(status, std::string("open table ") + name);
  return table;
}

Result<std::optional<std::string_view>> Transaction::get(Dbi table, std::string_view key) const {
  MDB_val at = value_of(key), value;
  const int status = mdb_get(txn_.get(), table, &at, &value);
  if (status == MDB_NOTFOUND) return std::optional<std::string_view>();
  if (status != 0) return failure(status, "read");
  return std::optional(view_of(value));
}

Result<Cursor> Transaction::cursor(Dbi table) const {
  MDB_cursor* raw = nullptr;
  if (const int status = mdb_cursor_open(txn_.get(), table, &raw)) return failure(status, "open a cursor");
  return Cursor(raw);
}

Result<TableStat> Transaction::stat(Dbi table) const {
  MDB_stat stat;
  if (const int status = mdb_stat(txn_.get(), table, &stat)) return failure(status, "measure a table");
  return TableStat{stat.ms_entries, stat.ms_depth, stat.ms_branch_pages + stat.ms_leaf_pages, stat.ms_overflow_pages};
}

Result<void> Transaction::put(Dbi table, std::string_view key, std::string_view value, Place place) {
  MDB_val at = value_of(key), what = value_of(value);
  const int status = mdb_put(txn_.get(), table, &at, &what, place == Place::end ? MDB_APPEND : 0);
  if (status != 0) return failure(status, "write a row");
  ++changes_;
  if (value.size() > large_value_bytes) large_pages_ += large_value_pages(value.size());
  return {};
}

Result<void> Transaction::erase(Dbi table, std::string_view key) {
  MDB_val at = value_of(key);
  const int status = mdb_del(txn_.get(), table, &at, nullptr);
  if (status != 0 && status != MDB_NOTFOUND) return failure(status, "erase a row");
  ++changes_;
  return {};
}

Result<void> Transaction::commit() {
  // The end of the map is found before the first page is written. Of any other error, of no space too, LMDB does
  // not say how far it came.
  const int status = mdb_txn_commit(txn_.release());
  if (status == MDB_MAP_FULL) return failure(status, "commit");
  if (status != 0) return failure(status, "commit", Code::disk_error);
  return {};
}

// ---- Cursor

void Cursor::Close::operator()(MDB_cursor* cursor) const { mdb_cursor_close(cursor); }

Result<bool> Cursor::move(int operation, std::string_view key) {
  MDB_val at = value_of(key), value;
  const int status = mdb_cursor_get(cursor_.get(), &at, &value, static_cast<MDB_cursor_op>(operation));
  if (status == MDB_NOTFOUND) return false;
  if (status != 0) return failure(status, "read");
  key_ = view_of(at);
  value_ = view_of(value);
  return true;
}

Result<bool> Cursor::seek(std::string_view key) { return move(MDB_SET_RANGE, key); }
Result<bool> Cursor::first() { return move(MDB_FIRST, {}); }
Result<bool> Cursor::last() { return move(MDB_LAST, {}); }
Result<bool> Cursor::next() { return move(MDB_NEXT, {}); }
Result<bool> Cursor::previous() { return move(MDB_PREV, {}); }

}  // namespace bus::store::lmdb
