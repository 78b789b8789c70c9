// Opening a log, and making a new one.
#include "broker/store/store.hpp"

#include <cstring>

#include "broker/store/disk_store.hpp"
#include "broker/store/offline.hpp"

namespace bus::store {

namespace fs = std::filesystem;

namespace {

Identity new_identity(const std::array<std::uint8_t, 32>& seed) {
  Identity identity;
  std::memcpy(identity.log_id.data(), seed.data(), identity.log_id.size());
  identity.secret = load<std::uint64_t>(seed.data() + identity.log_id.size());
  return identity;
}

// A complete, empty log in `path`, closed again.
Result<void> write_new_log(const fs::path& path, const Options& options) {
  auto env = lmdb::Environment::open(path, options.map_bytes, lmdb::Access::write);
  if (!env) return env.error();
  auto txn = env->begin(lmdb::Access::write);
  if (!txn) return txn.error();
  const auto tables = Tables::open(*txn, true);
  if (!tables) return tables.error();
  if (auto put = put_format(*txn, *tables, store_version); !put) return put;
  if (auto put = put_identity(*txn, *tables, new_identity(options.seed)); !put) return put;
  if (auto put = put_epoch(*txn, *tables, 0); !put) return put;
  if (auto put = put_head(*txn, *tables, {}); !put) return put;
  return txn->commit();
}

Result<std::uint64_t> data_file_bytes(const fs::path& dir) {
  const fs::path path = log_path(dir) / "data.mdb";
  std::error_code failed;
  const auto bytes = fs::file_size(path, failed);
  if (failed) return Error{Code::damaged, "cannot find " + path.string() + ": " + failed.message()};
  // LMDB would take an empty file for a new one.
  if (bytes < 2 * lmdb::page_bytes) return Error{Code::damaged, path.string() + " is cut off: it has no header" + last_whole_record(path)};
  return bytes;
}

// A page that is used and beyond the end of the file would end the process with SIGBUS when it is touched.
Result<lmdb::Environment> open_environment(const fs::path& dir, std::size_t map_bytes, lmdb::Access access) {
  const auto bytes = data_file_bytes(dir);
  if (!bytes) return bytes.error();
  auto env = lmdb::Environment::open(log_path(dir), map_bytes, access);
  if (!env || *bytes >= env->used_bytes()) return env;
  return Error{Code::damaged, "the data file in " + log_path(dir).string() + " is cut off: it has " +
                                  std::to_string(*bytes) + " bytes of " + std::to_string(env->used_bytes()) +
                                  last_whole_record(log_path(dir) / "data.mdb")};
}

Result<DiskStore::Parts> open_parts(const fs::path& dir, std::size_t map_bytes, File lock, lmdb::Access access) {
  auto env = open_environment(dir, map_bytes, access);
  if (!env) return env.error();
  auto txn = env->begin(access);
  if (!txn) return txn.error();
  if (auto checked = check_format(*txn); !checked) return checked.error();
  const auto tables = Tables::open(*txn, access == lmdb::Access::write);
  if (!tables) return tables.error();
  const auto identity = get_identity(*txn, *tables);
  if (!identity) return identity.error();
  const auto head = get_head(*txn, *tables);
  if (!head) return head.error();
  const auto trim = get_trim(*txn, *tables);
  if (!trim) return trim.error();
  if (auto kept = txn->commit(); !kept) return kept.error();  // keeps the handles of the tables
  return DiskStore::Parts{std::move(lock), std::move(*env), *tables, *identity, *head, *trim, {}, Compression::none, access == lmdb::Access::read};
}

// Nothing of this life may be taken for an earlier one's. The commit also makes durable whatever a process that was
// killed had written and not synced, before anyone is told of it.
Result<void> begin_epoch(DiskStore::Parts& parts) {
  parts.identity.epoch += 1;
  auto txn = parts.env.begin(lmdb::Access::write);
  if (!txn) return txn.error();
  if (auto put = put_epoch(*txn, parts.tables, parts.identity.epoch); !put) return put;
  return txn->commit();
}

Result<void> prepare_space(DiskStore::Parts& parts, const Options& options) {
  parts.space = FileSpace(parts.env.data_file(),
                          {parts.env.map_bytes(), options.fill_ahead_bytes, options.reserve_bytes});
  if (auto started = parts.space.start(parts.env.used_bytes()); !started) return started;
  return parts.space.grow();
}

Result<void> create_if_absent(const Options& options) {
  const auto present = has_log(options.dir);
  if (!present) return present.error();
  if (*present) return {};
  return create_log(options.dir, [&](const fs::path& path) { return write_new_log(path, options); });
}

}  // namespace

Result<std::unique_ptr<Store>> Store::open(const Options& options) {
  if (auto made = make_directory(options.dir); !made) return made.error();
  auto lock = take_lock(options.dir);
  if (!lock) return lock.error();
  if (auto created = create_if_absent(options); !created) return created.error();
  auto parts = open_parts(options.dir, options.map_bytes, std::move(*lock), lmdb::Access::write);
  if (!parts) return parts.error();
  if (auto dropped = parts->env.drop_dead_readers(); !dropped) return dropped.error();
  parts->compression = options.compression;
  if (auto prepared = prepare_space(*parts, options); !prepared) return prepared.error();
  if (auto begun = begin_epoch(*parts); !begun) return begun.error();
  parts->space.set_used(parts->env.used_bytes());
  return std::unique_ptr<Store>(std::make_unique<DiskStore>(std::move(*parts)));
}

Result<std::unique_ptr<Store>> Store::open_read_only(const fs::path& dir) {
  std::error_code ignored;
  if (!fs::exists(log_path(dir), ignored)) return Error{Code::not_found, "there is no log in " + dir.string()};
  auto lock = take_lock(dir);
  if (!lock) return lock.error();
  auto parts = open_parts(dir, 0, std::move(*lock), lmdb::Access::read);
  if (!parts) return parts.error();
  return std::unique_ptr<Store>(std::make_unique<DiskStore>(std::move(*parts)));
}

}  // namespace bus::store
