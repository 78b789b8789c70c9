#include "broker/core/retention_policies.hpp"

#include "broker/core/big_endian.hpp"
#include "broker/core/io.hpp"
#include "wire/event_codec.hpp"

namespace bus::broker {

namespace {

// The first byte of a row's key.
constexpr char policy_row = 'p', hold_row = 'h';

std::string policy_key(std::string_view pattern) { return std::string(1, policy_row).append(pattern); }

Error bad_settings(std::string what) { return {Code::bad_settings, std::move(what)}; }

std::string_view take_token(std::string_view& rest) {
  const auto dot = rest.find('.');
  const auto token = rest.substr(0, dot);
  rest = dot == std::string_view::npos ? std::string_view() : rest.substr(dot + 1);
  return token;
}

int rank_of_token(std::string_view token) { return token == ">" ? 0 : token == "*" ? 1 : 2; }

}  // namespace

Result<void> RetentionPolicy::check() const {
  if (auto good = wire::check_pattern(pattern); !good) return good;
  const Duration longest = limits::retention_age_max;
  if (max_age < Duration(0) || max_age > longest || latest_after < Duration(0) || latest_after > longest) {
    return bad_settings("an age of a retention policy is at most 100 years");
  }
  if (latest_after > Duration(0) && !latest_per_key) return bad_settings("latest_after says from when on only the latest event of a key is kept, which latest_per_key asks for");
  return {};
}

Result<void> LegalHold::check() const {
  if (auto good = wire::check_pattern(pattern); !good) return good;
  if (key.size() > limits::key_bytes_max) return Error{Code::bad_key, "a key has 1 to " + std::to_string(limits::key_bytes_max) + " bytes"};
  if (reason.empty() || reason.size() > limits::hold_reason_bytes_max) {
    return bad_settings("a legal hold needs a reason of 1 to " + std::to_string(limits::hold_reason_bytes_max) + " bytes");
  }
  return {};
}

bool says_more(std::string_view a, std::string_view b) {
  while (!a.empty() && !b.empty()) {
    const int mine = rank_of_token(take_token(a)), other = rank_of_token(take_token(b));
    if (mine != other) return mine > other;
  }
  return false;
}

// ---- rows

std::string RetentionPolicies::hold_key(std::string_view pattern, std::string_view key) const {
  const Hash128 hash = hash128(bytes_of(Writer().put_string(pattern).put_string(key).take()), key_secret_);
  std::string bytes(1, hold_row);
  put_big(bytes, hash.high);
  put_big(bytes, hash.low);
  return bytes;
}

store::Row RetentionPolicies::put(RetentionPolicy policy) {
  Writer writer;
  writer.put(static_cast<std::int64_t>(policy.max_age.count())).put(policy.max_bytes).put(policy.max_events);
  writer.put(static_cast<std::uint8_t>(policy.latest_per_key)).put(static_cast<std::int64_t>(policy.latest_after.count()));
  writer.put(static_cast<std::uint8_t>(policy.past_groups));
  store::Row row{store::Table::retention, policy_key(policy.pattern), writer.take()};
  policies_.insert_or_assign(policy.pattern, std::move(policy));
  return row;
}

store::Row RetentionPolicies::put(LegalHold hold) {
  Writer writer;
  writer.put_string(hold.pattern).put_string(hold.key).put_string(hold.reason).put(nanoseconds(hold.since));
  auto key = hold_key(hold.pattern, hold.key);
  store::Row row{store::Table::retention, key, writer.take()};
  holds_.insert_or_assign(std::move(key), std::move(hold));
  return row;
}

Result<void> RetentionPolicies::restore_row(std::string_view key, std::string_view value) {
  Reader reader(value);
  if (key.starts_with(policy_row)) {
    RetentionPolicy policy{std::string(key.substr(1))};
    policy.max_age = Duration(reader.get<std::int64_t>());
    policy.max_bytes = reader.get<std::uint64_t>();
    policy.max_events = reader.get<std::uint64_t>();
    policy.latest_per_key = reader.get<std::uint8_t>() != 0;
    policy.latest_after = Duration(reader.get<std::int64_t>());
    policy.past_groups = reader.get<std::uint8_t>() != 0;
    if (!reader.done() || !policy.check()) return bad_row("retention");
    policies_.insert_or_assign(policy.pattern, std::move(policy));
    return {};
  }
  LegalHold hold;
  hold.pattern = reader.get_string();
  hold.key = reader.get_string();
  hold.reason = reader.get_string();
  hold.since = wall_time(reader.get<std::int64_t>());
  if (!reader.done() || !hold.check() || key != hold_key(hold.pattern, hold.key)) return bad_row("retention");
  holds_.insert_or_assign(std::string(key), std::move(hold));
  return {};
}

std::optional<store::Row> RetentionPolicies::erase_policy(std::string_view pattern) {
  const auto it = policies_.find(pattern);
  if (it == policies_.end()) return std::nullopt;
  policies_.erase(it);
  return store::Row{store::Table::retention, policy_key(pattern), std::nullopt};
}

std::optional<store::Row> RetentionPolicies::erase_hold(std::string_view pattern, std::string_view key) {
  auto row_key = hold_key(pattern, key);
  if (holds_.erase(row_key) == 0) return std::nullopt;
  return store::Row{store::Table::retention, std::move(row_key), std::nullopt};
}

// ---- what they say

std::vector<const LegalHold*> RetentionPolicies::holds() const {
  std::vector<const LegalHold*> all;
  for (const auto& [key, hold] : holds_) all.push_back(&hold);
  return all;
}

const RetentionPolicy* RetentionPolicies::policy_of(std::string_view topic) const {
  const RetentionPolicy* best = nullptr;
  for (const auto& [pattern, policy] : policies_) {
    if (wire::pattern_matches(pattern, topic) && (best == nullptr || says_more(pattern, best->pattern))) best = &policy;
  }
  return best;
}

RetentionPolicies::Held RetentionPolicies::held_of(std::string_view topic) const {
  Held held;
  for (const auto& [row_key, hold] : holds_) {
    if (!wire::pattern_matches(hold.pattern, topic)) continue;
    if (hold.key.empty()) held.all = true;
    else held.keys.push_back(hash128(bytes_of(hold.key), key_secret_));
  }
  std::sort(held.keys.begin(), held.keys.end());
  return held;
}

}  // namespace bus::broker
