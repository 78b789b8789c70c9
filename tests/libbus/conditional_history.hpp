// What clients did to a few keys and were told, and whether it can have been so: one order of all events, each in effect at one
// instant between its call and its answer, in which every condition was answered truly.
//
// The log gives the order of the events, so that only the instants are left to find. What an operation learned places it between
// two events: a conflict that reports version 7 lies after the key's event 7 and before its event 8. By that, and by calls and
// answers, each event has an earliest and a latest instant. Instants in the log's order exist exactly if no event's latest one is
// before the earliest one of any event up to it.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace bus::test {

enum class Wanted { version, exists, absent };

struct Need {
  std::uint32_t key = 0;
  Wanted wanted = Wanted::version;
  std::uint64_t version = 0;

  bool is_met(std::uint64_t at) const {
    switch (wanted) {
      case Wanted::version: return at == version;
      case Wanted::exists: return at > 0;
      case Wanted::absent: return at == 0;
    }
    return false;
  }
};

enum class Outcome {
  stored,                              // version and position
  conflict,                            // conflict_key is at version
  refused,                             // not stored, and no more is known: refused_before
  unknown,                             // stored or not
  seen                                 // no event: the key's head was asked for, which is at version
};

// Instants are nanoseconds of a steady clock.
struct Operation {
  std::uint64_t id = 0;                // of its event, too
  std::uint32_t key = 0;
  std::vector<Need> needs = {};        // looked at in this order
  std::int64_t called = 0, answered = 0;
  Outcome outcome = Outcome::unknown;
  std::uint64_t version = 0, position = 0;
  std::uint32_t conflict_key = 0;
};

// An event as the log has it.
struct Logged {
  std::uint64_t id = 0, position = 0;
  std::uint32_t key = 0;
  std::uint64_t version = 0;
};

// ConditionalHistory holds one history against its log. A value of the test.
class ConditionalHistory {
 public:
  ConditionalHistory(std::vector<Operation> operations, std::vector<Logged> log) : operations_(std::move(operations)), log_(std::move(log)) {}

  // What is wrong, at most `most` of it; nothing: it can have been so.
  std::vector<std::string> faults(std::size_t most = 10) {
    faults_.clear();
    read_log();
    for (const Operation& operation : operations_) check(operation);
    for (const auto& [id, at] : unclaimed_) fault("event " + std::to_string(id) + " is in the log, and nobody published it");
    if (faults_.empty()) check_instants();
    if (faults_.size() > most) faults_.resize(most);
    return faults_;
  }

 private:
  static constexpr std::int64_t ever = std::numeric_limits<std::int64_t>::max();
  static constexpr std::int64_t never = std::numeric_limits<std::int64_t>::min();

  // Between which events something happened: after the first `after` of the log, and before the one that follows the first `before`.
  struct Between {
    std::size_t after = 0, before = std::numeric_limits<std::size_t>::max();
  };

  void fault(std::string what) { faults_.push_back(std::move(what)); }
  static std::string name(const Operation& operation) { return "operation " + std::to_string(operation.id); }
  static std::string name(std::uint32_t key, std::uint64_t version) {
    return "version " + std::to_string(version) + " of key " + std::to_string(key);
  }

  // The log by itself: positions rise, and each key's versions are 1 to n.
  void read_log() {
    earliest_.assign(log_.size(), never);
    latest_.assign(log_.size(), ever);
    for (std::size_t at = 0; at < log_.size(); ++at) {
      const Logged& logged = log_[at];
      if (at > 0 && logged.position <= log_[at - 1].position) fault("position " + std::to_string(logged.position) + " follows " + std::to_string(log_[at - 1].position));
      auto& places = places_[logged.key];
      places.push_back(at);
      if (logged.version != places.size()) fault("the log has " + name(logged.key, logged.version) + " where version " + std::to_string(places.size()) + " belongs");
      if (!unclaimed_.emplace(logged.id, at).second) fault("event " + std::to_string(logged.id) + " is in the log twice");
    }
  }

  // While the key is at these versions.
  Between between(std::uint32_t key, std::uint64_t lowest, std::uint64_t highest) const {
    Between found;
    const auto places = places_.find(key);
    const std::size_t count = places == places_.end() ? 0 : places->second.size();
    if (lowest > count) return {found.before, 0};
    if (lowest > 0) found.after = places->second[lowest - 1] + 1;
    if (highest < count) found.before = places->second[highest];
    return found;
  }
  Between between(const Need& need) const {
    switch (need.wanted) {
      case Wanted::version: return between(need.key, need.version, need.version);
      case Wanted::exists: return between(need.key, 1, ever);
      case Wanted::absent: break;
    }
    return between(need.key, 0, 0);
  }

  void check(const Operation& operation) {
    const auto found = unclaimed_.find(operation.id);
    const bool is_logged = found != unclaimed_.end();
    const std::size_t place = is_logged ? found->second : 0;
    if (is_logged) unclaimed_.erase(found);
    const bool may_be_logged = operation.outcome == Outcome::stored || operation.outcome == Outcome::unknown;
    if (is_logged && !may_be_logged) return fault(name(operation) + " was refused, and is in the log");
    switch (operation.outcome) {
      case Outcome::stored:
        if (!is_logged) return fault(name(operation) + " has a receipt for " + name(operation.key, operation.version) + ", and the log does not have it");
        return check_stored(operation, place);
      case Outcome::unknown:
        if (is_logged) check_place(operation, place);
        return;
      case Outcome::conflict: return check_conflict(operation);
      case Outcome::seen: return learn(operation, between(operation.key, operation.version, operation.version));
      case Outcome::refused: return;
    }
  }

  void check_stored(const Operation& operation, std::size_t place) {
    const Logged& logged = log_[place];
    if (logged.key != operation.key || logged.version != operation.version || logged.position != operation.position) {
      return fault(name(operation) + " has a receipt for " + name(operation.key, operation.version) + " at " + std::to_string(operation.position) +
                   "; the log has it as " + name(logged.key, logged.version) + " at " + std::to_string(logged.position));
    }
    check_place(operation, place);
    latest_[place] = std::min(latest_[place], operation.answered);
  }

  // Its conditions were true right before it.
  void check_place(const Operation& operation, std::size_t place) {
    earliest_[place] = std::max(earliest_[place], operation.called);
    for (const Need& need : operation.needs) {
      const Between met = between(need);
      if (place < met.after || place > met.before) fault(name(operation) + " was stored although key " + std::to_string(need.key) + " was not as it wanted it");
    }
  }

  // The first condition that is not met is what it is about; those before it are met at that instant, too.
  void check_conflict(const Operation& operation) {
    Between found = between(operation.conflict_key, operation.version, operation.version);
    for (const Need& need : operation.needs) {
      if (need.key == operation.conflict_key && !need.is_met(operation.version)) return learn(operation, found);
      const Between met = between(need);
      found = {std::max(found.after, met.after), std::min(found.before, met.before)};
    }
    fault(name(operation) + " was refused as it wanted it: at " + name(operation.conflict_key, operation.version));
  }

  // It happened between those, so these are not later than its answer, and not earlier than its call.
  void learn(const Operation& operation, const Between& found) {
    if (found.after > found.before) {
      const auto key = operation.outcome == Outcome::seen ? operation.key : operation.conflict_key;
      return fault(name(operation) + " saw " + name(key, operation.version) + ", which never was, or not together with the rest of what it saw");
    }
    if (found.after > 0) latest_[found.after - 1] = std::min(latest_[found.after - 1], operation.answered);
    if (found.before < log_.size()) earliest_[found.before] = std::max(earliest_[found.before], operation.called);
  }

  void check_instants() {
    for (std::size_t at = latest_.size(); at-- > 1;) latest_[at - 1] = std::min(latest_[at - 1], latest_[at]);
    std::int64_t earliest = never;
    for (std::size_t at = 0; at < log_.size(); ++at) {
      earliest = std::max(earliest, earliest_[at]);
      if (earliest <= latest_[at]) continue;
      return fault("event " + std::to_string(log_[at].id) + ", " + name(log_[at].key, log_[at].version) +
                   ", was known before, or not yet known after, one that goes with it by the log");
    }
  }

  std::vector<Operation> operations_;
  std::vector<Logged> log_;
  std::map<std::uint32_t, std::vector<std::size_t>> places_;  // of each key's versions in log_
  std::map<std::uint64_t, std::size_t> unclaimed_;            // by id
  std::vector<std::int64_t> earliest_, latest_;               // of each event of log_
  std::vector<std::string> faults_;
};

}  // namespace bus::test
