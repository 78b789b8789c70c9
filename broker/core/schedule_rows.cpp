#include "broker/core/schedule_rows.hpp"

#include "broker/core/big_endian.hpp"

namespace bus::broker {

std::string schedule_key(WallTime due, const ScheduleId& id) {
  std::string key;
  put_big(key, static_cast<std::uint64_t>(nanoseconds(due)));
  put_big(key, id.publisher);
  put_big(key, id.sequence);
  return key;
}

std::string ScheduledRow::row_key() const { return schedule_key(due, id); }

std::string ScheduledRow::encode() const {
  Writer writer;
  writer.put(nanoseconds(added_at)).put(topic).put(type).put(priority).put(flags).put(key.high).put(key.low);
  return writer.put_bytes(text_of(body)).take();
}

std::optional<ScheduledRow> ScheduledRow::decode(std::string_view key, std::string_view value) {
  constexpr std::size_t before_body = 8 + 4 + 4 + 1 + 1 + 16;
  if (key.size() != 20 || value.size() < before_body + 8) return std::nullopt;
  ScheduledRow row;
  row.due = wall_time(static_cast<std::int64_t>(get_big(key.substr(0, 8))));
  row.id = {static_cast<std::uint32_t>(get_big(key.substr(8, 4))), get_big(key.substr(12))};
  Reader reader(value);
  row.added_at = wall_time(reader.get<std::int64_t>());
  row.topic = reader.get<std::uint32_t>();
  row.type = reader.get<std::uint32_t>();
  row.priority = reader.get<std::uint8_t>();
  row.flags = reader.get<std::uint8_t>();
  row.key.high = reader.get<std::uint64_t>();
  row.key.low = reader.get<std::uint64_t>();
  row.body = bytes_of(value.substr(before_body));
  const auto size = std::size_t{load<std::uint32_t>(row.body.data())} + 4;
  if (row.body.size() % 8 != 0 || size > row.body.size() || size + 8 <= row.body.size()) return std::nullopt;
  return row;
}

std::string sequence_row_key(const ScheduleId& id, SequenceRow kind) {
  std::string key;
  put_big(key, id.publisher);
  key += static_cast<char>(kind);
  put_big(key, id.sequence);
  return key;
}

std::uint64_t sequence_of_schedule_key(std::string_view key) { return key.size() == 13 ? get_big(key.substr(5)) : 0; }

std::string ScheduleIdRow::encode() const {
  return Writer().put(fate).put(nanoseconds(due)).put(position).take();
}

std::optional<ScheduleIdRow> ScheduleIdRow::decode(std::string_view value) {
  Reader reader(value);
  ScheduleIdRow row;
  row.fate = reader.get<ScheduleFate>();
  row.due = wall_time(reader.get<std::int64_t>());
  row.position = reader.get<Position>();
  if (!reader.done() || row.fate > ScheduleFate::cancelled) return std::nullopt;
  return row;
}

}  // namespace bus::broker
