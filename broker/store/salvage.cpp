// Writes a new log from what SalvageSource finds: records in the order of their positions, and with them the heads of keys, the rows
// that lead to keys, and whatever of names and figures no row was left of.
#include "broker/store/salvage.hpp"

#include <algorithm>

#include "broker/store/directory.hpp"
#include "broker/store/intact_parts.hpp"
#include "broker/store/key_leaves.hpp"
#include "broker/store/key_pages.hpp"
#include "broker/store/salvage_names.hpp"
#include "broker/store/salvage_rows.hpp"

namespace bus::store {

namespace fs = std::filesystem;

namespace {

constexpr std::size_t commit_bytes = 16 * limits::MiB;
constexpr std::size_t heads_max = 1u << 20;        // gathered before they go to their leaves

// What is lost with rows of a table that are not reached.
struct Loss {
  TableId table;
  const char* what;
};
constexpr Loss losses[] = {
    {TableId::groups, "groups that are not there have to be made again"},
    {TableId::open, "events that groups had not settled may not come again"},
    {TableId::failures, "what failed attempts said"},
    {TableId::dead, "dead letters are not listed any more"},
    {TableId::schedule, "events that were to come later may not come"},
    {TableId::schedule_ids, "whoever sends a scheduled event, a snapshot or a step without events again may have it take effect twice, or is told that it was refused"},
    {TableId::snapshots, "states of keys have to be folded again"},
    {TableId::retention, "legal holds may be among them, so no policy is kept: set the holds first, then the policies"},
    {TableId::schemas, "types or versions of them may have to be registered again"},
    {TableId::topic_settings, "topics may admit every type, and have to be created again where the broker makes none by itself"},
};

class Salvage {
 public:
  Salvage(const SalvageOptions& options, const PageFile& file) : options_(options), file_(file), source_(file), names_(source_, options.names_of) {}

  Result<SalvageReport> run(const fs::path& path) {
    auto env = lmdb::Environment::open(path, 2 * file_.bytes() + 64 * limits::MiB, lmdb::Access::write);
    if (!env) return env.error();
    env_ = std::move(*env);
    for (const auto step : {&Salvage::begin, &Salvage::find, &Salvage::restore, &Salvage::write_records, &Salvage::write_rows, &Salvage::write_meta}) {
      if (auto done = (this->*step)(); !done) return done.error();
    }
    if (auto committed = txn_->commit(); !committed) return committed.error();
    return std::move(report_);
  }

 private:
  Result<void> begin();
  Result<void> find();
  Result<void> restore();
  Result<void> write_records();
  Result<void> write_rows();
  Result<void> write_meta();
  Result<void> commit_if_full(std::size_t bytes);

  Result<void> take_row(TableId table, std::string_view key, std::string_view value);
  bool is_journal_whole() const;
  Result<void> drop_journal();
  Result<void> drop(Result<std::uint64_t> rows, const std::string& what);
  Result<void> write_piece(const Piece& piece);
  Result<void> write_record(const Record& record, Bytes stored);
  Result<void> take_event(const Record& record, std::uint32_t at);
  Result<void> lose(Position first, Position last);
  void find_head();
  void note(std::string what) { report_.notes.push_back(std::move(what)); }

  const SalvageOptions& options_;
  const PageFile& file_;
  SalvageSource source_;
  SalvageNames names_;
  Figures figures_;
  SalvageReport report_;
  std::optional<lmdb::Environment> env_;
  std::optional<lmdb::Transaction> txn_;                          // ends before it
  Tables tables_;
  std::size_t uncommitted_ = 0, written_ = 0;
  std::vector<std::pair<std::uint64_t, std::uint64_t>> journal_;  // batches, each with the one before it
  std::set<std::uint32_t> groups_;
  Sequences published_;                                           // of events that waited to be due
  Position named_ = Position::none;                               // the last one that a row names
  LogEnd end_;
  StoredHead head_;
  Position next_{1};
  RecordPtr last_;
};

Result<void> Salvage::begin() {
  auto txn = env_->begin(lmdb::Access::write);
  if (!txn) return txn.error();
  txn_ = std::move(*txn);
  const auto tables = Tables::open(*txn_, true);
  if (!tables) return tables.error();
  tables_ = *tables;
  return {};
}

Result<void> Salvage::commit_if_full(std::size_t bytes) {
  uncommitted_ += bytes;
  written_ += bytes;
  if (uncommitted_ < commit_bytes) return {};
  uncommitted_ = 0;
  if (auto committed = txn_->commit(); !committed) return committed;
  auto txn = env_->begin(lmdb::Access::write);
  if (!txn) return txn.error();
  txn_ = std::move(*txn);
  return {};
}

// Rows of tables that no record tells of go over as they are; of keys only what records may no longer know.
Result<void> Salvage::take_row(TableId table, std::string_view key, std::string_view value) {
  if (table == TableId::key_pages) return {};
  named_ = std::max(named_, last_named(table, key, value));
  note_numbers(table, key, value, figures_);
  if (table == TableId::keys) {
    const auto heads = read_leaf(key, value);
    if (!heads) return {};
    if (auto merged = merge_heads(*txn_, tables_, *heads); !merged) return merged;
    return commit_if_full(value.size());
  }
  if (table == TableId::journal) {
    Reader reader(value);
    journal_.emplace_back(NumberKey::read(key).value_or(0), reader.get<std::uint64_t>());
  }
  if (table == TableId::groups) groups_.insert(key_number(key));
  if (auto put = tables_.put(*txn_, table, key, value); !put) return put;
  return commit_if_full(key.size() + value.size());
}

Result<void> Salvage::find() {
  auto walked = source_.walk([this](TableId table, std::string_view key, std::string_view value) { return take_row(table, key, value); });
  if (!walked) return walked;
  const std::uint64_t total = 2 * file_.bytes();
  source_.scan([&](std::uint64_t at) {
    if (options_.progress) options_.progress(at, total);
  });
  report_.faults = source_.faults();
  if (!source_.has_identity()) {
    return Error{Code::bad_format, "no identity of a log is left in the file: without the secret in it keys cannot be followed; restore a backup"};
  }
  if (const auto transaction = source_.stale_as_of()) {
    note(*transaction == 0 ? "both meta pages are damaged: no tree could be followed, and the last commits may be missing"
                           : "a meta page is damaged: commits after transaction " + std::to_string(*transaction) + " may be missing");
  }
  for (const Loss& loss : losses) {
    if (!source_.is_whole(loss.table)) note(std::string("rows of table ") + name_of(loss.table) + " are lost: " + loss.what);
  }
  if (!is_journal_whole()) return drop_journal();
  return {};
}

// Each row names the one before it, the head the last one.
bool Salvage::is_journal_whole() const {
  const auto& head = source_.head();
  if (!source_.is_whole(TableId::journal) || !head) return false;
  const std::uint64_t kept_from = head->head.replay_batch;
  std::uint64_t last = 0;
  for (const auto& [batch, previous] : journal_) {
    if (previous != last && previous >= kept_from) return false;
    last = batch;
  }
  return last == head->journal_last || head->journal_last < kept_from;
}

Result<void> Salvage::drop_journal() {
  note("the journal is lost: what groups have settled since their last checkpoints comes again, and sequences of refused or scheduled events may be used again");
  for (const auto& [batch, previous] : journal_) {
    if (auto erased = txn_->erase(tables_[TableId::journal], NumberKey(batch)); !erased) return erased;
  }
  journal_.clear();
  return {};
}

// What rows say of topics and publishers, as far as it was committed.
Result<void> Salvage::restore() {
  for (const TableId table : {TableId::topics, TableId::publishers}) {
    for (const auto& [key, value] : source_.rows(table)) named_ = std::max(named_, last_named(table, key, value));
  }
  end_ = source_.find_end(named_);
  for (const TableId table : {TableId::topics, TableId::publishers}) {
    for (const auto& [key, value] : source_.rows(table)) figures_.restore(table, key_number(key), value, end_.last);
  }
  return {};
}

Result<void> Salvage::lose(Position first, Position last) {
  if (first > last) return {};
  if (report_.lost.size() >= options_.lost_ranges_max) {
    return Error{Code::bad_format, "more than " + std::to_string(options_.lost_ranges_max) + " ranges of positions are lost, up to position " +
                                       std::to_string(number(last)) + ": a log cannot hold so many; restore a backup"};
  }
  report_.lost.push_back({first, last});
  return {};
}

Result<void> Salvage::write_records() {
  next_ = source_.trim().last + 1;
  std::uint64_t unproven = 0;
  for (const Piece& piece : source_.choose(end_)) {
    unproven += piece.is_proven || piece.intact == 0 ? 0 : 1;
    if (auto written = write_piece(piece); !written) return written;
    if (options_.progress) options_.progress(file_.bytes() + std::min(file_.bytes(), std::uint64_t{written_}), 2 * file_.bytes());
  }
  if (unproven > 0) {
    note(std::to_string(unproven) + " records were found that no tree leads to and nothing after them confirms: one that was written and never committed cannot be told from them");
  }
  return {};
}

Result<void> Salvage::write_piece(const Piece& piece) {
  const auto found = record_at(file_, piece.at);
  if (!found) return {};              // the disk has read it once, and does not any more: it is lost
  if (is_whole(*found->record)) {
    Buffer stored(found->bytes);
    return file_.read(found->at, stored) ? write_record(*found->record, stored) : Result<void>();
  }
  for (std::uint32_t at = 0; at < found->record->count(); ++at) {
    if (!found->record->body_intact(at)) figures_.remember(*found->record, at);
  }
  for (const RecordPtr& part : intact_parts(*found->record)) {
    if (auto written = write_record(*part, part->bytes()); !written) return written;
  }
  return {};
}

Result<void> Salvage::write_record(const Record& record, Bytes stored) {
  if (auto gap = lose(next_, record.first() - 1); !gap) return gap;
  if (auto put = txn_->put(tables_[TableId::log], NumberKey(record.first()), text_of(stored), lmdb::Place::end); !put) return put;
  for (std::uint32_t at = 0; at < record.count(); ++at) {
    if (auto taken = take_event(record, at); !taken) return taken;
  }
  next_ = record.last() + 1;
  report_.records += 1;
  report_.events += record.count();
  auto copy = Record::parse_index(stored, record.first());
  if (!copy) return copy.error();
  last_ = std::move(*copy);
  if (figures_.heads() >= heads_max) {
    if (auto written = figures_.write_heads(*txn_, tables_); !written) return written;
  }
  return commit_if_full(stored.size());
}

Result<void> Salvage::take_event(const Record& record, std::uint32_t at) {
  names_.take(record, at);
  figures_.take(record, at);
  const Entry entry = record.entry(at);
  if ((entry.flags & format::scheduled) != 0 && source_.stale_as_of()) published_.emplace(entry.publisher, entry.sequence);
  if (!entry.key || !has_key_page(entry.key->hash, entry.key->version)) return {};
  return tables_.put(*txn_, TableId::key_pages, key_page_key(entry.key->hash, entry.key->version), Writer().put(record.first() + at).bytes());
}

Result<void> Salvage::drop(Result<std::uint64_t> rows, const std::string& what) {
  if (!rows) return rows.error();
  if (*rows > 0) note(std::to_string(*rows) + " rows of table " + what);
  return {};
}

// Everything that fits to the records, and without which busd would refuse the log.
Result<void> Salvage::write_rows() {
  if (auto written = figures_.write_heads(*txn_, tables_); !written) return written;
  if (auto written = names_.write(*txn_, tables_, figures_, report_.notes); !written) return written;
  for (const TableId table : {TableId::open, TableId::failures, TableId::dead}) {
    const auto what = std::string(name_of(table)) + " are dropped: their groups are lost";
    if (auto dropped = drop(drop_without_group(*txn_, tables_, table, groups_), what); !dropped) return dropped;
  }
  if (!source_.is_whole(TableId::retention)) {
    if (auto erased = tables_.erase_range(*txn_, TableId::retention, "p", "q"); !erased) return erased;
  }
  // The trees may be older than the records.
  if (auto dropped = drop(drop_published(*txn_, tables_, published_), "schedule are dropped: their events are in the log"); !dropped) return dropped;
  return drop(drop_snapshots_ahead(*txn_, tables_), "snapshots are dropped: their keys have lost the versions they are of");
}

void Salvage::find_head() {
  head_ = source_.head().value_or(StoredHead());
  Head& head = head_.head;
  const bool ends_with_record = last_ != nullptr && last_->last() == end_.last;
  const std::string end = std::to_string(number(end_.last));
  if (!source_.head()) note("the head of the log is lost: the last position that anything in the file names is " + end + ", later ones may be missing");
  const bool is_old = source_.head() && !source_.is_head_certain() && !source_.stale_as_of();
  if (is_old) note("the head of the log was only found in an old page: the last position that anything in the file names is " + end + ", later ones may be missing");
  if (head.committed != end_.last) {
    if (!ends_with_record) note("the chain at the end of the log is not known: a head that was printed there cannot be proved");
    if (last_ != nullptr) head.chain = last_->chain_after();
    head.committed = end_.last;
  }
  if (last_ != nullptr) head.committed_at = std::max(head.committed_at, last_->committed_at());
  if (last_ != nullptr) head.batch = std::max(head.batch, last_->batch());
  if (!journal_.empty()) head.batch = std::max(head.batch, journal_.back().first);
  if (journal_.empty()) {
    head_.journal_last = 0;
    head.replay_batch = head.batch + 1;
  }
  // All that records say is in the tables: what is counted from them is not there in full any more.
  head.replay_from = head.committed + 1;
}

Result<void> Salvage::write_meta() {
  Identity identity = source_.identity();
  identity.history = next_history(identity.history, options_.now);  // clients are told that this is not the log they knew
  find_head();
  if (auto gap = lose(next_, head_.head.committed); !gap) return gap;
  if (!report_.lost.empty() && !source_.is_whole(TableId::keys)) {
    note("rows of table keys are lost: keys whose last events are lost, too, begin again with versions they had before");
  }
  report_.last = head_.head.committed;
  report_.chain = head_.head.chain;
  if (auto put = put_format(*txn_, tables_, store_version_with_removed); !put) return put;
  if (auto put = put_identity(*txn_, tables_, identity); !put) return put;
  if (auto put = put_epoch(*txn_, tables_, identity.epoch); !put) return put;
  if (auto put = put_head(*txn_, tables_, head_); !put) return put;
  if (source_.trim().last != Position::none) {
    if (auto put = put_trim(*txn_, tables_, source_.trim()); !put) return put;
  }
  return put_lost(*txn_, tables_, report_.lost);
}

// Of a data file that lies in a data directory, that directory is locked.
fs::path directory_of(const fs::path& from) {
  std::error_code failed;
  if (fs::is_directory(from, failed)) return from;
  const fs::path file = fs::canonical(from, failed);
  if (failed || file != log_path(file.parent_path().parent_path()) / "data.mdb") return {};
  return file.parent_path().parent_path();
}

Result<File> lock_of(const fs::path& from) {
  const auto directory = directory_of(from);
  return directory.empty() ? Result<File>(File()) : take_lock(directory);
}

}  // namespace

Result<SalvageReport> salvage(const SalvageOptions& options) {
  std::error_code ignored;
  const bool is_directory = fs::is_directory(options.from, ignored);
  const fs::path path = is_directory ? log_path(options.from) / "data.mdb" : options.from;
  if (!fs::exists(path, ignored)) return Error{Code::not_found, "there is no log in " + options.from.string()};
  const auto lock = lock_of(options.from);
  if (!lock) return lock.error();
  const auto file = PageFile::open(path);
  if (!file) return file.error();
  if (auto made = make_directory(options.to); !made) return made.error();
  const auto new_lock = take_lock(options.to);
  if (!new_lock) return new_lock.error();
  const auto present = has_log(options.to);
  if (!present) return present.error();
  if (*present) return Error{Code::bad_format, options.to.string() + " has a log; what is salvaged goes to a new directory"};
  SalvageReport report;
  auto created = create_log(options.to, [&](const fs::path& made) -> Result<void> {
    auto done = Salvage(options, *file).run(made);
    if (!done) return done.error();
    report = std::move(*done);
    return {};
  });
  if (!created) return created.error();
  return report;
}

}  // namespace bus::store
