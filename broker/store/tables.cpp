#include "broker/store/tables.hpp"

namespace bus::store {

namespace {

constexpr std::array<const char*, table_ids> names = {"log",  "journal",  "topics",       "types", "publishers", "groups", "open",
                                                      "failures", "dead", "schedule", "schedule_ids", "keys",  "meta", "key_pages", "snapshots", "retention",
                                                      "schemas", "topic_settings"};
constexpr std::size_t checksum_bytes = 8;

std::uint64_t row_checksum(TableId table, std::string_view key, std::string_view value) {
  return checksum(bytes_of(value), checksum(bytes_of(key), static_cast<std::uint64_t>(table)));
}

}  // namespace

const char* name_of(TableId table) { return names[static_cast<std::size_t>(table)]; }

NumberKey::NumberKey(std::uint64_t value) {
  for (std::size_t at = bytes_.size(); at-- > 0; value >>= 8) bytes_[at] = static_cast<char>(value & 0xff);
}

std::optional<std::uint64_t> NumberKey::read(std::string_view key) {
  if (key.size() != 8) return std::nullopt;
  std::uint64_t value = 0;
  for (const char byte : key) value = value << 8 | static_cast<unsigned char>(byte);
  return value;
}

std::string number_key(std::uint32_t number) {
  std::string key(4, '\0');
  for (int at = 3; at >= 0; --at, number >>= 8) key[static_cast<std::size_t>(at)] = static_cast<char>(number & 0xff);
  return key;
}

std::uint32_t key_number(std::string_view key) {
  if (key.size() < 4) return 0;
  std::uint32_t number = 0;
  for (const char byte : key.substr(0, 4)) number = number << 8 | static_cast<unsigned char>(byte);
  return number;
}

std::string guarded(TableId table, std::string_view key, std::string_view value) {
  const std::uint64_t sum = row_checksum(table, key, value);
  std::string stored;
  stored.reserve(value.size() + sizeof sum);
  stored.append(value).append(reinterpret_cast<const char*>(&sum), sizeof sum);
  return stored;
}

Result<std::string_view> verified(TableId table, std::string_view key, std::string_view stored) {
  if (stored.size() >= checksum_bytes) {
    const auto value = stored.substr(0, stored.size() - checksum_bytes);
    const auto sum = load<std::uint64_t>(bytes_of(stored).data() + value.size());
    if (sum == row_checksum(table, key, value)) return value;
  }
  return Error{Code::damaged, std::string("table ") + name_of(table) + ", key " + hexadecimal(bytes_of(key)) +
                                  ": the value does not match its checksum"};
}

Result<Tables> Tables::open(lmdb::Transaction& txn, bool create) {
  Tables tables;
  for (std::size_t id = 0; id < table_ids; ++id) {
    const auto table = txn.open_table(names[id], create);
    if (!table && table.error().code == Code::not_found) {
      return Error{Code::bad_format, std::string("the log has no table ") + names[id] + ", as an older version has written it; start busd on it once, which makes it"};
    }
    if (!table) return table.error();
    tables.dbi_[id] = *table;
  }
  return tables;
}

Result<Tables> Tables::open_present(lmdb::Transaction& txn) {
  Tables tables;
  for (std::size_t id = 0; id < table_ids; ++id) {
    const auto table = txn.open_table(names[id], false);
    if (!table && table.error().code != Code::not_found) return table.error();
    tables.dbi_[id] = table ? *table : no_table;
  }
  return tables;
}

Result<void> Tables::put(lmdb::Transaction& txn, TableId table, std::string_view key, std::string_view value,
                         lmdb::Place place) const {
  return txn.put((*this)[table], key, guarded(table, key, value), place);
}

Result<std::optional<std::string_view>> Tables::get(const lmdb::Transaction& txn, TableId table,
                                                    std::string_view key) const {
  const auto stored = txn.get((*this)[table], key);
  if (!stored || !*stored) return stored;
  const auto value = verified(table, key, **stored);
  if (!value) return value.error();
  return std::optional(*value);
}

Result<void> Tables::erase_range(lmdb::Transaction& txn, TableId table, std::string_view from, std::string_view until) const {
  while (true) {
    std::string key;
    {
      auto cursor = txn.cursor((*this)[table]);
      if (!cursor) return cursor.error();
      const auto found = cursor->seek(from);
      if (!found) return found.error();
      if (!*found || cursor->key() >= until) return {};
      key = cursor->key();
    }
    if (auto erased = txn.erase((*this)[table], key); !erased) return erased;
  }
}

Result<void> Tables::each(const lmdb::Transaction& txn, TableId table, std::string_view from,
                          const Visitor& visit) const {
  auto cursor = txn.cursor((*this)[table]);
  if (!cursor) return cursor.error();
  auto found = from.empty() ? cursor->first() : cursor->seek(from);
  for (; found && *found; found = cursor->next()) {
    const auto value = verified(table, cursor->key(), cursor->value());
    if (!value) return value.error();
    if (auto visited = visit(cursor->key(), *value); !visited) return visited;
  }
  if (!found) return found.error();
  return {};
}

}  // namespace bus::store
