#include "broker/core/dead_letters.hpp"

#include "base/bytes.hpp"
#include "broker/core/big_endian.hpp"

namespace bus::broker {

std::string event_key(std::uint32_t group, Position position) {
  std::string key;
  put_big(key, group);
  put_big(key, number(position));
  return key;
}

std::string failure_key(std::uint32_t group, Position position, std::uint32_t failure) {
  auto key = event_key(group, position);
  put_big(key, failure);
  return key;
}

std::string after_group(std::uint32_t group) { return event_key(group + 1, Position::none); }

std::uint32_t group_of_key(std::string_view key) {
  return key.size() < 4 ? 0 : static_cast<std::uint32_t>(get_big(key.substr(0, 4)));
}

Position position_of_key(std::string_view key) {
  return key.size() < 12 ? Position::none : Position{get_big(key.substr(4, 8))};
}

std::uint32_t failure_of_key(std::string_view key) {
  return key.size() < 16 ? 0 : static_cast<std::uint32_t>(get_big(key.substr(12, 4)));
}

std::string DeadLetterRow::encode() const {
  Writer writer;
  writer.put(nanoseconds(died_at)).put(cause).put(static_cast<std::uint8_t>(stopped));
  writer.put(attempt).put(failures).put(returns).put(redrives);
  writer.put(event.topic).put(event.type).put(event.key.high).put(event.key.low).put_string(reason);
  return writer.take();
}

std::optional<DeadLetterRow> DeadLetterRow::decode(std::string_view value) {
  Reader reader(value);
  DeadLetterRow row;
  row.died_at = wall_time(reader.get<std::int64_t>());
  row.cause = reader.get<Cause>();
  row.stopped = reader.get<std::uint8_t>() != 0;
  row.attempt = reader.get<std::uint32_t>();
  row.failures = reader.get<std::uint32_t>();
  row.returns = reader.get<std::uint32_t>();
  row.redrives = reader.get<std::uint32_t>();
  row.event.topic = reader.get<std::uint32_t>();
  row.event.type = reader.get<std::uint32_t>();
  row.event.key.high = reader.get<std::uint64_t>();
  row.event.key.low = reader.get<std::uint64_t>();
  row.reason = reader.get_string();
  if (!reader.done() || row.cause > Cause::reject) return std::nullopt;
  return row;
}

std::string FailureRow::encode() const {
  Writer writer;
  writer.put(attempt).put(nanoseconds(at)).put(cause).put_string(member).put_string(error);
  return writer.take();
}

std::optional<FailureRow> FailureRow::decode(std::string_view value) {
  Reader reader(value);
  FailureRow row;
  row.attempt = reader.get<std::uint32_t>();
  row.at = wall_time(reader.get<std::int64_t>());
  row.cause = reader.get<Cause>();
  row.member = reader.get_string();
  row.error = reader.get_string();
  if (!reader.done() || row.cause > Cause::reject) return std::nullopt;
  return row;
}

}  // namespace bus::broker
