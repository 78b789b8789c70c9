// LogCursor finds records by position and takes them out of the map. It stands on one record, or on none.
#pragma once

#include "broker/store/lmdb.hpp"
#include "broker/store/record.hpp"
#include "broker/store/tables.hpp"

namespace bus::store {

class LogCursor {
 public:
  static Result<LogCursor> open(const lmdb::Transaction& txn, const Tables& tables);

  // True: it stands on a record. seek() goes to the record that begins at or last before `position`, or to the
  // first one if all begin after it.
  Result<bool> seek(Position position);
  Result<bool> first() { return stand(cursor_.first()); }
  Result<bool> last() { return stand(cursor_.last()); }
  Result<bool> next() { return stand(cursor_.next()); }

  Position position() const { return position_; }  // as the row's key says
  Bytes stored() const { return bytes_of(cursor_.value()); }  // in the map
  // Of the record in memory, unpacked, by its own word.
  std::size_t record_bytes() const { return Record::unpacked_bytes(bytes_of(cursor_.value())); }
  // Copies. Errors as of Record::parse(); load() leaves the bodies to check_bodies().
  Result<RecordPtr> load() const;
  Result<RecordPtr> load_index() const;
  // With as much of the record as body() wants: of a packed one all of it has to be unpacked.
  Result<RecordPtr> load_for_events() const;
  // A copy of one body of that record, on which the cursor still stands. Error damaged: it does not match its checksum.
  Result<Buffer> body(const Record& record, std::uint32_t at) const;

 private:
  explicit LogCursor(lmdb::Cursor cursor) : cursor_(std::move(cursor)) {}
  Result<bool> stand(Result<bool> moved);

  lmdb::Cursor cursor_;
  Position position_ = Position::none;
};

// Error damaged: names the first event whose body does not match its checksum.
Result<void> check_bodies(const Record& record);
Error missing(Position from, Position to);

}  // namespace bus::store
