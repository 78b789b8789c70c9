// The durable state of the core besides groups: who has published what, and how far. It changes in two ways only,
// by staging an event (or a refusal), and by applying a committed record; recovery does the latter.
//
//   State = checkpointed rows + records and journal entries after them.
//
// A pure value owned by the core.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "broker/core/keys.hpp"
#include "broker/core/names.hpp"
#include "broker/store/store.hpp"
#include "broker/store/tables.hpp"

namespace bus::broker {

struct TopicData {
  std::uint64_t events = 0;
  std::uint64_t bytes = 0;
  Position first = Position::none;          // before it there is none that retention has not removed
  Position last = Position::none;
  WallTime last_at;
  std::array<Position, 3> last_of{};        // the last one of each priority
  std::uint64_t removed_events = 0, removed_bytes = 0;  // by retention; `events` and `bytes` count them, too
  bool dirty = false;
};

struct TypeData {};

struct PublisherData {
  bool transient = false;                   // the broker gave the name, and may give it to others
  std::uint64_t instance = 0;               // transient: of the client that published last
  std::uint64_t last_sequence = 0;          // used up, stored or refused; as staged
  Position last_position = Position::none;  // as staged
  std::uint64_t last_batch = 0;             // the batch that staged it
  bool dirty = false;
  // What became of sequences before this one nobody asks any more: the publisher has a receipt for them.
  std::uint64_t kept_from() const { return last_sequence > limits::window_events ? last_sequence - limits::window_events : 0; }
};

struct State {
  Names<TopicData> topics;
  Names<TypeData> types;
  Names<PublisherData> publishers;
  Keys keys;
  std::uint64_t event_bytes = 0;            // of all topics together
  std::array<Position, 3> last_of{};        // the last event of each priority

  // Recovery, in this order: rows of every table, records from replay_from on, journal entries.
  Result<void> restore_row(store::Table table, std::string_view key, std::string_view value);
  Result<void> apply(const store::Record& record);
  void apply_used_up(std::uint32_t publisher, std::uint64_t last_sequence);

  // Counts the events of a record that has just been committed; the part of apply() that is not done by staging.
  void count(const store::Record& record);

  // The dirty rows that belong to this step of the checkpoint, encoded; they are clean afterwards. Keys have their own.
  void checkpoint(std::size_t step, std::vector<store::Row>& rows);

  store::Row topic_row(std::uint32_t number) const;
  store::Row type_row(std::uint32_t number) const;
  store::Row publisher_row(std::uint32_t number) const;
};

using store::key_number;
using store::number_key;

}  // namespace bus::broker
