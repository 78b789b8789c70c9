// Goal: in a key_ordered group of 50 members that join, leave and crash, no key is ever out of order, none is in flight
// twice, and none is stuck.
// Method: the real core on the real store, 100,000 events of 1,000 keys; members settle, fail, give back or vanish at random,
// and the broker itself crashes now and then.
#include <gtest/gtest.h>

#include <map>
#include <random>

#include "tests/support/harness.hpp"

namespace bus::broker {
namespace {

using namespace std::chrono_literals;
using test::Harness;

constexpr std::uint64_t events = 100'000, keys = 1'000, members = 50;

class Crowd {
 public:
  void run() {
    bus_.hello("p", "alpha");
    while (published_ < events || settled_ < events) {
      if (published_ < events) publish();
      for (std::uint64_t turn = 0; turn < 20; ++turn) act(random_() % members);
      if (random_() % 2'000 == 0) crash();
      if (::testing::Test::HasFatalFailure()) return;
      if (published_ < events) continue;
      bus_.advance(50ms);
      ASSERT_LT(++idle_, 200'000) << "stuck: " << settled_ << " of " << events << " are settled";
    }
    for (const auto& [key, next] : next_) ASSERT_EQ(next, published_of_[key].size());
  }

 private:
  struct Member {
    bool joined = false;
    std::uint32_t subscription = 0;
    std::uint64_t epoch = 0;
    std::map<std::uint64_t, std::uint32_t> held;          // position, attempt
  };
  static Peer name(std::uint64_t number) { return "m" + std::to_string(number); }
  static std::uint64_t key_of(std::uint64_t position) { return position * 0x9e3779b97f4a7c15 >> 32 & 0xffff; }

  void publish() {
    std::vector<Buffer> batch;
    const auto first = published_ + 1;
    for (int count = 0; count < 500 && published_ < events; ++count) {
      const auto key = key_of(++published_) % keys;
      published_of_[key].push_back(published_);
      auto event = test::event("t", "k" + std::to_string(key));
      event.priority = static_cast<wire::Priority>(random_() % 3);  // which must not change the order of a key
      batch.push_back(test::encode(event));
    }
    bus_.publish("p", first, batch);
    bus_.run();
  }
  void act(std::uint64_t number) {
    Member& member = crowd_[number];
    if (!member.joined) return join(number, member);
    take(number, member);
    const auto dice = random_() % 200;
    if (dice == 0) return leave(number, member);
    settle(number, member);
  }
  void join(std::uint64_t number, Member& member) {
    bus_.hello(name(number));
    auto message = test::subscribe(++member.subscription, "g");
    message.credit_events = 64;
    message.settings = std::make_unique<wire::GroupSettingsT>();
    message.settings->sharing = wire::Sharing::key_ordered;
    message.settings->retry_delay_ms = 0;
    message.settings->attempts_max = GroupSettings::unlimited;
    bus_.send(name(number), message);
    bus_.run();
    member.joined = true;
  }
  void leave(std::uint64_t number, Member& member) {
    if (random_() % 2 == 0) {
      bus_.core->gone(name(number));  // it has crashed
    } else {
      bus_.send(name(number), wire::ByeT());
    }
    forget(member);
    member.joined = false;
    bus_.run();
    bus_.take<wire::DeliverT>(name(number));
  }
  void forget(Member& member) {
    for (const auto& [position, attempt] : member.held) flying_.erase(key_of(position) % keys);
    member.held.clear();
  }
  void take(std::uint64_t number, Member& member) {
    for (const auto& deliver : bus_.take<wire::DeliverT>(name(number))) {
      member.epoch = deliver.epoch;
      for (const auto& one : deliver.deliveries) {
        const auto key = key_of(one.position()) % keys;
        ASSERT_EQ(published_of_[key].at(next_[key]), one.position()) << "key " << key << " is out of order";
        ASSERT_TRUE(flying_.emplace(key, one.position()).second) << "key " << key << " is in flight twice";
        member.held[one.position()] = one.attempt();
      }
    }
  }
  void settle(std::uint64_t number, Member& member) {
    wire::SettleT message;
    message.subscription = member.subscription;
    message.epoch = member.epoch;
    for (const auto& [position, attempt] : member.held) {
      const auto dice = random_() % 100;
      if (dice > 90) continue;
      const auto verdict = dice < 4 ? wire::Verdict::nack : dice < 8 ? wire::Verdict::release : wire::Verdict::ack;
      message.settlements.emplace_back(position, attempt, 0, verdict);
    }
    if (message.settlements.empty()) return;
    wire::CreditT credit;
    credit.subscription = member.subscription;
    credit.bytes = limits::credit_bytes_max;
    for (const auto& one : message.settlements) {
      const auto key = key_of(one.position()) % keys;
      flying_.erase(key);
      member.held.erase(one.position());
      ++credit.events;
      if (one.verdict() != wire::Verdict::ack) continue;
      ++next_[key];
      ++settled_;
    }
    message.request = 1;  // durable by the time a crash may come
    bus_.send(name(number), message);
    bus_.send(name(number), credit);
    bus_.run();
  }
  void crash() {
    for (auto& [number, member] : crowd_) {
      forget(member);
      member.joined = false;
    }
    bus_.crash();
    for (std::uint64_t number = 0; number < members; ++number) bus_.take<wire::DeliverT>(name(number));
    bus_.hello("p", "alpha");
  }

  std::mt19937_64 random_{4};
  Harness bus_;
  std::map<std::uint64_t, Member> crowd_;
  std::map<std::uint64_t, std::vector<std::uint64_t>> published_of_;  // by key
  std::map<std::uint64_t, std::size_t> next_;              // how many of the key are settled
  std::map<std::uint64_t, std::uint64_t> flying_;          // by key
  std::uint64_t published_ = 0, settled_ = 0, idle_ = 0;
};

TEST(KeyOrder, HoldsForAThousandKeysAndFiftyMembers) { Crowd().run(); }

}  // namespace
}  // namespace bus::broker
