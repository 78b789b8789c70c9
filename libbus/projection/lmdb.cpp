#include "libbus/projection/lmdb.hpp"

#include <lmdb.h>
#include <sys/statvfs.h>

#include <cerrno>
#include <string>

namespace bus::projection::lmdb {

namespace {

constexpr std::uint64_t page_bytes = 4096;
constexpr unsigned tables_max = 2;
constexpr mdb_mode_t file_mode = 0640;

Code code_of(int status) {
  switch (status) {
    case MDB_MAP_FULL:
    case ENOSPC:
    case EDQUOT:
    case EFBIG: return Code::log_full;
    case MDB_INVALID:
    case MDB_VERSION_MISMATCH:
    case MDB_INCOMPATIBLE: return Code::bad_format;
    case MDB_CORRUPTED:
    case MDB_PAGE_NOTFOUND:
    case MDB_CURSOR_FULL: return Code::damaged;
    case MDB_READERS_FULL: return Code::busy;
    default: return Code::disk_error;
  }
}

Error error_of(int status, const std::string& doing) {
  return {code_of(status), "lmdb cannot " + doing + ": " + mdb_strerror(status) + " (" + std::to_string(status) + ")"};
}

// A write that the file system cut short comes back as EIO, also where it was for want of space.
bool has_no_space(MDB_env* env) {
  mdb_filehandle_t file = -1;
  struct statvfs info {};
  return mdb_env_get_fd(env, &file) == 0 && ::fstatvfs(file, &info) == 0 && info.f_bavail == 0;
}

// LMDB does not write through the pointer it is given.
MDB_val value_of(std::string_view bytes) { return {bytes.size(), const_cast<char*>(bytes.data())}; }
std::string_view view_of(const MDB_val& value) { return {static_cast<const char*>(value.mv_data), value.mv_size}; }

}  // namespace

// ---- Environment

void Environment::Close::operator()(MDB_env* env) const { mdb_env_close(env); }

Result<Environment> Environment::open(const std::filesystem::path& file, std::uint64_t map_bytes, unsigned readers_max) {
  MDB_env* raw = nullptr;
  if (const int status = mdb_env_create(&raw)) return error_of(status, "start");
  Environment env(raw);
  mdb_env_set_maxdbs(raw, tables_max);
  mdb_env_set_maxreaders(raw, readers_max);
  mdb_env_set_mapsize(raw, map_bytes / page_bytes * page_bytes);
  if (const int status = mdb_env_open(raw, file.c_str(), MDB_NOTLS | MDB_NOSUBDIR, file_mode)) return error_of(status, "open " + file.string());
  return env;
}

Result<Transaction> Environment::begin(Access access) const {
  MDB_txn* raw = nullptr;
  if (const int status = mdb_txn_begin(env_.get(), nullptr, access == Access::read ? MDB_RDONLY : 0, &raw)) {
    return error_of(status, "begin a transaction");
  }
  return Transaction(raw);
}

Result<void> Environment::set_map_bytes(std::uint64_t bytes) {
  if (const int status = mdb_env_set_mapsize(env_.get(), bytes / page_bytes * page_bytes)) return error_of(status, "enlarge its map");
  return {};
}

std::uint64_t Environment::map_bytes() const {
  MDB_envinfo info;
  mdb_env_info(env_.get(), &info);
  return info.me_mapsize;
}

std::uint64_t Environment::used_bytes() const {
  MDB_envinfo info;
  mdb_env_info(env_.get(), &info);
  return (info.me_last_pgno + 1) * page_bytes;
}

int Environment::descriptor() const {
  mdb_filehandle_t file = -1;
  mdb_env_get_fd(env_.get(), &file);
  return file;
}

// ---- Transaction

void Transaction::Abort::operator()(MDB_txn* txn) const { mdb_txn_abort(txn); }
void Transaction::Close::operator()(MDB_cursor* cursor) const { mdb_cursor_close(cursor); }

Error Transaction::failure(int status, const char* doing) {
  map_full_ = status == MDB_MAP_FULL;
  return error_of(status, doing);
}

Result<Dbi> Transaction::open_table(const char* name, bool create) {
  Dbi table = 0;
  const int status = mdb_dbi_open(txn_.get(), name, create ? MDB_CREATE : 0, &table);
  if (status == MDB_NOTFOUND) return Error{Code::bad_format, std::string("it has no table ") + name};
  if (status != 0) return failure(status, "open a table");
  return table;
}

Result<std::optional<std::string_view>> Transaction::get(Dbi table, std::string_view key) const {
  MDB_val at = value_of(key), value;
  const int status = mdb_get(txn_.get(), table, &at, &value);
  if (status == MDB_NOTFOUND) return std::optional<std::string_view>();
  if (status != 0) return error_of(status, "read");
  return std::optional(view_of(value));
}

Result<std::optional<Row>> Transaction::move(int operation, std::string_view key) {
  MDB_val at = value_of(key), value;
  const int status = mdb_cursor_get(cursor_.get(), &at, &value, static_cast<MDB_cursor_op>(operation));
  if (status == MDB_NOTFOUND) return std::optional<Row>();
  if (status != 0) return failure(status, "read");
  return std::optional(Row{view_of(at), view_of(value)});
}

Result<std::optional<Row>> Transaction::find(Dbi table, std::string_view key) {
  MDB_cursor* raw = nullptr;
  cursor_.reset();
  if (const int status = mdb_cursor_open(txn_.get(), table, &raw)) return failure(status, "open a cursor");
  cursor_.reset(raw);
  return key.empty() ? move(MDB_FIRST, key) : move(MDB_SET_RANGE, key);
}

Result<std::optional<Row>> Transaction::next() { return move(MDB_NEXT, {}); }

Result<void> Transaction::put(Dbi table, std::string_view key, std::string_view value) {
  cursor_.reset();
  MDB_val at = value_of(key), what = value_of(value);
  if (const int status = mdb_put(txn_.get(), table, &at, &what, 0)) return failure(status, "write a row");
  return {};
}

Result<void> Transaction::erase(Dbi table, std::string_view key) {
  cursor_.reset();
  MDB_val at = value_of(key);
  const int status = mdb_del(txn_.get(), table, &at, nullptr);
  if (status != 0 && status != MDB_NOTFOUND) return failure(status, "erase a row");
  return {};
}

Result<void> Transaction::commit() {
  cursor_.reset();
  MDB_txn* const raw = txn_.release();
  // The environment outlives the transaction, which is gone once LMDB returns.
  MDB_env* const env = mdb_txn_env(raw);
  const int status = mdb_txn_commit(raw);
  if (status == 0) return {};
  auto error = failure(status, "commit");
  if (!map_full_ && status == EIO && has_no_space(env)) error.code = Code::log_full;
  return error;
}

}  // namespace bus::projection::lmdb
