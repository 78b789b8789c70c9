// Snapshots keeps states of keys, as their services have folded them, so that a state can be had without reading all of a key's
// events. Nothing is lost with one: the events say all of it. Owned by the core; one thread.
//
//   put() ──> its row, with the batch being gathered ──committed──> older ones of the key go, but for the last few
#pragma once

#include <map>
#include <string>
#include <utility>

#include "broker/core/answers.hpp"
#include "broker/core/log_view.hpp"
#include "broker/core/schedule_rows.hpp"
#include "broker/core/staging.hpp"

namespace bus::broker {

class Snapshots {
 public:
  Snapshots(State& state, Sessions& sessions, Staging& staging, Reads& reads, std::uint64_t key_secret)
      : state_(state), staging_(staging), reads_(reads), answers_(sessions), key_secret_(key_secret) {}

  // A row of table snapshots.
  struct NewRow {
    Hash128 key;
    std::uint64_t version = 0;
    WallTime saved_at;
    Bytes event;                         // verified; with the key, and without topic
  };
  // Durable with the batch being gathered. Of its key the last `keep` stay. The caller says that the sequence is used up.
  void put(const ScheduleId& id, const NewRow& row, std::uint32_t keep);

  // False: it is a request of another kind.
  bool receive(Asker to, const wire::Request& message);

 private:
  void prune(std::uint64_t batch, const Hash128& key);
  void get(Asker to, const wire::SnapshotGet& ask);
  void erase(Asker to, const wire::SnapshotsErase& ask);

  State& state_;
  Staging& staging_;
  Reads& reads_;
  Answers answers_;
  std::uint64_t key_secret_;
  std::map<std::pair<std::uint64_t, Hash128>, std::uint32_t> to_prune_;  // how many are kept, once the batch that has put one is committed
  std::uint64_t erased_ = 0;             // the batch that was gathered when snapshots were erased last
};

}  // namespace bus::broker
