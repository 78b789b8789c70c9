#include "broker/store/backup_reader.hpp"

namespace bus::store {

Result<StoredRecord> describe(Bytes stored, Position first) {
  const std::size_t at = Record::is_packed(stored) ? sizeof(format::PackedPrefix) : 0;
  if (stored.size() < at + format::header_bytes) {
    return Error{Code::damaged, "the record at position " + std::to_string(number(first)) + " has no header"};
  }
  const auto header = load<format::Header>(stored.data() + at);
  return StoredRecord{first, wall_time(header.commit_time), header.checksum, static_cast<std::uint32_t>(stored.size()), header.count};
}

Result<BackupSlice> BackupReader::read(const BackupAsk& ask) {
  if (ask.what == BackupAsk::What::let_go) {
    held_.reset();
    return BackupSlice();
  }
  const bool held = ask.held || ask.what == BackupAsk::What::rows;
  if (held && !held_) return Error{Code::not_found, "no snapshot is held"};
  std::optional<lmdb::Transaction> now;
  if (!held) {
    auto txn = env_.begin(lmdb::Access::read);
    if (!txn) return txn.error();
    now = std::move(*txn);
  }
  if (ask.what == BackupAsk::What::hold) {
    held_ = std::move(now);
    return BackupSlice();
  }
  const auto& txn = held ? *held_ : *now;
  return ask.what == BackupAsk::What::rows ? rows(txn, ask) : records(txn, ask);
}

Result<BackupSlice> BackupReader::records(const lmdb::Transaction& txn, const BackupAsk& ask) const {
  auto cursor = LogCursor::open(txn, tables_);
  if (!cursor) return cursor.error();
  const bool with_bytes = ask.what == BackupAsk::What::records;
  BackupSlice slice;
  auto found = cursor->seek(ask.from);
  if (found && *found && cursor->position() < ask.from) found = cursor->next();
  for (; found && *found && cursor->position() <= ask.to; found = cursor->next()) {
    const Bytes stored = cursor->stored();
    const bool is_full = slice.records.size() == limits::backup_records_read ||
                         (!slice.records.empty() && slice.bytes.size() + stored.size() > limits::backup_bytes_read);
    if (is_full) {
      slice.next = cursor->position();
      break;
    }
    const auto record = describe(stored, cursor->position());
    if (!record) return record.error();
    slice.records.push_back(*record);
    if (with_bytes) slice.bytes.insert(slice.bytes.end(), stored.begin(), stored.end());
  }
  if (!found) return found.error();
  return slice;
}

Result<BackupSlice> BackupReader::rows(const lmdb::Transaction& txn, const BackupAsk& ask) const {
  if (ask.table == 0 || ask.table >= table_ids) return Error{Code::bad_argument, "there is no table " + std::to_string(ask.table) + " of rows"};
  auto cursor = txn.cursor(tables_[static_cast<TableId>(ask.table)]);
  if (!cursor) return cursor.error();
  BackupSlice slice;
  std::size_t bytes = 0;
  auto found = ask.after.empty() ? cursor->first() : cursor->seek(ask.after);
  if (found && *found && !ask.after.empty() && cursor->key() == ask.after) found = cursor->next();
  for (; found && *found; found = cursor->next()) {
    const std::size_t row_bytes = cursor->key().size() + cursor->value().size();
    if (slice.rows.size() == limits::backup_rows_read || (!slice.rows.empty() && bytes + row_bytes > limits::backup_bytes_read)) {
      slice.has_more = true;
      break;
    }
    bytes += row_bytes;
    slice.rows.emplace_back(cursor->key(), cursor->value());
  }
  if (!found) return found.error();
  return slice;
}

}  // namespace bus::store
