#include "tools/backup_verify.hpp"

#include <unordered_set>

#include "tools/cli.hpp"
#include "tools/progress.hpp"

namespace bus::tools {

namespace {

// Of a record that one backup has and another one does not.
std::uint64_t sum_of(const store::BackupEntry& entry) { return checksum({reinterpret_cast<const std::uint8_t*>(&entry), sizeof entry}); }

}  // namespace

BackupFindings verify_backups(const std::filesystem::path& repository, const BackupList& list) {
  const auto& backups = list.backups;
  BackupFindings found;
  for (const auto& bad : list.unreadable) found.faults.emplace_back(bad.number, bad.error.detail);
  std::unordered_set<std::uint64_t> seen;
  std::uint64_t total = 0;
  for (const auto& backup : backups) total += backup.new_bytes;
  Progress progress("verified MiB", total);
  for (const auto& backup : backups) {
    const auto fault = [&](const Error& error) { found.faults.emplace_back(backup.number, error.detail); };
    const auto meta = store::read_meta(repository, backup);
    if (!meta) fault(meta.error());
    const auto entries = store::read_index(repository, backup);
    if (!entries) fault(entries.error());
    if (!entries) continue;
    if (meta) {
      if (auto whole = store::check_order(*entries, *meta); !whole) fault(whole.error());
    }
    store::SegmentReader segments(repository);
    for (const auto& entry : *entries) {
      if (!seen.insert(sum_of(entry)).second) continue;
      if (auto record = segments.read(entry, backup.log_id); !record) fault(record.error());
      found.records += 1;
      found.bytes += entry.bytes;
      progress.update(found.bytes, found.bytes >> 20);
    }
  }
  return found;
}

}  // namespace bus::tools
