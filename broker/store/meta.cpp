#include "broker/store/meta.hpp"

#include <algorithm>

namespace bus::store {

namespace {

constexpr std::string_view format_key = "format", identity_key = "identity", epoch_key = "epoch", head_key = "head";

Error bad_row(std::string_view key) {
  return {Code::damaged, "table meta: row " + std::string(key) + " is missing or cannot be read"};
}

// The row's value; a missing row is damage here, every log has all of them.
Result<std::string_view> get(const lmdb::Transaction& txn, const Tables& tables, std::string_view key) {
  const auto value = tables.get(txn, TableId::meta, key);
  if (!value) return value.error();
  if (!*value) return bad_row(key);
  return **value;
}

}  // namespace

Result<void> check_format(lmdb::Transaction& txn) {
  const auto meta = txn.open_table(name_of(TableId::meta), false);
  if (!meta && meta.error().code != Code::not_found) return meta.error();
  if (!meta) return Error{Code::bad_format, "this is an LMDB file, but not a log of busd: it has no table meta"};
  const auto stored = txn.get(*meta, format_key);
  if (!stored) return stored.error();
  if (!*stored) return Error{Code::bad_format, "this is not a log of busd: table meta has no row format"};
  const auto value = verified(TableId::meta, format_key, **stored);
  if (!value) return value.error();
  const auto version = Reader(*value).get<std::uint32_t>();
  if (version == store_version || version == store_version_with_removed) return {};
  return Error{Code::bad_format, "the log has format version " + std::to_string(version) + "; this busd knows versions " +
                                     std::to_string(store_version) + " and " + std::to_string(store_version_with_removed)};
}

Result<void> put_format(lmdb::Transaction& txn, const Tables& tables, std::uint32_t version) {
  return tables.put(txn, TableId::meta, format_key, Writer().put(version).bytes());
}

std::optional<Identity> read_identity(std::string_view value) {
  Reader reader(value);
  Identity identity;
  for (auto& byte : identity.log_id) byte = reader.get<std::uint8_t>();
  identity.history = reader.get<std::uint64_t>();
  identity.secret = reader.get<std::uint64_t>();
  if (!reader.done()) return std::nullopt;
  return identity;
}

Result<Identity> get_identity(const lmdb::Transaction& txn, const Tables& tables) {
  const auto value = get(txn, tables, identity_key);
  if (!value) return value.error();
  const auto epoch = get(txn, tables, epoch_key);
  if (!epoch) return epoch.error();
  auto identity = read_identity(*value);
  if (!identity) return bad_row(identity_key);
  Reader reader(*epoch);
  identity->epoch = reader.get<std::uint64_t>();
  if (!reader.done()) return bad_row(epoch_key);
  return *identity;
}

Result<void> put_identity(lmdb::Transaction& txn, const Tables& tables, const Identity& identity) {
  Writer writer;
  for (const auto byte : identity.log_id) writer.put(byte);
  writer.put(identity.history).put(identity.secret);
  return tables.put(txn, TableId::meta, identity_key, writer.bytes());
}

std::uint64_t next_history(std::uint64_t history, WallTime now) {
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(now.time_since_epoch()).count();
  return std::max(history + 1, static_cast<std::uint64_t>(std::max<std::int64_t>(seconds, 0)));
}

Result<void> put_epoch(lmdb::Transaction& txn, const Tables& tables, std::uint64_t epoch) {
  return tables.put(txn, TableId::meta, epoch_key, Writer().put(epoch).bytes());
}

std::optional<StoredHead> read_head(std::string_view value) {
  Reader reader(value);
  StoredHead stored;
  stored.head.batch = reader.get<std::uint64_t>();
  stored.head.committed = reader.get<Position>();
  stored.head.committed_at = wall_time(reader.get<std::int64_t>());
  stored.head.chain = reader.get<std::uint64_t>();
  stored.head.replay_from = reader.get<Position>();
  stored.head.replay_batch = reader.get<std::uint64_t>();
  stored.journal_last = reader.get<std::uint64_t>();
  if (!reader.done()) return std::nullopt;
  return stored;
}

Result<StoredHead> get_head(const lmdb::Transaction& txn, const Tables& tables) {
  const auto value = get(txn, tables, head_key);
  if (!value) return value.error();
  const auto head = read_head(*value);
  if (!head) return bad_row(head_key);
  return *head;
}

Result<void> put_head(lmdb::Transaction& txn, const Tables& tables, const StoredHead& stored) {
  const Head& head = stored.head;
  Writer writer;
  writer.put(head.batch).put(head.committed).put(nanoseconds(head.committed_at)).put(head.chain);
  writer.put(head.replay_from).put(head.replay_batch).put(stored.journal_last);
  return tables.put(txn, TableId::meta, head_key, writer.bytes());
}

std::optional<std::vector<LostRange>> read_lost(std::string_view value) {
  std::vector<LostRange> lost;
  Reader reader(value);
  const auto count = reader.get<std::uint32_t>();
  for (std::uint32_t at = 0; at < count && reader.ok(); ++at) {
    const auto first = reader.get<Position>();
    lost.push_back({first, reader.get<Position>()});
  }
  if (!reader.done()) return std::nullopt;
  return lost;
}

Result<std::vector<LostRange>> get_lost(const lmdb::Transaction& txn, const Tables& tables) {
  const auto value = tables.get(txn, TableId::meta, lost_key);
  if (!value) return value.error();
  if (!*value) return std::vector<LostRange>();
  const auto lost = read_lost(**value);
  if (!lost) return bad_row(lost_key);
  return *lost;
}

Result<void> put_lost(lmdb::Transaction& txn, const Tables& tables, std::span<const LostRange> lost) {
  Writer writer;
  writer.put(static_cast<std::uint32_t>(lost.size()));
  for (const LostRange& range : lost) writer.put(range.first).put(range.last);
  return tables.put(txn, TableId::meta, lost_key, writer.bytes());
}

std::optional<Trim> read_trim(std::string_view value) {
  Reader reader(value);
  Trim trim;
  trim.last = reader.get<Position>();
  trim.chain = reader.get<std::uint64_t>();
  if (!reader.done()) return std::nullopt;
  return trim;
}

Result<Trim> get_trim(const lmdb::Transaction& txn, const Tables& tables) {
  const auto value = tables.get(txn, TableId::meta, trim_key);
  if (!value) return value.error();
  if (!*value) return Trim{};
  const auto trim = read_trim(**value);
  if (!trim) return bad_row(trim_key);
  return *trim;
}

Result<void> put_trim(lmdb::Transaction& txn, const Tables& tables, const Trim& trim) {
  return tables.put(txn, TableId::meta, trim_key, Writer().put(trim.last).put(trim.chain).bytes());
}

}  // namespace bus::store
