#include "broker/store/backup_plan.hpp"

#include <algorithm>

namespace bus::store {

namespace fs = std::filesystem;

namespace {

std::string show(Position position) { return std::to_string(number(position)); }

const Backup* with_number(const std::vector<Backup>& backups, std::uint64_t number) {
  const auto it = std::find_if(backups.begin(), backups.end(), [&](const Backup& one) { return one.number == number; });
  return it == backups.end() ? nullptr : &*it;
}

// The first backup, of this history and not before `number`, that has what is wanted; for a time else the last one.
Result<const Backup*> find_source(const std::vector<Backup>& backups, std::uint64_t history, std::uint64_t number, const RestoreGoal& goal) {
  const Backup* last = nullptr;
  for (const auto& one : backups) {
    if (one.history != history || one.number < number) continue;
    last = &one;
    const bool has_it = goal.position ? one.head.committed >= *goal.position : one.head.committed_at >= *goal.time;
    if (has_it) return &one;
  }
  if (goal.time) return last;
  return Error{Code::beyond_end, "position " + show(*goal.position) + " is in no backup: backup " + std::to_string(last->number) + " ends at position " + show(last->head.committed)};
}

// The last event that was committed by then.
Position last_by(const std::vector<BackupEntry>& entries, WallTime time) {
  const auto after = std::partition_point(entries.begin(), entries.end(), [&](const BackupEntry& entry) { return entry.committed_at <= nanoseconds(time); });
  return after == entries.begin() ? Position::none : std::prev(after)->last();
}

// The record that holds the position, or the first one behind it.
auto entry_at(const std::vector<BackupEntry>& entries, Position position) {
  return std::partition_point(entries.begin(), entries.end(), [&](const BackupEntry& entry) { return entry.last() < position; });
}

// The chain at a position. Nothing: it is not known.
Result<std::optional<std::uint64_t>> chain_at(const fs::path& repository, const Backup& backup, const std::vector<BackupEntry>& entries, Position position) {
  const auto it = entry_at(entries, position);
  if (it == entries.end()) return std::optional<std::uint64_t>(position == backup.head.committed ? std::optional(backup.head.chain) : std::nullopt);
  if (it->first == position + 1) return std::optional(it->chain_before);
  if (it->first > position) return std::optional<std::uint64_t>();
  if (it->last() == position) return std::optional(it->chain_after);
  const auto stored = SegmentReader(repository).read(*it, backup.log_id);
  if (!stored) return stored.error();
  const auto record = Record::parse_index(*stored, it->first);
  if (!record) return record.error();
  std::uint64_t chain = it->chain_before;
  for (std::uint32_t at = 0; it->first + at <= position; ++at) chain = chain_fold(chain, number(it->first + at), (*record)->event_checksum(at));
  return std::optional(chain);
}

class Planner {
 public:
  Planner(const fs::path& repository, const std::vector<Backup>& backups, const RestoreGoal& goal) : repository_(repository), backups_(backups), goal_(goal) {}

  Result<RestorePlan> plan() {
    const Backup* chosen = goal_.backup == 0 ? &backups_.back() : with_number(backups_, goal_.backup);
    if (chosen == nullptr) return Error{Code::not_found, "there is no backup " + std::to_string(goal_.backup) + "; the last one is " + std::to_string(backups_.back().number)};
    if (!goal_.position && !goal_.time) return with_base(*chosen, chosen->head.committed);
    const auto source = find_source(backups_, chosen->history, goal_.backup, goal_);
    if (!source) return source.error();
    auto entries = read_index(repository_, **source);
    if (!entries) return entries.error();
    const auto end = goal_.position ? *goal_.position : std::min(last_by(*entries, *goal_.time), (*source)->head.committed);
    const auto base = find_base(**source, *entries, end);
    if (!base) return base.error();
    auto plan = with_base(**base, end);
    if (!plan || (*base)->head.committed == end) return plan;
    const auto first = entry_at(*entries, (*base)->head.committed + 1), last = entry_at(*entries, end);
    if (last == entries->end() || last->first > end) return Error{Code::beyond_end, "position " + show(end) + " is lost, so the log cannot end there"};
    plan->later = **source;
    plan->later_entries.assign(first, last + 1);
    return plan;
  }

 private:
  Result<RestorePlan> with_base(const Backup& base, Position end) {
    auto entries = read_index(repository_, base);
    if (!entries) return entries.error();
    return RestorePlan{base, std::move(*entries), end, {}, {}};
  }

  // The newest one whose events are all in the source too, and that does not reach beyond the end.
  Result<const Backup*> find_base(const Backup& source, const std::vector<BackupEntry>& entries, Position end) {
    const Backup *best = nullptr, *cut_off = nullptr;
    Position oldest = source.head.committed;
    for (const auto& one : backups_) {
      if (goal_.backup != 0 && one.number != goal_.backup) continue;
      oldest = std::min(oldest, one.head.committed);
      if (one.head.committed > end || (best != nullptr && best->head.committed > one.head.committed)) continue;
      const auto chain = chain_at(repository_, source, entries, one.head.committed);
      if (!chain) return chain.error();
      if (*chain && **chain == one.head.chain) best = &one;
      if (!*chain && one.head.committed < source.trimmed_to) cut_off = &one;
    }
    if (best != nullptr) return best;
    if (cut_off != nullptr) {
      return Error{Code::beyond_end, "no backup to begin with: backup " + std::to_string(cut_off->number) + " ends at position " + show(cut_off->head.committed) + ", and before backup " +
                                         std::to_string(source.number) + " was made retention had deleted the events up to position " + show(source.trimmed_to) + "; restore one of the two as it is"};
    }
    const auto which = goal_.backup != 0 ? "backup " + std::to_string(goal_.backup) : "the oldest backup";
    const auto where = goal_.time && end == Position::none ? "that time" : "position " + show(end);
    return Error{Code::beyond_end, "no backup to begin with ends at or before " + where + ": " + which + " ends at position " + show(oldest)};
  }

  const fs::path& repository_;
  const std::vector<Backup>& backups_;
  const RestoreGoal& goal_;
};

}  // namespace

Result<RestorePlan> plan_restore(const fs::path& repository, const std::vector<Backup>& backups, const RestoreGoal& goal) {
  return Planner(repository, backups, goal).plan();
}

RecordPtr part_of(const Record& record, Position first, Position last) {
  RecordBuilder builder;
  std::uint64_t chain = record.chain_before();
  for (std::uint32_t at = 0; at < record.count() && record.first() + at < first; ++at) chain = chain_fold(chain, number(record.first() + at), record.event_checksum(at));
  for (auto at = static_cast<std::uint32_t>(number(first) - number(record.first())); at < record.count() && record.first() + at <= last; ++at) {
    Entry entry = record.entry(at);
    const bool is_scheduled = (entry.flags & format::scheduled) != 0;
    if (builder.empty() && record.run_of(at).first_index != at && !is_scheduled) entry.publisher_previous = record.first() + at - 1;
    builder.append(entry, record.is_removed(at) ? Bytes() : record.body(at));
  }
  return builder.seal({record.log_id(), first, record.committed_at(), chain, record.batch()});
}

}  // namespace bus::store
