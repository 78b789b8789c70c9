// Writes a new log from what SalvageSource finds: records in the order of their positions, and with them the heads of keys, the rows
// that lead to keys, and whatever of names and figures no row was left of.
#include "broker/store/salvage.hpp"

#include <algorithm>

#include "base/check.hpp"
#include "broker/store/directory.hpp"
#include "broker/store/key_leaves.hpp"
#include "broker/store/key_pages.hpp"
#include "broker/store/salvage_source.hpp"

namespace bus::store {

namespace fs = std::filesystem;

namespace {

constexpr std::size_t commit_bytes = 16 * limits::MiB;
constexpr std::size_t heads_max = 1u << 20;        // gathered before they go to their leaves
constexpr std::size_t lost_ranges_max = 1u << 20;  // 16 MiB in one row

std::string number_key(std::uint32_t number) {
  std::string key(4, '\0');
  for (int at = 3; at >= 0; --at, number >>= 8) key[static_cast<std::size_t>(at)] = static_cast<char>(number & 0xff);
  return key;
}

std::uint32_t key_number(std::string_view key) {
  std::uint32_t number = 0;
  for (const char byte : key.substr(0, 4)) number = number << 8 | static_cast<unsigned char>(byte);
  return number;
}
template <typename Map>
std::uint32_t last_of(const Map& map) {
  return map.empty() ? 0 : map.rbegin()->first;
}

// What the rows of a topic and a publisher say, counted from the records.
struct TopicFigures {
  std::string name;
  std::uint64_t events = 0, bytes = 0;
  Position first = Position::none, last = Position::none;
  WallTime last_at;
  std::array<Position, 3> last_of{};
};
struct PublisherFigures {
  std::uint64_t last_sequence = 0;
  Position last = Position::none;
};

class Salvage {
 public:
  Salvage(const SalvageOptions& options, const PageFile& file) : options_(options), file_(file), source_(file) {}

  Result<SalvageReport> run(const fs::path& path) {
    auto env = lmdb::Environment::open(path, 2 * file_.bytes() + 64 * limits::MiB, lmdb::Access::write);
    if (!env) return env.error();
    env_ = std::move(*env);
    for (const auto step : {&Salvage::begin, &Salvage::find, &Salvage::write_records, &Salvage::write_names, &Salvage::write_meta, &Salvage::commit}) {
      if (auto done = (this->*step)(); !done) return done.error();
    }
    return std::move(report_);
  }

 private:
  Result<void> begin();
  Result<void> find();
  Result<void> write_records();
  Result<void> write_names();
  Result<void> write_meta();
  Result<void> commit();
  Result<void> commit_if_full(std::size_t bytes);

  Result<void> take_row(TableId table, std::string_view key, std::string_view value);
  Result<void> drop_journal();
  Result<void> write_piece(Position first, const SalvageSource::Piece& piece);
  Result<void> write_parts(const Record& record);
  Result<void> write_record(const Record& record, Bytes stored);
  Result<void> take_event(const Record& record, std::uint32_t at);
  Result<void> write_heads();
  void take_names(const Record& record, std::uint32_t at, const Entry& entry);
  void lose(Position first, Position last);
  std::string made_up(TableId table, std::uint32_t number);
  bool has_row(TableId table, std::uint32_t number) { return source_.rows(table).contains(number_key(number)); }
  std::string numbered(const char* what, std::uint32_t number) {
    report_.notes.push_back(std::string("the name of ") + what + " " + std::to_string(number) + " is lost");
    return "lost-" + std::to_string(number);
  }

  const SalvageOptions& options_;
  const PageFile& file_;
  SalvageSource source_;
  SalvageReport report_;
  std::optional<lmdb::Environment> env_;
  std::optional<lmdb::Transaction> txn_;                          // ends before it
  Tables tables_;
  std::size_t uncommitted_ = 0, written_ = 0;
  std::vector<std::pair<std::uint64_t, std::uint64_t>> journal_;  // batches, each with the one before it
  std::map<Hash128, KeyHead> heads_;
  std::map<std::uint32_t, TopicFigures> topics_;                  // of those that have no row
  std::map<std::uint32_t, std::string> types_;
  std::map<std::uint32_t, PublisherFigures> publishers_;
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

Result<void> Salvage::commit() {
  if (auto written = write_heads(); !written) return written;
  return txn_->commit();
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
  for (const TableId table : {TableId::groups, TableId::open, TableId::failures, TableId::dead, TableId::schedule, TableId::schedule_ids, TableId::snapshots}) {
    if (!source_.is_whole(table)) report_.notes.push_back(std::string("rows of table ") + name_of(table) + " are lost");
  }
  // Each row names the one before it, the head the last one.
  bool is_complete = source_.is_whole(TableId::journal) && source_.head().has_value();
  const auto& head = source_.head();
  const std::uint64_t kept_from = head ? head->head.replay_batch : 0;
  std::uint64_t last = 0;
  for (const auto& [batch, previous] : journal_) {
    if (previous != last && previous >= kept_from) is_complete = false;
    last = batch;
  }
  if (head && last != head->journal_last && head->journal_last >= kept_from) is_complete = false;
  return is_complete ? Result<void>() : drop_journal();
}

Result<void> Salvage::drop_journal() {
  report_.notes.push_back("the journal is lost: what groups have settled since their last checkpoints comes again");
  for (const auto& [batch, previous] : journal_) {
    if (auto erased = txn_->erase(tables_[TableId::journal], NumberKey(batch)); !erased) return erased;
  }
  journal_.clear();
  return {};
}

void Salvage::lose(Position first, Position last) {
  if (first <= last && report_.lost.size() < lost_ranges_max) report_.lost.push_back({first, last});
}

Result<void> Salvage::write_records() {
  std::map<Position, const SalvageSource::Piece*> pieces;
  for (const auto& [first, piece] : source_.whole()) pieces.emplace(first, &piece);
  for (const auto& [first, piece] : source_.damaged()) pieces.emplace(first, &piece);
  for (const auto& [first, piece] : pieces) {
    if (first < next_) continue;      // the one before it holds some of its positions
    if (auto written = write_piece(first, *piece); !written) return written;
    if (options_.progress) options_.progress(file_.bytes() + std::min(file_.bytes(), std::uint64_t{written_}), 2 * file_.bytes());
  }
  return write_heads();
}

Result<void> Salvage::write_piece(Position, const SalvageSource::Piece& piece) {
  const auto found = record_at(file_, piece.at);
  if (!found) return {};              // the disk has read it once, and does not any more: it is lost
  if (!is_whole(*found->record)) return write_parts(*found->record);
  Buffer stored(found->bytes);
  if (!file_.read(found->at, stored)) return {};
  return write_record(*found->record, stored);
}

// The events that are intact, each run of them as a record.
Result<void> Salvage::write_parts(const Record& record) {
  std::uint64_t chain = record.chain_before();
  RecordBuilder builder;
  RecordBuilder::Seal seal{};
  const auto end = [&]() -> Result<void> {
    if (builder.empty()) return {};
    const auto part = builder.seal(seal);
    return write_record(*part, part->bytes());
  };
  for (std::uint32_t at = 0; at < record.count(); ++at) {
    const Position position = record.first() + at;
    if (record.body_intact(at)) {
      Entry entry = record.entry(at);
      const bool is_scheduled = (entry.flags & format::scheduled) != 0;
      if (builder.empty()) {
        seal = {record.log_id(), position, record.committed_at(), chain, record.batch()};
        if (record.run_of(at).first_index != at && !is_scheduled) entry.publisher_previous = position - 1;
      }
      builder.append(entry, record.body(at));
    } else if (auto ended = end(); !ended) {
      return ended;
    }
    chain = chain_fold(chain, number(position), record.event_checksum(at));
  }
  return end();
}

Result<void> Salvage::write_record(const Record& record, Bytes stored) {
  lose(next_, record.first() - 1);
  if (auto put = txn_->put(tables_[TableId::log], NumberKey(record.first()), text_of(stored), lmdb::Place::end); !put) return put;
  for (std::uint32_t at = 0; at < record.count(); ++at) {
    if (auto taken = take_event(record, at); !taken) return taken;
  }
  next_ = record.last() + 1;
  report_.records += 1;
  report_.events += record.count();
  if (last_ == nullptr || record.last() > last_->last()) {
    auto copy = Record::parse(stored, record.first());
    if (!copy) return copy.error();
    last_ = std::move(*copy);
  }
  if (heads_.size() >= heads_max) {
    if (auto written = write_heads(); !written) return written;
  }
  return commit_if_full(stored.size());
}

Result<void> Salvage::take_event(const Record& record, std::uint32_t at) {
  const Position position = record.first() + at;
  const Entry entry = record.entry(at);
  take_names(record, at, entry);
  if (entry.unique_id) heads_[*entry.unique_id] = {*entry.unique_id, position, entry.key ? entry.key->version : 0};
  if (!entry.key) return {};
  heads_[entry.key->hash] = {entry.key->hash, position, entry.key->version};
  if (!has_key_page(entry.key->hash, entry.key->version)) return {};
  return tables_.put(*txn_, TableId::key_pages, key_page_key(entry.key->hash, entry.key->version), Writer().put(position).bytes());
}

void Salvage::take_names(const Record& record, std::uint32_t at, const Entry& entry) {
  const Position position = record.first() + at;
  const bool needs_topic = !has_row(TableId::topics, entry.topic), needs_type = !has_row(TableId::types, entry.type);
  EventNames names;
  if ((needs_topic && topics_[entry.topic].name.empty()) || (needs_type && types_[entry.type].empty())) names = options_.names_of(record.body(at));
  if (needs_type && types_[entry.type].empty()) types_[entry.type] = names.type;
  if (needs_topic) {
    TopicFigures& topic = topics_[entry.topic];
    if (topic.name.empty()) topic.name = names.topic;
    topic.events += 1;
    topic.bytes += record.body_bytes(at);
    if (topic.first == Position::none) topic.first = position;
    topic.last = position;
    topic.last_at = record.committed_at();
    if (entry.priority < topic.last_of.size()) topic.last_of[entry.priority] = position;
  }
  if (has_row(TableId::publishers, entry.publisher)) return;
  PublisherFigures& publisher = publishers_[entry.publisher];
  if ((entry.flags & format::scheduled) != 0) return;
  publisher.last_sequence = std::max(publisher.last_sequence, entry.sequence);
  publisher.last = position;
}

Result<void> Salvage::write_heads() {
  std::vector<KeyHead> heads;
  for (const auto& [key, head] : heads_) heads.push_back(head);
  heads_.clear();
  return merge_heads(*txn_, tables_, heads);
}

std::string Salvage::made_up(TableId table, std::uint32_t number) {
  Writer writer;
  if (table == TableId::topics) {
    const TopicFigures& topic = topics_[number];
    writer.put_string(topic.name.empty() ? numbered("topic", number) : topic.name).put(topic.events).put(topic.bytes);
    writer.put(topic.first).put(topic.last).put(nanoseconds(topic.last_at));
    for (const Position position : topic.last_of) writer.put(position);
  } else if (table == TableId::types) {
    writer.put_string(types_[number].empty() ? numbered("type", number) : types_[number]);
  } else {
    const PublisherFigures& publisher = publishers_[number];
    writer.put_string(numbered("publisher", number)).put(std::uint8_t{0}).put(std::uint64_t{0}).put(publisher.last_sequence).put(publisher.last);
  }
  return writer.take();
}

// Numbers have no gap: one that no row and no event tells the name of gets one that says so.
Result<void> Salvage::write_names() {
  for (const TableId table : {TableId::topics, TableId::types, TableId::publishers}) {
    auto& rows = source_.rows(table);
    std::uint32_t last = 0;
    if (!rows.empty()) last = key_number(rows.rbegin()->first);
    if (table == TableId::topics) last = std::max(last, last_of(topics_));
    if (table == TableId::types) last = std::max(last, last_of(types_));
    if (table == TableId::publishers) last = std::max(last, last_of(publishers_));
    for (std::uint32_t number = 1; number <= last; ++number) {
      const auto found = rows.find(number_key(number));
      const auto value = found != rows.end() ? found->second : made_up(table, number);
      if (auto put = tables_.put(*txn_, table, number_key(number), value); !put) return put;
    }
  }
  return {};
}

Result<void> Salvage::write_meta() {
  Identity identity = source_.identity();
  identity.history += 1;              // clients are told that this is not the log they knew
  StoredHead head = source_.head().value_or(StoredHead());
  if (!source_.head()) report_.notes.push_back("the head of the log is lost: it ends with the last record that was found");
  if (last_ != nullptr && last_->last() > head.head.committed) {
    head.head.committed = last_->last();
    head.head.committed_at = last_->committed_at();
    head.head.chain = last_->chain_after();
    head.head.batch = std::max(head.head.batch, last_->batch());
  }
  if (journal_.empty()) {
    head.journal_last = 0;
    head.head.replay_batch = head.head.batch + 1;
  }
  // Of rows that are no longer in their tables it is not known as of when they are: all records are counted again.
  const bool is_stale = !source_.is_whole(TableId::topics) || !source_.is_whole(TableId::publishers) || !source_.head();
  if (is_stale) head.head.replay_from = Position{1};
  lose(next_, head.head.committed);
  report_.last = head.head.committed;
  report_.chain = head.head.chain;
  if (auto put = put_format(*txn_, tables_); !put) return put;
  if (auto put = put_identity(*txn_, tables_, identity); !put) return put;
  if (auto put = put_epoch(*txn_, tables_, identity.epoch); !put) return put;
  if (auto put = put_head(*txn_, tables_, head); !put) return put;
  return put_lost(*txn_, tables_, report_.lost);
}

Result<File> lock_of(const fs::path& from) {
  std::error_code ignored;
  return fs::is_directory(from, ignored) ? take_lock(from) : Result<File>(File());
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
