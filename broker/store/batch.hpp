// What one commit changes: a self-contained, deterministic value. Applying it needs nothing but the store it
// is applied to, so that later a replicated log can carry batches to other machines.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "broker/store/record.hpp"

namespace bus::store {

// Small tables whose rows the core writes and reads; the store only guards them with checksums.
enum class Table : std::uint8_t {
  topics = 0, types = 1, publishers = 2, groups = 3, open = 4, failures = 5, dead = 6, schedule = 7, schedule_ids = 8, key_pages = 11, snapshots = 12,
  retention = 13, schemas = 14, topic_settings = 15
};

struct Row {
  Table table;
  std::string key;                    // at most 500 bytes
  std::optional<std::string> value;   // nothing: the row goes,
  std::string until = {};             // and if this is not empty, all others from `key` up to before it
};

// The last event of a key.
struct KeyHead {
  Hash128 key;
  Position position = Position::none;
  std::uint64_t version = 0;
};

// Where the log stands after a batch.
struct Head {
  std::uint64_t batch = 0;            // number of the last batch
  Position committed = Position::none;
  WallTime committed_at;
  std::uint64_t chain = 0;            // after the last event
  // Recovery applies records from replay_from and journal entries from replay_batch on; everything older is
  // in the tables. Journal entries below replay_batch are deleted by the commit, a bounded number at a time.
  Position replay_from{1};
  std::uint64_t replay_batch = 1;
};

// What retention does to one record of the log.
struct RecordChange {
  Position first = Position::none;    // of the record, and of what takes its place:
  RecordPtr record;                   // the same without some bodies; null: it goes, it is the oldest of the log
};

// Where the log begins since retention has deleted its oldest records.
struct Trim {
  Position last = Position::none;     // of what was deleted; none: nothing was
  std::uint64_t chain = 0;            // up to there
};

struct CommitBatch {
  Head head;                          // as it will be; head.batch is the number of this batch
  std::vector<RecordPtr> records;     // consecutive; the last one ends at head.committed
  std::string journal;                // settlements and other changes, opaque; empty: none
  std::vector<Row> rows;
  std::vector<KeyHead> keys;          // checkpointed heads, sorted by key, each key once
  std::vector<RecordChange> changes;  // of older records
  std::optional<Trim> trim;           // with each record that goes
};

}  // namespace bus::store
