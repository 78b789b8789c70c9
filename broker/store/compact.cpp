#include "broker/store/compact.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <future>

#include "broker/store/directory.hpp"
#include "broker/store/meta.hpp"
#include "broker/store/tables.hpp"

namespace bus::store {

namespace fs = std::filesystem;

namespace {

constexpr auto progress_pause = std::chrono::milliseconds(200);

fs::path copy_path(const fs::path& dir) { return dir / "log.compact"; }
fs::path unfinished_path(const fs::path& dir) { return dir / "log.compact.new"; }
fs::path lock_path(const fs::path& dir) { return dir / "log.compact.lock"; }
fs::path mark_of(const fs::path& copy) { return copy / "copy"; }

bool is_there(const fs::path& path) {
  std::error_code ignored;
  return fs::exists(path, ignored);
}

Result<void> remove_tree(const fs::path& path) {
  std::error_code failed;
  fs::remove_all(path, failed);
  if (failed) return Error{Code::disk_error, "cannot remove " + path.string() + ": " + failed.message()};
  return {};
}

// So that the broker may use what root has copied.
Result<void> give_to_owner(const fs::path& path, const fs::path& model) {
  struct stat info {};
  if (::stat(model.c_str(), &info) != 0) return file_error("look at", model);
  if (::geteuid() != 0 || (info.st_uid == 0 && info.st_gid == 0)) return {};
  if (::chown(path.c_str(), info.st_uid, info.st_gid) != 0) return file_error("give to the log's owner", path);
  return {};
}

Result<File> lock_copies(const fs::path& dir) {
  auto lock = File::open(lock_path(dir), O_RDWR | O_CREAT);
  if (!lock) return lock;
  if (auto given = give_to_owner(lock_path(dir), log_path(dir)); !given) return given.error();
  if (::flock(lock->descriptor(), LOCK_EX | LOCK_NB) == 0) return lock;
  if (errno != EWOULDBLOCK) return file_error("lock", lock_path(dir));
  return Error{Code::locked, "somebody else is working on the compacted copy in " + dir.string()};
}

Result<void> check_room(const fs::path& dir, std::uint64_t bytes) {
  std::error_code failed;
  const auto space = fs::space(dir, failed);
  if (failed) return Error{Code::disk_error, "cannot look at the space of " + dir.string() + ": " + failed.message()};
  if (space.available >= bytes) return {};
  return Error{Code::log_full, "a copy in " + dir.string() + " may take " + std::to_string(bytes) + " bytes, and " + std::to_string(space.available) +
                                   " are free; make room, or run it when retention has removed more"};
}

Result<std::uint64_t> bytes_of_file(const fs::path& path) {
  std::error_code failed;
  const auto bytes = fs::file_size(path, failed);
  if (failed) return Error{Code::damaged, "cannot find " + path.string() + ": " + failed.message()};
  return bytes;
}

// A page that is used and beyond the end of the file would end the process when it is touched.
Result<lmdb::Environment> open_whole(const fs::path& path, std::size_t map_bytes, lmdb::Access access) {
  const auto bytes = bytes_of_file(path / "data.mdb");
  if (!bytes) return bytes.error();
  if (*bytes < 2 * lmdb::page_bytes) return Error{Code::damaged, (path / "data.mdb").string() + " is cut off"};
  auto env = lmdb::Environment::open(path, map_bytes, access);
  if (env && *bytes < env->used_bytes()) return Error{Code::damaged, (path / "data.mdb").string() + " is cut off"};
  return env;
}

Result<void> copy_pages(const lmdb::Environment& log, const fs::path& path, const std::function<void(CompactProgress)>& progress) {
  auto file = File::open(path, O_WRONLY | O_CREAT | O_EXCL);
  if (!file) return file.error();
  auto copying = std::async(std::launch::async, [&] { return log.copy_compacted(file->descriptor()); });
  if (progress) progress({0, log.used_bytes()});
  while (copying.wait_for(progress_pause) != std::future_status::ready) {
    std::error_code ignored;
    if (progress) progress({fs::file_size(path, ignored), log.used_bytes()});
  }
  if (auto copied = copying.get(); !copied) return copied;
  return file->sync();
}

// Everything but the last rename.
Result<Compacted> fill(const fs::path& dir, const fs::path& made, const std::function<void(CompactProgress)>& progress) {
  auto log = open_whole(log_path(dir), 0, lmdb::Access::read);
  if (!log) return log.error();
  Compacted done{log->used_bytes(), 0};
  if (auto room = check_room(dir, done.log_bytes); !room) return room.error();
  const auto data = made / "data.mdb";
  if (auto copied = copy_pages(*log, data, progress); !copied) return copied.error();
  const auto bytes = bytes_of_file(data);
  if (!bytes) return bytes.error();
  done.bytes = *bytes;
  if (auto mark = File::open(mark_of(made), O_WRONLY | O_CREAT); !mark) return mark.error();
  for (const auto& path : {data, mark_of(made)}) {
    if (auto given = give_to_owner(path, log_path(dir) / "data.mdb"); !given) return given.error();
  }
  if (auto synced = sync_path(made); !synced) return synced.error();
  return done;
}

// Tables that the log is without are missing in the copy, too, if an older version has made it.
Result<Identity> open_tables(const lmdb::Environment& env, lmdb::Access access) {
  auto txn = env.begin(access);
  if (!txn) return txn.error();
  if (auto good = check_format(*txn); !good) return good.error();
  const auto tables = access == lmdb::Access::write ? Tables::open(*txn, true) : Tables::open_present(*txn);
  if (!tables) return tables.error();
  auto identity = get_identity(*txn, *tables);
  if (!identity) return identity;
  if (auto kept = txn->commit(); !kept) return kept.error();  // keeps the handles of the tables
  return identity;
}

Result<SwappedIn> bring_up_to_date(const fs::path& dir, std::size_t map_bytes, const MergeProgress& progress) {
  auto log = open_whole(log_path(dir), map_bytes, lmdb::Access::write);
  if (!log) return log.error();
  auto copy = open_whole(copy_path(dir), map_bytes, lmdb::Access::write);
  if (!copy) return copy.error();
  const auto of_log = open_tables(*log, lmdb::Access::read), of_copy = open_tables(*copy, lmdb::Access::write);
  if (!of_log) return of_log.error();
  if (!of_copy) return of_copy.error();
  if (of_log->log_id != of_copy->log_id || of_log->history != of_copy->history) {
    return Error{Code::bad_format, copy_path(dir).string() + " is not a copy of this log"};
  }
  auto rows = merge_into_copy(*log, *copy, progress);
  if (!rows) return rows.error();
  if (auto synced = sync_path(copy_path(dir) / "data.mdb"); !synced) return synced.error();
  return SwappedIn{log->used_bytes(), copy->used_bytes(), *rows, {}, {}};
}

Result<void> exchange(const fs::path& dir) {
  if (::renameat2(AT_FDCWD, copy_path(dir).c_str(), AT_FDCWD, log_path(dir).c_str(), RENAME_EXCHANGE) == 0) return {};
  return file_error("exchange the log with", copy_path(dir));
}

// What is no longer a copy, or never became one.
Result<void> clean_up(const fs::path& dir) {
  if (auto removed = remove_tree(unfinished_path(dir)); !removed) return removed;
  if (auto removed = remove_tree(mark_of(log_path(dir))); !removed) return removed;
  return is_there(mark_of(copy_path(dir))) ? Result<void>() : remove_tree(copy_path(dir));
}

// After an exchange: until it is on the disk, the log that was replaced must neither go nor be the one that a crash brings back.
void finish(const fs::path& dir, SwappedIn& swapped) {
  if (auto synced = sync_path(dir); !synced) {
    swapped.unsynced = synced.error();
  } else if (auto cleaned = clean_up(dir); !cleaned) {
    swapped.left = cleaned.error();
  }
}

}  // namespace

Result<Compacted> write_compacted(const fs::path& dir, const std::function<void(CompactProgress)>& progress) {
  if (!is_there(log_path(dir) / "data.mdb")) return Error{Code::not_found, "there is no log in " + dir.string()};
  const auto lock = lock_copies(dir);
  if (!lock) return lock.error();
  const auto made = unfinished_path(dir);
  if (auto removed = remove_tree(made); !removed) return removed.error();
  if (::mkdir(made.c_str(), 0750) != 0) return file_error("create", made);
  // At once: the broker is to be able to remove what is left of a root that was killed.
  auto given = give_to_owner(made, log_path(dir) / "data.mdb");
  auto done = given ? fill(dir, made, progress) : Result<Compacted>(given.error());
  if (!done) {
    if (auto removed = remove_tree(made); !removed) return removed.error();
    return done.error();
  }
  if (auto removed = remove_tree(copy_path(dir)); !removed) return removed.error();
  if (::rename(made.c_str(), copy_path(dir).c_str()) != 0) return file_error("rename", made);
  if (auto synced = sync_path(dir); !synced) return synced.error();
  return done;
}

Result<bool> discard_compacted(const fs::path& dir) {
  if (!is_there(copy_path(dir)) && !is_there(unfinished_path(dir))) return false;
  const auto lock = lock_copies(dir);
  if (!lock) return lock.error();
  for (const auto& path : {copy_path(dir), unfinished_path(dir)}) {
    if (auto removed = remove_tree(path); !removed) return removed.error();
  }
  if (auto synced = sync_path(dir); !synced) return synced.error();
  return true;
}

Result<std::optional<SwappedIn>> swap_in_compacted(const fs::path& dir, std::size_t map_bytes, const MergeProgress& progress) {
  const auto nothing = std::optional<SwappedIn>();
  if (!is_there(lock_path(dir)) || !is_there(log_path(dir) / "data.mdb")) return nothing;
  const auto lock = take_lock(dir);
  if (!lock) return lock.error();
  const auto copies = lock_copies(dir);
  if (!copies) return copies.error();
  if (is_there(mark_of(log_path(dir)))) {  // exchanged, and then it ended
    SwappedIn before;
    finish(dir, before);
    if (before.unsynced || before.left) return std::optional(before);
  }
  if (auto cleaned = clean_up(dir); !cleaned) return cleaned.error();
  if (!is_there(copy_path(dir))) return nothing;
  auto swapped = bring_up_to_date(dir, map_bytes, progress);
  if (!swapped) return swapped.error();
  if (auto exchanged = exchange(dir); !exchanged) return exchanged.error();
  finish(dir, *swapped);
  return std::optional(*swapped);
}

}  // namespace bus::store
