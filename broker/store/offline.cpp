#include "broker/store/offline.hpp"

#include <algorithm>

#include "broker/store/directory.hpp"
#include "broker/store/key_leaves.hpp"
#include "broker/store/log_check.hpp"
#include "broker/store/meta.hpp"
#include "broker/store/page_walk.hpp"
#include "broker/store/record_scan.hpp"

namespace bus::store {

namespace fs = std::filesystem;

namespace {

// Verifies rows as the walk reaches them. The table `log` comes first, but what its records have to fit to stands in `meta`: so
// records are checked among themselves, and the head at the end; and which positions are lost has to be known before.
class RowCheck {
 public:
  explicit RowCheck(std::vector<LostRange> lost) { slice_.lost = std::move(lost); }
  void take(const PageRow& row) {
    if (row.table == TableId::log) return take_record(row);
    const auto value = verified(row.table, row.key, text_of(row.value));
    if (!value) return fault(value.error().detail);
    if (row.table == TableId::keys && !read_leaf(row.key, *value)) fault("table keys: a leaf is not in order");
    if (row.table == TableId::meta && row.key == "head") head_ = read_head(*value);
  }
  VerifySlice finish(std::vector<Fault> faults) {
    if (head_) {
      slice_.last = head_->head.committed;
      slice_.chain = head_->head.chain;
      if (log_) log_->check_end(head_->head);
    } else {
      fault("table meta: row head cannot be read");
    }
    slice_.faults.insert(slice_.faults.begin(), faults.begin(), faults.end());
    return std::move(slice_);
  }

 private:
  void fault(std::string what) { slice_.faults.push_back({Position::none, std::move(what)}); }
  void take_record(const PageRow& row) {
    const auto position = NumberKey::read(row.key);
    if (!position || *position == 0) return fault("table log: a key is not a position");
    const auto record = Record::parse_index(row.value, Position{*position});
    if (!log_ && record) log_.emplace((*record)->log_id(), slice_.lost, slice_);
    if (!log_) return slice_.faults.push_back({Position{*position}, record.error().detail});
    if (const auto checked = log_->check(Position{*position}, row.value); !checked) fault(checked.error().detail);
  }

  VerifySlice slice_;
  std::optional<LogCheck> log_;
  std::optional<StoredHead> head_;
};

Result<VerifySlice> walk(const PageFile& file) {
  std::vector<LostRange> lost;
  const auto pages = walk_pages(file, LogValues::skip, [&](const PageRow& row) {
    if (row.table != TableId::meta || row.key != lost_key) return;
    const auto value = verified(row.table, row.key, text_of(row.value));
    if (value) lost = read_lost(*value).value_or(std::vector<LostRange>());
  });
  if (!pages) return pages.error();
  if (pages->faults.empty()) return VerifySlice{};
  RowCheck rows(std::move(lost));
  const auto again = walk_pages(file, LogValues::read, [&](const PageRow& row) { rows.take(row); });
  if (!again) return again.error();
  return rows.finish(again->faults);
}

}  // namespace

Result<VerifySlice> verify_pages(const fs::path& dir) {
  std::error_code ignored;
  if (!fs::exists(log_path(dir), ignored)) return Error{Code::not_found, "there is no log in " + dir.string()};
  const auto lock = take_lock(dir);
  if (!lock) return lock.error();
  const fs::path path = log_path(dir) / "data.mdb";
  const auto file = PageFile::open(path);
  if (!file) return file.error();
  auto slice = walk(*file);
  if (!slice && slice.error().code == Code::damaged) return Error{Code::damaged, path.string() + ": " + slice.error().detail + last_whole_record(path)};
  if (!slice) return Error{slice.error().code, path.string() + ": " + slice.error().detail};
  return slice;
}

std::string last_whole_record(const fs::path& data_file) {
  constexpr std::uint64_t window = 64 * limits::MiB;
  const auto file = PageFile::open(data_file);
  if (!file) return "";
  Position last = Position::none;
  std::uint64_t end = file->bytes();
  while (end > 0 && last == Position::none) {
    const std::uint64_t begin = end > window ? end - window : 0;
    scan_records(*file, begin, end, [&](const FoundRecord& found) {
      if (is_whole(*found.record)) last = std::max(last, found.record->last());
    });
    end = begin;
  }
  if (last == Position::none) return ", and there is no whole record in it";
  return ", and the last whole record in it ends at position " + std::to_string(number(last)) + "; restore a backup, or take what is left with `bus-cli log salvage`";
}

}  // namespace bus::store
