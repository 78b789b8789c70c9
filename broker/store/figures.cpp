#include "broker/store/figures.hpp"

#include <algorithm>

#include "broker/store/key_leaves.hpp"

namespace bus::store {

void Figures::restore(TableId table, std::uint32_t number, std::string_view value, Position end) {
  note(table, number);
  Reader reader(value);
  reader.get_string();
  if (table == TableId::topics) {
    Topic topic;
    topic.events = reader.get<std::uint64_t>();
    topic.bytes = reader.get<std::uint64_t>();
    topic.first = reader.get<Position>();
    topic.last = topic.counted = reader.get<Position>();
    topic.last_at = wall_time(reader.get<std::int64_t>());
    for (Position& position : topic.last_of) position = reader.get<Position>();
    if (!reader.done()) {
      topic.removed_events = reader.get<std::uint64_t>();
      topic.removed_bytes = reader.get<std::uint64_t>();
    }
    if (topic.last <= end) topics_[number] = topic;
  }
  if (table == TableId::publishers) {
    Publisher publisher;
    publisher.transient = reader.get<std::uint8_t>();
    publisher.instance = reader.get<std::uint64_t>();
    publisher.last_sequence = reader.get<std::uint64_t>();
    publisher.last = reader.get<Position>();
    if (publisher.last > end) publisher = {publisher.transient, publisher.instance};
    publisher.last_sequence = std::max(publisher.last_sequence, publishers_[number].last_sequence);
    publishers_[number] = publisher;
  }
}

void Figures::take(const Record& record, std::uint32_t at) {
  const Position position = record.first() + at;
  const Entry entry = record.entry(at);
  take_links(record, at, entry);
  if ((entry.flags & format::scheduled) == 0) {
    Publisher& publisher = publishers_[entry.publisher];
    publisher.last = std::max(publisher.last, position);
  }
  Topic& topic = topics_[entry.topic];
  if (position <= topic.counted) return;
  topic.events += 1;
  topic.bytes += record.body_bytes(at);
  topic.removed_events += record.is_removed(at) ? 1 : 0;
  if (topic.first == Position::none) topic.first = position;
  topic.last = std::max(topic.last, position);
  topic.last_at = record.committed_at();
  if (entry.priority < topic.last_of.size()) topic.last_of[entry.priority] = position;
}

void Figures::remember(const Record& record, std::uint32_t at) { take_links(record, at, record.entry(at)); }

void Figures::take_links(const Record& record, std::uint32_t at, const Entry& entry) {
  const Position position = record.first() + at;
  note(TableId::topics, entry.topic);
  note(TableId::types, entry.type);
  note(TableId::publishers, entry.publisher);
  if (entry.unique_id) heads_[*entry.unique_id] = {*entry.unique_id, position, entry.key ? entry.key->version : 0};
  if (entry.key) heads_[entry.key->hash] = {entry.key->hash, position, entry.key->version};
  if ((entry.flags & format::scheduled) == 0) use_up(entry.publisher, entry.sequence);
}

void Figures::use_up(std::uint32_t number, std::uint64_t sequence) {
  note(TableId::publishers, number);
  Publisher& publisher = publishers_[number];
  publisher.last_sequence = std::max(publisher.last_sequence, sequence);
}

Result<void> Figures::write_heads(lmdb::Transaction& txn, const Tables& tables) {
  std::vector<KeyHead> heads;
  for (const auto& [key, head] : heads_) heads.push_back(head);
  heads_.clear();
  return merge_heads(txn, tables, heads);
}

std::string Figures::row(TableId table, std::uint32_t number, std::string_view name) const {
  Writer writer;
  writer.put_string(name);
  if (table == TableId::topics) {
    const auto found = topics_.find(number);
    const Topic topic = found == topics_.end() ? Topic() : found->second;
    writer.put(topic.events).put(topic.bytes).put(topic.first).put(topic.last).put(nanoseconds(topic.last_at));
    for (const Position position : topic.last_of) writer.put(position);
    if (topic.removed_events > 0) writer.put(topic.removed_events).put(topic.removed_bytes);
  }
  if (table == TableId::publishers) {
    const auto found = publishers_.find(number);
    const Publisher publisher = found == publishers_.end() ? Publisher() : found->second;
    writer.put(publisher.transient).put(publisher.instance).put(publisher.last_sequence).put(publisher.last);
  }
  return writer.take();
}

}  // namespace bus::store
