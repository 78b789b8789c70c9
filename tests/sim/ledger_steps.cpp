// The part of the ledger that knows of conditions and steps.
#include <algorithm>

#include "tests/sim/ledger.hpp"

namespace bus::sim {

// What is stored of a step is all of it, in one commit; `kept` are its snapshots.
void Ledger::check_steps(const store::CommitBatch& batch, std::set<Name> kept) const {
  std::uint64_t events = 0;
  for (const auto& record : batch.records) events += record->count();
  std::set<Name> stored = std::move(kept);
  for (auto position = head() - events + 1; position <= head(); ++position) stored.emplace(at(position).publisher, at(position).sequence);
  for (const auto& [publisher, sequence] : stored) {
    const SentEvent& event = sent_.at({publisher, sequence}).begin()->second;
    if (event.step_first == 0) continue;
    for (auto each = event.step_first; each <= event.step_last; ++each) {
      require(stored.contains({publisher, each}), named(publisher, each) + "is not stored with the rest of its step");
    }
  }
}

void Ledger::leave_refusal(const Name& id, const SentEvent& event, const wire::RefusalT* refusal) {
  const auto name = named(id.first, id.second);
  const auto code = refusal != nullptr ? refusal->code : Code::ok;
  require(!stored_.contains(&event), name + "is stored, and refused with " + EnumNameCode(code));
  if (!event.may_fail) {
    require(event.refusal != Code::ok, name + "a good event was refused with " + EnumNameCode(code));
    return require(code == event.refusal || code == Code::refused_before, name + "refused with " + EnumNameCode(code));
  }
  const bool is_of_step = event.step_first != 0;
  const bool is_stale = code == Code::stale_ack || code == Code::not_delivered || code == Code::unknown_subscription;
  const bool expected = code == Code::refused_before || code == Code::conflict || (is_of_step && (is_stale || code == Code::step_refused));
  require(expected, name + "refused with " + EnumNameCode(code));
  figures_.stale += is_stale;
  figures_.conflicts += code == Code::conflict;
  if (code == Code::conflict) require(is_conflict(id, event, refusal->version), name + "refused for a conflict that is none");
}

// One of the key was at this version, once; or an id of its step was there.
bool Ledger::is_conflict(const Name& id, const SentEvent& event, std::uint64_t version) const {
  const auto has_been = [&](const std::string& key) {
    const auto now = versions_.find(key);
    return version <= (now == versions_.end() ? 0 : now->second);
  };
  const auto is_truth = [&](const Need& need) { return !need.is_met_at(version) && has_been(need.key); };
  if (std::any_of(event.needs.begin(), event.needs.end(), is_truth)) return true;
  const auto first = event.step_first != 0 ? event.step_first : id.second, last = event.step_first != 0 ? event.step_last : id.second;
  for (auto each = first; each <= last; ++each) {
    const SentEvent& one = sent_.at({id.first, each}).at(event.sender);
    if (one.snapshot_of > version && has_been(one.key)) return true;
    if (event.step_first != 0 && ids_.contains(one.unique_id)) return true;
  }
  return false;
}

// The first event of a step is stored: so is what the step settles.
void Ledger::leave_step(const std::string& name, const SentEvent& event) {
  ++figures_.steps;
  if (event.acks.empty()) return;
  Incarnation& group = groups_.at(live_.at("steps"));
  for (const auto& [position, attempt] : event.acks) {
    require(group.attempts[{event.acks_epoch, position}] == attempt, name + "a step was taken with an old attempt at " + place(position));
    group.views.at(generation_of(event.acks_epoch)).settled.insert(position);
  }
}

}  // namespace bus::sim
