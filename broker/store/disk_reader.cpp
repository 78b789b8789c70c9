#include "broker/store/disk_reader.hpp"

#include "broker/store/key_leaves.hpp"
#include "broker/store/log_check.hpp"

namespace bus::store {

// The record that holds `from`, or the oldest if `from` was trimmed; null at the end of the log. Error damaged: it is missing.
Result<RecordPtr> DiskReader::first_record(const lmdb::Transaction& txn, LogCursor& cursor, Position from) const {
  const auto found = cursor.seek(from);
  if (!found) return found.error();
  if (!*found) return none_from(txn, from, from);
  if (cursor.position() > from) {
    const auto trim = get_trim(txn, tables_);
    if (!trim) return trim.error();
    if (from > trim->last) return missing(from, cursor.position() - 1);
  }
  const auto record = cursor.load();
  if (!record || (*record)->last() >= from) return record;
  const Position end = (*record)->last();
  const auto later = cursor.next();
  if (!later) return later.error();
  if (*later) return missing(end + 1, cursor.position() - 1);
  return none_from(txn, from, end + 1);
}

// There is no record from `gap` on: the end of the log, or damage.
Result<RecordPtr> DiskReader::none_from(const lmdb::Transaction& txn, Position from, Position gap) const {
  const auto head = get_head(txn, tables_);
  if (!head) return head.error();
  if (from <= head->head.committed) return missing(gap, head->head.committed);
  return RecordPtr{};
}

Result<std::vector<RecordPtr>> DiskReader::records(Position from, std::size_t bytes_max) {
  const auto txn = env_.begin(lmdb::Access::read);
  if (!txn) return txn.error();
  auto cursor = LogCursor::open(*txn, tables_);
  if (!cursor) return cursor.error();
  std::vector<RecordPtr> records;
  std::size_t bytes = 0;
  auto record = first_record(*txn, *cursor, from);
  // What is wrong with a later record is said when that one is asked for.
  while (record && *record != nullptr) {
    if (auto intact = check_bodies(**record); !intact) {
      record = intact.error();
      break;
    }
    bytes += (*record)->bytes().size();
    records.push_back(*record);
    const auto more = cursor->next();
    if (!more || !*more || bytes + cursor->record_bytes() > bytes_max) break;
    if (cursor->position() != (*record)->last() + 1) break;
    record = cursor->load();
  }
  if (records.empty() && !record) return record.error();
  return records;
}

Result<Position> DiskReader::position_at(WallTime time) {
  const auto txn = env_.begin(lmdb::Access::read);
  if (!txn) return txn.error();
  auto cursor = LogCursor::open(*txn, tables_);
  if (!cursor) return cursor.error();
  const auto found = cursor->first();
  if (!found) return found.error();
  if (!*found) return Position{1};
  Position low = cursor->position();
  const auto head = get_head(*txn, tables_);
  if (!head) return head.error();
  Position high = head->head.committed + 1;  // invariant: the answer is in [low, high]
  while (low < high) {
    const Position middle = low + (high - low) / 2;
    const auto sought = cursor->seek(middle);
    if (!sought) return sought.error();
    const auto record = cursor->load_index();
    if (!record) return record.error();
    if ((*record)->committed_at() >= time) {
      high = std::min(high, (*record)->first());
    } else {
      low = std::max(middle, (*record)->last()) + 1;  // the record lies before it where positions are missing
    }
  }
  return low;
}

Result<std::vector<std::optional<KeyHead>>> DiskReader::key_heads(std::span<const Hash128> keys) {
  const auto txn = env_.begin(lmdb::Access::read);
  if (!txn) return txn.error();
  std::vector<std::optional<KeyHead>> heads;
  for (const Hash128& key : keys) {
    const auto head = find_head(*txn, tables_, key);
    if (!head) return head.error();
    heads.push_back(*head);
  }
  return heads;
}

Result<PrioritySlice> DiskReader::find_priority(Position from, std::uint8_t priorities, std::size_t records_max) {
  const auto txn = env_.begin(lmdb::Access::read);
  if (!txn) return txn.error();
  auto cursor = LogCursor::open(*txn, tables_);
  if (!cursor) return cursor.error();
  PrioritySlice slice{false, from};
  auto found = cursor->seek(from);
  for (; found && *found && records_max > 0; found = cursor->next(), --records_max) {
    const auto record = cursor->load_index();
    if (!record) return record.error();
    if ((*record)->last() < from) continue;
    for (std::uint32_t at = 0; at < (*record)->count(); ++at) {
      const bool is_wanted = (priorities >> (*record)->priority(at) & 1) != 0;
      if (is_wanted && (*record)->first() + at >= from) return PrioritySlice{true, (*record)->first() + at};
    }
    slice.next = (*record)->last() + 1;
  }
  if (!found) return found.error();
  if (*found) return slice;
  const auto head = get_head(*txn, tables_);
  if (!head) return head.error();
  slice.next = std::max(slice.next, head->head.committed + 1);  // what lies behind the last record is gone
  return slice;
}

namespace {

// Whoever goes through indexes stops for no longer than it takes to look at so many events, or those of one record.
constexpr std::size_t index_events_max = 1024;

}  // namespace

Result<IndexSlice> DiskReader::indexes(Position from, std::size_t records_max) {
  const auto txn = env_.begin(lmdb::Access::read);
  if (!txn) return txn.error();
  auto cursor = LogCursor::open(*txn, tables_);
  if (!cursor) return cursor.error();
  IndexSlice slice;
  std::size_t events = 0;
  auto found = cursor->seek(from);
  for (; found && *found && records_max > 0 && events < index_events_max; found = cursor->next(), --records_max) {
    const auto record = cursor->load_index();
    if (!record) slice.damage = record.error();
    if (!record || (*record)->last() < from) continue;
    slice.records.push_back(*record);
    events += (*record)->count();
  }
  if (!found) return found.error();
  if (*found) slice.next = cursor->position();
  return slice;
}

namespace {

// Moves to the first row of the range, or backwards to its last. False: there is none.
Result<bool> enter(lmdb::Cursor& cursor, const RowRange& range) {
  if (!range.backwards) return range.from.empty() ? cursor.first() : cursor.seek(range.from);
  if (range.until.empty()) return cursor.last();
  const auto after = cursor.seek(range.until);
  if (!after) return after;
  return *after ? cursor.previous() : cursor.last();
}

bool is_in(const RowRange& range, std::string_view key) { return key >= range.from && (range.until.empty() || key < range.until); }

}  // namespace

Result<Rows> DiskReader::rows(const RowRange& range) {
  const auto txn = env_.begin(lmdb::Access::read);
  if (!txn) return txn.error();
  const auto table = id_of(range.table);
  auto cursor = txn->cursor(tables_[table]);
  if (!cursor) return cursor.error();
  Rows rows;
  std::size_t bytes = 0;
  auto found = enter(*cursor, range);
  for (; found && *found && rows.size() < range.most && bytes < range.bytes_max && is_in(range, cursor->key()); found = range.backwards ? cursor->previous() : cursor->next()) {
    rows.emplace_back(cursor->key(), std::string());
    bytes += cursor->key().size();
    if (range.keys_only) continue;
    const auto value = verified(table, cursor->key(), cursor->value());
    if (!value && range.damaged == Damaged::error) return value.error();
    if (value) rows.back().second = *value;
    bytes += cursor->value().size();
  }
  if (!found) return found.error();
  return rows;
}

Result<Stat> DiskReader::stat() {
  const auto txn = env_.begin(lmdb::Access::read);
  if (!txn) return txn.error();
  const auto head = get_head(*txn, tables_);
  if (!head) return head.error();
  const auto log = txn->stat(tables_[TableId::log]);
  if (!log) return log.error();
  const auto journal = txn->stat(tables_[TableId::journal]);
  if (!journal) return journal.error();
  auto cursor = LogCursor::open(*txn, tables_);
  if (!cursor) return cursor.error();

  Stat stat;
  stat.head = head->head;
  stat.records = log->entries;
  stat.record_bytes = (log->tree_pages + log->overflow_pages) * lmdb::page_bytes;
  stat.journal_entries = journal->entries;
  stat.space = space_();
  stat.map_bytes = env_.map_bytes();
  const auto found = cursor->first();
  if (!found) return found.error();
  if (!*found) return stat;
  const auto first = cursor->load_index();
  if (!first) return first.error();
  stat.first = (*first)->first();
  stat.first_at = (*first)->committed_at();
  stat.last = head->head.committed;
  const auto last = cursor->seek(stat.last);
  if (!last) return last.error();
  const auto newest = cursor->load_index();
  if (!newest) return newest.error();
  stat.last_at = (*newest)->committed_at();
  return stat;
}

}  // namespace bus::store
