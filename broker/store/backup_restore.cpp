#include "broker/store/backup_restore.hpp"

#include <algorithm>
#include <map>

#include "broker/store/directory.hpp"
#include "broker/store/key_pages.hpp"
#include "broker/store/log_check.hpp"
#include "broker/store/log_cursor.hpp"
#include "broker/store/salvage_rows.hpp"

namespace bus::store {

namespace fs = std::filesystem;

namespace {

constexpr std::size_t restore_commit_bytes = 16 * limits::MiB;
// Rows of a third of a page take three times their bytes where each leaf has one of them. It is address space, and not the size of the file.
constexpr std::size_t map_bytes_of(std::size_t total) { return 4 * total + limits::GiB; }

// What the rows of topics, types and publishers of the later backup say, by their numbers.
using NumberedRows = std::map<std::uint32_t, std::string>;

class Restore {
 public:
  Restore(const RestoreOptions& options, RestorePlan plan) : options_(options), plan_(std::move(plan)), segments_(options.repository) {}

  Result<RestoreReport> run(const fs::path& path) {
    total_ = plan_.base.record_bytes + plan_.base.tables_bytes;
    for (const auto& entry : plan_.later_entries) total_ += entry.bytes;
    auto env = lmdb::Environment::open(path, map_bytes_of(total_), lmdb::Access::write);
    if (!env) return env.error();
    env_ = std::move(*env);
    for (const auto step : {&Restore::begin, &Restore::write_tables, &Restore::write_records, &Restore::write_later, &Restore::write_meta}) {
      if (auto done = (this->*step)(); !done) return done.error();
    }
    if (auto committed = txn_->commit(); !committed) return committed.error();
    report_.backup = plan_.base.number;
    report_.backup_last = plan_.base.head.committed;
    report_.later = plan_.later ? plan_.later->number : 0;
    report_.head = meta_.head.head;
    return std::move(report_);
  }

 private:
  Result<void> begin();
  Result<void> write_tables();
  Result<void> write_records();
  Result<void> write_later();
  Result<void> write_meta();
  Result<void> commit_if_full(std::size_t bytes);
  Result<void> put_record(const Record& record, Bytes stored);
  Result<void> take_later(const Record& record);
  Result<void> write_names();
  Result<void> write_name(TableId table, std::uint32_t number, std::string_view later, std::uint64_t removed);
  Result<void> settle_schedule();
  Result<void> use_up(const std::map<std::uint32_t, std::uint64_t>& sequences);

  const RestoreOptions& options_;
  RestorePlan plan_;
  SegmentReader segments_;
  RestoreReport report_;
  std::uint64_t total_ = 0, done_ = 0;
  std::optional<lmdb::Environment> env_;
  std::optional<lmdb::Transaction> txn_;  // ends before it
  Tables tables_;
  std::size_t uncommitted_ = 0;
  BackupMeta meta_, later_meta_;
  // Of the records after the base: numbers that they use, with how many of a topic's events have no body any more, and what was scheduled.
  std::map<TableId, std::map<std::uint32_t, std::uint64_t>> used_;
  struct Published {
    Position position;
    WallTime at;
  };
  std::map<std::pair<std::uint32_t, std::uint64_t>, Published> published_;
};

Result<void> Restore::begin() {
  auto txn = env_->begin(lmdb::Access::write);
  if (!txn) return txn.error();
  txn_ = std::move(*txn);
  const auto tables = Tables::open(*txn_, true);
  if (!tables) return tables.error();
  tables_ = *tables;
  const auto meta = read_meta(options_.repository, plan_.base);
  if (!meta) return meta.error();
  meta_ = *meta;
  if (auto whole = check_order(plan_.base_entries, meta_); !whole) return whole;
  if (!plan_.later) return {};
  const auto later = read_meta(options_.repository, *plan_.later);
  if (!later) return later.error();
  later_meta_ = *later;
  return {};
}

Result<void> Restore::commit_if_full(std::size_t bytes) {
  done_ += bytes;
  if (options_.progress) options_.progress(done_, total_);
  uncommitted_ += bytes;
  if (uncommitted_ < restore_commit_bytes) return {};
  uncommitted_ = 0;
  if (auto committed = txn_->commit(); !committed) return committed;
  auto txn = env_->begin(lmdb::Access::write);
  if (!txn) return txn.error();
  txn_ = std::move(*txn);
  return {};
}

// As they are; what of `meta` becomes another comes last.
Result<void> Restore::write_tables() {
  return each_backup_row(options_.repository, plan_.base, [this](TableId table, std::string_view key, std::string_view stored) -> Result<void> {
    if (auto put = txn_->put(tables_[table], key, stored); !put) return put;
    return commit_if_full(key.size() + stored.size());
  });
}

Result<void> Restore::put_record(const Record& record, Bytes stored) {
  if (auto put = txn_->put(tables_[TableId::log], NumberKey(record.first()), text_of(stored), lmdb::Place::end); !put) return put;
  report_.records += 1;
  report_.events += record.count();
  return commit_if_full(stored.size());
}

Result<void> Restore::write_records() {
  for (const auto& entry : plan_.base_entries) {
    const auto stored = segments_.read(entry, plan_.base.log_id);
    if (!stored) return stored.error();
    const auto record = Record::parse_index(*stored, entry.first);
    if (!record) return record.error();
    if (auto put = put_record(**record, *stored); !put) return put;
  }
  return {};
}

// ---- the records after the base

Result<void> Restore::write_later() {
  if (!plan_.later) return {};
  Head& head = meta_.head.head;
  Position next = head.committed + 1;
  std::optional<std::uint64_t> chain = head.chain;
  for (const auto& entry : plan_.later_entries) {
    const auto stored = segments_.read(entry, plan_.later->log_id);
    if (!stored) return stored.error();
    auto record = Record::parse(*stored, entry.first);
    if (!record) return record.error();
    const bool is_whole = entry.first >= next && entry.last() <= plan_.end;
    if (!is_whole) *record = part_of(**record, std::max(next, entry.first), std::min(plan_.end, entry.last()));
    const Record& one = **record;
    if (one.first() > next) {
      if (!is_lost(later_meta_.lost, next, one.first() - 1)) return missing(next, one.first() - 1);
      meta_.lost.push_back({next, one.first() - 1});
      chain.reset();
    }
    if (chain && *chain != one.chain_before()) return Error{Code::damaged, "the chain is broken before position " + std::to_string(number(one.first()))};
    if (auto put = put_record(one, is_whole ? Bytes(*stored) : one.bytes()); !put) return put;
    if (auto taken = take_later(one); !taken) return taken;
    report_.later_records += 1;
    report_.later_events += one.count();
    next = one.last() + 1;
    chain = one.chain_after();
    head.batch = std::max(head.batch, one.batch());
    head.committed = one.last();
    head.committed_at = one.committed_at();
    head.chain = one.chain_after();
  }
  if (auto written = write_names(); !written) return written;
  return settle_schedule();
}

Result<void> Restore::take_later(const Record& record) {
  for (std::uint32_t at = 0; at < record.count(); ++at) {
    const Entry entry = record.entry(at);
    used_[TableId::topics][entry.topic] += record.is_removed(at) ? 1 : 0;
    used_[TableId::types].try_emplace(entry.type);
    used_[TableId::publishers].try_emplace(entry.publisher);
    if ((entry.flags & format::scheduled) != 0) published_[{entry.publisher, entry.sequence}] = {record.first() + at, record.committed_at()};
    if (!entry.key || !has_key_page(entry.key->hash, entry.key->version)) continue;
    const auto value = Writer().put(record.first() + at).take();
    if (auto put = tables_.put(*txn_, TableId::key_pages, key_page_key(entry.key->hash, entry.key->version), value); !put) return put;
  }
  return {};
}

// Numbers that the base does not know get the names of the later backup, and nothing is counted of them yet.
Result<void> Restore::write_names() {
  std::map<TableId, NumberedRows> rows;
  const auto read = each_backup_row(options_.repository, *plan_.later, [&](TableId table, std::string_view key, std::string_view stored) -> Result<void> {
    const auto used = used_.find(table);
    if (used == used_.end() || key_number(key) > used->second.rbegin()->first) return {};
    rows[table][key_number(key)] = *verified(table, key, stored);
    return {};
  });
  if (!read) return read;
  for (const auto& [table, used] : used_) {
    for (const auto& [number, value] : rows[table]) {
      const auto use = used.find(number);
      const std::uint64_t removed = use == used.end() ? 0 : use->second;
      const auto own = tables_.get(*txn_, table, number_key(number));
      if (!own) return own.error();
      if (*own && use != used.end() && Reader(**own).get_string() != Reader(value).get_string()) {
        return Error{Code::conflict, "number " + std::to_string(number) + " of table " + name_of(table) + " has another name in backup " + std::to_string(plan_.later->number) +
                                         ": restore backup " + std::to_string(plan_.base.number) + " as it is"};
      }
      if (*own && removed == 0) continue;
      const std::string row = *own ? std::string(**own) : value;
      if (auto put = write_name(table, number, row, removed); !put) return put;
    }
    for (const auto& [number, removed] : used) {
      if (!rows[table].contains(number)) return Error{Code::damaged, "number " + std::to_string(number) + " of table " + std::string(name_of(table)) + " has no row in backup " + std::to_string(plan_.later->number)};
    }
  }
  return {};
}

// A row of the base stays, and says of how many events that come now the body is gone; one of the later backup starts from nothing.
Result<void> Restore::write_name(TableId table, std::uint32_t number, std::string_view row, std::uint64_t removed) {
  constexpr int figures = 8;
  const auto own = tables_.get(*txn_, table, number_key(number));
  if (!own) return own.error();
  const bool is_own = own->has_value();
  Reader reader(row);
  Writer writer;
  writer.put_string(reader.get_string());
  if (table == TableId::topics) {
    for (int figure = 0; figure < figures; ++figure) {
      const auto value = reader.get<std::uint64_t>();
      writer.put(is_own ? value : 0);
    }
    const bool has_removed = is_own && !reader.done();
    const auto events = has_removed ? reader.get<std::uint64_t>() : 0, bytes = has_removed ? reader.get<std::uint64_t>() : 0;
    if (events + removed > 0) writer.put(events + removed).put(bytes);
  }
  if (table == TableId::publishers) {
    const auto transient = reader.get<std::uint8_t>();
    writer.put(transient).put(reader.get<std::uint64_t>()).put(std::uint64_t{0}).put(std::uint64_t{0});
  }
  return tables_.put(*txn_, table, number_key(number), writer.bytes());
}

// What came out of the schedule after the base waits no more, and is found when it is sent again. The base need not know of it: then it was
// scheduled later, and the time it was due at is not known.
Result<void> Restore::settle_schedule() {
  constexpr char waiting = 0, settled = 1;
  constexpr std::uint8_t fate_published = 1;
  Sequences gone;
  std::map<std::uint32_t, std::uint64_t> last;
  for (const auto& [id, published] : published_) {
    gone.insert(id);
    last[id.first] = id.second;       // they ascend
    const auto key_of = [&id = id](char kind) { return number_key(id.first) + kind + std::string(std::string_view(NumberKey(id.second))); };
    const auto row = tables_.get(*txn_, TableId::schedule_ids, key_of(waiting));
    if (!row) return row.error();
    std::int64_t due = nanoseconds(published.at);
    if (*row) {
      Reader reader(**row);
      reader.get<std::uint8_t>();
      due = reader.get<std::int64_t>();
    }
    if (auto erased = txn_->erase(tables_[TableId::schedule_ids], key_of(waiting)); !erased) return erased;
    const auto value = Writer().put(fate_published).put(due).put(published.position).take();
    if (auto put = tables_.put(*txn_, TableId::schedule_ids, key_of(settled), value); !put) return put;
  }
  const auto dropped = drop_published(*txn_, tables_, gone);
  return dropped ? use_up(last) : Result<void>(dropped.error());
}

// Records do not tell a start that the sequences of scheduled events are used up, so the rows of their publishers do.
Result<void> Restore::use_up(const std::map<std::uint32_t, std::uint64_t>& sequences) {
  for (const auto& [publisher, last] : sequences) {
    const auto row = tables_.get(*txn_, TableId::publishers, number_key(publisher));
    if (!row) return row.error();
    if (!*row) return Error{Code::damaged, "publisher " + std::to_string(publisher) + " has no row"};
    Reader reader(**row);
    Writer writer;
    writer.put_string(reader.get_string()).put(reader.get<std::uint8_t>());
    writer.put(reader.get<std::uint64_t>());
    writer.put(std::max(reader.get<std::uint64_t>(), last)).put(reader.get<Position>());
    if (auto put = tables_.put(*txn_, TableId::publishers, number_key(publisher), writer.bytes()); !put) return put;
  }
  return {};
}

// Clients that knew the log are told that this is not the one: it may lack what they have seen.
Result<void> Restore::write_meta() {
  Identity identity = meta_.identity;
  for (const auto& backup : options_.backups) identity.history = std::max(identity.history, backup.history);
  identity.history = next_history(identity.history, options_.now);
  report_.history = identity.history;
  if (auto put = put_identity(*txn_, tables_, identity); !put) return put;
  if (!plan_.later) return {};
  if (auto put = put_format(*txn_, tables_, store_version_with_removed); !put) return put;
  if (!meta_.lost.empty()) {
    if (auto put = put_lost(*txn_, tables_, meta_.lost); !put) return put;
  }
  return put_head(*txn_, tables_, meta_.head);
}

// Nothing of the directory stays that was not there.
void clean(const fs::path& dir, bool was_there, bool had_lock) {
  std::error_code ignored;
  fs::remove_all(dir / "log.new", ignored);
  if (!had_lock) fs::remove(dir / "lock", ignored);
  if (!was_there) fs::remove(dir, ignored);
}

// `lock` and `log.new` are what is left of a restore that was broken off, or of the first start of a broker.
Result<void> check_empty(const fs::path& dir) {
  std::error_code failed;
  if (!fs::exists(dir, failed)) return {};
  for (const auto& entry : fs::directory_iterator(dir, failed)) {
    const auto name = entry.path().filename();
    if (name == "lost+found" || name == "lock" || name == "log.new") continue;
    return Error{Code::bad_format, dir.string() + " is not empty (" + name.string() + "): a log is restored to a directory of its own, and nothing was changed"};
  }
  if (failed) return Error{Code::disk_error, "cannot read " + dir.string() + ": " + failed.message()};
  return {};
}

}  // namespace

Result<RestoreReport> restore(const RestoreOptions& options) {
  if (auto empty = check_empty(options.dir); !empty) return empty.error();
  auto plan = plan_restore(options.repository, options.backups, options.goal);
  if (!plan) return plan.error();
  std::error_code ignored;
  const bool was_there = fs::exists(options.dir, ignored), had_lock = fs::exists(options.dir / "lock", ignored);
  if (auto made = make_directory(options.dir); !made) return made.error();
  RestoreReport report;
  Result<void> created;
  {
    const auto lock = take_lock(options.dir);
    if (!lock) return lock.error();
    created = create_log(options.dir, [&](const fs::path& made) -> Result<void> {
      auto done = Restore(options, std::move(*plan)).run(made);
      if (!done) return done.error();
      report = std::move(*done);
      return {};
    });
    if (!created) clean(options.dir, was_there, had_lock);
  }
  if (!created) return created.error();
  return report;
}

}  // namespace bus::store
