#include "broker/core/io.hpp"

#include <iterator>

#include "wire/event_codec.hpp"

namespace bus::broker {

namespace {

template <typename T>
Result<ReadAnswer> widen(Result<T> result) {
  if (!result) return result.error();
  return ReadAnswer(std::move(*result));
}

// How much of the log one verify request reads: about 50 ms from a warm disk.
constexpr std::size_t verify_bytes = 16 * limits::MiB;

// Nothing where the event was trimmed, or cannot be read. Events that lie together cost one read.
Result<std::vector<std::optional<Envelope>>> envelopes(store::LogReader& reader, const std::vector<Position>& positions) {
  std::vector<std::optional<Envelope>> all;
  store::RecordPtr record;
  for (const Position position : positions) {
    if (record == nullptr || !record->holds(position)) {
      auto found = reader.records(position, 1);
      if (!found && found.error().code != Code::damaged) return found.error();
      record = !found || found->empty() ? nullptr : found->front();
    }
    auto& envelope = all.emplace_back();
    if (record == nullptr || !record->holds(position) || record->is_removed(static_cast<std::uint32_t>(position - record->first()))) continue;
    const auto* event = wire::trusted_event(record->body(static_cast<std::uint32_t>(position - record->first())));
    envelope = {event->topic()->str(), event->type()->str(), flatbuffers::GetString(event->key()), event->id()->str(), record->committed_at()};
  }
  return all;
}

Result<store::Rows> rows_of(store::LogReader& reader, const ReadRowsOf& ask) {
  store::Rows all;
  for (const auto& key : ask.keys) {
    auto found = reader.rows({.table = ask.table, .from = key, .until = key + '\0'});
    if (!found) return found.error();
    std::move(found->begin(), found->end(), std::back_inserter(all));
  }
  return all;
}

Result<store::RecordPtr> without(store::LogReader& reader, const ReadWithout& ask) {
  const auto found = reader.records(ask.first, 1);
  if (!found) return found.error();
  if (found->empty() || found->front()->first() != ask.first) return Error{Code::damaged, "no record begins at position " + std::to_string(number(ask.first))};
  return found->front()->without(ask.at);
}

struct Perform {
  store::LogReader& reader;
  Result<ReadAnswer> operator()(const ReadRecords& ask) { return widen(reader.records(ask.from, limits::read_bytes_max)); }
  Result<ReadAnswer> operator()(const ReadPositionAt& ask) { return widen(reader.position_at(ask.time)); }
  Result<ReadAnswer> operator()(const ReadKeyHeads& ask) { return widen(reader.key_heads(ask.keys)); }
  Result<ReadAnswer> operator()(const ReadSequences& ask) {
    return widen(reader.find_sequences(ask.publisher, ask.from, ask.sequences, limits::chain_records_max));
  }
  Result<ReadAnswer> operator()(const ReadKeyChain& ask) {
    return widen(reader.find_key(ask.key, ask.from, ask.after, ask.most, limits::chain_records_max));
  }
  Result<ReadAnswer> operator()(const ReadKeyEvents& ask) { return widen(reader.key_events(ask.range)); }
  Result<ReadAnswer> operator()(const ReadRows& ask) { return widen(reader.rows(ask)); }
  Result<ReadAnswer> operator()(const ReadRowsOf& ask) { return widen(rows_of(reader, ask)); }
  Result<ReadAnswer> operator()(const ReadEnvelopes& ask) { return widen(envelopes(reader, ask.positions)); }
  Result<ReadAnswer> operator()(const ReadPriority& ask) {
    return widen(reader.find_priority(ask.from, ask.priorities, limits::chain_records_max));
  }
  Result<ReadAnswer> operator()(const ReadIndexes& ask) { return widen(reader.indexes(ask.from, limits::retention_records_read)); }
  Result<ReadAnswer> operator()(const ReadWithout& ask) { return widen(without(reader, ask)); }
  Result<ReadAnswer> operator()(const ReadStat&) { return widen(reader.stat()); }
  Result<ReadAnswer> operator()(const ReadVerify& ask) { return widen(reader.verify(ask.from, ask.chain, verify_bytes)); }
  Result<ReadAnswer> operator()(const ReadBackup& ask) { return widen(reader.backup(ask)); }
};

}  // namespace

Error bad_row(std::string_view table) { return {Code::damaged, "a row of table " + std::string(table) + " cannot be read"}; }

ReadResult perform(store::LogReader& reader, const ReadRequest& request) {
  return {request.id, std::visit(Perform{reader}, request.ask)};
}

}  // namespace bus::broker
