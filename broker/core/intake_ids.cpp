// The part of Intake that stores an event once for its id, where its publisher asks for that.
#include <algorithm>

#include "broker/core/intake.hpp"

namespace bus::broker {

namespace {

// Source, with its length before it, and id name an event. Keys of the log have the secret itself as their seed.
Hash128 hash_of(const wire::Event& event, std::uint64_t key_secret) {
  const auto source = flatbuffers::GetString(event.source());
  static_assert(limits::text_bytes_max <= 0xff);
  const auto name = std::string(1, static_cast<char>(source.size())).append(source).append(event.id()->string_view());
  return hash128(bytes_of(name), ~key_secret);
}

Error stored_before(const wire::Event& event, Position position) {
  return {Code::conflict, "the event with the id '" + event.id()->str() + "' is in the log at position " + std::to_string(number(position))};
}

}  // namespace

// What it is compared with stands among the keys of conditions.
void Intake::take_unique_id(Parked& batch, std::size_t at) const {
  Item& item = batch.items[at];
  if (item.event.empty() || item.unique_id != 0) return;
  if (item.is_scheduled() || item.is_snapshot || item.is_no_event) {
    return refuse(batch, at, {Code::bad_event, "unique_id is for events that go into the log at once: a scheduled one has no position yet, a snapshot or a step without events never has"});
  }
  batch.condition_keys.push_back({{}, hash_of(*wire::trusted_event(item.event), key_secret_)});
  item.unique_id = static_cast<std::uint16_t>(batch.condition_keys.size());
  batch.has_unique_ids = true;
  batch.bytes += sizeof(ConditionKey) + limits::event_id_row_bytes;
}

// Nothing: no event has the item's id, or it may have that of another.
std::optional<wire::Receipt> Intake::event_of_id(const Parked& batch, const Item& item) const {
  if (item.unique_id == 0) return std::nullopt;
  const auto head = *state_.keys.find(batch.condition_keys[item.unique_id - 1u].hash);
  if (head.position == Position::none) return std::nullopt;
  return wire::Receipt(number(head.position), head.version, true, false);
}

// Sequences that are sent again and have no event of their own: for some the answer was the event that has their id. A step with
// such an event was refused.
void Intake::take_duplicate_ids(Parked& batch) {
  for (auto it = batch.refused.begin(); batch.has_unique_ids && it != batch.refused.end() && it->first < batch.receipts.size();) {
    const bool is_without_event = it->second.code == Code::refused_before || it->second.code == Code::trimmed;
    const bool is_alone = is_without_event && step_of(batch, it->first) == nullptr;
    const auto known = is_alone ? event_of_id(batch, batch.items[it->first]) : std::nullopt;
    if (!known) {
      ++it;
      continue;
    }
    batch.receipts[it->first] = *known;
    batch.answered_after = std::max(batch.answered_after, staging_.batch_of(Position{known->position()}));
    ++counters_.duplicates;
    it = batch.refused.erase(it);
  }
}

// A step that holds an event of the log, or one twice, cannot be stored as a whole.
std::optional<Error> Intake::known_id(const Parked& batch, const Step& step) const {
  std::vector<Hash128> ids;
  for (std::size_t at = step.first; batch.has_unique_ids && at < step.end; ++at) {
    const Item& item = batch.items[at];
    if (item.unique_id == 0) continue;
    if (const auto known = event_of_id(batch, item)) return stored_before(*wire::trusted_event(item.event), Position{known->position()});
    ids.push_back(batch.condition_keys[item.unique_id - 1u].hash);
  }
  std::sort(ids.begin(), ids.end());
  if (std::adjacent_find(ids.begin(), ids.end()) == ids.end()) return std::nullopt;
  return Error{Code::bad_event, "two events of the step have the same id, and it is to be unique"};
}

}  // namespace bus::broker
