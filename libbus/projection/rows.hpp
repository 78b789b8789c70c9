// Rows is the state's table in one transaction: every value ends in a checksum over key and value, keys and values are within
// their limits. A value to pass around, as long as the transaction lives.
//
// Changes wait beside the transaction until it is about to commit: many events change the same few rows, and LMDB takes longer
// to find and rewrite one than most folds for all they do.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "libbus/projection/lmdb.hpp"

namespace bus::projection {

using RowCopy = std::pair<std::string, std::string>;

// "'steps/7'", cut short and with what cannot be printed replaced: for messages.
std::string quoted(std::string_view text);
Error wrong_size(std::string_view key, std::size_t found, std::size_t wanted);
// A value with its checksum, as every row of every table is stored; and back: nothing if they do not fit.
std::string sealed(std::string_view key, std::string_view value);
std::optional<std::string_view> unsealed(std::string_view key, std::string_view stored);

struct TextHash {
  using is_transparent = void;
  std::size_t operator()(std::string_view text) const { return std::hash<std::string_view>()(text); }
};
// Changed rows that LMDB does not know of yet; nothing: erased.
using Changes = std::unordered_map<std::string, std::optional<std::string>, TextHash, std::equal_to<>>;

class Rows {
 public:
  // To read only, or with a place for changes.
  Rows(lmdb::Transaction& transaction, lmdb::Dbi table, Changes* changes = nullptr)
      : transaction_(transaction), table_(table), changes_(changes) {}

  // Errors of all: bad_argument, damaged, and LMDB's.
  Result<std::optional<std::string_view>> get(std::string_view key) const;
  Result<void> put(std::string_view key, std::string_view value);
  Result<void> erase(std::string_view key);
  // Hands all changes to LMDB.
  Result<void> flush();
  // Flushes, and gives the next rows of that prefix behind `after`, or from its first: as many as fit into projection_scan_bytes, or one larger.
  Result<std::vector<RowCopy>> some(std::string_view prefix, std::string_view after);

 private:
  void change(std::string_view key, std::optional<std::string> value);
  lmdb::Transaction& transaction_;
  lmdb::Dbi table_;
  Changes* changes_;
};

// Calls `row` for what `fetch(after)` gives, until that is nothing, or `row` says false. No transaction is held meanwhile.
template <typename Fetch>
Result<void> scan_rows(const Fetch& fetch, const std::function<bool(std::string_view, std::string_view)>& row) {
  std::string after;
  for (;;) {
    auto rows = fetch(after);
    if (!rows) return rows.error();
    if (rows->empty()) return {};
    for (const auto& [key, value] : *rows) {
      if (!row(key, value)) return {};
    }
    after = std::move(rows->back().first);
  }
}

}  // namespace bus::projection
