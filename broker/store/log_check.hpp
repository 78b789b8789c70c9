// LogCheck goes through records in order and gathers what is wrong with them. It belongs to one slice of a verification.
#pragma once

#include <optional>
#include <span>
#include <string>

#include "broker/store/record.hpp"
#include "broker/store/store.hpp"

namespace bus::store {

class LogCheck {
 public:
  LogCheck(const LogId& log_id, std::span<const LostRange> lost, VerifySlice& slice) : log_id_(log_id), lost_(lost), slice_(slice) {}

  // Before the first record: what the slice before this one has seen.
  void start(Position next, std::uint64_t chain) {
    next_ = next;
    chain_ = chain;
  }
  // One record as it is stored, and the key it has. Error: not a fault of the record, nothing more can be read.
  Result<void> check(Position position, Bytes stored);
  // The record before the place where the slice starts, which may reach into it.
  Result<void> check_before(Position position, Bytes stored);
  // After the last record.
  void check_end(const Head& head);

  std::optional<std::uint64_t> chain() const { return chain_; }

 private:
  void fault(Position position, std::string what) { slice_.faults.push_back({position, std::move(what)}); }
  void check_gap(Position position);
  void check_chain(Position position, std::uint64_t chain);
  void check_links(const Record& record, std::uint32_t from);
  void check_bodies(const Record& record, std::uint32_t from);
  void leave_unread(Position position);

  LogId log_id_;
  std::span<const LostRange> lost_;
  VerifySlice& slice_;
  Position next_ = Position::none;
  std::optional<std::uint64_t> chain_;
  WallTime committed_at_ = WallTime::min();
  std::uint64_t batch_ = 0;
  bool gap_allowed_ = false;
};

// True if all positions from `first` to `last` are known to be gone.
bool is_lost(std::span<const LostRange> lost, Position first, Position last);

}  // namespace bus::store
