#include "broker/store/compact_merge.hpp"

#include <string>
#include <vector>

#include "broker/store/log_check.hpp"
#include "broker/store/meta.hpp"
#include "broker/store/record_format.hpp"

namespace bus::store {

namespace {

constexpr std::uint64_t bytes_a_commit = 64 * limits::MiB;
constexpr std::uint64_t rows_a_report = 4096;
// Prefix and header of a record, whose checksum covers its index, which has those of the bodies.
constexpr std::size_t fingerprint_bytes = sizeof(format::PackedPrefix) + sizeof(format::Header);

bool is_same(TableId table, std::string_view a, std::string_view b) {
  if (a.size() != b.size()) return false;
  const std::size_t looked_at = table == TableId::log ? fingerprint_bytes : a.size();
  return a.substr(0, looked_at) == b.substr(0, looked_at);
}

// Goes over one table. One that is not there has no rows.
class TableWalk {
 public:
  Result<void> begin(const lmdb::Transaction& txn, lmdb::Dbi table, std::string_view from) {
    auto cursor = txn.cursor(table);
    if (!cursor) return cursor.error();
    cursor_ = std::move(*cursor);
    return stand(from.empty() ? cursor_->first() : cursor_->seek(from));
  }
  Result<void> next() { return stand(cursor_->next()); }
  bool has_row() const { return has_row_; }
  std::string_view key() const { return cursor_->key(); }
  std::string_view value() const { return cursor_->value(); }
  std::uint64_t rows() const { return rows_; }

 private:
  Result<void> stand(const Result<bool>& found) {
    if (!found) return found.error();
    has_row_ = *found;
    rows_ += has_row_ ? 1 : 0;
    return {};
  }
  std::optional<lmdb::Cursor> cursor_;
  bool has_row_ = false;
  std::uint64_t rows_ = 0;
};

// A row that is not the same in both. Its views last until one of them is written.
struct Difference {
  std::string_view key, value;
  bool is_gone = false;               // from the log
};
struct Change {
  std::string key;
  std::optional<std::string> value;   // nothing: the row goes
};
struct RowCounts {
  std::uint64_t log = 0, copy = 0;
};

// All tables are gone over twice, in the order of their keys: first nothing is written.
class Merge {
 public:
  Merge(const lmdb::Environment& log, const lmdb::Environment& copy, const MergeProgress& progress) : log_env_(log), copy_env_(copy), progress_(progress) {}

  Result<std::uint64_t> run() {
    if (auto begun = begin(); !begun) return begun.error();
    for (std::size_t id = 0; id < table_ids; ++id) {
      if (auto checked = check(static_cast<TableId>(id)); !checked) return checked.error();
    }
    for (std::size_t id = 0; id < table_ids; ++id) {
      if (auto merged = merge(static_cast<TableId>(id)); !merged) return merged.error();
    }
    return changes_;
  }

 private:
  using Visit = std::function<Result<bool>(const Difference&)>;

  Result<void> begin();
  Result<void> check(TableId table);
  Result<void> check(TableId table, const Difference& difference) const;
  Result<void> check_gone(Position position) const;
  Result<bool> is_covered(Position position) const;
  Result<void> merge(TableId table);
  Result<RowCounts> each_difference(TableId table, const lmdb::Transaction& copy, lmdb::Dbi copy_table, std::string_view from, const Visit& visit);
  void count_row() {
    if (progress_ && done_++ % rows_a_report == 0) progress_(done_, most_);
  }

  const lmdb::Environment& log_env_;
  const lmdb::Environment& copy_env_;
  const MergeProgress& progress_;
  std::optional<lmdb::Transaction> log_;
  Tables tables_;                     // of the log
  Head head_;
  Trim trim_;
  std::vector<LostRange> lost_;
  std::uint64_t done_ = 0, most_ = 0, changes_ = 0;
};

// The rows of a table as its description says. A page that leads to other ones may be damaged, and hide some of them.
Result<void> check_count(const lmdb::Transaction& txn, lmdb::Dbi dbi, const std::string& what, std::uint64_t rows) {
  const auto stat = txn.stat(dbi);
  if (!stat) return stat.error();
  if (stat->entries == rows) return {};
  return Error{Code::damaged, what + " has " + std::to_string(rows) + " rows and should have " + std::to_string(stat->entries)};
}

Result<void> Merge::begin() {
  auto txn = log_env_.begin(lmdb::Access::read);
  if (!txn) return txn.error();
  log_ = std::move(*txn);
  const auto tables = Tables::open_present(*log_);
  if (!tables) return tables.error();
  tables_ = *tables;
  const auto head = get_head(*log_, tables_);
  if (!head) return head.error();
  const auto trim = get_trim(*log_, tables_);
  if (!trim) return trim.error();
  auto lost = get_lost(*log_, tables_);
  if (!lost) return lost.error();
  head_ = head->head;
  trim_ = *trim;
  lost_ = std::move(*lost);
  for (std::size_t id = 0; id < table_ids; ++id) {
    const auto table = static_cast<TableId>(id);
    if (!tables_.has(table)) continue;
    const auto stat = log_->stat(tables_[table]);
    if (!stat) return stat.error();
    most_ += 2 * stat->entries;
  }
  if (progress_) progress_(0, most_);
  return {};
}

// From `from` on, until `visit` says false.
Result<RowCounts> Merge::each_difference(TableId table, const lmdb::Transaction& copy, lmdb::Dbi copy_table, std::string_view from, const Visit& visit) {
  TableWalk a, b;
  if (tables_.has(table)) {
    if (auto begun = a.begin(*log_, tables_[table], from); !begun) return begun.error();
  }
  if (auto begun = b.begin(copy, copy_table, from); !begun) return begun.error();
  while (a.has_row() || b.has_row()) {
    const bool log_first = a.has_row() && (!b.has_row() || a.key() <= b.key()), copy_first = b.has_row() && (!a.has_row() || b.key() <= a.key());
    if (!log_first || !copy_first || !is_same(table, a.value(), b.value())) {
      const auto goes_on = visit(log_first ? Difference{a.key(), a.value()} : Difference{b.key(), {}, true});
      if (!goes_on) return goes_on.error();
      if (!*goes_on) break;
    }
    if (log_first) {
      count_row();
      if (auto moved = a.next(); !moved) return moved.error();
    }
    if (copy_first) {
      if (auto moved = b.next(); !moved) return moved.error();
    }
  }
  return RowCounts{a.rows(), b.rows()};
}

// ---- without writing

Result<void> Merge::check(TableId table) {
  auto copy = copy_env_.begin(lmdb::Access::read);
  if (!copy) return copy.error();
  const auto of_copy = Tables::open(*copy, false);
  if (!of_copy) return of_copy.error();
  const auto rows = each_difference(table, *copy, (*of_copy)[table], {}, [&](const Difference& difference) -> Result<bool> {
    if (auto checked = check(table, difference); !checked) return checked.error();
    return true;
  });
  if (!rows) return rows.error();
  const auto what = std::string("table ") + name_of(table);
  if (tables_.has(table)) {
    if (auto counted = check_count(*log_, tables_[table], what, rows->log); !counted) return counted;
  }
  return check_count(*copy, (*of_copy)[table], what + " of the copy", rows->copy);
}

Result<void> Merge::check(TableId table, const Difference& difference) const {
  if (table != TableId::log) {
    if (difference.is_gone) return {};
    const auto value = verified(table, difference.key, difference.value);
    return value ? Result<void>() : Result<void>(value.error());
  }
  const auto position = NumberKey::read(difference.key);
  if (difference.is_gone) return position ? check_gone(Position{*position}) : Result<void>();
  if (!position) return Error{Code::damaged, "table log: a key is not a position"};
  const auto record = Record::parse_index(bytes_of(difference.value), Position{*position});
  return record ? Result<void>() : Result<void>(record.error());
}

// Retention deletes from the begin, and repair puts something else in its place. A key behind the head was none of the log.
Result<void> Merge::check_gone(Position position) const {
  if (position <= trim_.last || position > head_.committed || is_lost(lost_, position, position)) return {};
  const auto covered = is_covered(position);
  if (!covered) return covered.error();
  if (*covered) return {};
  return Error{Code::damaged, "the record at position " + std::to_string(number(position)) + " is missing in the log, and the copy has it"};
}

Result<bool> Merge::is_covered(Position position) const {
  auto cursor = log_->cursor(tables_[TableId::log]);
  if (!cursor) return cursor.error();
  const auto after = cursor->seek(NumberKey(position));
  if (!after) return after;
  const auto before = *after ? cursor->previous() : cursor->last();
  if (!before || !*before) return before;
  const auto first = NumberKey::read(cursor->key());
  if (!first) return false;
  const auto record = Record::parse_index(bytes_of(cursor->value()), Position{*first});
  if (!record) return record.error();
  return (*record)->holds(position);
}

// ---- writing

Result<void> Merge::merge(TableId table) {
  std::string from;                   // where the next part begins
  for (bool has_more = true; has_more;) {
    auto copy = copy_env_.begin(lmdb::Access::write);
    if (!copy) return copy.error();
    const auto of_copy = Tables::open(*copy, true);
    if (!of_copy) return of_copy.error();
    std::vector<Change> changes;
    std::uint64_t bytes = 0;
    has_more = false;
    const auto rows = each_difference(table, *copy, (*of_copy)[table], from, [&](const Difference& difference) -> Result<bool> {
      has_more = bytes >= bytes_a_commit;
      if (has_more) from = difference.key;
      if (has_more) return false;
      changes.push_back({std::string(difference.key), difference.is_gone ? std::nullopt : std::optional(std::string(difference.value))});
      bytes += difference.key.size() + difference.value.size();
      return true;
    });
    if (!rows) return rows.error();
    for (const auto& [key, value] : changes) {
      auto done = value ? copy->put((*of_copy)[table], key, *value) : copy->erase((*of_copy)[table], key);
      if (!done) return done;
    }
    changes_ += changes.size();
    if (auto kept = copy->commit(); !kept) return kept;
    if (progress_) progress_(done_, most_);
  }
  return {};
}

}  // namespace

Result<std::uint64_t> merge_into_copy(const lmdb::Environment& log, const lmdb::Environment& copy, const MergeProgress& progress) {
  return Merge(log, copy, progress).run();
}

}  // namespace bus::store
