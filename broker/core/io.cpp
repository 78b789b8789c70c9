#include "broker/core/io.hpp"

namespace bus::broker {

namespace {

template <typename T>
Result<ReadAnswer> widen(Result<T> result) {
  if (!result) return result.error();
  return ReadAnswer(std::move(*result));
}

// How much of the log one verify request reads: about 50 ms from a warm disk.
constexpr std::size_t verify_bytes = 16 * limits::MiB;

struct Perform {
  store::LogReader& reader;
  Result<ReadAnswer> operator()(const ReadRecords& ask) { return widen(reader.records(ask.from, limits::read_bytes_max)); }
  Result<ReadAnswer> operator()(const ReadPositionAt& ask) { return widen(reader.position_at(ask.time)); }
  Result<ReadAnswer> operator()(const ReadKeyHeads& ask) { return widen(reader.key_heads(ask.keys)); }
  Result<ReadAnswer> operator()(const ReadSequences& ask) {
    return widen(reader.find_sequences(ask.publisher, ask.from, ask.sequences, limits::chain_records_max));
  }
  Result<ReadAnswer> operator()(const ReadStat&) { return widen(reader.stat()); }
  Result<ReadAnswer> operator()(const ReadVerify& ask) { return widen(reader.verify(ask.from, ask.chain, verify_bytes)); }
};

}  // namespace

ReadResult perform(store::LogReader& reader, const ReadRequest& request) {
  return {request.id, std::visit(Perform{reader}, request.ask)};
}

}  // namespace bus::broker
