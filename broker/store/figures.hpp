// Figures counts what the tables of the core say of the log's events: of topics, publishers and keys. Salvage and repair write them
// themselves, as of the head, so that a start need not count events that are no longer there.
#pragma once

#include <array>
#include <map>
#include <string>

#include "broker/store/record.hpp"
#include "broker/store/tables.hpp"

namespace bus::store {

class Figures {
 public:
  // What a row says, before any event is taken. One that names a position after `end` was never committed: its figures do not count.
  void restore(TableId table, std::uint32_t number, std::string_view value, Position end);
  // An event that is in the log; again does no harm where a row has counted it.
  void take(const Record& record, std::uint32_t at);
  // One that is lost, of which the index tells: its sequence is used up, and the version of its key.
  void remember(const Record& record, std::uint32_t at);
  void use_up(std::uint32_t publisher, std::uint64_t sequence);
  // Something names this number.
  void note(TableId table, std::uint32_t number) { last_[table] = std::max(last_[table], number); }

  // The highest number that was named. Of `topics`, `types` and `publishers`.
  std::uint32_t last(TableId table) const {
    const auto it = last_.find(table);
    return it == last_.end() ? 0 : it->second;
  }

  // Those who have changed, to their leaves; to be called now and then, since they are kept in memory.
  std::size_t heads() const { return heads_.size(); }
  Result<void> write_heads(lmdb::Transaction& txn, const Tables& tables);
  // The row of a topic, type or publisher, by this name.
  std::string row(TableId table, std::uint32_t number, std::string_view name) const;

 private:
  struct Topic {
    std::uint64_t events = 0, bytes = 0;
    Position first = Position::none, last = Position::none, counted = Position::none;  // counted: as of its row
    WallTime last_at;
    std::array<Position, 3> last_of{};
    std::uint64_t removed_events = 0, removed_bytes = 0;
  };
  struct Publisher {
    std::uint8_t transient = 0;
    std::uint64_t instance = 0, last_sequence = 0;
    Position last = Position::none;
  };
  void take_links(const Record& record, std::uint32_t at, const Entry& entry);

  std::map<std::uint32_t, Topic> topics_;
  std::map<std::uint32_t, Publisher> publishers_;
  std::map<TableId, std::uint32_t> last_;
  std::map<Hash128, KeyHead> heads_;
};

}  // namespace bus::store
