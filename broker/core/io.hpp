// What goes into the core and what comes out of it: frames, read requests and their results, as plain values.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/frame.hpp"
#include "broker/store/store.hpp"

namespace bus::broker {

// The transport's address of one connection; opaque here.
using Peer = std::string;

struct Outgoing {
  Peer peer;
  Frame header;
  Frame body;  // empty: a message of one frame
  std::size_t bytes() const { return header.bytes.size() + body.bytes.size(); }
};

// ---- reads: the core asks, a reader thread (or the simulator) answers with perform().

struct ReadRecords { Position from; };
struct ReadPositionAt { WallTime time; };
struct ReadKeyHeads { std::vector<Hash128> keys; };
struct ReadSequences {
  std::uint32_t publisher;
  Position from;
  std::vector<std::uint64_t> sequences;  // ascending
};
struct ReadKeyChain {
  Hash128 key;
  Position from, after;
  std::size_t most;
};
struct ReadKeyEvents { store::KeyRange range; };
using ReadRows = store::RowRange;
inline constexpr std::size_t rows_a_read = 1024;          // of a list for operators
inline constexpr std::size_t rows_a_request = 16 * 1024;  // looked at, matching or not; more are for the next request
// Those of these keys that are there, in the order of `keys`.
struct ReadRowsOf {
  store::Table table;
  std::vector<std::string> keys;
};
// What the envelopes of these events say, in their order.
struct ReadEnvelopes { std::vector<Position> positions; };
struct ReadPriority {
  Position from;
  std::uint8_t priorities;               // a bit for each
};
struct ReadIndexes { Position from; };
// The record that begins here, without the bodies of these events.
struct ReadWithout {
  Position first;
  std::vector<std::uint32_t> at;
};
struct ReadStat {};
struct ReadVerify {
  Position from;
  std::uint64_t chain;
};
using ReadBackup = store::BackupAsk;
using ReadAsk = std::variant<ReadRecords, ReadPositionAt, ReadKeyHeads, ReadSequences, ReadKeyChain, ReadKeyEvents, ReadRows, ReadRowsOf, ReadEnvelopes,
                             ReadPriority, ReadIndexes, ReadWithout, ReadStat, ReadVerify, ReadBackup>;

struct Envelope {
  std::string topic, type, key, id;
  WallTime committed_at;
};

struct ReadRequest {
  std::uint64_t id = 0;
  ReadAsk ask;
};

using ReadAnswer = std::variant<std::vector<store::RecordPtr>, Position, std::vector<std::optional<store::KeyHead>>,
                                store::SequenceSlice, store::KeySlice, store::KeyEvents, store::PrioritySlice, store::Rows, std::vector<std::optional<Envelope>>,
                                store::IndexSlice, store::RecordPtr, store::Stat, store::VerifySlice, store::BackupSlice>;

struct ReadResult {
  std::uint64_t id = 0;
  Result<ReadAnswer> answer;
};

// Of what is read.
Error bad_row(std::string_view table);

ReadResult perform(store::LogReader& reader, const ReadRequest& request);

}  // namespace bus::broker
