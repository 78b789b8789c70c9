#include "tests/sim/saver.hpp"

#include <algorithm>

#include "broker/store/tables.hpp"

namespace bus::sim {

namespace {

template <typename T>
T good(Result<T> result) {
  require(result.ok(), result.ok() ? "" : "a backup: " + describe(result.error()));
  return std::move(*result);
}

void good(const Result<void>& result) { require(result.ok(), result.ok() ? "" : "a backup: " + describe(result.error())); }

}  // namespace

SimSaver::SimSaver(Env& env, const std::string& name) : SimClient(env, name), eager_(env.random.between(1, 10)) {
  for (const char* part : {"segments", "backups"}) std::filesystem::create_directories(repository_.path() / part);
}

void SimSaver::give_up() {
  phase_ = Phase::idle;
  waiting_ = snapshot_ = 0;
}

template <typename T>
void SimSaver::ask(T what) {
  wire::RequestT request;
  request.request = waiting_ = next_request_++;
  request.ask.Set(std::move(what));
  send(request);
}

void SimSaver::work() {
  if (waiting_ != 0) return;
  if (phase_ != Phase::idle) {
    if (env_.calm || env_.random.percent(60)) ask_next();
    return;
  }
  // At the end there is to be one at least.
  if (env_.calm ? has_backup() : !env_.random.percent(eager_)) return;
  phase_ = env_.random.percent(70) ? Phase::look : Phase::begin;
  from_ = 1;
  index_.clear();
}

void SimSaver::ask_next() {
  switch (phase_) {
    case Phase::idle: return;
    case Phase::look: case Phase::look_again: {
      wire::BackupIndexT question;
      question.snapshot = snapshot_;
      question.from = from_;
      return ask(std::move(question));
    }
    case Phase::copy: case Phase::copy_rest: {
      wire::BackupRecordsT question;
      question.snapshot = snapshot_;
      question.from = missing_.front().first;
      question.to = missing_.front().second;
      return ask(std::move(question));
    }
    case Phase::begin: return ask(wire::BackupBeginT());
    case Phase::rows: {
      wire::BackupRowsT question;
      question.snapshot = snapshot_;
      question.table = table_;
      question.after.assign(after_.begin(), after_.end());
      return ask(std::move(question));
    }
    case Phase::end: {
      wire::BackupEndT question;
      question.snapshot = snapshot_;
      return ask(std::move(question));
    }
  }
}

void SimSaver::take(const wire::Message& message, Bytes body) {
  const auto* reply = message.body_as_Reply();
  if (const auto* failure = message.body_as_Failure(); failure != nullptr && failure->request() != 0) {
    const Code code = failure->code();
    // Its last session may not have ended yet; and a snapshot that nobody asks for long is gone.
    const bool expected = (code == Code::busy && phase_ == Phase::begin) || (code == Code::not_found && snapshot_ != 0);
    require(expected, name_ + " got " + EnumNameCode(code) + ": " + failure->detail()->str());
    return give_up();
  }
  if (reply == nullptr) return;
  require(reply->request() == waiting_, name_ + " got an answer to another question");
  waiting_ = 0;
  if (const auto* begun = reply->answer_as_BackupBegun()) {
    snapshot_ = begun->snapshot();
    moment_ = env_.ledger.moment();
    phase_ = Phase::look_again;
    from_ = 1;
    index_.clear();
  }
  if (const auto* index = reply->answer_as_BackupIndexReply()) take_index(*index);
  if (const auto* records = reply->answer_as_BackupRecordsReply()) take_records(*records, body);
  if (const auto* rows = reply->answer_as_BackupRowsReply()) take_rows(*rows, body);
  if (reply->answer_type() != wire::Answer::Done) return;
  write();
  give_up();
}

void SimSaver::take_index(const wire::BackupIndexReply& reply) {
  for (std::uint32_t at = 0; reply.records() != nullptr && at < reply.records()->size(); ++at) index_.push_back(*reply.records()->Get(at));
  from_ = reply.next();
  if (from_ != 0) return;
  missing_.clear();
  bool follows = false;
  for (const auto& record : index_) {
    const auto known = known_.find(record.first());
    const bool lacks = known == known_.end() || known->second.told.checksum() != record.checksum();
    if (lacks && !follows) missing_.emplace_back(record.first(), record.first());
    if (lacks) missing_.back().second = record.first();
    follows = lacks;
  }
  const bool is_last = phase_ == Phase::look_again;
  if (!missing_.empty()) phase_ = is_last ? Phase::copy_rest : Phase::copy;
  else phase_ = is_last ? Phase::rows : Phase::begin;
  rows_.clear();
  table_ = 1;
  after_.clear();
}

// Of the log as it is some may be gone: retention may have deleted them meanwhile.
void SimSaver::take_records(const wire::BackupRecordsReply& reply, Bytes body) {
  auto& [from, to] = missing_.front();
  std::size_t begun = 0;
  for (std::uint32_t at = 0; reply.records() != nullptr && at < reply.records()->size(); ++at) {
    const wire::StoredRecord& told = *reply.records()->Get(at);
    require(told.first() >= from && told.first() <= to && told.bytes() <= body.size() - begun, name_ + " got another record than it asked for");
    const Bytes bytes = body.subspan(begun, told.bytes());
    known_[told.first()] = {told, Buffer(bytes.begin(), bytes.end())};
    begun += told.bytes();
  }
  from = reply.next();
  if (from == 0) missing_.pop_front();
  if (missing_.empty()) phase_ = phase_ == Phase::copy ? Phase::begin : Phase::rows;
}

void SimSaver::take_rows(const wire::BackupRowsReply& reply, Bytes body) {
  std::string_view rest = text_of(body);
  for (std::uint32_t at = 0; reply.rows() != nullptr && at < reply.rows()->size(); ++at) {
    const auto* row = reply.rows()->Get(at);
    rows_.push_back({table_, std::string(rest.substr(0, row->key_bytes())), std::string(rest.substr(row->key_bytes(), row->value_bytes()))});
    rest.remove_prefix(row->key_bytes() + row->value_bytes());
    after_ = rows_.back().key;
  }
  require(rest.empty(), name_ + " got more bytes than rows");
  if (reply.more()) return;
  after_.clear();
  if (++table_ == store::table_ids) phase_ = Phase::end;
}

// ---- the repository

void SimSaver::write() {
  store::Backup backup;
  backup.number = backups_.size() + 1;
  std::filesystem::create_directories(store::backup_path(repository_.path(), backup.number));
  store::BackupMeta meta;
  write_tables(backup, meta);
  store::SegmentWriter segments(repository_.path(), backups_.empty() ? 0 : backups_.back().last_segment);
  std::vector<store::BackupEntry> entries;
  for (const auto& record : index_) {
    const auto known = known_.find(record.first());
    const bool is_its = known != known_.end() && known->second.told.checksum() == record.checksum();
    require(is_its, place(record.first()) + name_ + " was not given the record that the snapshot has");
    Stored& stored = known->second;
    if (!stored.entry) stored.entry = good(segments.add(Position{record.first()}, stored.bytes, backup.log_id));
    entries.push_back(*stored.entry);
    backup.events += stored.entry->count;
    backup.record_bytes += stored.entry->bytes;
  }
  good(segments.finish());
  good(store::check_order(entries, meta));
  auto index = good(store::BackupWriter::create(store::backup_path(repository_.path(), backup.number) / "index"));
  good(index.write(store::index_of(entries)));
  good(index.finish());
  backup.records = entries.size();
  backup.index_bytes = index.bytes();
  backup.index_sum = index.sum();
  backup.new_bytes = segments.bytes();
  backup.last_segment = segments.last_segment();
  require(number(backup.head.committed) == moment_.head, name_ + " has another head than the log had when the snapshot began");
  backups_.push_back(backup);
  moments_.push_back(moment_);
  env_.ledger.backed_up();
}

void SimSaver::write_tables(store::Backup& backup, store::BackupMeta& meta) {
  auto tables = good(store::BackupWriter::create(store::backup_path(repository_.path(), backup.number) / "tables"));
  for (const Row& row : rows_) {
    const auto id = static_cast<store::TableId>(row.table);
    const auto value = store::verified(id, row.key, row.value);
    require(value.ok(), name_ + " got a row that does not verify");
    if (id == store::TableId::meta) meta.take(row.key, *value);
    good(tables.write(store::backup_row(row.table, row.key, row.value)));
    backup.rows += 1;
  }
  good(tables.finish());
  require(meta.has_head && meta.has_identity, name_ + " got no head or no identity");
  backup.tables_bytes = tables.bytes();
  backup.tables_sum = tables.sum();
  backup.log_id = meta.identity.log_id;
  backup.history = meta.identity.history;
  backup.head = meta.head.head;
  backup.trimmed_to = meta.trim.last;
}

const Ledger::Moment& SimSaver::restore(const std::filesystem::path& dir) const {
  const auto which = env_.random.percent(70) ? backups_.size() - 1 : env_.random.below(backups_.size());
  store::RestoreOptions options{repository_.path(), backups_, dir, {.backup = which + 1, .position = std::nullopt, .time = std::nullopt}, {}};
  const auto report = good(store::restore(options));
  require(number(report.head.committed) == moments_[which].head, "a backup was restored to another position than it was made at");
  return moments_[which];
}

}  // namespace bus::sim
