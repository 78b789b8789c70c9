// The part of Intake that takes snapshots: they come like events, in their order, and go to a table of their own.
#include <algorithm>

#include "broker/core/intake.hpp"

namespace bus::broker {

Result<void> Intake::take_snapshots(const wire::Publish& message, Parked& batch) {
  const auto count = message.snapshots() != nullptr ? message.snapshots()->size() : 0;
  for (std::uint32_t at = 0; at < count; ++at) {
    const wire::Snapshot& snapshot = *message.snapshots()->Get(at);
    const bool is_next = snapshot.event() < message.count() && (at == 0 || snapshot.event() > batch.snapshots.back().event());
    if (!is_next) return Error{Code::malformed, "snapshots are in the order of the events of their batch, each once"};
    if (snapshot.version() == 0 || snapshot.keep() == 0 || snapshot.keep() > limits::snapshots_max) {
      return Error{Code::malformed, "a snapshot has a version from 1 on, and 1 to " + std::to_string(limits::snapshots_max) + " of its key are kept"};
    }
    batch.snapshots.push_back(snapshot);
  }
  batch.bytes += count * sizeof(wire::Snapshot);
  return {};
}

// One that is scheduled or expires was refused before, as an event without topic.
Result<void> Intake::check_snapshot(const wire::Envelope& envelope) {
  if (!envelope.topic.empty()) return Error{Code::bad_event, "a snapshot has no topic"};
  if (!envelope.has_key) return Error{Code::bad_event, "a snapshot needs the key that it is of"};
  return {};
}

// Those among items [first, end). Events of the key that come before it among them will be staged by then.
Result<void> Intake::may_keep(const Parked& batch, std::size_t first, std::size_t end) const {
  const auto by_event = [](const wire::Snapshot& snapshot, std::size_t at) { return snapshot.event() < at; };
  auto next = std::lower_bound(batch.snapshots.begin(), batch.snapshots.end(), first, by_event);
  for (; next != batch.snapshots.end() && next->event() < end; ++next) {
    const Item& item = batch.items[next->event()];
    const auto begin = batch.items.begin() + static_cast<std::ptrdiff_t>(first), own = batch.items.begin() + next->event();
    const auto ahead = std::count_if(begin, own, [&](const Item& other) {
      return other.has_key && other.key == item.key && !other.is_scheduled() && !other.is_snapshot;
    });
    const auto version = state_.keys.find(item.key)->version;
    if (next->version() <= version + static_cast<std::uint64_t>(ahead)) continue;
    const auto name = wire::trusted_event(item.event)->key()->str();
    return Error{Code::conflict, "key '" + name + "' is at version " + std::to_string(version) + ", and the snapshot is of version " + std::to_string(next->version()), version};
  }
  return {};
}

void Intake::keep(const Parked& batch, std::size_t at, const Staging::NewEntry& entry, wire::Receipt& receipt) {
  const auto by_event = [](const wire::Snapshot& snapshot, std::size_t place) { return snapshot.event() < place; };
  const auto& snapshot = *std::lower_bound(batch.snapshots.begin(), batch.snapshots.end(), at, by_event);
  const Item& item = batch.items[at];
  snapshots_.put({entry.publisher, entry.sequence}, {item.key, snapshot.version(), batch.came.wall, item.event}, snapshot.keep());
  staging_.add_bytes(2 * item.event.size() + limits::snapshot_row_bytes);
  receipt = {0, snapshot.version(), false, false};
}

}  // namespace bus::broker
