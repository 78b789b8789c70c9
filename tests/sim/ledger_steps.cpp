// The part of the ledger that knows of conditions, steps, and what they cancel.
#include <algorithm>

#include "broker/core/big_endian.hpp"
#include "tests/sim/ledger.hpp"

namespace bus::sim {

// Steps without events that took effect with this commit.
std::set<Ledger::Name> Ledger::keep_steps(const store::CommitBatch& batch, const broker::State& names) {
  std::set<Name> kept;
  for (const store::Row& row : batch.rows) {
    const bool is_step = row.table == store::Table::schedule_ids && row.value && row.key[4] == static_cast<char>(broker::SequenceRow::step);
    if (!is_step) continue;
    const Name id{names.publishers.name(static_cast<std::uint32_t>(broker::get_big(std::string_view(row.key).substr(0, 4)))),
                  broker::sequence_of_schedule_key(row.key)};
    const SentEvent& sent = sent_.at(id).at(id.first);
    require(sent.is_no_event && stored_.insert(&sent).second, named(id.first, id.second) + "it is no step without events, or took effect before");
    for (const Need& need : sent.needs) {
      bool is_met = false;
      for (auto at = before_[need.key]; at <= versions_[need.key]; ++at) is_met |= need.is_met_at(at);
      require(is_met, named(id.first, id.second) + "it took effect against its condition on key " + need.key);
    }
    kept.insert(id);
    ++figures_.without_events;
  }
  return kept;
}

// What is stored of a step is all of it, in one commit. `stored` are its snapshots, and steps without events.
void Ledger::check_steps(const store::CommitBatch& batch, std::set<Name> stored, const std::set<Name>& unscheduled) {
  std::uint64_t events = 0;
  for (const auto& record : batch.records) events += record->count();
  for (auto position = head() - events + 1; position <= head(); ++position) stored.emplace(at(position).publisher, at(position).sequence);
  for (const auto& [publisher, sequence] : stored) {
    const SentEvent& event = sent_.at({publisher, sequence}).begin()->second;
    if (event.step_first == 0) continue;
    for (auto each = event.step_first; each <= event.step_last; ++each) {
      require(stored.contains({publisher, each}), named(publisher, each) + "is not stored with the rest of its step");
    }
    for (const auto& id : event.cancels) {
      require(unscheduled.contains(id) && !due_.contains(id), named(id.first, id.second) + "a step has cancelled it, and it was not, or was due before");
      require(cancelled_.insert(id).second, named(id.first, id.second) + "cancelled twice");
      ++figures_.cancels;
    }
  }
}

void Ledger::leave_refusal(const Name& id, const SentEvent& event, const wire::RefusalT* refusal) {
  const auto name = named(id.first, id.second);
  const auto code = refusal != nullptr ? refusal->code : Code::ok;
  if (code == Code::trimmed) {  // it may be stored, for all that anybody knows
    ++figures_.unknown;
    const bool has_row = (event.is_no_event || event.snapshot_of != 0) && stored_.contains(&event);
    const bool is_known = has_row || scheduled_.contains(id) || due_.contains(id) || id.second > unknown_to(id.first);
    return require(!is_known, name + "said to be trimmed, and what became of it is known");
  }
  require(!stored_.contains(&event), name + "is stored, and refused with " + EnumNameCode(code));
  if (!event.may_fail) {
    require(event.refusal != Code::ok, name + "a good event was refused with " + EnumNameCode(code));
    return require(code == event.refusal || code == Code::refused_before, name + "refused with " + EnumNameCode(code));
  }
  const bool is_of_step = event.step_first != 0;
  const bool is_stale = code == Code::stale_ack || code == Code::not_delivered || code == Code::unknown_subscription;
  const bool is_late = code == Code::not_scheduled;
  const bool expected = code == Code::refused_before || code == Code::conflict || (is_of_step && (is_stale || is_late || code == Code::step_refused));
  require(expected, name + "refused with " + EnumNameCode(code));
  figures_.stale += is_stale;
  figures_.late += is_late;
  const auto is_gone = [&](const Name& one) { return unscheduled_.contains(one) || !scheduled_.contains(one); };
  require(!is_late || std::any_of(event.cancels.begin(), event.cancels.end(), is_gone), name + "refused though all that it cancels waits");
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
