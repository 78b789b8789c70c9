// Verifying a log slice by slice: a fault does not end it, so that all the damage is named and its extent is known.
#include "broker/store/disk_reader.hpp"
#include "broker/store/key_leaves.hpp"
#include "broker/store/log_check.hpp"

namespace bus::store {

namespace {

// The chain at which the next slice begins, from the record itself where this slice could not tell.
std::uint64_t chain_before(const LogCursor& cursor) {
  const auto record = cursor.load_index();
  return record ? (*record)->chain_before() : 0;
}

// RowCheck goes through one of the other tables, row by row.
Result<void> check_rows(const lmdb::Transaction& txn, const Tables& tables, TableId table, VerifySlice& slice) {
  auto cursor = txn.cursor(tables[table]);
  if (!cursor) return cursor.error();
  const auto stat = txn.stat(tables[table]);
  if (!stat) return stat.error();
  std::uint64_t rows = 0;
  Hash128 last;
  auto found = cursor->first();
  for (; found && *found; found = cursor->next(), ++rows) {
    const auto value = verified(table, cursor->key(), cursor->value());
    if (!value) {
      slice.faults.push_back({Position::none, value.error().detail});
      continue;
    }
    if (table != TableId::keys) continue;
    const auto heads = read_leaf(cursor->key(), *value);
    const bool is_ordered = heads && (rows == 0 || heads->empty() || heads->front().key > last);
    if (!is_ordered) slice.faults.push_back({Position::none, "table keys: a leaf is not in order"});
    if (heads && !heads->empty()) last = heads->back().key;
  }
  if (!found) return found.error();
  if (rows != stat->entries) {
    slice.faults.push_back({Position::none, std::string("table ") + name_of(table) + " has " + std::to_string(rows) +
                                                " rows and should have " + std::to_string(stat->entries)});
  }
  return {};
}

Result<void> check_tables(const lmdb::Transaction& txn, const Tables& tables, VerifySlice& slice) {
  for (std::size_t id = 0; id < table_ids; ++id) {
    const auto table = static_cast<TableId>(id);
    if (table == TableId::log) continue;
    if (auto checked = check_rows(txn, tables, table, slice); !checked) return checked;
  }
  return {};
}

// Those that begin from `from` up to before `next`; none: up to the end.
std::vector<LostRange> within(std::span<const LostRange> lost, Position from, Position next) {
  std::vector<LostRange> found;
  for (const LostRange& range : lost) {
    if (range.first >= from && (next == Position::none || range.first < next)) found.push_back(range);
  }
  return found;
}

}  // namespace

Result<VerifySlice> DiskReader::verify(Position from, std::uint64_t chain, std::size_t bytes_max) {
  const auto txn = env_.begin(lmdb::Access::read);
  if (!txn) return txn.error();
  auto cursor = LogCursor::open(*txn, tables_);
  if (!cursor) return cursor.error();
  const auto head = get_head(*txn, tables_);
  if (!head) return head.error();
  const auto trim = get_trim(*txn, tables_);
  if (!trim) return trim.error();
  const auto lost = get_lost(*txn, tables_);
  if (!lost) return lost.error();
  VerifySlice slice;
  slice.last = head->head.committed;
  LogCheck log(log_id_, *lost, slice);
  auto found = from == Position::none ? cursor->first() : cursor->seek(from);
  from == Position::none ? log.start(trim->last + 1, trim->chain) : log.start(from, chain);
  if (found && *found && from != Position::none && cursor->position() < from) {
    if (auto checked = log.check_before(cursor->position(), cursor->stored()); !checked) return checked.error();
    found = cursor->next();
  }
  std::size_t bytes = 0;
  for (; found && *found && bytes < bytes_max; found = cursor->next()) {
    bytes += cursor->record_bytes();
    if (auto checked = log.check(cursor->position(), cursor->stored()); !checked) return checked.error();
  }
  if (!found) return found.error();
  if (*found) {
    slice.next = cursor->position();
    slice.chain = log.chain() ? *log.chain() : chain_before(*cursor);
    slice.lost = within(*lost, from, slice.next);
    return slice;
  }
  log.check_end(head->head);
  slice.chain = head->head.chain;
  slice.trimmed_to = trim->last;
  slice.lost = within(*lost, from, Position::none);
  if (auto checked = check_tables(*txn, tables_, slice); !checked) return checked.error();
  return slice;
}

}  // namespace bus::store
