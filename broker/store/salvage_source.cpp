#include "broker/store/salvage_source.hpp"

#include <algorithm>
#include <unordered_set>

#include "broker/store/lmdb.hpp"
#include "broker/store/salvage_rows.hpp"

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
      const auto found = record_at(file_, row.at);
      if (found && NumberKey::read(row.key) == number(found->record->first())) take_record(*found, walked_);
      return;
    }
    const auto value = verified(row.table, row.key, text_of(row.value));
    if (!value) {
      is_whole_[static_cast<std::size_t>(row.table)] = false;
      faults_.push_back(value.error().detail);
      return;
    }
    if (row.table == TableId::meta) return take_meta(row.key, *value, true);
    if (is_kept(row.table)) {
      rows_[row.table].emplace(row.key, *value);
    } else if (failed) {
      failed = other(row.table, row.key, *value);
    }
  };
  is_whole_.fill(true);
  auto pages = walk_pages(file_, LogValues::skip, take, CutOff::allow);
  if (!pages) {
    is_whole_.fill(false);
    faults_.push_back(pages.error().detail);
    return {};
  }
  is_latest_ = pages->is_latest;
  transaction_ = pages->transaction;
  values_ = std::move(pages->values);
  for (const Fault& fault : pages->faults) faults_.push_back(text_of_fault(fault));
  for (std::size_t id = 0; id < table_ids; ++id) is_whole_[id] = is_whole_[id] && pages->is_whole[id];
  return failed;
}

// Of several copies of a row the latest counts; the numbers in them only rise. What the newest trees lead to is the latest.
void SalvageSource::take_meta(std::string_view key, std::string_view value, bool is_walked) {
  Reader reader(value);
  if (key == "epoch") epoch_ = std::max(epoch_, reader.get<std::uint64_t>());
  if (key == "head" && (is_walked || !is_head_certain())) {
    const auto head = read_head(value);
    if (head && (!head_ || head->head.batch > head_->head.batch)) head_ = head;
    is_head_walked_ = is_head_walked_ || (head && is_walked);
  }
  if (key == trim_key && (is_walked || !is_trim_walked_)) {
    const auto trim = read_trim(value);
    if (trim && trim->last > trim_.last) trim_ = *trim;
    is_trim_walked_ = is_trim_walked_ || (trim && is_walked);
  }
  if (key == "identity" && (is_walked || !is_identity_walked_)) {
    const auto identity = read_identity(value);
    if (identity && (!identity_ || identity->history > identity_->history)) identity_ = identity;
    is_identity_walked_ = is_identity_walked_ || (identity && is_walked);
  }
  if (identity_) identity_->epoch = epoch_;
}

void SalvageSource::take_record(const FoundRecord& found, std::vector<Piece>& to) const {
  const Record& record = *found.record;
  if (identity_ && record.log_id() != identity_->log_id) return;
  std::uint32_t intact = 0, removed = 0;
  for (std::uint32_t at = 0; at < record.count(); ++at) {
    intact += record.body_intact(at) ? 1 : 0;
    removed += record.is_removed(at) ? 1 : 0;
  }
  to.push_back({found.at, record.first(), record.last(), record.chain_before(), record.chain_after(), record.committed_at(), record.batch(), intact, false, removed});
}

void SalvageSource::scan(const ScanProgress& progress) {
  const bool wants_rows = !is_whole(TableId::meta) || !is_whole(TableId::topics) || !is_whole(TableId::types) || !is_whole(TableId::publishers) || !is_latest_;
  if (wants_rows || !identity_ || !head_) scan_rows(progress);
  const auto is_foreign = [&](const Piece& piece) {
    const auto found = record_at(file_, piece.at);
    return !found || !identity_ || found->record->log_id() != identity_->log_id;
  };
  if (!is_whole(TableId::meta)) std::erase_if(walked_, is_foreign);  // taken before the log's id was known
  std::unordered_set<std::uint64_t> known;
  for (const Piece& piece : walked_) known.insert(piece.at);
  const auto take = [&](const FoundRecord& found) {
    if (!known.contains(found.at)) take_record(found, raw_);
  };
  scan_records(file_, 0, file_.bytes(), take, progress);
}

// An event may hold bytes that look like a page.
void SalvageSource::pass_over(const FoundRecord& found, std::vector<bool>& inside) const {
  const auto pass = [&](std::uint64_t begin, std::uint64_t end) {
    for (auto page = (begin + lmdb::page_bytes - 1) / lmdb::page_bytes; (page + 1) * lmdb::page_bytes <= end && page < inside.size(); ++page) inside[page] = true;
  };
  const Record& record = *found.record;
  const bool is_packed = found.bytes != record.bytes().size();
  if (is_packed) return store::is_whole(record) ? pass(found.at, found.at + found.bytes) : void();
  std::uint64_t end = found.at + format::header_bytes;
  for (std::uint32_t event = 0; event < record.count(); ++event) {
    const std::uint64_t begin = end;
    end += record.body_bytes(event);
    if (record.body_intact(event)) pass(begin, end);
  }
}

// Rows carry the number of their table in their checksum, so that they can be told anywhere.
void SalvageSource::scan_rows(const ScanProgress& progress) {
  const std::uint64_t pages = file_.bytes() / lmdb::page_bytes;
  std::vector<bool> inside = values_;
  inside.resize(pages, false);
  scan_records(file_, 0, file_.bytes(), [&](const FoundRecord& found) { pass_over(found, inside); });
  Buffer window(window_pages * lmdb::page_bytes);
  for (std::uint64_t begin = 0; begin < file_.bytes(); begin += window.size()) {
    file_.read_some(begin, window);
    for (std::size_t at = 0; at < window_pages; ++at) {
      const std::uint64_t number = begin / lmdb::page_bytes + at;
      if (number >= pages || inside[number]) continue;
      const std::span<const std::uint8_t> bytes(window.data() + at * lmdb::page_bytes, lmdb::page_bytes);
      visit_leaf(bytes, number, [this](std::string_view key, Bytes stored) { take_raw_row(key, stored); });
    }
    if (progress) progress(0);
  }
}

void SalvageSource::take_raw_row(std::string_view key, Bytes stored) {
  for (const TableId table : {TableId::meta, TableId::topics, TableId::types, TableId::publishers}) {
    const auto value = verified(table, key, text_of(stored));
    if (!value) continue;
    if (table == TableId::meta) return take_meta(key, *value, false);
    if ((is_whole(table) && is_latest_) || key.size() != sizeof(std::uint32_t)) return;
    const auto [it, is_new] = rows_[table].emplace(key, *value);
    const bool is_later = is_new || last_named(table, key, *value) > last_named(table, key, it->second);
    if (is_later) it->second = *value;
    if (is_new) raw_rows_.emplace(table, key);
    return;
  }
}

LogEnd SalvageSource::find_end(Position named) const {
  LogEnd end;
  if (head_) end = {head_->head.committed, head_->head.chain};
  if (is_head_certain()) return end;
  // The head may be an older one: whatever follows it by the chain, or is named by a row, was there.
  const auto reach = [&](const LogEnd& other) {
    if (other.last > end.last) end = other;
  };
  for (const Piece& piece : walked_) reach({piece.last, piece.chain_after});
  if (head_) {
    reach(follow_pieces(raw_, end.last, end.chain.value_or(0)));
  } else {
    for (const Piece& piece : raw_) reach({piece.last, std::nullopt});
  }
  reach({named, std::nullopt});
  return end;
}

}  // namespace bus::store
