// The part of the ledger that knows of the schedule.
#include <algorithm>

#include "broker/core/big_endian.hpp"
#include "tests/sim/ledger.hpp"

namespace bus::sim {

void Ledger::store_scheduled(const Name& event, const SentEvent& sent, WallTime committed_at) {
  const auto name = named(event.first, event.second);
  require(sent.deliver_at != 0, name + "comes from the schedule, for which it was not meant");
  require(!cancelled_.contains(event), name + "stored, though it was cancelled");
  require(due_.emplace(event, head() + 1).second, name + "comes from the schedule for a second time");
  // The clock may have been set back since it was due.
  const bool is_due = nanoseconds(committed_at + std::chrono::seconds(2)) >= sent.deliver_at;
  const bool was_run = std::any_of(runs_.begin(), runs_.end(), [&](const auto& one) { return one.second.front() == event; });
  require(is_due || was_run, name + "stored before it is due");
}

std::optional<std::pair<std::string, std::uint64_t>> Ledger::any_scheduled(std::uint64_t dice) const {
  if (scheduled_.empty()) return std::nullopt;
  std::vector<Name> waiting;
  std::set_difference(scheduled_.begin(), scheduled_.end(), unscheduled_.begin(), unscheduled_.end(), std::back_inserter(waiting));
  if (dice % 4 != 0 && !waiting.empty()) return waiting[dice % waiting.size()];
  return *std::next(scheduled_.begin(), static_cast<std::ptrdiff_t>(dice % scheduled_.size()));
}

// Those whose rows are gone from the schedule with this commit: each once.
std::set<Ledger::Name> Ledger::leave_schedule_rows(const store::CommitBatch& batch, const broker::State& names) {
  std::set<Name> gone;
  for (const store::Row& row : batch.rows) {
    if (row.table != store::Table::schedule || row.value) continue;
    const std::string_view key = row.key;  // due, publisher, sequence
    const Name id{names.publishers.name(static_cast<std::uint32_t>(broker::get_big(key.substr(8, 4)))), broker::get_big(key.substr(12))};
    require(unscheduled_.insert(id).second, named(id.first, id.second) + "taken out of the schedule twice");
    gone.insert(id);
  }
  return gone;
}

void Ledger::leave_schedule(const Peer& peer, const wire::ReplyT& reply) {
  if (const auto* cancelled = reply.answer.AsScheduleCancelled()) {
    const auto& names = cancels_.at({peer, reply.request});
    require(names.size() == cancelled->codes.size(), "a cancel is answered with codes for others");
    for (std::size_t at = 0; at < names.size(); ++at) {
      const auto name = named(names[at].first, names[at].second);
      if (cancelled->codes[at] != Code::ok) continue;
      require(!due_.contains(names[at]), name + "cancelled, and in the log");
      cancelled_.insert(names[at]);
    }
  }
  if (const auto* run = reply.answer.AsScheduleRunReply()) {
    const auto& event = runs_.at({peer, reply.request}).front();
    require(due_.contains(event) && due_.at(event) == run->position, named(event.first, event.second) + "run, and not where the answer says");
  }
}

}  // namespace bus::sim
