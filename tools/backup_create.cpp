// The records that the repository lacks come first, in short requests, and may take long. Then a snapshot is held, and what has changed
// meanwhile comes from it, with all other tables: so everything in the backup is of one moment, and little was read in one transaction.
#include "tools/backup_create.hpp"

#include <unordered_map>

#include "bus/version.hpp"
#include "tools/interrupts.hpp"
#include "tools/progress.hpp"

namespace bus::tools {

namespace {

constexpr std::uint8_t tables_first = 1, tables_end = store::table_ids;  // all but the log

class Creation {
 public:
  Creation(Client& client, const std::filesystem::path& path, const wire::StatusReplyT& status, std::uint64_t log_bytes)
      : client_(client), log_id_(id_of(status)), repository_(path, log_id_), segments_(path, repository_.last_segment()), progress_("backed up MiB", log_bytes) {
    backup_.number = repository_.next_number();
    backup_.log_id = log_id_;
    backup_.version = BUS_VERSION;
    if (repository_.backups().empty()) return;
    const auto entries = store::read_index(path, repository_.backups().back()).value();
    for (const auto& entry : entries) known_[number(entry.first)] = entry;
    check_segments();
  }

  Backup run() {
    copy(missing(index(0)), 0);
    begin();
    const auto records = index(snapshot_);
    copy(missing(records), snapshot_);
    write_tables();
    end();
    segments_.finish().value();
    write_index(records);
    repository_.publish(backup_);
    return backup_;
  }

 private:
  using Records = std::vector<wire::StoredRecord>;

  static store::LogId id_of(const wire::StatusReplyT& status) {
    store::LogId id{};
    if (status.log_id.size() != id.size()) fail(Code::malformed, "the broker's log has no id");
    std::copy(status.log_id.begin(), status.log_id.end(), id.begin());
    return id;
  }
  static void stop_if_interrupted() {
    if (interrupted() != 0) fail(Code::closed, "interrupted: the repository is as it was, the next backup removes what is left of this one");
  }

  // What is taken as there must be there.
  void check_segments() const {
    std::unordered_map<std::uint32_t, std::uint64_t> sizes;
    for (const auto& [first, entry] : known_) {
      auto [it, is_new] = sizes.try_emplace(entry.segment, 0);
      const auto path = store::segment_path(repository_.path(), entry.segment);
      std::error_code failed;
      if (is_new) it->second = std::filesystem::file_size(path, failed);
      if (failed || it->second < entry.offset + entry.bytes) {
        fail(Code::damaged, path.string() + ": it is missing or cut off, so the repository is damaged: begin a new one in another directory");
      }
    }
  }

  bool is_known(const wire::StoredRecord& record) const {
    const auto it = known_.find(record.first());
    return it != known_.end() && it->second.checksum == record.checksum() && it->second.bytes == record.bytes();
  }

  Records index(std::uint64_t snapshot) {
    Records all;
    wire::BackupIndexT question;
    question.snapshot = snapshot;
    question.from = 1;
    while (question.from != 0) {
      stop_if_interrupted();
      const auto reply = ask<wire::BackupIndexReplyT>(client_, wire::BackupIndexT(question));
      all.insert(all.end(), reply.records.begin(), reply.records.end());
      question.from = reply.next;
    }
    return all;
  }

  // From the first to the last of those that follow each other in the log.
  struct Range {
    std::uint64_t first, last;
  };
  std::vector<Range> missing(const Records& records) {
    std::vector<Range> ranges;
    bool follows = false;
    for (const auto& record : records) {
      const bool lacks = !is_known(record);
      if (!lacks) passed_ += record.bytes();
      if (lacks && follows) ranges.back().last = record.first();
      if (lacks && !follows) ranges.push_back({record.first(), record.first()});
      follows = lacks;
    }
    return ranges;
  }

  void copy(const std::vector<Range>& ranges, std::uint64_t snapshot) {
    for (const auto& range : ranges) {
      wire::BackupRecordsT question;
      question.snapshot = snapshot;
      question.to = range.last;
      for (question.from = range.first; question.from != 0;) {
        stop_if_interrupted();
        question.from = take_records(wire::BackupRecordsT(question));
      }
    }
  }

  std::uint64_t take_records(wire::BackupRecordsT question) {
    const auto [reply, body] = with_body<wire::BackupRecordsReplyT>(std::move(question));
    std::size_t at = 0;
    for (const auto& record : reply.records) {
      if (record.bytes() > body.size() - at) fail(Code::malformed, "the broker's answer is too short");
      const Bytes stored = Bytes(body).subspan(at, record.bytes());
      at += record.bytes();
      const auto entry = segments_.add(Position{record.first()}, stored, log_id_);
      if (!entry && entry.error().code == Code::damaged) {
        fail(Code::damaged, "the log is damaged, and not backed up: " + entry.error().detail + "; see bus-cli log verify and log repair");
      }
      known_[record.first()] = entry.value();
      passed_ += record.bytes();
      progress_.update(passed_, passed_ >> 20);
    }
    return reply.next;
  }

  template <typename Reply, typename Question>
  std::pair<Reply, std::vector<std::uint8_t>> with_body(Question question) {
    wire::AskUnion union_of;
    union_of.Set(std::move(question));
    auto answer = client_.request(std::move(union_of)).value();
    auto& reply = answer.reply->answer;
    if (reply.type != wire::AnswerTraits<typename Reply::TableType>::enum_value) fail(Code::malformed, "the broker's answer is of another kind");
    return {std::move(*static_cast<Reply*>(reply.value)), std::move(answer.body)};
  }

  void begin() { snapshot_ = ask<wire::BackupBegunT>(client_, wire::BackupBeginT()).snapshot; }
  void end() {
    wire::BackupEndT question;
    question.snapshot = snapshot_;
    ask<wire::DoneT>(client_, std::move(question));
  }

  void write_tables() {
    auto writer = store::BackupWriter::create(repository_.begin() / "tables").value();
    for (std::uint8_t table = tables_first; table < tables_end; ++table) write_table(table, writer);
    writer.finish().value();
    backup_.tables_bytes = writer.bytes();
    backup_.tables_sum = writer.sum();
    if (!meta_.has_head || !meta_.has_identity) fail(Code::damaged, "the log is damaged, and not backed up: table meta lacks a row");
    backup_.history = meta_.identity.history;
    backup_.head = meta_.head.head;
    backup_.trimmed_to = meta_.trim.last;
  }

  void write_table(std::uint8_t table, store::BackupWriter& writer) {
    wire::BackupRowsT question;
    question.snapshot = snapshot_;
    question.table = table;
    for (bool has_more = true; has_more;) {
      stop_if_interrupted();
      const auto [reply, body] = with_body<wire::BackupRowsReplyT>(wire::BackupRowsT(question));
      std::string_view rest = bus::text_of(Bytes(body));
      for (const auto& row : reply.rows) {
        if (std::uint64_t{row.key_bytes()} + row.value_bytes() > rest.size()) fail(Code::malformed, "the broker's answer is too short");
        const auto key = rest.substr(0, row.key_bytes()), stored = rest.substr(row.key_bytes(), row.value_bytes());
        rest.remove_prefix(key.size() + stored.size());
        take_row(static_cast<store::TableId>(table), key, stored);
        writer.write(store::backup_row(table, key, stored)).value();
        question.after.assign(key.begin(), key.end());
      }
      has_more = reply.more && !reply.rows.empty();
    }
  }

  void take_row(store::TableId table, std::string_view key, std::string_view stored) {
    const auto value = store::verified(table, key, stored);
    if (!value) fail(Code::damaged, "the log is damaged, and not backed up: " + value.error().detail + "; see bus-cli log verify");
    if (table == store::TableId::meta) meta_.take(key, *value);
    backup_.rows += 1;
  }

  void write_index(const Records& records) {
    std::vector<store::BackupEntry> entries;
    for (const auto& record : records) {
      if (!is_known(record)) fail(Code::malformed, "the broker did not give the record at position " + std::to_string(record.first()));
      entries.push_back(known_.at(record.first()));
      backup_.events += entries.back().count;
      backup_.record_bytes += entries.back().bytes;
    }
    store::check_order(entries, meta_).value();
    auto writer = store::BackupWriter::create(store::backup_path(repository_.path(), backup_.number) / "index").value();
    writer.write(store::index_of(entries)).value();
    writer.finish().value();
    backup_.records = entries.size();
    backup_.index_bytes = writer.bytes();
    backup_.index_sum = writer.sum();
    backup_.new_bytes = segments_.bytes();
    backup_.last_segment = segments_.last_segment();
    backup_.made_at = wall_now();
  }

  Client& client_;
  store::LogId log_id_;
  RepositoryWriter repository_;
  store::SegmentWriter segments_;
  Progress progress_;
  Backup backup_;
  store::BackupMeta meta_;
  std::unordered_map<std::uint64_t, store::BackupEntry> known_;  // by first position: of the newest backup, and what was copied
  std::uint64_t snapshot_ = 0, passed_ = 0;
};

}  // namespace

Backup create_backup(Client& client, const std::filesystem::path& repository) {
  const GracefulEnd graceful;
  const auto status = ask<wire::StatusReplyT>(client, wire::StatusRequestT());
  const auto stat = ask<wire::LogStatReplyT>(client, wire::LogStatRequestT());
  return Creation(client, repository, status, stat.record_bytes).run();
}

}  // namespace bus::tools
