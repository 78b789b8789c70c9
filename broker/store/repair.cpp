// First all of the log is looked at, and what is wrong is gathered; then one record after the other is mended. Where one of them lies in
// the part that a start would count events from, the tables are brought up to the head before: of an event that is lost nothing could be
// counted any more.
#include "broker/store/salvage_rows.hpp"
#include "broker/store/repair.hpp"

#include <algorithm>

#include "broker/store/directory.hpp"
#include "broker/store/disk_reader.hpp"
#include "broker/store/figures.hpp"
#include "broker/store/intact_parts.hpp"
#include "broker/store/log_check.hpp"
#include "broker/store/page_walk.hpp"
#include "broker/store/repair_aside.hpp"

namespace bus::store {

namespace fs = std::filesystem;

namespace {

constexpr std::size_t slice_bytes = 64 * limits::MiB;

// Adds a range to those that are known, in order and with no two side by side.
void add_range(std::vector<LostRange>& ranges, LostRange range) {
  auto it = std::lower_bound(ranges.begin(), ranges.end(), range.first, [](const LostRange& a, Position first) { return a.last + 1 < first; });
  auto end = it;
  for (; end != ranges.end() && end->first <= range.last + 1; ++end) {
    range.first = std::min(range.first, end->first);
    range.last = std::max(range.last, end->last);
  }
  ranges.insert(ranges.erase(it, end), range);
}

// What is left of a stored record; it has not all of its events, or stands under another key than its own.
struct Remains {
  RecordPtr index;                    // null: that is damaged, too
  std::vector<RecordPtr> parts;
  std::string what;                   // empty: nothing is wrong
};

// The position that a stored record names as its own.
Position own_position(Bytes stored) {
  const std::size_t at = (Record::is_packed(stored) ? sizeof(format::PackedPrefix) : 0) + offsetof(format::Header, first_position);
  return stored.size() < at + sizeof(Position) ? Position::none : load<Position>(stored.data() + at);
}

Remains look_at(Bytes stored, Position key, Position before, Position after, const LogId& log_id) {
  const auto is_ours = [&](const Record& record) { return record.log_id() == log_id && record.last() < after; };
  const auto record = Record::parse(stored, key);
  if (record && (*record)->log_id() != log_id) return {nullptr, {}, "the record belongs to another log"};
  if (record) {
    for (std::uint32_t at = 0; at < (*record)->count(); ++at) {
      if (!(*record)->body_intact(at)) return {*record, intact_parts(**record), "the body of position " + std::to_string(number((*record)->first() + at)) + " does not match its checksum"};
    }
    return {*record, {}, ""};
  }
  const auto index = Record::parse_index(stored, key);
  if (index && is_ours(**index)) return {*index, {}, record.error().detail};
  // Its key may be what is damaged.
  const auto own = Record::parse(stored, own_position(stored));
  if (own && is_ours(**own) && (*own)->first() >= before) return {*own, intact_parts(**own), "its key is not its position"};
  return {nullptr, {}, record.error().detail};
}

class Repair {
 public:
  explicit Repair(const RepairOptions& options) : options_(options), aside_(options.aside) {}

  Result<RepairReport> run() {
    for (const auto step : {&Repair::open, &Repair::look, &Repair::save, &Repair::mend, &Repair::verify}) {
      if (auto done = (this->*step)(); !done) return done.error();
    }
    for (Found& found : found_) report_.damages.push_back(std::move(found.damage));
    return std::move(report_);
  }

 private:
  struct Found {
    std::optional<std::string> key;   // of its row; none: it is missing
    Position before = Position::none, after = Position::none;  // what it may take: from here up to before there
    Damage damage;
  };

  Result<void> open();
  Result<void> look();
  Result<void> save();
  Result<void> mend();
  Result<void> verify();

  Result<void> check_pages() const;
  Result<void> look_at_row(const lmdb::Transaction& txn, std::string_view key, Bytes stored, Position after);
  void look_at_gap(Position first, Position last);
  void lose(Damage& damage, const Remains& remains);
  std::string topic_of(const lmdb::Transaction& txn, std::uint32_t number) const;
  Result<void> mend_one(Found& found);
  Result<Figures> count(const lmdb::Transaction& txn) const;
  bool is_uncounted() const {
    return std::any_of(found_.begin(), found_.end(), [this](const Found& found) { return found.damage.last >= head_.head.replay_from; });
  }

  const RepairOptions& options_;
  const Aside aside_;
  RepairReport report_;
  File lock_;
  std::optional<lmdb::Environment> env_;
  Tables tables_;
  Identity identity_;
  StoredHead head_;
  std::vector<LostRange> lost_;       // that the log knows
  std::vector<LostRange> all_lost_;   // with what was found
  std::vector<Found> found_;
  Position next_{1};
};

// LMDB only gets pages that are whole.
Result<void> Repair::check_pages() const {
  const fs::path path = log_path(options_.dir) / "data.mdb";
  const auto file = PageFile::open(path);
  if (!file) return file.error();
  const auto pages = walk_pages(*file, LogValues::skip, {});
  if (!pages) return Error{pages.error().code, path.string() + ": " + pages.error().detail};
  if (pages->faults.empty()) return {};
  return Error{Code::damaged, path.string() + ": " + pages->faults[0].what + ": repair mends records, of a file whose pages are whole; restore a backup, or take what is left with `bus-cli log salvage`"};
}

Result<void> Repair::open() {
  std::error_code ignored;
  if (!fs::exists(log_path(options_.dir), ignored)) return Error{Code::not_found, "there is no log in " + options_.dir.string()};
  auto lock = take_lock(options_.dir);
  if (!lock) return lock.error();
  lock_ = std::move(*lock);
  if (auto whole = check_pages(); !whole) return whole;
  const auto access = options_.dry_run ? lmdb::Access::read : lmdb::Access::write;
  auto env = lmdb::Environment::open(log_path(options_.dir), 0, access);
  if (!env) return env.error();
  env_ = std::move(*env);
  auto txn = env_->begin(access);
  if (!txn) return txn.error();
  if (auto checked = check_format(*txn); !checked) return checked;
  const auto tables = Tables::open(*txn, false);
  if (!tables) return tables.error();
  tables_ = *tables;
  const auto identity = get_identity(*txn, tables_);
  if (!identity) return identity.error();
  identity_ = *identity;
  const auto head = get_head(*txn, tables_);
  if (!head) return head.error();
  head_ = *head;
  report_.last = head_.head.committed;
  auto lost = get_lost(*txn, tables_);
  if (!lost) return lost.error();
  lost_ = all_lost_ = std::move(*lost);
  const auto trim = get_trim(*txn, tables_);
  if (!trim) return trim.error();
  next_ = trim->last + 1;
  return txn->commit();               // keeps the handles of the tables
}

Result<void> Repair::look() {
  const auto txn = env_->begin(lmdb::Access::read);
  if (!txn) return txn.error();
  auto cursor = txn->cursor(tables_[TableId::log]);
  if (!cursor) return cursor.error();
  const Position end = head_.head.committed + 1;
  auto found = cursor->first();
  while (found && *found) {
    const std::string key(cursor->key());
    const Bytes stored = bytes_of(cursor->value());
    found = cursor->next();
    if (!found) break;
    const Position after = *found ? std::min(end, Position{NumberKey::read(cursor->key()).value_or(0)}) : end;
    if (auto looked = look_at_row(*txn, key, stored, after); !looked) return looked;
    if (options_.progress) options_.progress(next_ - 1, head_.head.committed);
  }
  if (!found) return found.error();
  look_at_gap(next_, head_.head.committed);
  if (all_lost_.size() <= options_.lost_ranges_max) return {};
  return Error{Code::bad_format, "more than " + std::to_string(options_.lost_ranges_max) + " ranges of positions would be lost: a log cannot hold so many; restore a backup"};
}

void Repair::look_at_gap(Position first, Position last) {
  if (first > last || is_lost(lost_, first, last)) return;
  Found found;
  found.damage = {first, last, 0, {{first, last}}, {}, "no record has them", ""};
  add_range(all_lost_, {first, last});
  found_.push_back(std::move(found));
}

Result<void> Repair::look_at_row(const lmdb::Transaction& txn, std::string_view key, Bytes stored, Position after) {
  const Position position{NumberKey::read(key).value_or(0)};
  const Position before = next_;
  const Remains remains = look_at(stored, position, before, after, identity_.log_id);
  const Position first = remains.index != nullptr ? remains.index->first() : std::max(position, before);
  look_at_gap(before, first - 1);
  const Position last = remains.index != nullptr ? remains.index->last() : after - 1;
  if (remains.what.empty()) {
    next_ = last + 1;
    return {};
  }
  Found found{std::string(key), before, after, {}};
  found.damage.first = std::max(first, before);
  found.damage.last = std::max(last, found.damage.first);
  found.damage.what = remains.what;
  lose(found.damage, remains);
  for (const LostRange& range : found.damage.lost) add_range(all_lost_, range);
  for (std::uint32_t at = 0; remains.index != nullptr && at < remains.index->count(); ++at) {
    if (!is_lost(found.damage.lost, remains.index->first() + at, remains.index->first() + at)) continue;
    const auto topic = topic_of(txn, remains.index->topic(at));
    auto& topics = found.damage.topics;
    if (!topic.empty() && std::find(topics.begin(), topics.end(), topic) == topics.end()) topics.push_back(topic);
  }
  next_ = found.damage.last + 1;
  found_.push_back(std::move(found));
  return {};
}

// All but the parts.
void Repair::lose(Damage& damage, const Remains& remains) {
  Position next = damage.first;
  for (const RecordPtr& part : remains.parts) {
    if (part->first() > next) damage.lost.push_back({next, part->first() - 1});
    damage.kept += part->count();
    next = part->last() + 1;
  }
  if (next <= damage.last) damage.lost.push_back({next, damage.last});
}

std::string Repair::topic_of(const lmdb::Transaction& txn, std::uint32_t number) const {
  const auto row = tables_.get(txn, TableId::topics, number_key(number));
  return row && *row ? std::string(Reader(**row).get_string()) : "";
}

// What the records from replay_from on say of topics, publishers and keys, those that are lost, too, as far as their index is left.
Result<Figures> Repair::count(const lmdb::Transaction& txn) const {
  Figures figures;
  for (const TableId table : {TableId::topics, TableId::publishers}) {
    const auto restored = tables_.each(txn, table, {}, [&](std::string_view key, std::string_view value) {
      figures.restore(table, key_number(key), value, head_.head.committed);
      return Result<void>();
    });
    if (!restored) return restored.error();
  }
  auto cursor = txn.cursor(tables_[TableId::log]);
  if (!cursor) return cursor.error();
  auto found = cursor->first();
  for (; found && *found; found = cursor->next()) {
    const Bytes stored = bytes_of(cursor->value());
    auto record = Record::parse_index(stored, Position{NumberKey::read(cursor->key()).value_or(0)});
    if (!record) record = Record::parse_index(stored, own_position(stored));
    if (!record || (*record)->log_id() != identity_.log_id) continue;
    for (std::uint32_t at = 0; at < (*record)->count(); ++at) {
      const Position position = (*record)->first() + at;
      if (position < head_.head.replay_from) continue;
      is_lost(all_lost_, position, position) ? figures.remember(**record, at) : figures.take(**record, at);
    }
  }
  if (!found) return found.error();
  return figures;
}

Result<void> Repair::save() {
  if (!is_uncounted()) return {};
  for (const Found& found : found_) {
    const bool is_unknown = found.damage.last >= head_.head.replay_from && found.damage.kept == 0 && found.damage.topics.empty();
    if (is_unknown) report_.notes.push_back("no checkpoint has counted positions " + std::to_string(number(found.damage.first)) + " to " + std::to_string(number(found.damage.last)) +
                                            ", and their index is lost: versions of keys and sequences of publishers that ended there may come again");
  }
  if (options_.dry_run) return {};
  auto txn = env_->begin(lmdb::Access::write);
  if (!txn) return txn.error();
  auto figures = count(*txn);
  if (!figures) return figures.error();
  for (const TableId table : {TableId::topics, TableId::publishers}) {
    for (std::uint32_t number = 1; number <= figures->last(table); ++number) {
      const auto row = tables_.get(*txn, table, number_key(number));
      if (!row) return row.error();
      if (!*row) continue;            // busd says so
      const std::string name(Reader(**row).get_string());
      if (auto put = tables_.put(*txn, table, number_key(number), figures->row(table, number, name)); !put) return put;
    }
  }
  if (auto written = figures->write_heads(*txn, tables_); !written) return written;
  const auto dropped = drop_snapshots_ahead(*txn, tables_);
  if (!dropped) return dropped.error();
  if (*dropped > 0) report_.notes.push_back(std::to_string(*dropped) + " snapshots are dropped: their keys have lost the versions they are of");
  head_.head.replay_from = head_.head.committed + 1;
  if (auto put = put_head(*txn, tables_, head_); !put) return put;
  return txn->commit();
}

Result<void> Repair::mend() {
  for (std::size_t at = 0; !options_.dry_run && at < found_.size(); ++at) {
    if (auto mended = mend_one(found_[at]); !mended) return mended;
  }
  return {};
}

Result<void> Repair::mend_one(Found& found) {
  auto txn = env_->begin(lmdb::Access::write);
  if (!txn) return txn.error();
  if (found.key) {
    const auto stored = txn->get(tables_[TableId::log], *found.key);
    if (!stored) return stored.error();
    if (!*stored) return Error{Code::damaged, "table log: a record was there and is not any more"};
    const Buffer bytes = copy_of(bytes_of(**stored));
    auto kept = aside_.keep(found.damage.first, bytes);
    if (!kept) return kept.error();
    found.damage.file = std::move(*kept);
    const Remains remains = look_at(bytes, Position{NumberKey::read(*found.key).value_or(0)}, found.before, found.after, identity_.log_id);
    if (auto erased = txn->erase(tables_[TableId::log], *found.key); !erased) return erased;
    for (const RecordPtr& part : remains.parts) {
      if (auto put = txn->put(tables_[TableId::log], NumberKey(part->first()), text_of(part->bytes())); !put) return put;
    }
  }
  if (auto reported = aside_.report(found.damage); !reported) return reported;
  for (const LostRange& range : found.damage.lost) add_range(lost_, range);
  if (auto put = put_lost(*txn, tables_, lost_); !put) return put;
  return txn->commit();
}

// What was found is mended, or would be; whatever else is wrong stays.
Result<void> Repair::verify() {
  DiskReader reader(*env_, tables_, identity_.log_id, [] { return Space(); });
  VerifySlice slice;
  do {
    auto next = reader.verify(slice.next, slice.chain, slice_bytes);
    if (!next) return next.error();
    slice = std::move(*next);
    for (const Fault& fault : slice.faults) {
      const auto is_its = [&](const Found& found) { return found.damage.first <= fault.position + 1 && fault.position <= found.damage.last; };
      const bool is_found = options_.dry_run && fault.position != Position::none && std::any_of(found_.begin(), found_.end(), is_its);
      if (!is_found) report_.left.push_back(fault);
    }
  } while (slice.next != Position::none);
  return {};
}

}  // namespace

Result<RepairReport> repair(const RepairOptions& options) { return Repair(options).run(); }

}  // namespace bus::store
