// Verifying a log slice by slice: a fault does not end it, so that all the damage is named and its extent is known.
#include <algorithm>

#include "broker/store/disk_reader.hpp"
#include "broker/store/key_leaves.hpp"

namespace bus::store {

namespace {

// LogCheck goes through records in order and gathers what is wrong with them.
class LogCheck {
 public:
  LogCheck(const LogId& log_id, VerifySlice& slice) : log_id_(log_id), slice_(slice) {}

  // Before the first record: what the slice before this one has seen.
  void start(Position next, std::optional<std::uint64_t> chain) {
    next_ = next;
    chain_ = chain;
  }
  // The record that the cursor stands on. Error: not a fault of the record, nothing more can be read.
  Result<void> check(const LogCursor& cursor) {
    check_gap(cursor.position());
    slice_.records += 1;
    next_ = cursor.position() + 1;
    const auto record = cursor.load();
    if (record) {
      check_links(**record);
      check_bodies(**record);
      next_ = (*record)->last() + 1;
      return {};
    }
    if (record.error().code != Code::damaged && record.error().code != Code::bad_format) return record.error();
    if (const auto index = cursor.load_index()) {  // its bodies cannot be unpacked: the rest is good
      fault(cursor.position(), record.error().detail + ", up to position " + std::to_string(number((*index)->last())));
      check_links(**index);
      next_ = (*index)->last() + 1;
      return {};
    }
    fault(cursor.position(), record.error().detail);
    chain_.reset();      // its end is not known: the next record says where it goes on
    gap_allowed_ = true;
    return {};
  }
  void check_end(const Head& head) {
    const Position next = std::max(next_, Position{1});  // none: there was no record
    if (!gap_allowed_ && next != head.committed + 1) {
      fault(next, "the log ends at " + std::to_string(number(next - 1)) + ", its head at " +
                       std::to_string(number(head.committed)));
    }
    if (chain_ && *chain_ != head.chain) fault(head.committed, "the chain does not end as the head says");
  }
  Position next() const { return next_; }
  std::optional<std::uint64_t> chain() const { return chain_; }

 private:
  void fault(Position position, std::string what) { slice_.faults.push_back({position, std::move(what)}); }

  void check_gap(Position position) {
    if (next_ != Position::none && position > next_ && !gap_allowed_) fault(next_, missing(next_, position - 1).detail);
    if (position < next_) fault(position, "the record before it reaches beyond this position");
    gap_allowed_ = false;
  }

  void check_links(const Record& record) {
    const Position first = record.first();
    if (record.log_id() != log_id_) fault(first, "the record belongs to another log");
    if (chain_ && record.chain_before() != *chain_) fault(first, "the chain is broken before this record");
    if (record.committed_at() < committed_at_) fault(first, "its commit time is before the one of the record before");
    if (record.batch() < batch_) fault(first, "its batch is before the one of the record before");
    committed_at_ = record.committed_at();
    batch_ = record.batch();
    chain_ = record.chain_after();
    for (std::uint32_t at = 0; at < record.count(); ++at) {
      const Entry entry = record.entry(at);
      const bool is_backward = entry.publisher_previous < first + at && (!entry.key || entry.key->previous < first + at);
      if (!is_backward) fault(first + at, "a link to an earlier event leads forward");
    }
  }

  void check_bodies(const Record& record) {
    std::uint64_t chain = record.chain_before();
    for (std::uint32_t at = 0; at < record.count(); ++at) {
      if (!record.body_intact(at)) fault(record.first() + at, "the body does not match its checksum");
      chain = chain_fold(chain, number(record.first() + at), record.event_checksum(at));
    }
    if (chain != record.chain_after()) fault(record.first(), "the chain within the record does not fit its events");
    slice_.events += record.count();
  }

  LogId log_id_;
  VerifySlice& slice_;
  Position next_ = Position::none;
  std::optional<std::uint64_t> chain_;
  WallTime committed_at_ = WallTime::min();
  std::uint64_t batch_ = 0;
  bool gap_allowed_ = false;
};

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

}  // namespace

Result<VerifySlice> DiskReader::verify(Position from, std::uint64_t chain, std::size_t bytes_max) {
  const auto txn = env_.begin(lmdb::Access::read);
  if (!txn) return txn.error();
  auto cursor = LogCursor::open(*txn, tables_);
  if (!cursor) return cursor.error();
  VerifySlice slice;
  LogCheck log(log_id_, slice);
  auto found = from == Position::none ? cursor->first() : cursor->seek(from);
  // A slice that continues does not look at the record before it again.
  while (found && *found && from != Position::none && cursor->position() < from) found = cursor->next();
  if (from != Position::none) log.start(from, chain);
  std::size_t bytes = 0;
  for (; found && *found && bytes < bytes_max; found = cursor->next()) {
    bytes += cursor->record_bytes();
    if (auto checked = log.check(*cursor); !checked) return checked.error();
  }
  if (!found) return found.error();
  if (*found) {
    slice.next = cursor->position();
    slice.chain = log.chain() ? *log.chain() : chain_before(*cursor);
    return slice;
  }
  const auto head = get_head(*txn, tables_);
  if (!head) return head.error();
  log.check_end(head->head);
  slice.chain = head->head.chain;
  if (auto checked = check_tables(*txn, tables_, slice); !checked) return checked.error();
  return slice;
}

}  // namespace bus::store
