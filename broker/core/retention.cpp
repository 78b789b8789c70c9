#include "broker/core/retention.hpp"

#include <algorithm>

#include "base/check.hpp"
#include "broker/store/key_pages.hpp"

namespace bus::broker {

namespace {

std::uint64_t live_events(const TopicData& topic) { return topic.events - topic.removed_events; }
std::uint64_t live_bytes(const TopicData& topic) { return topic.bytes - topic.removed_bytes; }

}  // namespace

void Retention::start(const store::Trim& trim, Now now) {
  trim_ = trim;
  now_ = now;
  clock_.start(log_.committed() == Position::none ? now.wall : std::min(now.wall, staging_.committed_at()), now.steady);
  if (!policies_.policies().empty()) due_ = now.steady + limits::retention_interval;
}

void Retention::drain() {
  abandon("the run was given up, since the broker is stopping");
  is_draining_ = true;
}

std::optional<SteadyTime> Retention::tick(Now now) {
  now_ = now;
  clock_.pass(now);
  if (!run_ && !is_draining_ && changes_.empty() && due_ && *due_ <= now.steady) begin({}, now);
  pace_.tick(log_.committed(), now.steady);
  if (!leavings_.empty() && !leavings_.back()->free_some()) leavings_.pop_back();
  while (run_ && run_->step != Step::none && pace_.rest_until() <= now.steady) go_to(std::exchange(run_->step, Step::none));
  if (!leavings_.empty()) return now.steady;
  if (!run_) return due_;
  return run_->step == Step::none ? std::nullopt : std::optional(pace_.rest_until());
}

void Retention::go_to(Step step) {
  switch (step) {
    case Step::gather: return gather();
    case Step::read_on: return read_on();
    case Step::go_on: return go_on();
    case Step::none: return;
  }
}

// Of a run that was abandoned meanwhile nobody wants the answer.
template <typename Done>
void Retention::ask(ReadAsk what, Done done) {
  pace_.asked(now_.steady);
  reads_.ask(std::move(what), [this, number = run_->number, done = std::move(done)](Result<ReadAnswer> answer) {
    if (!run_ || run_->number != number) return;
    pace_.answered();
    done(std::move(answer));
  });
}

// ---- a run, from its begin to its end

void Retention::begin(const Wanted& wanted, Now now) {
  pace_.begin(log_.committed(), now.steady);
  Run run;
  run.number = ++runs_;
  run.wanted = wanted;
  run.began_at = now.wall;
  run.to = log_.committed();
  run.policies = policies_;
  run.last_of = std::make_unique<LastEvents>();
  if (wanted.tried) run.policies->put(*wanted.tried);
  for (const auto& [pattern, policy] : run.policies->policies()) {
    if (!policy.has_limits()) continue;
    run.shares.push_back({policy});
    const auto number = run.shares.size() - 1;
    if (policy.max_age > Duration(0)) run.to_locate.emplace_back(number, false);
    if (!policy.latest_per_key) continue;
    run.shares.back().latest_until = log_.committed() + 1;
    if (policy.latest_after > Duration(0)) run.to_locate.emplace_back(number, true);
  }
  run_ = std::move(run);
  locate();
}

void Retention::abandon(std::string why) {
  if (!run_) return;
  run_->trouble = std::move(why);
  finish();
}

void Retention::finish() {
  for (const auto& ready : ready_) keep(*ready.record, ready.going);  // of a run that ends halfway
  run_->ended_at = now_.wall;
  run_->records.clear();
  leavings_.push_back(std::move(run_->last_of));
  run_->topics.clear();
  run_->policies.reset();
  ready_.clear();
  settled_.clear();
  last_ = std::move(*run_);
  run_.reset();
  if (last_.wanted.dry) return;
  due_.reset();
  // After a run that was long for its rests a longer one would come, and so on: so only its work counts.
  if (!policies_.policies().empty()) due_ = now_.steady + std::max<Duration>(limits::retention_interval, pace_.busy() * limits::retention_rest);
}

// Ages become positions, one after the other.
void Retention::locate() {
  if (run_->to_locate.empty()) return plan();
  const auto [number, is_of_latest] = run_->to_locate.front();
  run_->to_locate.pop_front();
  const RetentionPolicy& policy = run_->shares[number].policy;
  ask(ReadPositionAt{clock_.at(now_) - (is_of_latest ? policy.latest_after : policy.max_age)}, [this, number = number, is_of_latest = is_of_latest](const Result<ReadAnswer>& answer) {
    Share& share = run_->shares[number];
    // What cannot be told removes nothing.
    const Position at = answer ? std::get<Position>(*answer) : Position{1};
    if (!answer) run_->trouble = answer.error().detail;
    (is_of_latest ? share.latest_until : share.age_until) = std::min(at, run_->to + 1);
    locate();
  });
}

void Retention::plan() {
  Run& run = *run_;
  std::map<std::string_view, std::int32_t> share_of;
  for (std::size_t number = 0; number < run.shares.size(); ++number) share_of[run.shares[number].policy.pattern] = static_cast<std::int32_t>(number);
  run.topics.resize(state_.topics.size() + 1);
  std::vector<std::uint64_t> events(run.shares.size()), bytes(run.shares.size());
  std::vector<Position> first(run.shares.size(), run.to + 1);
  for (std::uint32_t topic = 1; topic < run.topics.size(); ++topic) {
    const RetentionPolicy* policy = run.wanted.tried ? run.policies->policy_of(state_.topics.name(topic)) : policy_of(topic);
    const auto share = policy == nullptr ? share_of.end() : share_of.find(policy->pattern);
    if (share == share_of.end()) continue;
    run.topics[topic].share = share->second;
    const auto number = static_cast<std::size_t>(share->second);
    events[number] += live_events(state_.topics[topic]);
    bytes[number] += live_bytes(state_.topics[topic]);
    if (live_events(state_.topics[topic]) > 0) first[number] = std::min(first[number], state_.topics[topic].first);
  }
  run.next_read = run.to + 1;
  for (std::size_t number = 0; number < run.shares.size(); ++number) {
    Share& share = run.shares[number];
    const RetentionPolicy& policy = share.policy;
    // The figures count what is lost or damaged, too: how many there are is counted only where that seems to be too much.
    share.counts = (policy.max_events > 0 && events[number] > policy.max_events) || (policy.max_bytes > 0 && bytes[number] > policy.max_bytes);
    if (share.counts) run.next_read = std::min(run.next_read, first[number]);
    if (const auto known = latest_to_.find(policy.pattern); known != latest_to_.end()) share.latest_from = known->second + 1;
    // It costs a walk through all that is kept, so it waits until an eighth of that has come anew.
    const bool is_worth_it = run.wanted.forced || share.latest_from + events[number] / 8 < share.latest_until;
    if (share.latest_from >= share.latest_until || !is_worth_it) share.latest_until = Position{1};
    if (share.latest_until > Position{1}) run.next_read = std::min(run.next_read, share.latest_from);
  }
  run.next_read > run.to ? walk() : gather();
}

// ---- which event of each key is the last one

void Retention::gather() {
  ask(ReadIndexes{run_->next_read}, [this](const Result<ReadAnswer>& answer) {
    if (!answer) {  // what is not known removes nothing
      note(answer.error());
      for (Share& share : run_->shares) share.latest_until = Position{1}, share.counts = false;
      return walk();
    }
    const auto& slice = std::get<store::IndexSlice>(*answer);
    note(slice.damage);
    for (const auto& record : slice.records) gather_from(*record);
    run_->next_read = slice.next;
    if (slice.next == Position::none || slice.next > run_->to) return walk();
    run_->step = Step::gather;
  });
}

std::optional<std::int32_t> Retention::share_of(const store::Record& record, std::uint32_t at) const {
  const auto topic = record.topic(at);
  const bool has_one = topic < run_->topics.size() && run_->topics[topic].share >= 0 && !record.is_removed(at) && record.first() + at <= run_->to;
  return has_one ? std::optional(run_->topics[topic].share) : std::nullopt;
}

// Once as many keys as may be are known, the others are for the next run.
void Retention::gather_from(const store::Record& record) {
  pace_.looked(record.count());
  for (std::uint32_t at = 0; at < record.count(); ++at) {
    const auto number = share_of(record, at);
    if (!number) continue;
    Share& share = run_->shares[static_cast<std::size_t>(*number)];
    share.live_events += 1;
    share.live_bytes += record.body_bytes(at);
    const Position position = record.first() + at;
    const Hash128 key = record.key_hash(at);
    if (key == Hash128{} || position < share.latest_from || position >= share.latest_until) continue;
    if (run_->last_of->size() < limits::retention_keys_max || run_->last_of->find({*number, key}) != Position::none) {
      run_->last_of->put({*number, key}, position);
    } else {
      share.latest_until = position;
    }
  }
}

// ---- through the log

// From the first event that may go, to the last one.
void Retention::walk() {
  Run& run = *run_;
  for (Share& share : run.shares) {
    const RetentionPolicy& policy = share.policy;
    if (share.counts && policy.max_events > 0) share.surplus_events = share.live_events - std::min(share.live_events, policy.max_events);
    if (share.counts && policy.max_bytes > 0) share.surplus_bytes = share.live_bytes - std::min(share.live_bytes, policy.max_bytes);
  }
  Position oldest = run.to + 1, from = run.to + 1;
  for (std::uint32_t topic = 1; topic < run.topics.size(); ++topic) {
    const TopicData& data = state_.topics[topic];
    const TopicPlan& plan = run.topics[topic];
    if (live_events(data) == 0) continue;
    oldest = std::min(oldest, data.first);
    if (plan.share < 0) continue;
    const Share& share = run.shares[static_cast<std::size_t>(plan.share)];
    const bool is_over = share.surplus_events > 0 || share.surplus_bytes > 0;
    const Position until = is_over ? run.to + 1 : std::max(share.age_until, share.latest_until);
    if (data.first < until) from = std::min(from, data.first);
  }
  // In front of what is kept there may be records of which nothing is.
  if (!run.wanted.dry && trim_.last + 1 < oldest) from = trim_.last + 1;
  run.from = run.at = run.next_read = from;
  run.at_front = !run.wanted.dry && from == trim_.last + 1;
  if (from > run.to) return finish();
  read_on();
}

void Retention::read_on() {
  ask(ReadIndexes{run_->next_read}, [this](const Result<ReadAnswer>& answer) {
    if (!answer) {
      note(answer.error());
      return finish();
    }
    const auto& slice = std::get<store::IndexSlice>(*answer);
    note(slice.damage);
    run_->at_front = run_->at_front && !slice.damage;
    run_->records.assign(slice.records.begin(), slice.records.end());
    run_->next_read = slice.next;
    go_on();
  });
}

bool Retention::may_go_after(Position position) const {
  return std::any_of(run_->shares.begin(), run_->shares.end(), [&](const Share& share) {
    return share.surplus_events > 0 || share.surplus_bytes > 0 || std::max(share.age_until, share.latest_until) > position;
  });
}

// Looks at records until one has to be read whole, or enough is ready for a commit.
void Retention::go_on() {
  while (!run_->records.empty()) {
    if (is_enough_ready()) return;
    const auto record = run_->records.front();
    run_->records.pop_front();
    if (record->first() > run_->to || (!may_go_after(record->first() - 1) && !run_->at_front)) break;
    pace_.looked(record->count());
    settled_.clear();
    std::vector<std::uint32_t> going;
    std::size_t gone = 0;
    for (std::uint32_t at = 0; at < record->count(); ++at) {
      if (record->is_removed(at)) {
        ++gone;
      } else if (decide(*record, at) == Fate::goes) {
        going.push_back(at);
      }
    }
    run_->at = record->last();
    if (run_->wanted.dry) continue;
    run_->at_front = run_->at_front && may_trim(*record, gone + going.size());
    if (run_->at_front) {
      make_ready({record, std::move(going), nullptr});
      continue;
    }
    if (!going.empty()) return rewrite(record, std::move(going));
  }
  if (is_enough_ready()) return;
  const bool is_done = run_->next_read == Position::none || run_->next_read > run_->to || (!may_go_after(run_->at) && !run_->at_front);
  if (!is_done) return void(run_->step = Step::read_on);
  if (!ready_.empty() || !changes_.empty()) return;
  settle_first();
  finish();
}

const RetentionPolicies::Held& Retention::held(std::uint32_t topic) {
  auto& held = run_->topics[topic].held;
  if (!held) held = policies_.held_of(state_.topics.name(topic));
  return *held;
}

// A group that has not settled the event, or keeps it as a dead letter; null: none does.
const Source* Retention::keeper(std::uint32_t topic, Position position) {
  const auto [it, is_new] = settled_.try_emplace(topic);
  if (is_new) it->second = delivery_.settled(topic);
  return position > it->second.up_to ? it->second.slowest : delivery_.letter_keeper(topic, position);
}

Retention::Fate Retention::decide(const store::Record& record, std::uint32_t at) {
  const auto number = share_of(record, at);
  if (!number) return Fate::stays;
  const auto topic = record.topic(at);
  TopicPlan& plan = run_->topics[topic];
  Share& share = run_->shares[static_cast<std::size_t>(*number)];
  const Position position = record.first() + at;
  const std::uint64_t bytes = record.body_bytes(at);
  const bool is_over = share.surplus_events > 0 || share.surplus_bytes > 0;
  const bool may_go = is_over || position < share.age_until || is_superseded(share, *number, record, at);
  const auto stay = [&] {
    TopicData& data = state_.topics[topic];
    if (!run_->wanted.dry && !std::exchange(plan.was_met, true) && data.first >= run_->from && data.first != position) {
      data.first = position;
      data.dirty = true;
    }
    return Fate::stays;
  };
  if (!may_go) return stay();
  // What is kept all the same is one of those that are too many.
  share.surplus_events -= std::min<std::uint64_t>(share.surplus_events, 1);
  share.surplus_bytes -= std::min(share.surplus_bytes, bytes);
  if (held(topic).has(record.key_hash(at))) {
    ++share.held;
    return stay();
  }
  if (const Source* group = share.policy.past_groups ? nullptr : keeper(topic, position)) {
    ++share.kept_for_groups;
    share.group = group->group->name;
    return stay();
  }
  ++share.events;
  share.bytes += bytes;
  return Fate::goes;
}

bool Retention::is_superseded(const Share& share, std::int32_t number, const store::Record& record, std::uint32_t at) const {
  const Position position = record.first() + at;
  if (position >= share.latest_until) return false;
  const Hash128 key = record.key_hash(at);
  if (key == Hash128{}) return false;
  return run_->last_of->find({number, key}) > position;
}

// ---- changes

// A start reads from replay_from on, and the log has one record at least.
bool Retention::may_trim(const store::Record& record, std::size_t going) const {
  return going == record.count() && record.last() < staging_.replay_from() && record.last() < log_.committed();
}

void Retention::trim(const store::Record& record, const std::vector<std::uint32_t>& going) {
  count(record, going);
  for (std::uint32_t at = 0; at < record.count(); ++at) {
    const auto entry = record.entry(at);
    if (!entry.key || !store::has_key_page(entry.key->hash, entry.key->version)) continue;
    staging_.put_row({store::Table::key_pages, store::key_page_key(entry.key->hash, entry.key->version), std::nullopt});
  }
  trim_ = {record.last(), record.chain_after()};
  staging_.trim(trim_);
  change({record.first(), nullptr}, record.last());
}

void Retention::change(store::RecordChange change, Position last) {
  changes_.push_back({staging_.batch(), last, change.record});
  staging_.change(std::move(change));
}

// The record has to be read: its index alone is known. It stays as it is if it is damaged.
void Retention::rewrite(const store::RecordPtr& record, std::vector<std::uint32_t> going) {
  ask(ReadWithout{record->first(), going}, [this, record, going](const Result<ReadAnswer>& answer) {
    run_->step = Step::go_on;
    if (answer) return make_ready({record, going, std::get<store::RecordPtr>(*answer)});
    note(answer.error());
    keep(*record, going);
  });
}

void Retention::make_ready(Ready ready) {
  if (ready_.empty()) ready_since_ = now_.steady;
  ready_.push_back(std::move(ready));
}

bool Retention::is_enough_ready() const {
  std::size_t bytes = 0, events = 0;
  for (const auto& ready : ready_) {
    if (ready.rewritten == nullptr) continue;
    bytes += ready.rewritten->bytes().size();
    events += ready.record->count();
  }
  return RetentionPace::is_enough(ready_.size(), bytes, events);
}

std::optional<SteadyTime> Retention::commit_due(SteadyTime now) const {
  if (ready_.empty()) return std::nullopt;
  return pace_.commit_due(ready_since_, now);
}

void Retention::join(bool others, SteadyTime now) {
  if (others) pace_.others_commit(now);
  if (ready_.empty()) return;
  settled_.clear();
  bool is_front_whole = true;
  for (auto& ready : std::exchange(ready_, {})) {
    const bool is_behind_gap = ready.rewritten == nullptr && !is_front_whole;
    if (is_behind_gap || !may_still_go(ready)) {
      is_front_whole = run_->at_front = false;
      note(Error{Code::busy, "a group was moved while the record at position " + std::to_string(number(ready.record->first())) + " was being changed"});
      keep(*ready.record, ready.going);
    } else if (ready.rewritten == nullptr) {
      trim(*ready.record, ready.going);
    } else {
      count(*ready.record, ready.going);
      change({ready.record->first(), std::move(ready.rewritten)}, ready.record->last());
    }
  }
  if (changes_.empty() && !pace_.is_reading()) run_->step = Step::go_on;
}

// Not if a group has been moved back since it was decided.
bool Retention::may_still_go(const Ready& ready) {
  return std::all_of(ready.going.begin(), ready.going.end(), [&](std::uint32_t at) {
    const auto topic = ready.record->topic(at);
    const auto& policy = run_->shares[static_cast<std::size_t>(run_->topics[topic].share)].policy;
    return policy.past_groups || keeper(topic, ready.record->first() + at) == nullptr;
  });
}

// What should have gone stays.
void Retention::keep(const store::Record& record, const std::vector<std::uint32_t>& going) {
  for (const auto at : going) {
    TopicPlan& plan = run_->topics[record.topic(at)];
    TopicData& data = state_.topics[record.topic(at)];
    plan.was_met = true;
    data.first = std::min(data.first, record.first() + at);
    data.dirty = true;
    Share& share = run_->shares[static_cast<std::size_t>(plan.share)];
    share.events -= 1;
    share.bytes -= record.body_bytes(at);
  }
}

void Retention::note(const std::optional<Error>& error) {
  if (error) run_->trouble = error->detail;
}

const RetentionPolicy* Retention::policy_of(std::uint32_t topic) const {
  if (topic >= policy_of_.size()) policy_of_.resize(topic + 1);
  if (!policy_of_[topic]) policy_of_[topic] = policies_.policy_of(state_.topics.name(topic));
  return *policy_of_[topic];
}

// The figures of topics become durable with the change itself: recovery does not count again what a row has counted.
void Retention::count(const store::Record& record, const std::vector<std::uint32_t>& going) {
  std::vector<std::uint32_t> topics;
  for (const auto at : going) {
    TopicData& data = state_.topics[record.topic(at)];
    data.removed_events += 1;
    data.removed_bytes += record.body_bytes(at);
    topics.push_back(record.topic(at));
  }
  std::sort(topics.begin(), topics.end());
  topics.erase(std::unique(topics.begin(), topics.end()), topics.end());
  for (const auto topic : topics) staging_.put_row(state_.topic_row(topic));
}

void Retention::committed(SteadyTime now) {
  if (changes_.empty()) return;
  for (; !changes_.empty() && changes_.front().batch <= staging_.committed_batch(); changes_.pop_front()) {
    auto& change = changes_.front();
    change.record != nullptr ? log_.change(std::move(change.record)) : log_.trim(change.last);
  }
  now_.steady = now;
  if (run_ && !pace_.is_reading() && changes_.empty() && run_->step == Step::none) run_->step = Step::go_on;
}

// Of a topic of which nothing was met that stays, the first one lies behind where the run has come to.
void Retention::settle_first() {
  if (run_->wanted.dry) return;
  for (std::uint32_t topic = 1; topic < run_->topics.size(); ++topic) {
    TopicData& data = state_.topics[topic];
    const TopicPlan& plan = run_->topics[topic];
    if (plan.share < 0 || plan.was_met || data.first < run_->from || data.first > run_->at || live_events(data) == 0) continue;
    data.first = std::min(run_->at + 1, data.last);
    data.dirty = true;
  }
  // What was kept for others is looked at again: it may not be kept the next time.
  for (const Share& share : run_->shares) {
    const bool is_all = share.kept_for_groups == 0 && share.held == 0 && run_->trouble.empty();
    if (share.latest_until > Position{1} && is_all) latest_to_[share.policy.pattern] = share.latest_until - 1;
  }
}

}  // namespace bus::broker
