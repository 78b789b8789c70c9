#include "broker/core/state.hpp"

#include <algorithm>

#include "broker/core/io.hpp"

namespace bus::broker {

Result<void> State::restore_row(store::Table table, std::string_view key, std::string_view value) {
  Reader reader(value);
  const auto number = key_number(key);
  const auto name = reader.get_string();
  switch (table) {
    case store::Table::topics: {
      TopicData data;
      data.events = reader.get<std::uint64_t>();
      data.bytes = reader.get<std::uint64_t>();
      data.first = reader.get<Position>();
      data.last = reader.get<Position>();
      data.last_at = wall_time(reader.get<std::int64_t>());
      for (std::size_t priority = 0; priority < data.last_of.size(); ++priority) {
        data.last_of[priority] = reader.get<Position>();
        last_of[priority] = std::max(last_of[priority], data.last_of[priority]);
      }
      if (!reader.done()) {  // rows of topics of which nothing was removed leave these out
        data.removed_events = reader.get<std::uint64_t>();
        data.removed_bytes = reader.get<std::uint64_t>();
      }
      if (!reader.done() || number != topics.size() + 1) return bad_row("topics");
      topics.restore(number, name, data);
      event_bytes += data.bytes;
      return {};
    }
    case store::Table::types:
      if (!reader.done() || number != types.size() + 1) return bad_row("types");
      types.restore(number, name, {});
      return {};
    case store::Table::publishers: {
      PublisherData data;
      data.transient = reader.get<std::uint8_t>() != 0;
      data.instance = reader.get<std::uint64_t>();
      data.last_sequence = reader.get<std::uint64_t>();
      data.last_position = reader.get<Position>();
      if (!reader.done() || number != publishers.size() + 1) return bad_row("publishers");
      publishers.restore(number, name, data);
      return {};
    }
    case store::Table::groups: case store::Table::open: case store::Table::failures: case store::Table::dead:
    case store::Table::schedule: case store::Table::schedule_ids: case store::Table::key_pages: case store::Table::snapshots:
    case store::Table::retention: case store::Table::schemas: case store::Table::topic_settings: break;
  }
  return bad_row("that is not of the state");
}

store::Row State::topic_row(std::uint32_t number) const {
  const TopicData& data = topics[number];
  Writer writer;
  writer.put_string(topics.name(number)).put(data.events).put(data.bytes).put(data.first).put(data.last);
  writer.put(nanoseconds(data.last_at));
  for (const Position last : data.last_of) writer.put(last);
  if (data.removed_events > 0) writer.put(data.removed_events).put(data.removed_bytes);
  return {store::Table::topics, number_key(number), writer.take()};
}

store::Row State::type_row(std::uint32_t number) const {
  Writer writer;
  writer.put_string(types.name(number));
  return {store::Table::types, number_key(number), writer.take()};
}

store::Row State::publisher_row(std::uint32_t number) const {
  const PublisherData& data = publishers[number];
  Writer writer;
  writer.put_string(publishers.name(number)).put(static_cast<std::uint8_t>(data.transient));
  writer.put(data.instance).put(data.last_sequence).put(data.last_position);
  return {store::Table::publishers, number_key(number), writer.take()};
}

void State::count(const store::Record& record) {
  struct Sum {
    std::uint64_t events = 0, bytes = 0;
    std::uint32_t first = 0, last = 0;
    bool counted = false;  // recovery: the row has it
  };
  std::vector<Sum> sums(record.kinds());
  for (std::uint32_t at = 0; at < record.count(); ++at) {
    Sum& sum = sums[record.kind_of(at)];
    if (sum.events++ == 0) sum.first = at;
    sum.bytes += record.body_bytes(at);
    sum.last = at;
  }
  // Of all kinds first, since several may be of one topic.
  for (std::uint32_t kind = 0; kind < record.kinds(); ++kind) {
    sums[kind].counted = sums[kind].events == 0 || topics[record.kind(kind).topic].last >= record.first();
  }
  for (std::uint32_t kind = 0; kind < record.kinds(); ++kind) {
    const Sum& sum = sums[kind];
    if (sum.counted) continue;
    TopicData& topic = topics[record.kind(kind).topic];
    topic.events += sum.events;
    topic.bytes += sum.bytes;
    event_bytes += sum.bytes;
    if (topic.first == Position::none || topic.first > record.first() + sum.first) topic.first = record.first() + sum.first;
    topic.last = std::max(topic.last, record.first() + sum.last);
    topic.last_at = record.committed_at();
    const auto priority = record.kind(kind).priority;
    topic.last_of.at(priority) = std::max(topic.last_of.at(priority), record.first() + sum.last);
    last_of[priority] = std::max(last_of[priority], topic.last_of[priority]);
    topic.dirty = true;
  }
}

Result<void> State::apply(const store::Record& record) {
  for (std::uint32_t at = 0; at < record.count(); ++at) {
    const store::Entry entry = record.entry(at);
    if (!publishers.has(entry.publisher) || !topics.has(entry.topic) || !types.has(entry.type)) {
      return Error{Code::damaged, "position " + std::to_string(number(record.first() + at)) +
                                      " names a topic, type or publisher that is not in its table"};
    }
    if (entry.key) keys.restore(entry.key->hash, {record.first() + at, entry.key->version});
    if (entry.unique_id) keys.restore(*entry.unique_id, {record.first() + at, entry.key ? entry.key->version : 0});
    if ((entry.flags & store::format::scheduled) != 0) continue;  // its sequence was used up before
    PublisherData& publisher = publishers[entry.publisher];
    if (entry.sequence > publisher.last_sequence) publisher.last_sequence = entry.sequence;
    if (record.first() + at > publisher.last_position) publisher.last_position = record.first() + at;
    publisher.dirty = true;
  }
  count(record);
  return {};
}

void State::apply_used_up(std::uint32_t publisher, std::uint64_t last_sequence) {
  PublisherData& data = publishers[publisher];
  data.last_sequence = std::max(data.last_sequence, last_sequence);
  data.dirty = true;
}

namespace {

// Rows with neighbouring numbers lie in the same page of the store's table, so they are saved together: a step has so many
// in a row, then the next step has as many.
constexpr std::size_t rows_together = 16;

template <typename Visit>
void each_of_step(std::size_t step, std::size_t numbers, Visit visit) {
  for (auto first = step * rows_together; first <= numbers; first += limits::key_shards * rows_together) {
    for (auto number = std::max<std::size_t>(first, 1); number < first + rows_together && number <= numbers; ++number) {
      visit(static_cast<std::uint32_t>(number));
    }
  }
}

}  // namespace

void State::checkpoint(std::size_t step, std::vector<store::Row>& rows) {
  each_of_step(step, topics.size(), [&](std::uint32_t number) {
    if (std::exchange(topics[number].dirty, false)) rows.push_back(topic_row(number));
  });
  each_of_step(step, publishers.size(), [&](std::uint32_t number) {
    if (std::exchange(publishers[number].dirty, false)) rows.push_back(publisher_row(number));
  });
}

}  // namespace bus::broker
