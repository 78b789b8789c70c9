// The part of Intake that finds what became of sequences that are sent again.
#include <algorithm>
#include <numeric>

#include "broker/core/intake.hpp"

namespace bus::broker {

// True if the receipts of sequences that were used up before must be waited for.
bool Intake::find_duplicates(const std::string& name, Parked& batch) {
  const auto last = last_staged(name);
  const auto next = batch.first_sequence + batch.receipts.size();
  if (next > last || batch.receipts.size() == batch.items.size()) return false;
  const PublisherData& publisher = state_.publishers[*state_.publishers.find(name)];
  if (publisher.last_batch > staging_.committed_batch()) {
    waiting_for_commit_[publisher.last_batch].push_back(name);
    return true;
  }
  Search search{++last_search_, *state_.publishers.find(name), next, {}, {}, {}, {}, 0, publisher.last_position, {}};
  search.open = std::min<std::uint64_t>(last - next + 1, batch.items.size() - batch.receipts.size());
  search.hits.resize(search.open);
  search.scheduled.resize(search.open);
  search.snapshots.resize(search.open);
  search.steps.resize(search.open);
  batch.search = search.number;
  if (publisher.last_position == Position::none) {
    find_more(name, std::move(search), {});
  } else {
    walk(name, std::move(search));
  }
  return true;
}

// What became of something cannot be known now. So this batch is the publisher's again, and those behind it are: with the
// answers they would have got had it been refused at once. Sent again they are taken again.
void Intake::give_back(const std::string& name, const Error& error) {
  Publisher& publisher = publishers_.at(name);
  Error why = error;
  for (const Parked& batch : publisher.parked) {
    publisher.window_bytes -= batch.body.bytes.size();
    publisher.window_events -= batch.items.size();
    sessions_.send(publisher.holder, wire::encode_failure(why, 0, 0, batch.first_sequence));
    why = {Code::sequence_gap, "the batch before this one was given back"};
  }
  forget(publisher.parked);
  publisher.accepted = last_staged(name);
}

// One part of the walk. Others who read have their turn before the next one.
void Intake::walk(const std::string& name, Search search) {
  ReadSequences ask{search.publisher, search.next, std::vector<std::uint64_t>(search.open)};
  std::iota(ask.sequences.begin(), ask.sequences.end(), search.first_sequence);
  reads_.ask(std::move(ask), [this, name, search = std::move(search)](const Result<ReadAnswer>& answer) {
    walked(name, search, answer);
  });
}

// Null: the batch that asked went with its session.
Intake::Parked* Intake::wanted_by(const std::string& name, std::uint64_t search) {
  const auto it = publishers_.find(name);
  const bool is_wanted = it != publishers_.end() && !it->second.parked.empty() && it->second.parked.front().search == search;
  return is_wanted ? &it->second.parked.front() : nullptr;
}

void Intake::walked(const std::string& name, Search search, const Result<ReadAnswer>& answer) {
  if (wanted_by(name, search.number) == nullptr) return;
  // They may be stored, for all that can be read: to say that they are refused could be a lie.
  if (!answer) return give_back(name, answer.error());
  const auto& slice = std::get<store::SequenceSlice>(*answer);
  std::copy(slice.hits.begin() + static_cast<std::ptrdiff_t>(slice.open), slice.hits.end(),
            search.hits.begin() + static_cast<std::ptrdiff_t>(slice.open));
  search.open = slice.open;
  search.next = slice.next;
  search.gone = slice.gone;
  if (search.open > 0 && search.gone.empty()) return walk(name, std::move(search));
  find_more(name, std::move(search), {});
}

// Those that are not in the chain were refused, unless a row says what else became of them: they wait in the schedule, or did, or
// were snapshots, or stood for steps.
void Intake::find_rows(const std::string& name, Search search, SequenceRow kind) {
  const auto after = search.first_sequence + search.hits.size();
  ReadRows ask{store::Table::schedule_ids, sequence_row_key({search.publisher, search.first_sequence}, kind),
               sequence_row_key({search.publisher, after}, kind), search.hits.size()};
  reads_.ask(std::move(ask), [this, name, search = std::move(search), kind](const Result<ReadAnswer>& answer) mutable {
    if (wanted_by(name, search.number) == nullptr) return;
    if (!answer) return give_back(name, answer.error());
    for (const auto& [key, value] : std::get<store::Rows>(*answer)) {
      const auto at = sequence_of_schedule_key(key) - search.first_sequence;
      if (kind == SequenceRow::snapshot) search.snapshots[at] = Reader(value).get<std::uint64_t>();
      else (kind == SequenceRow::step ? search.steps : search.scheduled)[at] = true;
    }
    find_more(name, std::move(search), kind);
  });
}

// What is asked for next, unless all is known.
void Intake::find_more(const std::string& name, Search search, std::optional<SequenceRow> asked) {
  const bool is_all = std::none_of(search.hits.begin(), search.hits.end(), [](const auto& hit) { return hit.position == Position::none; });
  Parked& batch = *wanted_by(name, search.number);
  std::vector<SequenceRow> kinds = {SequenceRow::waiting, SequenceRow::settled};
  if (!batch.snapshots.empty()) kinds.push_back(SequenceRow::snapshot);
  if (batch.has_steps_without_events) kinds.push_back(SequenceRow::step);
  const auto next = asked ? std::upper_bound(kinds.begin(), kinds.end(), *asked) : kinds.begin();
  if (!is_all && next != kinds.end()) return find_rows(name, std::move(search), *next);
  batch.waiting = false;
  batch.search = 0;
  take_duplicates(batch, search);
  advance(name);
}

void Intake::take_duplicates(Parked& batch, const Search& search) {
  for (std::size_t at = 0; at < search.hits.size(); ++at) {
    const auto index = batch.receipts.size();
    const store::SequenceHit& hit = search.hits[at];
    const bool is_known = hit.position != Position::none || search.scheduled[at] || search.snapshots[at] != 0 || search.steps[at];
    batch.receipts.emplace_back(number(hit.position), std::max(hit.version, search.snapshots[at]), is_known, search.scheduled[at]);
    if (is_known) {
      batch.refused.erase(index);
      ++counters_.duplicates;
      continue;
    }
    const bool is_gone = !search.gone.empty() && at < search.open;
    const Error why = is_gone ? Error{Code::trimmed, "what became of this sequence is not known any more: " + search.gone}
                              : Error{Code::refused_before, "this sequence was refused or given up before; it is not in the log"};
    batch.refused.insert_or_assign(index, why);
  }
}

}  // namespace bus::broker
