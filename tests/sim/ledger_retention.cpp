// The part of the ledger that knows of retention: what policies and legal holds are in force, what has gone, and whether it might.
#include <algorithm>
#include <limits>

#include "tests/sim/ledger.hpp"

namespace bus::sim {

using broker::Core;

namespace {

// A decision may have been made some messages later than the ledger has looked at the clock.
constexpr std::int64_t clock_slack = 1000;

std::vector<std::string> tokens_of(std::string pattern) {
  std::vector<std::string> tokens;
  for (auto dot = pattern.find('.'); dot != std::string::npos; dot = pattern.find('.')) {
    tokens.push_back(pattern.substr(0, dot));
    pattern.erase(0, dot + 1);
  }
  tokens.push_back(pattern);
  return tokens;
}

// Does `a` say more of a topic than `b`, if both match it? Written apart from the broker's own.
bool is_closer(const std::string& a, const std::string& b) {
  const auto mine = tokens_of(a), other = tokens_of(b);
  const auto vague = [](const std::string& token) { return token == ">" ? 2 : token == "*" ? 1 : 0; };
  for (std::size_t at = 0; at < std::min(mine.size(), other.size()); ++at) {
    if (mine[at] != other[at]) return vague(mine[at]) < vague(other[at]);
  }
  return false;
}

std::string hold_name(const std::string& pattern, const std::string& key) { return "hold " + pattern + " " + key; }

}  // namespace

// ---- policies and legal holds

void Ledger::Rules::apply(const store::Row& row) {
  if (row.table != store::Table::retention) return;
  const bool is_policy = row.key.starts_with('p');
  if (!row.value) {
    require((is_policy ? policies.erase(row.key.substr(1)) : holds.erase(row.key)) == 1, "a policy or hold is erased that is not there");
    return;
  }
  Reader reader(*row.value);
  if (!is_policy) {
    const auto pattern = std::string(reader.get_string()), key = std::string(reader.get_string());
    holds[row.key] = {pattern, key};
    return;
  }
  Policy policy{row.key.substr(1)};
  policy.max_age = reader.get<std::int64_t>();
  policy.max_bytes = reader.get<std::uint64_t>();
  policy.max_events = reader.get<std::uint64_t>();
  policy.latest_per_key = reader.get<std::uint8_t>() != 0;
  policy.latest_after = reader.get<std::int64_t>();
  policy.past_groups = reader.get<std::uint8_t>() != 0;
  require(reader.done(), "the row of a policy has another size");
  policies[policy.pattern] = policy;
}

const Ledger::Policy* Ledger::Rules::policy_of(const std::string& topic) const {
  const Policy* best = nullptr;
  for (const auto& [pattern, policy] : policies) {
    if (matches(pattern, topic) && (best == nullptr || is_closer(pattern, best->pattern))) best = &policy;
  }
  return best;
}

bool Ledger::Rules::is_held(const SentEvent& event) const {
  return std::any_of(holds.begin(), holds.end(), [&](const auto& hold) {
    const auto& [pattern, key] = hold.second;
    return matches(pattern, event.topic) && (key.empty() || key == event.key);
  });
}

bool Ledger::Rules::has_hold(const std::string& pattern, const std::string& key) const {
  return std::any_of(holds.begin(), holds.end(), [&](const auto& hold) { return hold.second == std::pair(pattern, key); });
}

// By position - 1, from `from` on: why each event that is there might go at this time, but for legal holds and groups.
std::vector<Ledger::Reason> Ledger::reasons_to_go(const Rules& rules, std::int64_t now, std::uint64_t from) const {
  constexpr std::int64_t none = std::numeric_limits<std::int64_t>::max();
  struct Newer {
    const Policy* policy = nullptr;
    std::uint64_t events = 0, bytes = 0;
    std::vector<std::int64_t> keys = {};                 // by number: when the next later event of each was committed
  };
  std::map<const Policy*, std::size_t> number_of = {{nullptr, 0}};
  std::vector<std::size_t> policy_of(topics_.size());    // by topic; 0: none
  for (const auto& [topic, number] : topics_) policy_of[number] = number_of.try_emplace(rules.policy_of(topic), number_of.size()).first->second;
  std::vector<Newer> newer(number_of.size());
  for (const auto& [policy, number] : number_of) newer[number] = {policy, 0, 0, std::vector(keys_.size(), none)};
  std::vector<Reason> reasons(log_.size(), Reason::none);
  for (auto position = head(); position >= from; --position) {
    const LogEvent& event = at(position);
    if (event.is_removed || policy_of[event.topic] == 0) continue;
    Newer& later = newer[policy_of[event.topic]];
    const Policy& policy = *later.policy;
    later.bytes += event.sent->bytes.size();
    const auto next = later.keys[event.key];
    const bool is_superseded = policy.latest_per_key && next != none && (policy.latest_after == 0 || next < now - policy.latest_after);
    const bool is_too_much = (policy.max_events > 0 && later.events >= policy.max_events) || (policy.max_bytes > 0 && later.bytes > policy.max_bytes);
    const bool is_old = policy.max_age > 0 && event.committed_at < now - policy.max_age;
    reasons[position - 1] = is_old ? Reason::age : is_too_much ? Reason::count : is_superseded ? Reason::latest : Reason::none;
    later.events += 1;
    if (!event.sent->key.empty()) later.keys[event.key] = event.committed_at;
  }
  return reasons;
}

// Each group that may want the event has settled it, or was elsewhere or not there yet for a while since the last batch was taken.
bool Ledger::is_free_of_groups(std::uint64_t position) const {
  return std::all_of(live_.begin(), live_.end(), [&](const auto& live) {
    const Incarnation& group = groups_.at(live.second);
    if (group.is_new || !wants(group, position) || is_over(position)) return true;
    return std::any_of(group.lately.begin(), group.lately.end(), [&](const auto generation) {
      const View& view = group.views.at(generation);
      return position < view.start || view.acked.contains(position);
    });
  });
}

// A group has it among its dead letters, and has for a while.
bool Ledger::is_letter(const Core& core, std::uint64_t position) const {
  return std::any_of(live_.begin(), live_.end(), [&](const auto& live) {
    const Incarnation& group = groups_.at(live.second);
    const auto& source = *core.delivery().groups().at(live.first);
    return !group.is_new && group.lately.size() == 1 && source.group->state.letters().find(Position{position}) != nullptr;
  });
}

// ---- what goes

void Ledger::handed_over(const store::CommitBatch& batch, const Core& core) {
  // What goes was decided while one of these was in force.
  std::vector<Rules> rules = {rules_};
  for (const store::Row& row : batch.rows) {
    if (row.table != store::Table::retention) continue;
    rules.push_back(rules.back());
    rules.back().apply(row);
  }
  std::vector<std::uint64_t> going;
  for (const auto& change : batch.changes) {
    const auto first = number(change.first);
    const auto record = records_.find(first);
    require(record != records_.end(), place(first) + "a record is to be changed that is not there");
    for (std::uint32_t index = 0; index < record->second; ++index) {
      const bool goes = change.record == nullptr || change.record->is_removed(index);
      if (goes && !is_removed(first + index)) going.push_back(first + index);
    }
  }
  if (!going.empty()) check_removals(going, rules, core);
  for (const auto& [name, id] : live_) {
    Incarnation& group = groups_.at(id);
    group.is_new = false;
    group.lately = {group.views.rbegin()->first};
  }
}

void Ledger::check_removals(const std::vector<std::uint64_t>& going, const std::vector<Rules>& rules, const Core& core) {
  std::vector<std::string> complaints(going.size());
  for (const Rules& one : rules) {
    const auto reasons = reasons_to_go(one, nanoseconds(now_) + clock_slack, *std::min_element(going.begin(), going.end()));
    for (std::size_t at_index = 0; at_index < going.size(); ++at_index) {
      const auto position = going[at_index];
      const SentEvent& event = *at(position).sent;
      const Reason reason = reasons[position - 1];
      auto& complaint = complaints[at_index];
      const bool is_first = &one == &rules.front();
      if (!is_first && complaint.empty()) continue;
      if (reason == Reason::none) complaint = "removed, though its policy keeps it";
      else if (one.is_held(event)) complaint = "removed, though it is held";
      else if (one.policy_of(event.topic)->past_groups) complaint.clear();
      else if (is_letter(core, position)) complaint = "removed, though it is a dead letter";
      else if (!is_free_of_groups(position)) complaint = "removed, though a group has not settled it";
      else complaint.clear();
      figures_.latest += complaint.empty() && reason == Reason::latest;
    }
  }
  for (std::size_t index = 0; index < going.size(); ++index) {
    require(complaints[index].empty(), place(going[index]) + "topic " + at(going[index]).sent->topic + ", key '" + at(going[index]).sent->key + "': " + complaints[index]);
  }
}

void Ledger::apply_removals(const store::CommitBatch& batch) {
  for (const store::Row& row : batch.rows) rules_.apply(row);
  for (const auto& change : batch.changes) {
    const auto first = number(change.first);
    const auto count = records_.at(first);
    for (std::uint32_t index = 0; index < count; ++index) {
      LogEvent& event = log_.at(first + index - 1);
      const bool is_gone = change.record == nullptr || change.record->is_removed(index);
      require(is_gone || !event.is_removed, place(first + index) + "removed, and there again");
      const bool is_same = is_gone || std::ranges::equal(change.record->body(index), event.sent->bytes);
      require(is_same, place(first + index) + "its bytes have changed with others being removed");
      if (is_gone && !event.is_removed) untold_.push_back(first + index);
      figures_.removed += is_gone && !event.is_removed;
      figures_.trimmed += change.record == nullptr;
      event.is_removed = is_gone;
      event.is_trimmed = change.record == nullptr;
    }
    if (change.record != nullptr) continue;
    require(first == trimmed_to_ + 1, place(first) + "a record was deleted that is not the oldest");
    trimmed_to_ = first + count - 1;
    records_.erase(first);
  }
  require(!batch.trim || number(batch.trim->last) == trimmed_to_, "the log is trimmed to another place than its records");
}

void Ledger::reported() {
  for (const auto position : std::exchange(untold_, {})) log_.at(position - 1).is_told = true;
}

bool Ledger::are_removed(std::uint64_t first, std::uint64_t last) const {
  for (; first <= last; ++first) {
    if (!is_removed(first)) return false;
  }
  return true;
}

std::uint64_t Ledger::unknown_to(const std::string& publisher) const {
  std::uint64_t unknown_to = 0;
  for (const LogEvent& event : log_) {
    if (event.publisher != publisher || due_.contains({publisher, event.sequence})) continue;
    if (!event.is_trimmed) return unknown_to == 0 ? 0 : event.sequence - 1;
    unknown_to = publishers_.at(publisher).created;
  }
  return unknown_to;
}

void Ledger::check_verified(const store::VerifySlice& last, std::uint64_t removed, const Moment* moment) const {
  const Moment of = moment != nullptr ? *moment : now_there();
  require(number(last.last) == of.head && number(last.trimmed_to) == of.trimmed_to, "verify goes through another log");
  const auto expected = std::count(of.removed.begin() + static_cast<std::ptrdiff_t>(of.trimmed_to), of.removed.end(), true);
  require(removed == static_cast<std::uint64_t>(expected), "verify counts " + std::to_string(removed) + " removed events, and not " + std::to_string(expected));
}

void Ledger::check_all_went(const Core& core, WallTime began) {
  if (log_.empty()) return;
  // A clock that is far ahead of the last commit is not believed.
  const auto now = std::min(nanoseconds(began), log_.back().committed_at + std::chrono::nanoseconds(limits::retention_clock_trust).count());
  const auto reasons = reasons_to_go(rules_, now, 1);
  for (std::uint64_t position = 1; position <= head(); ++position) {
    const SentEvent& event = *at(position).sent;
    if (reasons[position - 1] == Reason::none) continue;
    const bool is_held = rules_.is_held(event);
    figures_.held += is_held;
    if (is_held) continue;
    const bool is_kept = !rules_.policy_of(event.topic)->past_groups && is_letter(core, position);
    figures_.for_groups += is_kept;
    require(is_kept, place(position) + "topic " + event.topic + ", key '" + event.key + "': it had to go, and is still there");
  }
}

// ---- what is asked and told

void Ledger::ask_retention(const Peer& peer, const wire::Request& request) {
  const Asked id{peer, request.request()};
  if (const auto* get = request.ask_as_EventGet()) gets_[id] = get->position();
  RuleAsked asked;
  if (const auto* set = request.ask_as_RetentionSet()) {
    const auto& policy = *set->policy();
    const auto ns = [](std::uint64_t ms) { return static_cast<std::int64_t>(ms) * 1'000'000; };
    asked.what = policy.pattern()->str();
    asked.policy = {asked.what, ns(policy.max_age_ms()), policy.max_bytes(), policy.max_events(), policy.latest_per_key(), ns(policy.latest_after_ms()), policy.past_groups()};
  } else if (const auto* remove = request.ask_as_RetentionRemove()) {
    asked.what = remove->pattern()->str();
  } else if (const auto* hold = request.ask_as_LegalHoldSet()) {
    asked.hold = {flatbuffers::GetString(hold->hold()->pattern()), flatbuffers::GetString(hold->hold()->key())};
    asked.what = hold_name(asked.hold->first, asked.hold->second);
  } else if (const auto* release = request.ask_as_LegalHoldRelease()) {
    asked.hold = {flatbuffers::GetString(release->pattern()), flatbuffers::GetString(release->key())};
    asked.what = hold_name(asked.hold->first, asked.hold->second);
    asked.releases = true;
  } else {
    return;
  }
  asked.number = ++last_asked_[asked.what];
  rules_asked_[id] = asked;
}

// What was answered with Done holds from here on, unless somebody has asked otherwise since.
void Ledger::leave_retention(const Peer& peer, const wire::ReplyT& reply) {
  gets_.erase({peer, reply.request});
  const auto node = rules_asked_.extract({peer, reply.request});
  if (node.empty()) return;
  const RuleAsked& asked = node.mapped();
  if (asked.number != last_asked_[asked.what]) return;
  if (asked.hold) return require(rules_.has_hold(asked.hold->first, asked.hold->second) != asked.releases, asked.what + ": what was answered is not durable");
  const auto policy = rules_.policies.find(asked.what);
  if (!asked.policy) return require(policy == rules_.policies.end(), asked.what + ": said to be removed, and is not");
  require(policy != rules_.policies.end() && policy->second == *asked.policy, asked.what + ": the policy is not the one that was set");
}

void Ledger::leave_trimmed(const Peer& peer, const wire::FailureT& failure) {
  const auto get = gets_.extract({peer, failure.request});
  rules_asked_.erase({peer, failure.request});
  if (failure.code != Code::trimmed) return;
  if (!get.empty()) require(is_removed(get.mapped()), place(get.mapped()) + "said to be trimmed, and is there");
}

void Ledger::check_notice(std::uint64_t events, std::uint64_t to) {
  require(to <= head() && (to == 0 || is_removed(to)), place(to) + "said to be passed over as removed, and is there");
  require(events == 0 || to != 0, "events were passed over as removed, and not said up to where");
  figures_.told_trimmed += events > 0;
}

}  // namespace bus::sim
