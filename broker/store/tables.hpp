// The tables of the store: their names and numbers, how their keys are ordered, and the checksum that ends
// every value outside the log.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "broker/store/batch.hpp"
#include "broker/store/lmdb.hpp"

namespace bus::store {

// The numbers are part of the format: they seed the checksums of rows.
enum class TableId : std::uint8_t { log = 0, journal, topics, types, publishers, groups, open, failures, dead, schedule, schedule_ids, keys, meta, key_pages, snapshots, retention,
                                   schemas, topic_settings };
inline constexpr std::size_t table_ids = 18;
const char* name_of(TableId table);
constexpr TableId id_of(Table table) { return static_cast<TableId>(2 + static_cast<int>(table)); }

// A number as a key: eight bytes, big endian, so that LMDB's order is the order of numbers.
class NumberKey {
 public:
  explicit NumberKey(std::uint64_t value);
  explicit NumberKey(Position position) : NumberKey(number(position)) {}
  operator std::string_view() const { return {bytes_.data(), bytes_.size()}; }
  // Nothing if these are not eight bytes.
  static std::optional<std::uint64_t> read(std::string_view key);

 private:
  std::array<char, 8> bytes_;
};

// The same of four bytes, for what has a number of its own: topics, types, publishers, groups.
std::string number_key(std::uint32_t number);
std::uint32_t key_number(std::string_view key);  // of its first four bytes; 0: it has fewer

// Value, then XXH3-64 of the value, seeded with XXH3-64 of the key, seeded with the number of the table.
std::string guarded(TableId table, std::string_view key, std::string_view value);
// The value without its checksum. Error damaged: names table and key.
Result<std::string_view> verified(TableId table, std::string_view key, std::string_view stored);

// Tables holds the open handles and reads and writes guarded rows through them. A value; free to copy.
class Tables {
 public:
  // `create`: those that are missing are made; else they are an error, bad_format, of a log that an older version has written.
  static Result<Tables> open(lmdb::Transaction& txn, bool create);
  // Those that are there; of the others has() is false, and nothing else may be asked.
  static Result<Tables> open_present(lmdb::Transaction& txn);
  bool has(TableId table) const { return (*this)[table] != no_table; }
  lmdb::Dbi operator[](TableId table) const { return dbi_[static_cast<std::size_t>(table)]; }

  Result<void> put(lmdb::Transaction& txn, TableId table, std::string_view key, std::string_view value,
                   lmdb::Place place = lmdb::Place::anywhere) const;
  Result<std::optional<std::string_view>> get(const lmdb::Transaction& txn, TableId table, std::string_view key) const;
  // All rows from `from` up to before `until` go.
  Result<void> erase_range(lmdb::Transaction& txn, TableId table, std::string_view from, std::string_view until) const;
  // Every row from `from` on, in key order.
  using Visitor = std::function<Result<void>(std::string_view key, std::string_view value)>;
  Result<void> each(const lmdb::Transaction& txn, TableId table, std::string_view from, const Visitor& visit) const;

 private:
  static constexpr lmdb::Dbi no_table = 0;  // LMDB's own has it
  std::array<lmdb::Dbi, table_ids> dbi_{};
};

}  // namespace bus::store
