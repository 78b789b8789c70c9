#include "broker/store/backup_files.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "broker/store/backup_reader.hpp"
#include "broker/store/log_check.hpp"

namespace bus::store {

namespace fs = std::filesystem;

namespace {

constexpr std::size_t piece_bytes = 1 * limits::MiB;  // a sum is that of each piece, seeded with the one before

std::string padded(const char* format, std::uint64_t number) {
  char text[32];
  std::snprintf(text, sizeof text, format, static_cast<unsigned long long>(number));
  return text;
}

Error damaged(const fs::path& path, const std::string& what) { return {Code::damaged, path.string() + ": " + what}; }

// All of a file, or `bytes` from `offset`. Error damaged: it is shorter.
Result<void> read_at(const File& file, const fs::path& path, std::uint64_t offset, std::span<std::uint8_t> into) {
  std::size_t done = 0;
  while (done < into.size()) {
    const auto got = ::pread(file.descriptor(), into.data() + done, into.size() - done, static_cast<off_t>(offset + done));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return file_error("read", path);
    if (got == 0) return damaged(path, "it ends at byte " + std::to_string(offset + done) + ", and should have more: it was cut off");
    done += static_cast<std::size_t>(got);
  }
  return {};
}

Result<File> open_part(const fs::path& path) {
  std::error_code ignored;
  if (!fs::exists(path, ignored)) return damaged(path, "the file is missing");
  return File::open(path, O_RDONLY);
}

// Reads a file of known size and sum, piece by piece.
class SummedReader {
 public:
  static Result<SummedReader> open(const fs::path& path, std::uint64_t bytes) {
    auto file = open_part(path);
    if (!file) return file.error();
    std::error_code failed;
    const auto size = fs::file_size(path, failed);
    if (failed) return Error{Code::disk_error, "cannot read " + path.string() + ": " + failed.message()};
    if (size != bytes) return damaged(path, "it has " + std::to_string(size) + " bytes, and should have " + std::to_string(bytes));
    return SummedReader(std::move(*file), path, bytes);
  }
  bool done() const { return at_ == bytes_ && taken_ == piece_.size(); }
  // The next bytes. Error damaged: there are fewer.
  Result<std::string> take(std::size_t bytes) {
    std::string all;
    while (all.size() < bytes) {
      if (taken_ == piece_.size()) {
        if (auto filled = fill(); !filled) return filled.error();
      }
      const auto part = std::min(bytes - all.size(), piece_.size() - taken_);
      all.append(text_of(Bytes(piece_).subspan(taken_, part)));
      taken_ += part;
    }
    return all;
  }
  std::uint64_t sum() const { return sum_; }

 private:
  SummedReader(File file, fs::path path, std::uint64_t bytes) : file_(std::move(file)), path_(std::move(path)), bytes_(bytes) {}
  Result<void> fill() {
    if (at_ == bytes_) return damaged(path_, "its last row is cut off");
    piece_.resize(std::min<std::uint64_t>(piece_bytes, bytes_ - at_));
    taken_ = 0;
    if (auto read = read_at(file_, path_, at_, piece_); !read) return read;
    at_ += piece_.size();
    sum_ = checksum(piece_, sum_);
    return {};
  }

  File file_;
  fs::path path_;
  std::uint64_t bytes_, at_ = 0, sum_ = 0;
  Buffer piece_;
  std::size_t taken_ = 0;
};

}  // namespace

fs::path backup_path(const fs::path& repository, std::uint64_t backup) { return repository / "backups" / padded("%04llu", backup); }
fs::path segment_path(const fs::path& repository, std::uint32_t segment) { return repository / "segments" / (padded("%06llu", segment) + ".seg"); }

// ---- writing

Result<BackupWriter> BackupWriter::create(const fs::path& path) {
  auto file = File::open(path, O_WRONLY | O_CREAT | O_EXCL);
  if (!file) return file.error();
  return BackupWriter(std::move(*file), path);
}

Result<void> BackupWriter::write(std::string_view bytes) {
  bytes_ += bytes.size();
  while (!bytes.empty()) {
    const auto part = bytes.substr(0, piece_bytes - buffer_.size());
    buffer_.append(part);
    bytes.remove_prefix(part.size());
    if (buffer_.size() < piece_bytes) return {};
    if (auto flushed = flush(piece_bytes); !flushed) return flushed;
  }
  return {};
}

Result<void> BackupWriter::flush(std::size_t bytes) {
  sum_ = checksum(bytes_of(buffer_), sum_);
  for (std::size_t done = 0; done < bytes;) {
    const auto wrote = ::write(file_.descriptor(), buffer_.data() + done, bytes - done);
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote < 0) return file_error("write", path_);
    done += static_cast<std::size_t>(wrote);
  }
  buffer_.clear();
  return {};
}

Result<void> BackupWriter::finish() {
  if (!buffer_.empty()) {
    if (auto flushed = flush(buffer_.size()); !flushed) return flushed;
  }
  return file_.sync();
}

Result<BackupEntry> SegmentWriter::add(Position first, Bytes stored, const LogId& log_id) {
  auto entry = check_record(first, stored, log_id);
  if (!entry) return entry;
  if (open_ && open_->bytes() + stored.size() > segment_bytes_max) {
    if (auto done = finish(); !done) return done.error();
  }
  if (!open_) {
    auto next = BackupWriter::create(segment_path(repository_, segment_ + 1));
    if (!next) return next.error();
    open_ = std::move(*next);
    segment_ += 1;
  }
  entry->segment = segment_;
  entry->offset = open_->bytes();
  bytes_ += stored.size();
  if (auto wrote = open_->write(text_of(stored)); !wrote) return wrote.error();
  return entry;
}

Result<void> SegmentWriter::finish() {
  if (!open_) return {};
  auto done = open_->finish();
  open_.reset();
  return done;
}

// ---- records

Result<BackupEntry> check_record(Position first, Bytes stored, const LogId& log_id) {
  const auto described = describe(stored, first);
  if (!described) return described.error();
  VerifySlice slice;
  LogCheck check(log_id, {}, slice);
  if (auto checked = check.check(first, stored); !checked) return checked.error();
  if (!slice.faults.empty()) {
    return Error{Code::damaged, "position " + std::to_string(number(slice.faults[0].position)) + ": " + slice.faults[0].what};
  }
  const auto index = Record::parse_index(stored, first);
  if (!index) return index.error();
  BackupEntry entry;
  entry.first = first;
  entry.committed_at = nanoseconds((*index)->committed_at());
  entry.checksum = described->checksum;
  entry.sum = checksum(stored);
  entry.chain_before = (*index)->chain_before();
  entry.chain_after = (*index)->chain_after();
  entry.bytes = static_cast<std::uint32_t>(stored.size());
  entry.count = (*index)->count();
  return entry;
}

Result<Buffer> SegmentReader::read(const BackupEntry& entry, const LogId& log_id) {
  const auto path = segment_path(repository_, entry.segment);
  if (open_segment_ != entry.segment) {
    auto file = open_part(path);
    if (!file) return file.error();
    file_ = std::move(*file);
    open_segment_ = entry.segment;
  }
  Buffer stored(entry.bytes, 0);
  if (auto got = read_at(file_, path, entry.offset, stored); !got) return got.error();
  const auto where = "the record at byte " + std::to_string(entry.offset) + ", of positions " + std::to_string(number(entry.first)) + " to " + std::to_string(number(entry.last())) + ", ";
  if (checksum(stored) != entry.sum) return damaged(path, where + "does not match its checksum");
  const auto found = check_record(entry.first, stored, log_id);
  if (!found) return damaged(path, where + "is damaged: " + found.error().detail);
  const bool is_same = found->count == entry.count && found->checksum == entry.checksum && found->committed_at == entry.committed_at &&
                       found->chain_before == entry.chain_before && found->chain_after == entry.chain_after;
  if (!is_same) return damaged(path, where + "is not what the index says");
  return stored;
}

// ---- index

std::string index_of(const std::vector<BackupEntry>& entries) {
  return {reinterpret_cast<const char*>(entries.data()), entries.size() * sizeof(BackupEntry)};
}

Result<std::vector<BackupEntry>> read_index(const fs::path& repository, const Backup& backup) {
  const auto path = backup_path(repository, backup.number) / "index";
  auto file = SummedReader::open(path, backup.index_bytes);
  if (!file) return file.error();
  if (backup.index_bytes != backup.records * sizeof(BackupEntry)) return damaged(path, "its size does not fit the number of records in the manifest");
  std::vector<BackupEntry> entries(backup.records);
  for (auto& entry : entries) {
    const auto bytes = file->take(sizeof entry);
    if (!bytes) return bytes.error();
    entry = load<BackupEntry>(bytes_of(*bytes).data());
  }
  if (file->sum() != backup.index_sum) return damaged(path, "it does not match its checksum");
  return entries;
}

Result<void> check_order(const std::vector<BackupEntry>& entries, const BackupMeta& meta) {
  Position next = meta.trim.last + 1;
  std::optional<std::uint64_t> chain = meta.trim.chain;
  const auto gap = [&](Position until) -> Result<void> {
    if (next >= until) return {};
    if (!is_lost(meta.lost, next, until - 1)) {
      return Error{Code::damaged, "positions " + std::to_string(number(next)) + " to " + std::to_string(number(until - 1)) + " are missing in the backup"};
    }
    chain.reset();
    return {};
  };
  for (const auto& entry : entries) {
    if (entry.count == 0 || entry.first < next) return Error{Code::damaged, "the records of the backup overlap at position " + std::to_string(number(entry.first))};
    if (auto whole = gap(entry.first); !whole) return whole;
    if (chain && *chain != entry.chain_before) return Error{Code::damaged, "the chain is broken before position " + std::to_string(number(entry.first))};
    next = entry.last() + 1;
    chain = entry.chain_after;
  }
  const Head& head = meta.head.head;
  if (auto whole = gap(head.committed + 1); !whole) return whole;
  if (next > head.committed + 1 || (chain && *chain != head.chain)) return Error{Code::damaged, "the records of the backup do not end at its head"};
  return {};
}

// ---- tables

std::string backup_row(std::uint8_t table, std::string_view key, std::string_view value) {
  Writer writer;
  writer.put(std::uint32_t{table}).put_string(key).put_string(value);
  return writer.take();
}

Result<void> each_backup_row(const fs::path& repository, const Backup& backup, const StoredRowVisitor& visit) {
  const auto path = backup_path(repository, backup.number) / "tables";
  auto file = SummedReader::open(path, backup.tables_bytes);
  if (!file) return file.error();
  std::uint64_t rows = 0;
  const auto take_string = [&]() -> Result<std::string> {
    const auto size = file->take(4);
    if (!size) return size;
    const auto bytes = load<std::uint32_t>(bytes_of(*size).data());
    if (bytes > backup.tables_bytes) return damaged(path, "row " + std::to_string(rows + 1) + " cannot be read");
    return file->take(bytes);
  };
  for (; !file->done(); ++rows) {
    const auto number = file->take(4);
    if (!number) return number.error();
    const auto table = load<std::uint32_t>(bytes_of(*number).data());
    const auto key = take_string();
    if (!key) return key.error();
    const auto stored = take_string();
    if (!stored) return stored.error();
    if (table == 0 || table >= table_ids) return damaged(path, "row " + std::to_string(rows + 1) + " is of a table that is not known");
    const auto value = verified(static_cast<TableId>(table), *key, *stored);
    if (!value) return damaged(path, value.error().detail);
    if (auto visited = visit(static_cast<TableId>(table), *key, *stored); !visited) return visited;
  }
  if (file->sum() != backup.tables_sum || rows != backup.rows) return damaged(path, "it does not match its checksum");
  return {};
}

void BackupMeta::take(std::string_view key, std::string_view value) {
  if (key == lost_key) lost = read_lost(value).value_or(std::vector<LostRange>());
  if (key == trim_key) trim = read_trim(value).value_or(Trim());
  if (key == "identity") {
    const auto found = read_identity(value);
    has_identity = found.has_value();
    if (found) identity = *found;
  }
  if (key == "head") {
    const auto found = read_head(value);
    has_head = found.has_value();
    if (found) head = *found;
  }
}

Result<BackupMeta> read_meta(const fs::path& repository, const Backup& backup) {
  BackupMeta meta;
  const auto read = each_backup_row(repository, backup, [&](TableId table, std::string_view key, std::string_view stored) -> Result<void> {
    if (table == TableId::meta) meta.take(key, *verified(table, key, stored));
    return {};
  });
  if (!read) return read.error();
  const auto path = backup_path(repository, backup.number) / "tables";
  if (!meta.has_identity || !meta.has_head) return damaged(path, "it lacks the rows that say which log this is");
  const Head &is = meta.head.head, &said = backup.head;
  const bool is_same = meta.identity.log_id == backup.log_id && meta.identity.history == backup.history && is.committed == said.committed &&
                       is.chain == said.chain && is.committed_at == said.committed_at && is.batch == said.batch && meta.trim.last == backup.trimmed_to;
  if (!is_same) return damaged(path, "it is of another backup than the manifest");
  return meta;
}

}  // namespace bus::store
