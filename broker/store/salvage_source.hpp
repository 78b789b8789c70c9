// SalvageSource is a broken data file, and all that can be found in it. The pieces of the log are found first, and read when they are
// written.
#pragma once

#include <map>
#include <set>

#include "broker/store/meta.hpp"
#include "broker/store/page_walk.hpp"
#include "broker/store/record_scan.hpp"
#include "broker/store/salvage_choice.hpp"

namespace bus::store {

class SalvageSource {
 public:
  using Rows = std::map<std::string, std::string, std::less<>>;

  explicit SalvageSource(const PageFile& file) : file_(file) {}

  // Follows the trees; `other` gets the rows of tables that are not kept here, verified and without their checksum.
  using OtherRow = std::function<Result<void>(TableId table, std::string_view key, std::string_view value)>;
  Result<void> walk(const OtherRow& other);
  // Looks through the whole file for what the walk has not reached.
  void scan(const ScanProgress& progress);

  bool has_identity() const { return identity_.has_value(); }
  const Identity& identity() const { return *identity_; }
  const std::optional<StoredHead>& head() const { return head_; }
  const Trim& trim() const { return trim_; }
  // The newest trees lead to the head: nothing beyond it was committed.
  bool is_head_certain() const { return is_head_walked_ && is_latest_; }
  // The transaction as of which the trees are, if a later one may have been committed.
  std::optional<std::uint64_t> stale_as_of() const { return is_latest_ ? std::nullopt : std::optional(transaction_); }
  bool is_whole(TableId table) const { return is_whole_[static_cast<std::size_t>(table)]; }
  const Rows& rows(TableId table) { return rows_[table]; }               // topics, types, publishers
  // No tree leads to this row of theirs: it may never have been committed.
  bool is_raw(TableId table, std::string_view key) const { return raw_rows_.contains({table, std::string(key)}); }
  const std::vector<std::string>& faults() const { return faults_; }

  // Where the log ends, if some row names `named` as one of its positions.
  LogEnd find_end(Position named) const;
  std::vector<Piece> choose(const LogEnd& end) const { return choose_pieces(walked_, raw_, end, trim_); }

 private:
  void take_meta(std::string_view key, std::string_view value, bool is_walked);
  void take_record(const FoundRecord& found, std::vector<Piece>& to) const;
  void scan_rows(const ScanProgress& progress);
  void take_raw_row(std::string_view key, Bytes stored);
  void pass_over(const FoundRecord& found, std::vector<bool>& inside) const;

  const PageFile& file_;
  std::optional<Identity> identity_;
  std::uint64_t epoch_ = 0;
  std::optional<StoredHead> head_;
  Trim trim_;
  bool is_identity_walked_ = false, is_head_walked_ = false, is_trim_walked_ = false, is_latest_ = false;
  std::uint64_t transaction_ = 0;
  std::array<bool, table_ids> is_whole_{};
  std::vector<bool> values_;                        // pages of values that a tree leads to
  std::vector<Piece> walked_, raw_;
  std::map<TableId, Rows> rows_;
  std::set<std::pair<TableId, std::string>> raw_rows_;
  std::vector<std::string> faults_;
};

}  // namespace bus::store
