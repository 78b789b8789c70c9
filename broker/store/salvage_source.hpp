// SalvageSource is a broken data file, and all that can be found in it. The pieces of the log are found first, and read when they are
// written.
#pragma once

#include <map>

#include "broker/store/meta.hpp"
#include "broker/store/page_walk.hpp"
#include "broker/store/record_scan.hpp"

namespace bus::store {

class SalvageSource {
 public:
  // A record, by its first position.
  struct Piece {
    std::uint64_t at = 0;
    std::uint32_t bytes = 0;
    Position last = Position::none;
    std::uint32_t intact = 0;         // events that match their checksums
  };
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
  bool is_whole(TableId table) const { return is_whole_[static_cast<std::size_t>(table)]; }
  const std::map<Position, Piece>& whole() const { return whole_; }
  const std::map<Position, Piece>& damaged() const { return damaged_; }  // of positions that no whole one has
  Rows& rows(TableId table) { return rows_[table]; }                     // topics, types, publishers
  const std::vector<std::string>& faults() const { return faults_; }

 private:
  void take_meta(std::string_view key, std::string_view value);
  void take_record(FoundRecord found);
  void scan_rows(const ScanProgress& progress);
  bool is_covered(Position first, Position last) const;

  const PageFile& file_;
  std::optional<Identity> identity_;
  std::uint64_t epoch_ = 0;
  std::optional<StoredHead> head_;
  std::array<bool, table_ids> is_whole_{};
  std::map<Position, Piece> whole_, damaged_;
  std::map<TableId, Rows> rows_;
  std::vector<std::string> faults_;
};

}  // namespace bus::store
