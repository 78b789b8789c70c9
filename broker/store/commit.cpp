// Applying a batch: everything it changes goes into one transaction, which LMDB writes to free pages, syncs, and makes
// current by one synchronous write of a meta page. Until that last write the log is as it was.
#include <algorithm>

#include "base/check.hpp"
#include "broker/store/disk_store.hpp"
#include "broker/store/key_leaves.hpp"

namespace bus::store {

namespace {

constexpr std::size_t journal_trim_max = 64;  // rows that one commit deletes: keeps every commit short

// An upper bound of the pages that committing will write: large values, and of the trees what was touched.
Result<std::uint64_t> pages_bound(const lmdb::Transaction& txn, const Tables& tables) {
  constexpr std::uint64_t lists = 64;  // LMDB's own: the list of free pages, the table of tables
  std::uint64_t tree_pages = 0, depth = 0;
  for (std::size_t id = 0; id < table_ids; ++id) {
    const auto stat = txn.stat(tables[static_cast<TableId>(id)]);
    if (!stat) return stat.error();
    tree_pages += stat->tree_pages;
    depth = std::max(depth, stat->depth);
  }
  return txn.large_pages() + std::min(tree_pages, txn.changes() * (depth + 1)) + lists;
}

}  // namespace

// What the core promises of a batch. A batch that breaks this would damage the log for good.
void DiskStore::check(const CommitBatch& batch) const {
  Position next = head_.head.committed + 1;
  std::uint64_t chain = head_.head.chain;
  BUS_CHECK(batch.head.batch == head_.head.batch + 1);
  for (const RecordPtr& record : batch.records) {
    BUS_CHECK(record->first() == next);
    BUS_CHECK(record->chain_before() == chain);
    BUS_CHECK(record->batch() == batch.head.batch);
    BUS_CHECK(record->log_id() == identity_.log_id);
    next = record->last() + 1;
    chain = record->chain_after();
  }
  BUS_CHECK(batch.head.committed + 1 == next);
  BUS_CHECK(batch.head.chain == chain);
  BUS_CHECK(batch.head.committed_at >= head_.head.committed_at);
  BUS_CHECK(batch.head.replay_batch >= head_.head.replay_batch);
  for (const RecordChange& change : batch.changes) {
    BUS_CHECK(change.first > trim_.last && change.first <= head_.head.committed);
    if (!change.record) {  // recovery needs it no more, and another one is left
      BUS_CHECK(batch.trim && change.first <= batch.trim->last && batch.trim->last < batch.head.replay_from && batch.trim->last < head_.head.committed);
      continue;
    }
    BUS_CHECK(change.record->first() == change.first && change.record->log_id() == identity_.log_id);
  }
  BUS_CHECK(!batch.trim || batch.trim->last >= trim_.last);
}

Result<void> DiskStore::commit(const CommitBatch& batch) {
  if (auto refused = refusal(); !refused) return refused;
  check(batch);
  if (auto dropped = drop_dead_readers_now_and_then(); !dropped) {
    broken_ = true;
    return dropped;
  }
  const auto applied = apply(batch);
  if (!applied) {
    if (applied.error().code != Code::log_full) broken_ = true;
    publish_space();
    return applied.error();
  }
  head_ = *applied;
  if (batch.trim) trim_ = *batch.trim;
  file_space_.set_used(env_.used_bytes());
  return grow_if_short();
}

Result<StoredHead> DiskStore::apply(const CommitBatch& batch) {
  auto txn = env_.begin(lmdb::Access::write);
  if (!txn) return txn.error();
  const auto head = write(*txn, batch);
  if (!head) return head;
  if (auto ensured = ensure_space(*txn); !ensured) return ensured.error();
  if (auto committed = txn->commit(); !committed) return committed.error();
  return head;
}

Result<StoredHead> DiskStore::write(lmdb::Transaction& txn, const CommitBatch& batch) {
  StoredHead head{batch.head, head_.journal_last};
  for (const RecordPtr& record : batch.records) {
    const Bytes stored = packer_.pack(*record);
    auto put = txn.put(tables_[TableId::log], NumberKey(record->first()), text_of(stored), lmdb::Place::end);
    if (!put) return put.error();
  }
  if (auto changed = change_records(txn, batch); !changed) return changed.error();
  for (const Row& row : batch.rows) {
    const TableId table = id_of(row.table);
    auto changed = row.value            ? tables_.put(txn, table, row.key, *row.value)
                   : row.until.empty() ? txn.erase(tables_[table], row.key)
                                       : tables_.erase_range(txn, table, row.key, row.until);
    if (!changed) return changed.error();
  }
  if (auto put = write_journal(txn, batch, head); !put) return put.error();
  if (auto trimmed = trim_journal(txn, batch.head.replay_batch); !trimmed) return trimmed.error();
  if (auto merged = merge_heads(txn, tables_, batch.keys); !merged) return merged.error();
  if (auto put = put_head(txn, tables_, head); !put) return put.error();
  return head;
}

// From the first change on the log has a format of which older versions know that they cannot read it.
Result<void> DiskStore::change_records(lmdb::Transaction& txn, const CommitBatch& batch) {
  if (batch.changes.empty()) return {};
  for (const RecordChange& change : batch.changes) {
    auto changed = change.record ? txn.put(tables_[TableId::log], NumberKey(change.first), text_of(packer_.pack(*change.record)))
                                 : txn.erase(tables_[TableId::log], NumberKey(change.first));
    if (!changed) return changed;
  }
  if (batch.trim) {
    if (auto put = put_trim(txn, tables_, *batch.trim); !put) return put;
  }
  return put_format(txn, tables_, store_version_with_removed);
}

// Each row names the one before it, and the head the last one, so that a lost row is noticed.
Result<void> DiskStore::write_journal(lmdb::Transaction& txn, const CommitBatch& batch, StoredHead& head) const {
  if (batch.journal.empty()) return {};
  std::string value = Writer().put(head.journal_last).take();
  value += batch.journal;
  head.journal_last = batch.head.batch;
  return tables_.put(txn, TableId::journal, NumberKey(batch.head.batch), value, lmdb::Place::end);
}

Result<void> DiskStore::trim_journal(lmdb::Transaction& txn, std::uint64_t replay_batch) const {
  for (std::size_t trimmed = 0; trimmed < journal_trim_max; ++trimmed) {
    std::string oldest;
    {
      auto cursor = txn.cursor(tables_[TableId::journal]);
      if (!cursor) return cursor.error();
      const auto found = cursor->first();
      if (!found) return found.error();
      if (!*found || cursor->key() >= NumberKey(replay_batch)) return {};
      oldest = cursor->key();
    }
    if (auto erased = txn.erase(tables_[TableId::journal], oldest); !erased) return erased;
  }
  return {};
}

// Everything a commit writes has its place on disk before it is written: then a full disk is found here, where
// nothing has happened yet, and not half way through.
Result<void> DiskStore::ensure_space(const lmdb::Transaction& txn) {
  const auto pages = pages_bound(txn, tables_);
  if (!pages) return pages.error();
  const std::uint64_t bytes = *pages * lmdb::page_bytes;
  if (!file_space_.covers(bytes)) {
    if (auto grown = file_space_.grow(bytes); !grown) return grown;
  }
  if (file_space_.covers(bytes)) return {};
  const Space space = file_space_.figures();
  return Error{Code::log_full, "the log needs up to " + std::to_string(bytes) + " bytes and has " +
                                   std::to_string(space.free_bytes) + " left; free some disk space or enlarge the map"};
}

}  // namespace bus::store
