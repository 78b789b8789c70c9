#include "broker/store/log_cursor.hpp"

#include <string>

namespace bus::store {

Result<LogCursor> LogCursor::open(const lmdb::Transaction& txn, const Tables& tables) {
  auto cursor = txn.cursor(tables[TableId::log]);
  if (!cursor) return cursor.error();
  return LogCursor(std::move(*cursor));
}

Result<bool> LogCursor::stand(Result<bool> moved) {
  position_ = Position::none;
  if (!moved || !*moved) return moved;
  const auto key = NumberKey::read(cursor_.key());
  if (!key || *key == 0) return Error{Code::damaged, "table log: a key is not a position"};
  position_ = Position{*key};
  return true;
}

Result<bool> LogCursor::seek(Position position) {
  auto found = stand(cursor_.seek(NumberKey(position)));
  if (!found) return found;
  if (!*found) return last();
  if (position_ == position) return true;
  found = stand(cursor_.previous());
  return found && !*found ? first() : found;
}

Result<RecordPtr> LogCursor::load() const { return Record::parse(bytes_of(cursor_.value()), position_); }

Result<RecordPtr> LogCursor::load_index() const { return Record::parse_index(bytes_of(cursor_.value()), position_); }

Result<RecordPtr> LogCursor::load_for_events() const {
  return Record::is_packed(bytes_of(cursor_.value())) ? load() : load_index();
}

namespace {

Error bad_body(const Record& record, std::uint32_t at) {
  return {Code::damaged, "event at position " + std::to_string(number(record.first() + at)) + ": the body does not match its checksum"};
}

}  // namespace

Result<Buffer> LogCursor::body(const Record& record, std::uint32_t at) const {
  BUS_CHECK(!record.is_removed(at));
  const Bytes body = record.has_bodies() ? record.body(at) : record.body_in(bytes_of(cursor_.value()), at);
  if (checksum(body) != record.event_checksum(at)) return bad_body(record, at);
  return copy_of(body);
}

Result<void> check_bodies(const Record& record) {
  for (std::uint32_t at = 0; at < record.count(); ++at) {
    if (record.body_intact(at)) continue;
    return bad_body(record, at);
  }
  return {};
}

Error missing(Position from, Position to) {
  return {Code::damaged,
          "positions " + std::to_string(number(from)) + " to " + std::to_string(number(to)) + " are missing"};
}

}  // namespace bus::store
