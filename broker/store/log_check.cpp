#include "broker/store/log_check.hpp"

#include <algorithm>

#include "broker/store/log_cursor.hpp"

namespace bus::store {

bool is_lost(std::span<const LostRange> lost, Position first, Position last) {
  return std::any_of(lost.begin(), lost.end(), [&](const LostRange& range) { return range.first <= first && last <= range.last; });
}

Result<void> LogCheck::check(Position position, Bytes stored) {
  check_gap(position);
  slice_.records += 1;
  next_ = position + 1;
  const auto record = Record::parse(stored, position);
  if (record) {
    check_links(**record, 0);
    check_bodies(**record, 0);
    next_ = (*record)->last() + 1;
    return {};
  }
  if (record.error().code != Code::damaged && record.error().code != Code::bad_format) return record.error();
  if (const auto index = Record::parse_index(stored, position)) {  // its bodies cannot be unpacked: the rest is good
    fault(position, record.error().detail + ", up to position " + std::to_string(number((*index)->last())));
    check_links(**index, 0);
    next_ = (*index)->last() + 1;
    return {};
  }
  fault(position, record.error().detail);
  leave_unread(next_);
  return {};
}

// Only what lies at `next_` and after it is this slice's; of what is before it only the chain matters.
Result<void> LogCheck::check_before(Position position, Bytes stored) {
  const auto record = Record::parse(stored, position);
  if (!record) {
    if (record.error().code != Code::damaged && record.error().code != Code::bad_format) return record.error();
    const auto index = Record::parse_index(stored, position);
    if (index && (*index)->last() < next_) return {};
    fault(next_, record.error().detail);
    leave_unread(next_);
    return {};
  }
  if ((*record)->last() < next_) return {};
  const auto from = static_cast<std::uint32_t>(number(next_) - number(position));
  std::uint64_t chain = (*record)->chain_before();
  for (std::uint32_t at = 0; at < from; ++at) chain = chain_fold(chain, number(position + at), (*record)->event_checksum(at));
  check_chain(next_, chain);
  slice_.records += 1;
  check_links(**record, from);
  check_bodies(**record, from);
  next_ = (*record)->last() + 1;
  return {};
}

void LogCheck::check_end(const Head& head) {
  const Position next = std::max(next_, Position{1});  // none: there was no record
  const Position end = head.committed + 1;
  if (next < end && is_lost(lost_, next, head.committed)) return;
  if (!gap_allowed_ && next != end) {
    fault(next, "the log ends at " + std::to_string(number(next - 1)) + ", its head at " + std::to_string(number(head.committed)));
  }
  if (chain_ && *chain_ != head.chain) fault(head.committed, "the chain does not end as the head says");
}

void LogCheck::check_gap(Position position) {
  if (next_ != Position::none && position > next_ && !gap_allowed_) {
    if (is_lost(lost_, next_, position - 1)) {
      chain_.reset();
    } else {
      fault(next_, missing(next_, position - 1).detail);
    }
  }
  if (position < next_) fault(position, "the record before it reaches beyond this position");
  gap_allowed_ = false;
}

// A break is named by the last position before it: from there on the log is another one than up to there.
void LogCheck::check_chain(Position position, std::uint64_t chain) {
  if (chain_ && chain != *chain_) fault(position - 1, "the chain is broken after this position");
}

void LogCheck::check_links(const Record& record, std::uint32_t from) {
  const Position first = record.first();
  if (record.log_id() != log_id_) fault(first + from, "the record belongs to another log");
  if (from == 0) check_chain(first, record.chain_before());
  if (record.committed_at() < committed_at_) fault(first, "its commit time is before the one of the record before");
  if (record.batch() < batch_) fault(first, "its batch is before the one of the record before");
  committed_at_ = record.committed_at();
  batch_ = record.batch();
  chain_ = record.chain_after();
  for (std::uint32_t at = from; at < record.count(); ++at) {
    const Entry entry = record.entry(at);
    const bool is_backward = entry.publisher_previous < first + at && (!entry.key || entry.key->previous < first + at);
    if (!is_backward) fault(first + at, "a link to an earlier event leads forward");
  }
}

void LogCheck::check_bodies(const Record& record, std::uint32_t from) {
  std::uint64_t chain = record.chain_before();
  for (std::uint32_t at = 0; at < record.count(); ++at) {
    if (at >= from && !record.body_intact(at)) fault(record.first() + at, "the body does not match its checksum");
    chain = chain_fold(chain, number(record.first() + at), record.event_checksum(at));
  }
  if (chain != record.chain_after()) fault(record.first() + from, "the chain within the record does not fit its events");
  slice_.events += record.count() - from;
  for (std::uint32_t at = from; at < record.count(); ++at) slice_.removed += record.is_removed(at) ? 1 : 0;
}

// Where the record ends is not known: the next one says where it goes on.
void LogCheck::leave_unread(Position next) {
  next_ = next;
  chain_.reset();
  gap_allowed_ = true;
}

}  // namespace bus::store
