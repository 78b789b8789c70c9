// make_backup adds a backup of a store to a repository, as bus-cli does with what a broker answers.
#pragma once

#include <map>

#include "broker/store/backup_files.hpp"
#include "broker/store/directory.hpp"
#include "tests/support/store_dir.hpp"

namespace bus::testing {

class BackupMaker {
 public:
  explicit BackupMaker(fs::path repository) : repository_(std::move(repository)) {
    for (const char* part : {"segments", "backups"}) fs::create_directories(repository_ / part);
  }

  // Of what the store holds now.
  const store::Backup& add(const store::Store& log) {
    using What = store::BackupAsk::What;
    const auto reader = log.reader();
    store::Backup backup;
    backup.number = backups_.size() + 1;
    backup.log_id = log.identity().log_id;
    fs::create_directories(store::backup_path(repository_, backup.number));
    reader->backup({.what = What::hold}).value();
    store::SegmentWriter segments(repository_, backups_.empty() ? 0 : backups_.back().last_segment);
    std::vector<store::BackupEntry> entries;
    for (Position from{1}; from != Position::none;) {
      const auto slice = reader->backup({.what = What::records, .held = true, .from = from}).value();
      std::size_t at = 0;
      for (const auto& record : slice.records) {
        auto& entry = known_[record.first];
        if (entry.checksum != record.checksum) entry = segments.add(record.first, Bytes(slice.bytes).subspan(at, record.bytes), backup.log_id).value();
        entries.push_back(entry);
        at += record.bytes;
        backup.events += entry.count;
        backup.record_bytes += entry.bytes;
      }
      from = slice.next;
    }
    segments.finish().value();
    write_tables(*reader, backup);
    reader->backup({.what = What::let_go}).value();
    auto index = store::BackupWriter::create(store::backup_path(repository_, backup.number) / "index").value();
    index.write(store::index_of(entries)).value();
    index.finish().value();
    backup.records = entries.size();
    backup.index_bytes = index.bytes();
    backup.index_sum = index.sum();
    backup.new_bytes = segments.bytes();
    backup.last_segment = segments.last_segment();
    backups_.push_back(backup);
    return backups_.back();
  }
  const fs::path& path() const { return repository_; }
  const std::vector<store::Backup>& backups() const { return backups_; }

 private:
  void write_tables(store::LogReader& reader, store::Backup& backup) {
    auto file = store::BackupWriter::create(store::backup_path(repository_, backup.number) / "tables").value();
    store::BackupMeta meta;
    for (std::uint8_t table = 1; table < store::table_ids; ++table) {
      store::BackupAsk ask{.what = store::BackupAsk::What::rows, .held = true, .table = table};
      for (bool has_more = true; has_more;) {
        const auto slice = reader.backup(ask).value();
        for (const auto& [key, stored] : slice.rows) {
          const auto id = static_cast<store::TableId>(table);
          if (id == store::TableId::meta) meta.take(key, store::verified(id, key, stored).value());
          file.write(store::backup_row(table, key, stored)).value();
          backup.rows += 1;
          ask.after = key;
        }
        has_more = slice.has_more;
      }
    }
    file.finish().value();
    backup.tables_bytes = file.bytes();
    backup.tables_sum = file.sum();
    backup.history = meta.identity.history;
    backup.head = meta.head.head;
    backup.trimmed_to = meta.trim.last;
  }

  fs::path repository_;
  std::vector<store::Backup> backups_;
  std::map<Position, store::BackupEntry> known_;
};

}  // namespace bus::testing
