// The part of the ledger that reads logs back: the broker's own, and those that are restored from backups.
#include <algorithm>

#include "tests/sim/ledger.hpp"

namespace bus::sim {

// All that was there at that moment, and nothing else.
void Ledger::check_log(store::LogReader& reader, const Moment& moment) const {
  for (std::uint64_t next = moment.trimmed_to + 1; next <= moment.head;) {
    const auto records = reader.records(Position{next}, limits::read_bytes_max);
    require(records.ok() && !records->empty(), place(next) + "cannot be read back");
    for (const auto& record : *records) {
      require(number(record->first()) == next, place(next) + "the log has a gap");
      for (std::uint32_t index = 0; index < record->count(); ++index, ++next) {
        require(next <= moment.head, place(next) + "in the log and never committed");
        const bool is_removed = moment.removed.at(next - 1);
        require(record->is_removed(index) == is_removed, place(next) + (is_removed ? "removed, and there again" : "lost"));
        require(record->indexed(index).version == at(next).version, place(next) + "its version has changed");
        if (is_removed) continue;
        require(std::ranges::equal(record->body(index), at(next).sent->bytes), place(next) + "its bytes have changed");
      }
    }
  }
}

Ledger::Moment Ledger::now_there() const {
  Moment moment{head(), trimmed_to_, {}, kept_};
  for (const LogEvent& event : log_) moment.removed.push_back(event.is_removed);
  return moment;
}

void Ledger::snapshot_held() { moment_ = now_there(); }

void Ledger::check_restored(const store::Store& store, const Moment& moment) {
  require(number(store.head().committed) == moment.head, "a restored log has another head than its backup");
  require(number(store.trim().last) == moment.trimmed_to, "a restored log begins elsewhere than its backup");
  require(store.identity().history == 2, "a restored log has no history of its own");
  const auto reader = store.reader();
  check_log(*reader, moment);
  check_snapshots(store, moment.kept);
  ++figures_.restored;
}

}  // namespace bus::sim
