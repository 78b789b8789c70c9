#include "libbus/projection/rows.hpp"

#include <cstring>

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
  return transaction_.put(table_, key, sealed(key, value));
}

Result<void> Rows::erase(std::string_view key) {
  if (auto good = check_key(key, 1); !good) return good;
  return transaction_.erase(table_, key);
}

Result<std::vector<RowCopy>> Rows::some(std::string_view prefix, std::string_view after) const {
  if (auto good = check_key(prefix, 0); !good) return good.error();
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
