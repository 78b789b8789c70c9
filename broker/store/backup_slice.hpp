// What a backup asks of the store, and what it gets: records and rows as they lie on disk. Values.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/bytes.hpp"
#include "bus/types.hpp"

namespace bus::store {

struct BackupAsk {
  // hold: the log as it is now stays readable, until let_go, for those that ask for what is `held`.
  enum class What : std::uint8_t { hold, let_go, index, records, rows };
  What what = What::index;
  bool held = false;                  // of what hold has kept, not of what is there now. Rows always are
  Position from{1};                   // index: from here on. records: those that begin from here
  Position to{~std::uint64_t{0}};     // to here
  std::uint8_t table = 0;             // rows: of the table with this number, not the log
  std::string after;                  // behind this key; empty: from the first
};

// One record of the log as it is stored. With the position its checksum, which covers those of its events, tells it from all others
// that may have been there: what retention makes of a record has another one.
struct StoredRecord {
  Position first = Position::none;
  WallTime committed_at;
  std::uint64_t checksum = 0;
  std::uint32_t bytes = 0, count = 0;
};

struct BackupSlice {
  std::vector<StoredRecord> records;
  Buffer bytes;                       // records: theirs, one after the other
  Position next = Position::none;     // where to go on; none: that was all
  std::vector<std::pair<std::string, std::string>> rows;  // values with their checksums
  bool has_more = false;              // rows
};

}  // namespace bus::store
