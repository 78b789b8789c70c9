#include "broker/core/snapshots.hpp"

#include "broker/core/big_endian.hpp"
#include "wire/event_codec.hpp"

namespace bus::broker {

namespace {

constexpr std::uint64_t no_version = ~std::uint64_t{0};
constexpr std::size_t pruned_max = 1024;  // at once; what is left goes with the key's next snapshot

std::string row_key(const Hash128& key, std::uint64_t version) {
  std::string bytes;
  put_big(bytes, key.high);
  put_big(bytes, key.low);
  put_big(bytes, version);
  return bytes;
}

// What a row says; `event` is a view.
struct Row {
  std::uint64_t version = 0;
  std::int64_t saved_at = 0;
  Bytes event;
};

std::optional<Row> decode(std::string_view key, std::string_view value) {
  constexpr std::size_t before_event = 8;
  if (key.size() != 24 || value.size() < before_event + 16) return std::nullopt;
  Row row{get_big(key.substr(16)), Reader(value).get<std::int64_t>(), bytes_of(value.substr(before_event))};
  if (row.event.size() % 8 != 0 || load<std::uint32_t>(row.event.data()) + std::size_t{4} > row.event.size()) return std::nullopt;
  return row;
}

}  // namespace

void Snapshots::put(const ScheduleId& id, const NewRow& row, std::uint32_t keep) {
  staging_.put_row({store::Table::snapshots, row_key(row.key, row.version), Writer().put(nanoseconds(row.saved_at)).put_bytes(text_of(row.event)).take()});
  // What became of earlier sequences nobody asks any more.
  const auto kept = sequence_row_key({id.publisher, state_.publishers[id.publisher].kept_from()}, SequenceRow::snapshot);
  staging_.put_row({store::Table::schedule_ids, sequence_row_key({id.publisher, 0}, SequenceRow::snapshot), std::nullopt, kept});
  staging_.put_row({store::Table::schedule_ids, sequence_row_key(id, SequenceRow::snapshot), Writer().put(row.version).take()});
  const auto batch = staging_.batch();
  if (to_prune_.insert_or_assign({batch, row.key}, keep).second) staging_.hold([this, batch, key = row.key] { prune(batch, key); });
}

// Of what is erased meanwhile, or was and is not yet committed, the answer knows nothing: what it has for the newest may be gone.
void Snapshots::prune(std::uint64_t batch, const Hash128& key) {
  const auto keep = to_prune_.extract({batch, key}).mapped();
  if (erased_ > staging_.committed_batch()) return;  // they go with the next one
  ReadRows ask{.table = store::Table::snapshots, .from = row_key(key, 0), .until = row_key(key, no_version), .most = pruned_max, .keys_only = true};
  reads_.ask(std::move(ask), [this, keep, erased = erased_](const Result<ReadAnswer>& answer) {
    if (!answer || erased != erased_) return;
    const auto& rows = std::get<store::Rows>(*answer);
    if (rows.size() <= keep) return;
    staging_.put_row({store::Table::snapshots, rows.front().first, std::nullopt, rows[rows.size() - keep].first});
    staging_.add_bytes(limits::snapshot_row_bytes);
  });
}

// ---- requests

bool Snapshots::receive(Asker to, const wire::Request& message) {
  switch (message.ask_type()) {
    case wire::Ask::SnapshotGet: get(to, *message.ask_as_SnapshotGet()); break;
    case wire::Ask::SnapshotsErase: erase(to, *message.ask_as_SnapshotsErase()); break;
    default: return false;
  }
  return true;
}

void Snapshots::get(Asker to, const wire::SnapshotGet& ask) {
  if (auto good = check_key(ask.key()); !good) return answers_.refuse(to, good.error());
  const auto key = hash128(bytes_of(ask.key()->string_view()), key_secret_);
  const auto until = ask.version() == 0 || ask.version() == no_version ? no_version : ask.version() + 1;
  ReadRows rows_of{.table = store::Table::snapshots, .from = row_key(key, 0), .until = row_key(key, until), .backwards = true};
  reads_.ask(std::move(rows_of), [this, to, name = ask.key()->str(), version = ask.version(), brief = ask.brief()](const Result<ReadAnswer>& answer) {
    if (!answer) return answers_.refuse(to, answer.error());
    const auto& rows = std::get<store::Rows>(*answer);
    if (rows.empty()) {
      return answers_.refuse(to, {Code::not_found, "key '" + name + "' has no snapshot" + (version == 0 ? "" : " up to version " + std::to_string(version))});
    }
    const auto row = decode(rows.front().first, rows.front().second);
    if (!row) return answers_.refuse(to, bad_row("snapshots"));
    auto event = copy_of(row->event);
    const auto* envelope = wire::trusted_event(event);
    if (flatbuffers::GetString(envelope->key()) != name) return answers_.refuse(to, bad_row("snapshots"));
    wire::SnapshotReplyT reply;
    reply.version = row->version;
    reply.saved_at = row->saved_at;
    reply.type = envelope->type()->str();
    reply.bytes = envelope->payload()->size();
    answers_.answer(to, std::move(reply), brief ? Frame() : Frame::of(std::move(event)));
  });
}

// Those that are staged go, too.
void Snapshots::erase(Asker to, const wire::SnapshotsErase& ask) {
  if (auto good = check_key(ask.key()); !good) return answers_.refuse(to, good.error());
  const auto key = hash128(bytes_of(ask.key()->string_view()), key_secret_);
  ReadRows rows_of{.table = store::Table::snapshots, .from = row_key(key, 0), .until = row_key(key, no_version), .most = pruned_max, .keys_only = true};
  reads_.ask(std::move(rows_of), [this, to, key](const Result<ReadAnswer>& answer) {
    if (!answer) return answers_.refuse(to, answer.error());
    wire::SnapshotsErasedT reply;
    reply.count = std::get<store::Rows>(*answer).size();
    erased_ = staging_.batch();
    staging_.add_bytes(limits::snapshot_row_bytes);
    staging_.put_row({store::Table::snapshots, row_key(key, 0), std::nullopt, row_key(key, no_version)});
    staging_.hold([this, to, reply]() mutable { answers_.answer(to, std::move(reply)); });
  });
}

}  // namespace bus::broker
