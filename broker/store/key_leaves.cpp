#include "broker/store/key_leaves.hpp"

#include <algorithm>

#include "base/check.hpp"

namespace bus::store {

namespace {

static_assert(sizeof(KeyHead) == 32 && std::is_trivially_copyable_v<KeyHead>);

bool by_key(const KeyHead& a, const KeyHead& b) { return a.key < b.key; }

struct Leaf {
  std::string key = leaf_key({});
  std::vector<KeyHead> heads;
  std::optional<Hash128> next;  // where the leaf after it begins
};

// The opposite of leaf_key().
std::optional<Hash128> hash_of(std::string_view key) {
  if (key.size() != 16) return std::nullopt;
  return Hash128{*NumberKey::read(key.substr(0, 8)), *NumberKey::read(key.substr(8))};
}

Result<Leaf> leaf_at(const lmdb::Cursor& cursor) {
  const auto value = verified(TableId::keys, cursor.key(), cursor.value());
  if (!value) return value.error();
  auto heads = read_leaf(cursor.key(), *value);
  if (!heads) return heads.error();
  return Leaf{std::string(cursor.key()), std::move(*heads), std::nullopt};
}

// Moves to the leaf in whose range the key is. False: there are no leaves.
Result<bool> find_leaf(lmdb::Cursor& cursor, const std::string& key) {
  auto found = cursor.seek(key);
  if (!found || (*found && cursor.key() == key)) return found;
  if (!*found) return cursor.last();
  found = cursor.previous();
  if (found && !*found) return Error{Code::damaged, "table keys: the first leaf is missing"};
  return found;
}

Result<Leaf> leaf_of(const lmdb::Transaction& txn, const Tables& tables, const Hash128& key) {
  auto cursor = txn.cursor(tables[TableId::keys]);
  if (!cursor) return cursor.error();
  const auto found = find_leaf(*cursor, leaf_key(key));
  if (!found) return found.error();
  if (!*found) return Leaf{};
  auto leaf = leaf_at(*cursor);
  if (!leaf) return leaf;
  const auto next = cursor->next();
  if (!next) return next.error();
  if (*next) leaf->next = hash_of(cursor->key());
  return leaf;
}

std::vector<KeyHead> merged(std::span<const KeyHead> old, std::span<const KeyHead> changes) {
  std::vector<KeyHead> heads;
  heads.reserve(old.size() + changes.size());
  std::merge(old.begin(), old.end(), changes.begin(), changes.end(), std::back_inserter(heads), by_key);
  auto last = heads.begin();
  for (auto it = std::next(heads.begin()); it != heads.end(); ++it) {
    if (it->key != last->key) {
      *++last = *it;
    } else if (it->position > last->position) {
      *last = *it;
    }
  }
  heads.erase(std::next(last), heads.end());
  return heads;
}

// Writes a leaf, in even parts if it does not fit into one.
Result<void> write_leaf(lmdb::Transaction& txn, const Tables& tables, const std::string& key,
                        std::span<const KeyHead> heads) {
  const std::size_t parts = (heads.size() + leaf_heads_max - 1) / leaf_heads_max;
  for (std::size_t part = 0; part < parts; ++part) {
    const std::size_t begin = heads.size() * part / parts, end = heads.size() * (part + 1) / parts;
    const std::string_view value(reinterpret_cast<const char*>(&heads[begin]), (end - begin) * sizeof(KeyHead));
    auto put = tables.put(txn, TableId::keys, part == 0 ? key : leaf_key(heads[begin].key), value);
    if (!put) return put;
  }
  return {};
}

}  // namespace

std::string leaf_key(const Hash128& hash) {
  return std::string(NumberKey(hash.high)).append(NumberKey(hash.low));
}

Result<std::vector<KeyHead>> read_leaf(std::string_view key, std::string_view value) {
  const Error bad{Code::damaged, "table keys: a leaf is not in order"};
  if (key.size() != 16 || value.size() % sizeof(KeyHead) != 0) return bad;
  std::vector<KeyHead> heads(value.size() / sizeof(KeyHead));
  std::memcpy(static_cast<void*>(heads.data()), value.data(), value.size());
  const auto disorder = [](const KeyHead& a, const KeyHead& b) { return !by_key(a, b); };
  if (std::adjacent_find(heads.begin(), heads.end(), disorder) != heads.end()) return bad;
  if (!heads.empty() && leaf_key(heads.front().key) < key) return bad;
  return heads;
}

Result<void> merge_heads(lmdb::Transaction& txn, const Tables& tables, std::span<const KeyHead> heads) {
  BUS_CHECK(std::is_sorted(heads.begin(), heads.end(), by_key));
  while (!heads.empty()) {
    const auto leaf = leaf_of(txn, tables, heads.front().key);
    if (!leaf) return leaf.error();
    const auto beyond = [&](const KeyHead& head) { return leaf->next && head.key >= *leaf->next; };
    const auto end = std::find_if(heads.begin(), heads.end(), beyond);
    const auto count = static_cast<std::size_t>(end - heads.begin());
    auto written = write_leaf(txn, tables, leaf->key, merged(leaf->heads, heads.first(count)));
    if (!written) return written;
    heads = heads.subspan(count);
  }
  return {};
}

Result<std::optional<KeyHead>> find_head(const lmdb::Transaction& txn, const Tables& tables, const Hash128& key) {
  auto cursor = txn.cursor(tables[TableId::keys]);
  if (!cursor) return cursor.error();
  const auto found = find_leaf(*cursor, leaf_key(key));
  if (!found) return found.error();
  if (!*found) return std::optional<KeyHead>();
  const auto leaf = leaf_at(*cursor);
  if (!leaf) return leaf.error();
  const auto at = std::lower_bound(leaf->heads.begin(), leaf->heads.end(), KeyHead{key}, by_key);
  if (at == leaf->heads.end() || at->key != key) return std::optional<KeyHead>();
  return std::optional(*at);
}

}  // namespace bus::store
