#include "broker/store/salvage_rows.hpp"

#include <algorithm>
#include <functional>

#include "broker/store/key_leaves.hpp"

namespace bus::store {

namespace {

constexpr std::size_t group_head_bytes = 42, scan_at = 2;
enum JournalKind : std::uint8_t { used_up = 1, of_group = 2 };

Position scan_of(std::string_view head) {
  return head.size() < group_head_bytes ? Position::none : load<Position>(bytes_of(head).data() + scan_at);
}

// Each entry of a journal row, until one that makes no sense.
void each_entry(std::string_view value, const std::function<void(std::uint8_t kind, std::uint32_t number, std::string_view entry)>& visit) {
  Reader reader(value);
  reader.get<std::uint64_t>();  // the row before it
  while (reader.ok() && !reader.done()) {
    const auto kind = reader.get<std::uint8_t>();
    const auto number = reader.get<std::uint32_t>();
    const auto entry = reader.get_string();
    if (reader.ok()) visit(kind, number, entry);
  }
}

// Every row that `is_wanted` goes. How many.
Result<std::uint64_t> drop(lmdb::Transaction& txn, const Tables& tables, TableId table, const std::function<Result<bool>(std::string_view key)>& is_wanted) {
  std::vector<std::string> dropped;
  const auto looked = tables.each(txn, table, {}, [&](std::string_view key, std::string_view) -> Result<void> {
    const auto wanted = is_wanted(key);
    if (!wanted) return wanted.error();
    if (*wanted) dropped.emplace_back(key);
    return {};
  });
  if (!looked) return looked.error();
  for (const auto& key : dropped) {
    if (auto erased = txn.erase(tables[table], key); !erased) return erased.error();
  }
  return dropped.size();
}

}  // namespace

Position last_named(TableId table, std::string_view key, std::string_view value) {
  Position last = Position::none;
  Reader reader(value);
  if (table == TableId::topics || table == TableId::publishers) {
    reader.get_string();
    if (table == TableId::publishers) reader.get<std::uint8_t>();
    for (int field = 0; field < (table == TableId::topics ? 3 : 2); ++field) reader.get<std::uint64_t>();  // up to the last position
    last = reader.get<Position>();
  }
  if (table == TableId::keys) {
    const auto heads = read_leaf(key, value);
    if (!heads) return last;
    for (const KeyHead& head : *heads) last = std::max(last, head.position);
  }
  // The head of a group is the last string of its row.
  if (table == TableId::groups && value.size() >= group_head_bytes) last = scan_of(value.substr(value.size() - group_head_bytes));
  if (table == TableId::journal) {
    each_entry(value, [&](std::uint8_t kind, std::uint32_t, std::string_view entry) {
      if (kind == of_group && !entry.empty()) last = std::max(last, scan_of(entry.substr(1)));
    });
  }
  return last;
}

void note_numbers(TableId table, std::string_view key, std::string_view value, Figures& figures) {
  Reader reader(value);
  if (table == TableId::schedule && key.size() == 20) {
    figures.use_up(key_number(key.substr(8)), *NumberKey::read(key.substr(12)));
    reader.get<std::int64_t>();
    figures.note(TableId::topics, reader.get<std::uint32_t>());
    figures.note(TableId::types, reader.get<std::uint32_t>());
  }
  if (table == TableId::schedule_ids && key.size() == 13) figures.use_up(key_number(key), *NumberKey::read(key.substr(5)));
  if (table == TableId::dead) {
    reader.get<std::int64_t>();
    reader.get<std::uint16_t>();
    for (int count = 0; count < 4; ++count) reader.get<std::uint32_t>();
    figures.note(TableId::topics, reader.get<std::uint32_t>());
    figures.note(TableId::types, reader.get<std::uint32_t>());
  }
  if (table == TableId::journal) {
    each_entry(value, [&](std::uint8_t kind, std::uint32_t number, std::string_view entry) {
      if (kind == used_up && entry.size() == sizeof(std::uint64_t)) figures.use_up(number, load<std::uint64_t>(bytes_of(entry).data()));
    });
  }
}

Result<std::uint64_t> drop_without_group(lmdb::Transaction& txn, const Tables& tables, TableId table, const std::set<std::uint32_t>& groups) {
  return drop(txn, tables, table, [&](std::string_view key) { return Result<bool>(!groups.contains(key_number(key))); });
}

Result<std::uint64_t> drop_published(lmdb::Transaction& txn, const Tables& tables, const Sequences& published) {
  return drop(txn, tables, TableId::schedule, [&](std::string_view key) {
    return Result<bool>(key.size() == 20 && published.contains({key_number(key.substr(8)), *NumberKey::read(key.substr(12))}));
  });
}

Result<std::uint64_t> drop_snapshots_ahead(lmdb::Transaction& txn, const Tables& tables) {
  return drop(txn, tables, TableId::snapshots, [&](std::string_view key) -> Result<bool> {
    constexpr std::size_t hash_bytes = 16;
    if (key.size() != hash_bytes + sizeof(std::uint64_t)) return true;
    const auto head = find_head(txn, tables, {*NumberKey::read(key.substr(0, 8)), *NumberKey::read(key.substr(8, 8))});
    if (!head) return head.error();
    return !*head || (*head)->version < *NumberKey::read(key.substr(hash_bytes));
  });
}

}  // namespace bus::store
