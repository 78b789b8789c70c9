// The part of the ledger that knows of unique ids and of snapshots.
#include <algorithm>

#include "broker/core/big_endian.hpp"
#include "tests/sim/ledger.hpp"
#include "wire/event_codec.hpp"

namespace bus::sim {

namespace {

constexpr std::size_t hash_bytes = 16;

std::uint64_t version_of(const std::string& row_key) { return broker::get_big(std::string_view(row_key).substr(hash_bytes)); }

// The event in a row: behind its time.
Buffer event_of(std::string_view value) {
  const auto bytes = bytes_of(value.substr(8));
  return {bytes.begin(), bytes.end()};
}

}  // namespace

// ---- unique ids

void Ledger::check_ids(store::LogReader& reader) const {
  std::map<std::string, std::uint64_t> found;
  for (std::uint64_t next = trimmed_to_ + 1; next <= head();) {
    const auto records = reader.records(Position{next}, limits::read_bytes_max);
    require(records.ok(), place(next) + "cannot be read back");
    for (const auto& record : *records) {
      for (std::uint32_t index = 0; index < record->count(); ++index, ++next) {
        if (!record->entry(index).unique_id || is_removed(next)) continue;
        const Buffer body(record->body(index).begin(), record->body(index).end());
        const auto* event = wire::trusted_event(body);
        const auto id = flatbuffers::GetString(event->source()) + "/" + event->id()->str();
        require(found.emplace(id, next).second, place(next) + "the id " + id + " is there for a second time");
      }
    }
  }
  auto expected = ids_;
  std::erase_if(expected, [&](const auto& one) { return is_removed(one.second); });
  require(found == expected, "the ids in the log are not those that were stored");
}

// ---- snapshots: the disk

// Which were put, by publisher and sequence.
std::set<Ledger::Name> Ledger::apply_snapshots(const store::CommitBatch& batch) {
  std::set<Name> put;
  for (const store::Row& row : batch.rows) {
    if (row.table != store::Table::snapshots) continue;
    if (row.value) put.insert(keep_snapshot(row));
    else erase_snapshots(row);
  }
  for (const auto& [hash, versions] : saved_) check_kept(hash);
  return put;
}

Ledger::Name Ledger::keep_snapshot(const store::Row& row) {
  const Buffer bytes = event_of(*row.value);
  const auto id = wire::trusted_event(bytes)->id()->str();  // publisher-sequence
  const auto dash = id.rfind('-');
  const Name who{id.substr(0, dash), std::stoull(id.substr(dash + 1))};
  const auto name = named(who.first, who.second);
  const auto it = sent_.find(who);
  require(it != sent_.end() && it->second.contains(who.first), name + "a snapshot that was never sent");
  const SentEvent& sent = it->second.at(who.first);
  const auto version = version_of(row.key);
  require(sent.bytes == bytes && sent.snapshot_of == version, name + "a snapshot was kept otherwise than it was sent");
  require(stored_.insert(&sent).second, name + "a snapshot was kept twice");
  const auto now = versions_.find(sent.key);
  require(now != versions_.end() && version <= now->second, name + "a snapshot of a version that its key does not have");
  for (const Need& need : sent.needs) {  // its place among the events of the commit is not known
    bool is_met = false;
    for (auto at = before_[need.key]; at <= versions_[need.key]; ++at) is_met |= need.is_met_at(at);
    require(is_met, name + "kept against its condition on key " + need.key);
  }
  const auto hash = row.key.substr(0, hash_bytes);
  require(hash_of_.emplace(sent.key, hash).first->second == hash && key_of_.emplace(hash, sent.key).first->second == sent.key,
          name + "kept under the hash of another key");
  kept_[row.key] = who;
  saved_[hash].insert(version);
  to_prune_.insert(hash);
  ++figures_.snapshots;
  return who;
}

// All of a key, as somebody asked for, or the oldest ones.
void Ledger::erase_snapshots(const store::Row& row) {
  const auto hash = row.key.substr(0, hash_bytes);
  const auto key = key_of_.find(hash);
  const auto first = kept_.lower_bound(row.key), end = kept_.lower_bound(row.until);
  (version_of(row.key) == 0 ? figures_.erased : figures_.pruned) += static_cast<std::uint64_t>(std::distance(first, end));
  kept_.erase(first, end);
  if (version_of(row.key) != 0 || key == key_of_.end()) return;
  require(++erases_done_[key->second] <= erases_asked_[key->second], "the snapshots of key " + key->second + " were erased, and nobody asked");
  saved_[hash].clear();
}

// The last ones of a key are there.
void Ledger::check_kept(const std::string& hash) const {
  auto left = kept_of(key_of_.at(hash));
  const auto& versions = saved_.at(hash);
  for (auto version = versions.rbegin(); version != versions.rend() && left > 0; ++version, --left) {
    auto row = hash;
    broker::put_big(row, *version);
    require(kept_.contains(row), "key " + key_of_.at(hash) + " has lost its snapshot of version " + std::to_string(*version));
  }
}

void Ledger::check_snapshots(const store::Store& store, const std::map<RowKey, Name>& kept) const {
  std::size_t rows = 0;
  const auto read = store.each_row(store::Table::snapshots, [&](std::string_view key, std::string_view value) -> Result<void> {
    const auto it = kept.find(std::string(key));
    require(it != kept.end(), "a snapshot is on disk that was never there, or was erased");
    const auto& [publisher, sequence] = it->second;
    require(event_of(value) == sent_.at(it->second).at(publisher).bytes, named(publisher, sequence) + "its snapshot has changed");
    ++rows;
    return {};
  });
  require(read.ok() && rows == kept.size(), "of " + std::to_string(kept.size()) + " snapshots " + std::to_string(rows) + " are on disk");
}

// ---- snapshots: what is asked and told

std::uint64_t Ledger::newest(const std::string& key) const {
  const auto hash = hash_of_.find(key);
  return hash == hash_of_.end() || saved_.at(hash->second).empty() ? 0 : *saved_.at(hash->second).rbegin();
}

void Ledger::ask_snapshots(const Peer& peer, const wire::Request& request) {
  const auto* get = request.ask_as_SnapshotGet();
  const auto* erase = request.ask_as_SnapshotsErase();
  if (get == nullptr && erase == nullptr) return;
  Looking looking;
  looking.key = (get != nullptr ? get->key() : erase->key())->str();
  looking.least = newest(looking.key);
  looking.erased = erases_done_[looking.key];
  if (erase != nullptr) {
    ++erases_asked_[looking.key];
    for (const auto& [row, who] : kept_) {
      if (key_of_.at(row.substr(0, hash_bytes)) == looking.key) looking.there.insert(who);
    }
  }
  looks_[{peer, request.request()}] = std::move(looking);
}

void Ledger::leave_snapshot_reply(const Peer& peer, const wire::ReplyT& reply, Bytes body) {
  const auto* snapshot = reply.answer.AsSnapshotReply();
  const auto* erased = reply.answer.AsSnapshotsErased();
  if (snapshot == nullptr && erased == nullptr) return;
  const Looking looking = looks_.extract({peer, reply.request}).mapped();
  if (erased != nullptr) {
    for (const auto& [row, who] : kept_) require(!looking.there.contains(who), named(who.first, who.second) + "its snapshot was erased, and is there");
    return;
  }
  const bool is_newest = snapshot->version >= looking.least || erases_done_[looking.key] > looking.erased;
  require(is_newest, "key " + looking.key + ": a snapshot of version " + std::to_string(snapshot->version) + " where a newer one is");
  const bool was_kept = std::any_of(stored_.begin(), stored_.end(), [&](const SentEvent* one) {
    return one->key == looking.key && one->snapshot_of == snapshot->version && std::ranges::equal(one->bytes, body);
  });
  require(was_kept, "key " + looking.key + ": a snapshot that was never kept");
}

void Ledger::leave_failure(const Peer& peer, const wire::FailureT& failure) {
  leave_trimmed(peer, failure);
  const auto node = looks_.extract({peer, failure.request});
  if (node.empty() || failure.code != Code::not_found) return;
  const Looking& looking = node.mapped();
  const bool may_be = looking.least == 0 || erases_done_[looking.key] > looking.erased;
  require(may_be, "key " + looking.key + " has a snapshot, and none is found");
}

}  // namespace bus::sim
