// Goal: over any history, exactly those events are removed which the rules say.
// Method: publish, acknowledge, reject, let time pass, set and remove policies and holds, crash and restart, all at random; and after each
// run compare what is left with a model that knows every event and applies the rules to all of them.
#include <random>

#include "tests/support/retention_case.hpp"

namespace bus::broker {
namespace {

using namespace std::chrono_literals;

struct ModelEvent {
  std::uint64_t position = 0;
  std::string topic, key;
  std::uint64_t bytes = 0;
  WallTime at;
  bool removed = false;
};

class RetentionModel : public RetentionCase {
 protected:
  std::uint64_t any(std::uint64_t below) { return random_() % below; }
  template <typename T>
  const T& one_of(const std::vector<T>& all) { return all[any(all.size())]; }

  void publish_some() {
    const auto& topic = one_of(topics);
    const auto& key = one_of(keys);
    const auto count = 1 + any(6);
    std::vector<Buffer> events;
    for (std::uint64_t at = 0; at < count; ++at) {
      auto event = test::event(topic, key);
      event.payload = test::notification(std::string(any(400), 'x'));
      events.push_back(test::encode(event));
      model_.push_back({model_.size() + 1, topic, key, events.back().size(), bus.now.wall});
    }
    bus.publish("p", next_, events);
    next_ += count;
    bus.run();
    ASSERT_TRUE(bus.failures("p").empty());
    take_deliveries();
  }
  void create_group() {
    wire::GroupCreateT create;
    create.name = "g";
    create.filter = std::make_unique<wire::FilterT>();
    create.filter->patterns = {"a.*"};
    create.settings = std::make_unique<wire::GroupSettingsT>();
    create.settings->ack_wait_ms = 3'600'000;
    create.settings->in_flight_max = 10'000;
    ASSERT_EQ(refused(std::move(create)), std::nullopt);
  }
  void join() {
    bus.hello("m");
    auto ask = test::subscribe(1, "g");
    ask.credit_events = 10'000;
    ask.credit_bytes = 16 * limits::MiB;
    bus.send("m", ask);
    bus.run();
    open_.clear();
    take_deliveries();
  }
  void take_deliveries() {
    for (const auto& deliver : bus.take<wire::DeliverT>("m")) {
      epoch_ = deliver.epoch;
      for (const auto& one : deliver.deliveries) open_[one.position()] = one.attempt();
    }
  }
  void settle_some() {
    for (auto it = open_.begin(); it != open_.end();) {
      const auto what = any(4);
      if (what < 2) {
        ++it;
        continue;
      }
      wire::SettleT message;
      message.subscription = 1;
      message.epoch = epoch_;
      const bool rejects = any(20) == 0;
      message.settlements.emplace_back(it->first, it->second, 0, rejects ? wire::Verdict::reject : wire::Verdict::ack);
      bus.send("m", message);
      if (rejects) letters_.insert(it->first);
      it = open_.erase(it);
    }
    bus.run();
  }
  void set_some() {
    auto one = policy(one_of(patterns));
    if (any(2) == 0) one.max_age_ms = 1000 * (1 + any(60));
    if (any(3) == 0) one.max_events = 1 + any(40);
    if (any(3) == 0) one.max_bytes = 1 + any(10'000);
    one.latest_per_key = any(3) == 0;
    if (one.latest_per_key && any(2) == 0) one.latest_after_ms = 1000 * any(20);
    one.past_groups = any(3) == 0;
    ASSERT_EQ(set(one), std::nullopt);
    policies_[one.pattern] = one;
  }
  void remove_some() {
    if (policies_.empty()) return;
    wire::RetentionRemoveT ask;
    ask.pattern = policies_.begin()->first;
    ASSERT_EQ(refused(ask), std::nullopt);
    policies_.erase(policies_.begin());
  }
  void hold_some() {
    const auto pattern = one_of(patterns), key = one_of(keys);
    if (holds_.contains({pattern, key})) {
      ASSERT_EQ(release(pattern, key), std::nullopt);
      holds_.erase({pattern, key});
    } else if (any(2) == 0) {
      ASSERT_EQ(hold(pattern, key), std::nullopt);
      holds_.insert({pattern, key});
    }
  }
  void begin_anew(bool crash) {
    crash ? bus.crash() : bus.restart();
    greet();
    join();
    for (const auto& [position, attempt] : open_) letters_.erase(position);  // a crash may be faster than the commit
  }

  // ---- the rules

  const wire::RetentionPolicyT* policy_of(const std::string& topic) const {
    const wire::RetentionPolicyT* best = nullptr;
    for (const auto& [pattern, policy] : policies_) {
      if (wire::pattern_matches(pattern, topic) && (best == nullptr || says_more(pattern, best->pattern))) best = &policy;
    }
    return best;
  }
  bool is_held(const ModelEvent& event) const {
    return std::any_of(holds_.begin(), holds_.end(), [&](const auto& hold) {
      return wire::pattern_matches(hold.first, event.topic) && (hold.second.empty() || hold.second == event.key);
    });
  }
  bool is_for_group(const ModelEvent& event) const {
    if (!wire::pattern_matches("a.*", event.topic)) return false;
    return letters_.contains(event.position) || (!open_.empty() && event.position >= open_.begin()->first);
  }
  bool is_superseded(const ModelEvent& event, const wire::RetentionPolicyT& policy, WallTime now) const {
    if (!policy.latest_per_key || event.key.empty()) return false;
    const auto until = now - std::chrono::milliseconds(policy.latest_after_ms);
    const auto counts = [&](const ModelEvent& one) { return policy.latest_after_ms == 0 || one.at < until; };
    return counts(event) && std::any_of(model_.begin(), model_.end(), [&](const ModelEvent& later) {
      return later.position > event.position && later.key == event.key && !later.removed && policy_of(later.topic) == &policy && counts(later);
    });
  }
  void apply_rules() {
    const auto now = bus.now.wall;
    std::vector<std::uint64_t> gone;
    for (const auto& [pattern, policy] : policies_) {
      std::uint64_t events = 0, bytes = 0;
      for (const auto& event : model_) {
        const bool counts = !event.removed && policy_of(event.topic) == &policy;
        events += counts;
        bytes += counts ? event.bytes : 0;
      }
      std::uint64_t over_events = policy.max_events > 0 && events > policy.max_events ? events - policy.max_events : 0;
      std::uint64_t over_bytes = policy.max_bytes > 0 && bytes > policy.max_bytes ? bytes - policy.max_bytes : 0;
      for (const auto& event : model_) {
        if (event.removed || policy_of(event.topic) != &policy) continue;
        const bool is_old = policy.max_age_ms > 0 && event.at < now - std::chrono::milliseconds(policy.max_age_ms);
        if (over_events == 0 && over_bytes == 0 && !is_old && !is_superseded(event, policy, now)) continue;
        over_events -= std::min<std::uint64_t>(over_events, 1);
        over_bytes -= std::min(over_bytes, event.bytes);
        if (!is_held(event) && (policy.past_groups || !is_for_group(event))) gone.push_back(event.position);
      }
    }
    for (const auto position : gone) model_[position - 1].removed = true;
  }
  void check() {
    std::vector<std::uint64_t> expected;
    std::map<std::string, std::uint64_t> live;
    for (const auto& event : model_) {
      live[event.topic] += !event.removed;
      if (!event.removed) expected.push_back(event.position);
    }
    ASSERT_EQ(left(), expected);
    for (const auto& [name, events] : live) {
      const auto info = topic(name);
      EXPECT_EQ(info.events, events) << name;
      if (events == 0) continue;
      const auto first = std::find_if(model_.begin(), model_.end(), [&](const auto& event) { return event.topic == name && !event.removed; });
      EXPECT_LE(info.first, first->position);
    }
    wire::LogVerifyT verify;
    EXPECT_TRUE(answer<wire::VerifyReplyT>(std::move(verify)).faults.empty());
  }

  void play(std::uint64_t seed) {
    random_.seed(seed);
    create_group();
    join();
    for (int step = 0; step < 60 && !HasFatalFailure(); ++step) {
      switch (any(12)) {
        case 0: settle_some(); break;
        case 1: set_some(); break;
        case 2: any(3) == 0 ? remove_some() : hold_some(); break;
        case 3: begin_anew(any(2) == 0); break;
        default: publish_some(); advance(std::chrono::seconds(1 + any(4))); break;
      }
      if (HasFatalFailure()) return;
      // A change begins a run by itself, and so may time: what it does, a second one right after it would do as well.
      settle_down();
      apply_rules();
      run();
      if (any(4) == 0) check();
    }
    check();
  }

  const std::vector<std::string> topics = {"a.x", "a.y", "b.x", "c"}, keys = {"", "k1", "k2", "k3"}, patterns = {"a.*", "a.x", "*.x", ">", "c"};
  std::mt19937_64 random_;
  std::vector<ModelEvent> model_;
  std::map<std::string, wire::RetentionPolicyT> policies_;
  std::set<std::pair<std::string, std::string>> holds_;
  std::map<std::uint64_t, std::uint32_t> open_;
  std::set<std::uint64_t> letters_;
};

class RetentionSeeds : public RetentionModel, public ::testing::WithParamInterface<std::uint64_t> {};

TEST_P(RetentionSeeds, RemovesWhatTheRulesSay) { play(GetParam()); }

INSTANTIATE_TEST_SUITE_P(Some, RetentionSeeds, ::testing::Range<std::uint64_t>(1, 41));

}  // namespace
}  // namespace bus::broker
