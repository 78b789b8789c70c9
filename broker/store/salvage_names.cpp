#include "broker/store/salvage_names.hpp"

#include <algorithm>

namespace bus::store {

namespace {

const char* what_of(TableId table) { return table == TableId::topics ? "topic" : table == TableId::types ? "type" : "publisher"; }

}  // namespace

// Of a row that no tree leads to the name has to be confirmed: a transaction that died may have given the number to another one.
bool SalvageNames::needs_name(TableId table, std::uint32_t number) {
  auto& named = table == TableId::topics ? named_topics_ : named_types_;
  if (named.contains(number)) return false;
  const auto key = number_key(number);
  const bool has_row = source_.rows(table).contains(key) && !source_.is_raw(table, key);
  if (has_row) named.insert(number);
  return !has_row;
}

void SalvageNames::name(TableId table, std::uint32_t number, const std::string& name) {
  if (name.empty()) return;
  of_events_[table][number] = name;
  (table == TableId::topics ? named_topics_ : named_types_).insert(number);
}

void SalvageNames::take(const Record& record, std::uint32_t at) {
  const std::uint32_t topic = record.topic(at), type = record.type(at);
  const bool needs_topic = needs_name(TableId::topics, topic), needs_type = needs_name(TableId::types, type);
  if ((!needs_topic && !needs_type) || record.is_removed(at)) return;
  const EventNames names = names_of_(record.body(at));
  if (needs_topic) name(TableId::topics, topic, names.topic);
  if (needs_type) name(TableId::types, type, names.type);
}

SalvageNames::Names SalvageNames::row_names(TableId table, bool raw) {
  Names names;
  for (const auto& [key, value] : source_.rows(table)) {
    if (source_.is_raw(table, key) == raw) names[key_number(key)] = Reader(value).get_string();
  }
  return names;
}

// The surest first: a name that is taken is not taken again.
SalvageNames::Names SalvageNames::choose(TableId table, std::uint32_t last, std::vector<std::string>& notes) {
  Names names;
  std::set<std::string> taken;
  for (const Names& some : {row_names(table, false), of_events_[table], row_names(table, true)}) {
    for (const auto& [number, name] : some) {
      if (name.empty() || names.contains(number) || !taken.insert(name).second) continue;
      names[number] = name;
    }
  }
  for (std::uint32_t number = 1; number <= last; ++number) {
    if (names.contains(number)) continue;
    std::string name = "lost-" + std::to_string(number);
    for (int other = 2; !taken.insert(name).second; ++other) name = "lost-" + std::to_string(number) + "-" + std::to_string(other);
    notes.push_back(std::string("the name of ") + what_of(table) + " " + std::to_string(number) + " is lost: it is called " + name);
    names[number] = name;
  }
  return names;
}

Result<void> SalvageNames::write(lmdb::Transaction& txn, const Tables& tables, const Figures& figures, std::vector<std::string>& notes) {
  for (const TableId table : {TableId::topics, TableId::types, TableId::publishers}) {
    const auto& rows = source_.rows(table);
    const std::uint32_t last = std::max(figures.last(table), rows.empty() ? 0 : key_number(rows.rbegin()->first));
    for (const auto& [number, name] : choose(table, last, notes)) {
      if (auto put = tables.put(txn, table, number_key(number), figures.row(table, number, name)); !put) return put;
    }
  }
  return {};
}

}  // namespace bus::store
