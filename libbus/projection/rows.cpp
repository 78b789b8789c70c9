#include "libbus/projection/rows.hpp"

#include <algorithm>
#include <cstring>

#include "base/check.hpp"
#include "base/hash.hpp"
#include "base/limits.hpp"

namespace bus::projection {

namespace {

std::uint64_t checksum_of(std::string_view key, std::string_view value) { return checksum(bytes_of(value), checksum(bytes_of(key))); }

Result<void> check_key(std::string_view key, std::size_t bytes_min) {
  if (key.size() >= bytes_min && key.size() <= limits::projection_key_bytes_max) return {};
  return Error{Code::bad_argument, "a key of " + std::to_string(key.size()) + " bytes, " + quoted(key) + ": it must have 1 to " +
                                       std::to_string(limits::projection_key_bytes_max)};
}

Error damage(std::string_view key) {
  return {Code::damaged, "the row " + quoted(key) + " does not match its checksum: restore the file, or remove it to have the state rebuilt"};
}

}  // namespace

std::string quoted(std::string_view text) {
  constexpr std::size_t shown_max = 60;
  std::string shown = "'";
  for (const char one : text.substr(0, shown_max)) shown += static_cast<unsigned char>(one) < 0x20 || one == 0x7f ? '?' : one;
  return shown + (text.size() > shown_max ? "…'" : "'");
}

Error wrong_size(std::string_view key, std::size_t found, std::size_t wanted) {
  return {Code::bad_argument, "the row " + quoted(key) + " has " + std::to_string(found) + " bytes, not the " + std::to_string(wanted) +
                                  " of the type asked for: a fold that stores another type is another version"};
}

std::string sealed(std::string_view key, std::string_view value) {
  const auto sum = checksum_of(key, value);
  std::string stored;
  stored.reserve(value.size() + sizeof sum);
  stored.append(value).append(reinterpret_cast<const char*>(&sum), sizeof sum);
  return stored;
}

std::optional<std::string_view> unsealed(std::string_view key, std::string_view stored) {
  std::uint64_t sum = 0;
  if (stored.size() < sizeof sum) return std::nullopt;
  const auto value = stored.substr(0, stored.size() - sizeof sum);
  std::memcpy(&sum, stored.data() + value.size(), sizeof sum);
  return sum == checksum_of(key, value) ? std::optional(value) : std::nullopt;
}

Result<std::optional<std::string_view>> Rows::get(std::string_view key) const {
  if (auto good = check_key(key, 1); !good) return good.error();
  if (changes_ != nullptr) {
    const auto changed = changes_->find(key);
    if (changed != changes_->end()) return changed->second ? std::optional<std::string_view>(*changed->second) : std::nullopt;
  }
  auto stored = transaction_.get(table_, key);
  if (!stored || !*stored) return stored;
  auto value = unsealed(key, **stored);
  if (!value) return damage(key);
  return value;
}

Result<void> Rows::put(std::string_view key, std::string_view value) {
  if (auto good = check_key(key, 1); !good) return good;
  if (value.size() > limits::projection_value_bytes_max) {
    return Error{Code::bad_argument, "a value of " + std::to_string(value.size()) + " bytes for " + quoted(key) + ": at most " +
                                         std::to_string(limits::projection_value_bytes_max) + " are kept in a row"};
  }
  change(key, std::string(value));
  return {};
}

Result<void> Rows::erase(std::string_view key) {
  if (auto good = check_key(key, 1); !good) return good;
  change(key, std::nullopt);
  return {};
}

void Rows::change(std::string_view key, std::optional<std::string> value) {
  BUS_CHECK(changes_ != nullptr);
  const auto changed = changes_->find(key);
  if (changed != changes_->end()) {
    changed->second = std::move(value);
  } else {
    changes_->emplace(key, std::move(value));
  }
}

// In the order of the keys, in which LMDB comes to each of its pages once.
Result<void> Rows::flush() {
  if (changes_ == nullptr || changes_->empty()) return {};
  std::vector<const Changes::value_type*> sorted;
  sorted.reserve(changes_->size());
  for (const auto& changed : *changes_) sorted.push_back(&changed);
  std::sort(sorted.begin(), sorted.end(), [](const auto* left, const auto* right) { return left->first < right->first; });
  for (const auto* changed : sorted) {
    const auto& [key, value] = *changed;
    auto done = value ? transaction_.put(table_, key, sealed(key, *value)) : transaction_.erase(table_, key);
    if (!done) return done;
  }
  changes_->clear();
  return {};
}

Result<std::vector<RowCopy>> Rows::some(std::string_view prefix, std::string_view after) {
  if (auto good = check_key(prefix, 0); !good) return good.error();
  if (auto flushed = flush(); !flushed) return flushed.error();
  std::vector<RowCopy> rows;
  auto row = transaction_.find(table_, after.empty() ? prefix : after);
  if (row && *row && !after.empty() && (*row)->key == after) row = transaction_.next();
  for (std::size_t bytes = 0; row && *row && (*row)->key.starts_with(prefix); row = transaction_.next()) {
    const auto value = unsealed((*row)->key, (*row)->value);
    if (!value) return damage((*row)->key);
    bytes += (*row)->key.size() + value->size();
    if (!rows.empty() && bytes > limits::projection_scan_bytes) return rows;
    rows.emplace_back((*row)->key, *value);
  }
  if (!row) return row.error();
  return rows;
}

}  // namespace bus::projection
