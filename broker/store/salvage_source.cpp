#include "broker/store/salvage_source.hpp"

#include <algorithm>

#include "broker/store/lmdb.hpp"

namespace bus::store {

namespace {

constexpr std::size_t window_pages = 256;

std::string text_of_fault(const Fault& fault) {
  return (fault.position == Position::none ? "" : "position " + std::to_string(number(fault.position)) + ": ") + fault.what;
}

bool is_kept(TableId table) { return table == TableId::topics || table == TableId::types || table == TableId::publishers; }

}  // namespace

Result<void> SalvageSource::walk(const OtherRow& other) {
  Result<void> failed;
  const auto take = [&](const PageRow& row) {
    if (row.table == TableId::log) {
      if (auto found = record_at(file_, row.at)) take_record(std::move(*found));
      return;
    }
    const auto value = verified(row.table, row.key, text_of(row.value));
    if (!value) {
      is_whole_[static_cast<std::size_t>(row.table)] = false;
      faults_.push_back(value.error().detail);
      return;
    }
    if (row.table == TableId::meta) return take_meta(row.key, *value);
    if (is_kept(row.table)) {
      rows_[row.table].emplace(row.key, *value);
    } else if (failed) {
      failed = other(row.table, row.key, *value);
    }
  };
  is_whole_.fill(true);
  const auto pages = walk_pages(file_, LogValues::skip, take, CutOff::allow);
  if (!pages) {
    is_whole_.fill(false);
    faults_.push_back(pages.error().detail);
    return {};
  }
  for (const Fault& fault : pages->faults) faults_.push_back(text_of_fault(fault));
  for (std::size_t id = 0; id < table_ids; ++id) is_whole_[id] = is_whole_[id] && pages->is_whole[id];
  return failed;
}

// Of several copies of a row the latest counts; the numbers in them only rise.
void SalvageSource::take_meta(std::string_view key, std::string_view value) {
  Reader reader(value);
  if (key == "epoch") epoch_ = std::max(epoch_, reader.get<std::uint64_t>());
  if (key == "head") {
    const auto head = read_head(value);
    if (head && (!head_ || head->head.batch > head_->head.batch)) head_ = head;
  }
  if (key == "identity") {
    const auto identity = read_identity(value);
    if (identity && (!identity_ || identity->history > identity_->history)) identity_ = identity;
  }
  if (identity_) identity_->epoch = epoch_;
}

bool SalvageSource::is_covered(Position first, Position last) const {
  const auto after = whole_.upper_bound(last);
  return after != whole_.begin() && std::prev(after)->second.last >= first;
}

void SalvageSource::take_record(FoundRecord found) {
  const Record& record = *found.record;
  if (identity_ && record.log_id() != identity_->log_id) return;
  if (is_covered(record.first(), record.last())) return;
  std::uint32_t intact = 0;
  for (std::uint32_t at = 0; at < record.count(); ++at) intact += record.body_intact(at) ? 1 : 0;
  const Piece piece{found.at, found.bytes, record.last(), intact};
  if (intact == record.count()) {
    whole_.emplace(record.first(), piece);
    return;
  }
  const auto known = damaged_.find(record.first());
  if (intact > 0 && (known == damaged_.end() || known->second.intact < intact)) damaged_[record.first()] = piece;
}

void SalvageSource::scan(const ScanProgress& progress) {
  const bool wants_rows = !is_whole(TableId::meta) || !is_whole(TableId::topics) || !is_whole(TableId::types) || !is_whole(TableId::publishers);
  if (wants_rows || !identity_ || !head_) scan_rows(progress);
  const auto is_foreign = [&](const auto& item) {
    const auto found = record_at(file_, item.second.at);
    return !found || !identity_ || found->record->log_id() != identity_->log_id;
  };
  if (!is_whole(TableId::meta)) std::erase_if(whole_, is_foreign);  // taken before the log's id was known
  scan_records(file_, 0, file_.bytes(), [this](FoundRecord found) { take_record(std::move(found)); }, progress);
  std::erase_if(damaged_, [&](const auto& item) { return is_covered(item.first, item.second.last); });
}

// Rows carry the number of their table in their checksum, so that they can be told anywhere.
void SalvageSource::scan_rows(const ScanProgress& progress) {
  Buffer window(window_pages * lmdb::page_bytes);
  for (std::uint64_t begin = 0; begin < file_.bytes(); begin += window.size()) {
    file_.read_some(begin, window);
    for (std::size_t at = 0; at < window_pages; ++at) {
      const std::span<const std::uint8_t> bytes(window.data() + at * lmdb::page_bytes, lmdb::page_bytes);
      visit_leaf(bytes, begin / lmdb::page_bytes + at, [&](std::string_view key, Bytes stored) {
        for (const TableId table : {TableId::meta, TableId::topics, TableId::types, TableId::publishers}) {
          const auto value = verified(table, key, text_of(stored));
          if (!value) continue;
          if (table == TableId::meta) return take_meta(key, *value);
          if (!is_whole(table) && key.size() == sizeof(std::uint32_t)) rows_[table].emplace(key, *value);
          return;
        }
      });
    }
    if (progress) progress(0);
  }
}

}  // namespace bus::store
