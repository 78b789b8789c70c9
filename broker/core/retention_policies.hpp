// How long events are kept: policies for topics, and legal holds, which go before any policy. Pure values; docs/RETENTION.md says
// what they mean, docs/STORAGE.md how their rows look.
#pragma once

#include <algorithm>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "broker/core/state.hpp"

namespace bus::broker {

struct RetentionPolicy {
  std::string pattern;
  Duration max_age{0};                   // since the commit; 0: no limit, here and below
  std::uint64_t max_bytes = 0, max_events = 0;  // of all topics that have this policy
  bool latest_per_key = false;           // an event goes when a later one has its key
  Duration latest_after{0};              // and that one is as old as this
  bool past_groups = false;              // also what a group has not settled
  bool operator==(const RetentionPolicy&) const = default;

  // Errors: bad_pattern, bad_settings.
  Result<void> check() const;
  bool has_limits() const { return max_age > Duration(0) || max_bytes > 0 || max_events > 0 || latest_per_key; }
};

struct LegalHold {
  std::string pattern, key;              // key empty: of all keys
  std::string reason;
  WallTime since;

  // Errors: bad_pattern, bad_key, bad_settings.
  Result<void> check() const;
};

// True if of two patterns that match one topic `a` says more about it.
bool says_more(std::string_view a, std::string_view b);

class RetentionPolicies {
 public:
  explicit RetentionPolicies(std::uint64_t key_secret) : key_secret_(key_secret) {}

  Result<void> restore_row(std::string_view key, std::string_view value);
  // What is put takes the place of what has the same pattern, or pattern and key. The row is for the next commit.
  store::Row put(RetentionPolicy policy);
  store::Row put(LegalHold hold);
  // Nothing: there is no such one.
  std::optional<store::Row> erase_policy(std::string_view pattern);
  std::optional<store::Row> erase_hold(std::string_view pattern, std::string_view key);

  const std::map<std::string, RetentionPolicy, std::less<>>& policies() const { return policies_; }
  std::vector<const LegalHold*> holds() const;
  // Of the topic; null: it keeps everything.
  const RetentionPolicy* policy_of(std::string_view topic) const;
  // What holds keep of the topic: all of it, or these keys, in order.
  struct Held {
    bool all = false;
    std::vector<Hash128> keys;
    bool has(const Hash128& key) const { return all || std::binary_search(keys.begin(), keys.end(), key); }
  };
  Held held_of(std::string_view topic) const;
  bool has_hold(std::string_view pattern, std::string_view key) const { return holds_.contains(hold_key(pattern, key)); }

 private:
  std::string hold_key(std::string_view pattern, std::string_view key) const;

  std::uint64_t key_secret_;
  std::map<std::string, RetentionPolicy, std::less<>> policies_;  // by pattern
  std::map<std::string, LegalHold, std::less<>> holds_;           // by row key
};

}  // namespace bus::broker
