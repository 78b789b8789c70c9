// The part of Intake that takes events out of the schedule with a step, and steps that have no events.
#include <algorithm>

#include "broker/core/intake.hpp"

namespace bus::broker {

namespace {

// Not empty as what was refused is: it is to be decided.
constexpr std::uint8_t no_event[8] = {};

std::string name_of(const wire::ScheduleIdT& id) { return "'" + id.publisher + "/" + std::to_string(id.sequence) + "'"; }

}  // namespace

// ---- without events

// Its item came as a sequence that is given up.
Result<void> Intake::take_no_event(Parked& batch, const wire::Step& step) {
  if (!step.without_events()) return {};
  const std::size_t at = step.first();
  const auto refused = batch.refused.find(at);
  const bool is_none = step.count() == 1 && refused != batch.refused.end() && refused->second.code == Code::skipped;
  const bool is_snapshot = std::any_of(batch.snapshots.begin(), batch.snapshots.end(), [&](const auto& one) { return one.event() == at; });
  if (!is_none || is_snapshot) return Error{Code::malformed, "a step without events has one event of size 0 in their place"};
  batch.refused.erase(refused);
  batch.items[at].event = no_event;
  batch.items[at].is_no_event = true;
  batch.has_steps_without_events = true;
  batch.bytes += limits::schedule_row_bytes;
  return {};
}

// That it was taken is asked for when it is sent again.
void Intake::keep_step(const Staging::NewEntry& entry) {
  const auto kept = state_.publishers[entry.publisher].kept_from();
  const auto row = [&](std::uint64_t sequence) { return sequence_row_key({entry.publisher, sequence}, SequenceRow::step); };
  staging_.put_row({store::Table::schedule_ids, row(0), std::nullopt, row(kept)});
  staging_.put_row({store::Table::schedule_ids, row(entry.sequence), Writer().put(std::uint8_t{1}).take()});
  staging_.add_bytes(limits::schedule_row_bytes);
}

// ---- cancels

// Of a publisher that nobody knows: nothing has it.
ScheduleId Intake::id_of(const wire::ScheduleIdT& id) const { return {state_.publishers.find(id.publisher).value_or(0), id.sequence}; }

// True if the schedule must be waited for, and what became of the events that are to be cancelled.
bool Intake::find_cancels(const std::string& name, Parked& batch) {
  if (batch.holds_schedule || batch.steps.empty()) return false;
  std::vector<ScheduleId> ids;
  for (const Step& step : batch.steps) {
    if (step.first < batch.receipts.size() || batch.items[step.first].event.empty()) continue;  // it is done, or refused
    for (const auto& one : step.cancels) {
      const auto id = id_of(one);
      if (id.publisher != 0) ids.push_back(id);
    }
  }
  if (ids.empty()) return false;
  batch.search = ++last_search_;
  schedule_.hold(std::move(ids), [this, name, search = batch.search](Result<Schedule::Fates> fates) { take_fates(name, search, std::move(fates)); });
  return true;
}

// Where the rows are damaged the steps are refused, as with keys; any other failure may pass.
void Intake::take_fates(const std::string& name, std::uint64_t search, Result<Schedule::Fates> fates) {
  Parked* batch = wanted_by(name, search);
  if (batch == nullptr) return schedule_.release();
  batch->holds_schedule = true;
  if (!fates && fates.error().code != Code::damaged) return give_back(name, fates.error());
  batch->waiting = false;
  batch->search = 0;
  if (fates) batch->fates = std::move(*fates);
  for (const Step& step : batch->steps) {
    const bool is_open = step.first >= batch->receipts.size() && !batch->items[step.first].event.empty();
    if (!fates && is_open && !step.cancels.empty()) refuse(*batch, step.first, fates.error());
  }
  advance(name);
}

// Nothing: it waits.
std::optional<Error> Intake::not_waiting(const Parked& batch, const wire::ScheduleIdT& id) const {
  const auto fate = batch.fates.find(id_of(id));
  if (fate == batch.fates.end()) return Error{Code::not_scheduled, "event " + name_of(id) + " is not in the schedule, nor was lately"};
  if (fate->second.fate == ScheduleFate::waiting) return std::nullopt;
  if (fate->second.fate == ScheduleFate::cancelled) return Error{Code::not_scheduled, "event " + name_of(id) + " was cancelled before"};
  return Error{Code::not_scheduled, "event " + name_of(id) + " was due before, and is in the log at position " + std::to_string(number(fate->second.position))};
}

// A later step of the batch finds them gone.
void Intake::cancel(Parked& batch, const Step& step) {
  for (const auto& one : step.cancels) {
    const auto id = id_of(one);
    ScheduleIdRow& row = batch.fates.at(id);
    schedule_.cancel(id, row.due);
    row.fate = ScheduleFate::cancelled;
    staging_.add_bytes(limits::schedule_row_bytes);
  }
}

}  // namespace bus::broker
