// The files of a backup repository, as docs/STORAGE.md has them: segments of stored records, and of each backup an index of its records and
// the rows of the other tables. Who writes them adds a manifest, which the store does not read: it gets what it says as a Backup.
#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "broker/store/backup_slice.hpp"
#include "broker/store/file.hpp"
#include "broker/store/meta.hpp"

namespace bus::store {

inline constexpr std::uint32_t backup_format = 1;
inline constexpr std::uint64_t segment_bytes_max = 64 * limits::MiB;

// One record of a backup, and where it lies. As it is in the file.
struct BackupEntry {
  Position first = Position::none;
  std::int64_t committed_at = 0;
  std::uint64_t checksum = 0;         // the record's own
  std::uint64_t sum = 0;              // XXH3-64 of the stored bytes
  std::uint64_t chain_before = 0, chain_after = 0;
  std::uint64_t offset = 0;
  std::uint32_t segment = 0, bytes = 0, count = 0, zero = 0;

  Position last() const { return first + (count - 1); }
};
static_assert(sizeof(BackupEntry) == 72);

// What a manifest says.
struct Backup {
  std::uint64_t number = 0;
  LogId log_id{};
  std::uint64_t history = 0;
  Head head;
  Position trimmed_to = Position::none;
  WallTime made_at;
  std::string version;                // of the bus-cli that made it
  std::uint64_t records = 0, events = 0, record_bytes = 0, new_bytes = 0;
  std::uint32_t last_segment = 0;     // of the repository when it was made
  std::uint64_t index_bytes = 0, index_sum = 0;
  std::uint64_t tables_bytes = 0, tables_sum = 0, rows = 0;
};

std::filesystem::path backup_path(const std::filesystem::path& repository, std::uint64_t backup);
std::filesystem::path segment_path(const std::filesystem::path& repository, std::uint32_t segment);

// Writes a file from its start to its end, and sums up what it writes.
class BackupWriter {
 public:
  static Result<BackupWriter> create(const std::filesystem::path& path);
  Result<void> write(std::string_view bytes);
  Result<void> finish();              // syncs
  std::uint64_t bytes() const { return bytes_; }
  std::uint64_t sum() const { return sum_; }

 private:
  BackupWriter(File file, std::filesystem::path path) : file_(std::move(file)), path_(std::move(path)) {}
  Result<void> flush(std::size_t bytes);

  File file_;
  std::filesystem::path path_;
  std::string buffer_;
  std::uint64_t bytes_ = 0, sum_ = 0;
};

// Appends records to new segments of the repository.
class SegmentWriter {
 public:
  SegmentWriter(std::filesystem::path repository, std::uint32_t last_segment) : repository_(std::move(repository)), segment_(last_segment) {}

  // Verifies the record first. Error damaged: it is not one, or not of this log.
  Result<BackupEntry> add(Position first, Bytes stored, const LogId& log_id);
  Result<void> finish();
  std::uint32_t last_segment() const { return segment_; }
  std::uint64_t bytes() const { return bytes_; }

 private:
  std::filesystem::path repository_;
  std::uint32_t segment_;
  std::optional<BackupWriter> open_;
  std::uint64_t bytes_ = 0;
};

// Reads stored records back. Errors: damaged, naming the file; disk_error.
class SegmentReader {
 public:
  explicit SegmentReader(std::filesystem::path repository) : repository_(std::move(repository)) {}
  // The record, verified: the bytes have the sum of the entry, and the record is what the entry says.
  Result<Buffer> read(const BackupEntry& entry, const LogId& log_id);

 private:
  std::filesystem::path repository_;
  std::uint32_t open_segment_ = 0;
  File file_;
};

// A stored record with everything about it verified that can be without its neighbours.
Result<BackupEntry> check_record(Position first, Bytes stored, const LogId& log_id);

std::string index_of(const std::vector<BackupEntry>& entries);
// Size and sum are verified, and that the entries follow each other from where the log begins to its head. Errors: damaged; disk_error.
Result<std::vector<BackupEntry>> read_index(const std::filesystem::path& repository, const Backup& backup);

// A row as it lies in the file of the tables.
std::string backup_row(std::uint8_t table, std::string_view key, std::string_view value);
// Every row, in the order of tables and keys; each is verified, and the file as a whole. Errors: damaged; disk_error; what visit returns.
using StoredRowVisitor = std::function<Result<void>(TableId table, std::string_view key, std::string_view stored)>;
Result<void> each_backup_row(const std::filesystem::path& repository, const Backup& backup, const StoredRowVisitor& visit);

// What the rows of table meta say.
struct BackupMeta {
  Identity identity;
  StoredHead head;
  Trim trim;
  std::vector<LostRange> lost;
  bool has_identity = false, has_head = false;
  // Takes the row if it is one of these; the value without checksum.
  void take(std::string_view key, std::string_view value);
};
// That the entries are all records of the log with these rows: no gap, one chain. Error damaged.
Result<void> check_order(const std::vector<BackupEntry>& entries, const BackupMeta& meta);
// Reads the rows of meta, and verifies all others. Error damaged, also if they are not those of the manifest.
Result<BackupMeta> read_meta(const std::filesystem::path& repository, const Backup& backup);

}  // namespace bus::store
