// The part of ConsumerGroup that outlives the process: journals, and the rows of a checkpoint. docs/STORAGE.md gives their
// fields.
#include <algorithm>
#include <array>
#include <cstring>

#include "base/check.hpp"
#include "broker/core/consumer_group.hpp"

namespace bus::broker {

void ConsumerGroup::put_head(Writer& writer) const {
  writer.put(generation_).put(scan_).put(counts_.acked).put(counts_.skipped).put(counts_.expired).put(ordered_from_);
}

void ConsumerGroup::get_head(Reader& reader) {
  generation_ = reader.get<std::uint16_t>();
  scan_ = reader.get<Position>();
  counts_.acked = reader.get<std::uint64_t>();
  counts_.skipped = reader.get<std::uint64_t>();
  counts_.expired = reader.get<std::uint64_t>();
  ordered_from_ = reader.get<Position>();
}

namespace {

// What an open event has beyond place and attempt; most have little.
enum OpenPart : std::uint8_t { has_counts = 1, has_time = 2, has_key = 4, has_line = 8, has_rank = 16, is_patchy = 32 };

}  // namespace

// Written in one go: there may be many.
void ConsumerGroup::put_open(Writer& writer, Position position, const Open& open) {
  std::uint8_t parts = 0;
  if ((open.failures | open.returns | open.redrives) != 0) parts |= has_counts;
  if (open.place == Place::delayed) parts |= has_time;
  if (open.event.key != Hash128{}) parts |= has_key;
  if (open.laned) parts |= has_line;
  if (open.rank != Rank::medium) parts |= has_rank;
  if (open.patchy) parts |= is_patchy;
  std::array<char, 80> bytes;
  std::size_t size = 0;
  const auto put = [&](auto value) {
    std::memcpy(bytes.data() + size, &value, sizeof value);
    size += sizeof value;
  };
  put(position), put(open.place), put(parts), put(open.attempt);
  if (parts & has_counts) put(open.failures), put(open.forgiven), put(open.returns), put(open.redrives);
  if (parts & has_time) put(open.time);
  if (parts & has_key) put(open.event.key.high), put(open.event.key.low);
  if (parts & has_line) put(open.line);
  if (parts & has_rank) put(open.rank);
  writer.put_bytes({bytes.data(), size});
}

// None: the bytes make no sense.
Position ConsumerGroup::get_open(Reader& reader, Now now) {
  const auto position = reader.get<Position>();
  Open open;
  open.place = reader.get<Place>();
  const auto parts = reader.get<std::uint8_t>();
  open.attempt = reader.get<std::uint32_t>();
  if (parts & has_counts) {
    open.failures = reader.get<std::uint32_t>();
    open.forgiven = reader.get<std::uint32_t>();
    open.returns = reader.get<std::uint32_t>();
    open.redrives = reader.get<std::uint32_t>();
  }
  if (parts & has_time) open.time = reader.get<std::int64_t>();
  open.due = now.steady + (open.retry_at() - now.wall);
  if (parts & has_key) {
    open.event.key.high = reader.get<std::uint64_t>();
    open.event.key.low = reader.get<std::uint64_t>();
  }
  open.laned = (parts & has_line) != 0;
  if (open.laned) open.line = reader.get<Position>();
  if (parts & has_rank) open.rank = reader.get<Rank>();
  open.patchy = (parts & is_patchy) != 0;
  open.durable = true;
  const bool is_sound = open.place <= Place::searching && open.rank <= Rank::low && open.forgiven <= open.failures &&
                        ((parts & has_time) != 0) == (open.place == Place::delayed) && (!open.laned || open.event.key != Hash128{}) &&
                        (open.laned || open.place != Place::searching);
  if (!reader.ok() || !is_sound) return Position::none;
  Open* known = open_.find(position);
  (known != nullptr ? *known : open_.add(position)) = open;
  return position;
}

// Something in its chunk has changed. Those that follow each other are mostly of the same.
inline void ConsumerGroup::mark_chunk(Position position) {
  const auto number = PositionMap<Open>::chunk_of(position);
  if (marks_.empty() || marks_.back() != number) marks_.push_back(number);
}

// A chunk without a row, in which nothing is open any more, needs none.
void ConsumerGroup::take_marks() {
  for (const auto number : marks_) {
    if (has_chunk(number) || stored_chunks_.contains(number)) {
      changed_chunks_.insert(number);
    } else {
      changed_chunks_.erase(number);
    }
  }
  marks_.clear();
}

// What was opened and settled since the last one leaves no trace. Most of what has changed was opened last.
std::string ConsumerGroup::take_journal() {
  Writer writer;
  writer.put(static_cast<std::uint8_t>(seeked_));
  put_head(writer);
  writer.put(static_cast<std::uint32_t>(closed_.size()));
  for (const Position position : closed_) {
    writer.put(position);
    mark_chunk(position);
  }
  if (lanes_.patchy() == 0) std::erase_if(newly_taken_, [&](Position position) { return position <= scan_; });
  writer.put(static_cast<std::uint32_t>(newly_taken_.size()));
  for (const Position position : std::exchange(newly_taken_, {})) {
    writer.put(position);
    mark_chunk(position);
  }
  writer.put(touched_);
  const auto is_touched = [](const Open& open) { return open.touched; };
  open_.each_of_last(std::exchange(touched_, 0), is_touched, [&](Position position, Open& open) {
    open.touched = false;
    open.durable = true;
    put_open(writer, position, open);
    mark_chunk(position);
  });
  take_marks();
  closed_.clear();
  seeked_ = changed_ = urgent_ = false;
  return writer.take();
}

bool ConsumerGroup::apply_journal(std::string_view bytes, Now now) {
  Reader reader(bytes);
  if (reader.get<std::uint8_t>() != 0) {
    open_.each([&](Position position, const Open&) { changed_chunks_.insert(PositionMap<Open>::chunk_of(position)); });
    open_.clear();
    taken_.each_chunk([&](std::uint64_t chunk) { changed_chunks_.insert(chunk); });
    taken_.clear();
  }
  get_head(reader);
  for (auto count = reader.get<std::uint32_t>(); count > 0 && reader.ok(); --count) {
    const auto position = reader.get<Position>();
    mark_chunk(position);
    if (open_.find(position) != nullptr) open_.erase(position);
  }
  for (auto count = reader.get<std::uint32_t>(); count > 0 && reader.ok(); --count) {
    const auto position = reader.get<Position>();
    mark_chunk(position);
    taken_.add(position);
  }
  for (auto count = reader.get<std::uint32_t>(); count > 0; --count) {
    const Position position = get_open(reader, now);
    if (position == Position::none) return false;
    mark_chunk(position);
  }
  take_marks();
  return reader.done();
}

std::string ConsumerGroup::head() const {
  Writer writer;
  put_head(writer);
  return writer.take();
}

std::vector<std::uint64_t> ConsumerGroup::take_changed_chunks() {
  const auto numbers = std::exchange(changed_chunks_, {});
  return {numbers.begin(), numbers.end()};
}

std::string ConsumerGroup::save_chunk(std::uint64_t number) {
  if (!has_chunk(number)) {
    stored_chunks_.erase(number);
    return {};
  }
  stored_chunks_.insert(number);
  Writer writer;
  for (const auto bits : taken_.chunk(number)) writer.put(bits);
  open_.each_of_chunk(number, [&](Position position, const Open& open) { put_open(writer, position, open); });
  return writer.take();
}

std::optional<ConsumerGroup> ConsumerGroup::restore(const GroupSettings& settings, std::string_view head) {
  ConsumerGroup group(settings, Position::none);
  Reader reader(head);
  group.get_head(reader);
  return reader.done() ? std::optional(std::move(group)) : std::nullopt;
}

bool ConsumerGroup::restore_chunk(std::uint64_t number, std::string_view bytes, Now now) {
  stored_chunks_.insert(number);
  Reader reader(bytes);
  PositionSet::Bits taken;
  for (auto& bits : taken) bits = reader.get<std::uint64_t>();
  if (!reader.ok()) return false;
  taken_.add_chunk(number, taken);
  while (!reader.done()) {
    if (get_open(reader, now) == Position::none) return false;
  }
  return true;
}

void ConsumerGroup::recovered() {
  open_.each([&](Position position, Open& open) {
    const auto number = PositionMap<Open>::chunk_of(position);
    if (!stored_chunks_.contains(number)) changed_chunks_.insert(number);
    if (open.place == Place::delayed) delayed_.emplace(open.due, position);
    open.lost = !open.laned;
    if (open.place != Place::in_flight) return;
    ++open.returns;
    open.place = Place::ready;
    touch(open);
  });
  rebuild_lanes();
  patchy_to_ = taken_.last();
  forget_taken();
  take_marks();
}

}  // namespace bus::broker
