// Reading the state back after a start: rows, then journal, then records, each in the order of its keys.
#include <algorithm>

#include "broker/store/disk_store.hpp"
#include "broker/store/log_check.hpp"
#include "broker/store/log_cursor.hpp"

namespace bus::store {

Result<void> DiskStore::each_row(Table table, const RowVisitor& visit) const {
  const auto txn = env_.begin(lmdb::Access::read);
  if (!txn) return txn.error();
  auto visited = tables_.each(*txn, id_of(table), {}, visit);
  if (visited || visited.error().code != Code::damaged) return visited;
  Error error = visited.error();
  error.detail += "; bring back the last backup (`bus-cli restore`), or make a new log of what is intact (`bus-cli log salvage`)";
  return error;
}

Result<std::uint64_t> DiskStore::count_rows(Table table) const {
  const auto txn = env_.begin(lmdb::Access::read);
  if (!txn) return txn.error();
  const auto stat = txn->stat(tables_[id_of(table)]);
  if (!stat) return stat.error();
  return stat->entries;
}

namespace {

Error lost_journal(std::uint64_t batch) {
  return {Code::damaged, "table journal: the row of batch " + std::to_string(batch) + " is missing"};
}

}  // namespace

Result<void> DiskStore::each_journal(std::uint64_t from_batch, const JournalVisitor& visit) const {
  const auto txn = env_.begin(lmdb::Access::read);
  if (!txn) return txn.error();
  // Rows before replay_batch go bit by bit, so the row before the first one may be there or not.
  const std::uint64_t kept_from = std::max(from_batch, head_.head.replay_batch);
  std::uint64_t last = 0;
  const auto visited = tables_.each(*txn, TableId::journal, NumberKey(from_batch), [&](auto key, auto value) {
    Reader reader(value);
    const auto batch = NumberKey::read(key);
    const auto previous = reader.template get<std::uint64_t>();
    if (!batch || !reader.ok()) return Result<void>(Error{Code::damaged, "table journal: a row cannot be read"});
    if (previous != last && previous >= kept_from) return Result<void>(lost_journal(previous));
    last = *batch;
    return visit(*batch, value.substr(sizeof previous));
  });
  if (!visited) return visited;
  if (last != head_.journal_last && head_.journal_last >= kept_from) return lost_journal(head_.journal_last);
  return {};
}

namespace {

// The start needs what the record says; a log whose pages are whole can go on without it.
Error stops_start(Error error) {
  if (error.code == Code::damaged) error.detail += "; `bus-cli log repair` keeps what is intact of such records and lets the log go on without the rest";
  return error;
}

}  // namespace

Result<void> DiskStore::each_record(Position from, const RecordVisitor& visit) const {
  const auto txn = env_.begin(lmdb::Access::read);
  if (!txn) return txn.error();
  auto cursor = LogCursor::open(*txn, tables_);
  if (!cursor) return cursor.error();
  const auto lost = get_lost(*txn, tables_);
  if (!lost) return lost.error();
  const Position committed = head_.head.committed;
  Position next = from;
  auto found = cursor->seek(from);
  for (bool is_first = true; found && *found; found = cursor->next(), is_first = false) {
    const auto record = cursor->load_index();
    if (!record) return stops_start(record.error());
    if (is_first && (*record)->last() < from) continue;
    const bool is_gap = (*record)->first() > next && !is_lost(*lost, next, (*record)->first() - 1);
    if (is_gap) return stops_start(missing(next, (*record)->first() - 1));
    if (auto visited = visit(**record); !visited) return visited;
    next = (*record)->last() + 1;
  }
  if (!found) return found.error();
  if (next <= committed && !is_lost(*lost, next, committed)) return stops_start(missing(next, committed));
  return {};
}

}  // namespace bus::store
