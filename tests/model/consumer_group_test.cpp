// Goal: a group never loses, invents or doubles an attempt, whatever its members do and whenever the broker crashes.
// Method: random joins, leaves, deliveries, settlements (good, stale and invented), time, and crashes that bring back
// exactly what was journaled, against a model that keeps one line per position. Prints the seed of a failing run.
#include <gtest/gtest.h>

#include <map>
#include <random>
#include <set>

#include "broker/core/consumer_group.hpp"

namespace bus::broker {
namespace {

using namespace std::chrono_literals;

const auto anybody = [](MemberId) { return true; };

class Model {
 public:
  explicit Model(std::uint64_t seed) : random_(seed), group_(limits_, Position::none) { save(); }

  void step() {
    switch (roll(14)) {
      case 0: return join();
      case 1: return leave();
      case 2: case 3: case 4: case 5: return deliver();
      case 6: case 7: case 8: return settle(true);
      case 9: return settle(false);
      case 10: return pass_time();
      case 11: return commit();
      case 12: return roll(10) == 0 ? crash() : skip();
      case 13: return roll(20) == 0 ? seek() : invent();
    }
  }

  // Every position that was looked at is settled once everybody acks.
  void drain() {
    if (group_.members() == 0) join();
    for (int turn = 0; turn < 100'000 && group_.open_count() > 0; ++turn) {
      now_.steady += 1h;
      now_.wall += 1h;
      group_.tick(now_.steady);
      forget_lost();
      for (const MemberId member : members_) group_.add_credit(member, 100, 100'000);
      deliver();
      while (!flying_.empty() && !::testing::Test::HasFatalFailure()) settle_one(flying_.begin()->first, true);
    }
    EXPECT_EQ(group_.open_count(), 0u);
    EXPECT_EQ(group_.floor(), group_.scan());
  }

  void check() {
    group_.verify();
    ASSERT_EQ(group_.in_flight(), flying_.size());
    // Nothing that the model knows as unsettled is at or below the floor.
    for (const auto& [position, line] : unsettled_) ASSERT_GT(position, number(group_.floor()));
    ASSERT_EQ(group_.open_count(), unsettled_.size());
  }

 private:
  struct Flight {
    MemberId member;
    std::uint32_t attempt;
  };
  std::uint64_t roll(std::uint64_t below) { return random_() % below; }

  void join() {
    if (members_.size() >= 5) return;
    const MemberId member{next_session_++, 1};
    group_.join(member, Credit(static_cast<std::uint32_t>(roll(20)), 100'000));
    members_.push_back(member);
  }
  void leave() {
    if (members_.empty()) return;
    const auto at = roll(members_.size());
    group_.leave(members_[at]);
    std::erase_if(flying_, [&](const auto& item) { return item.second.member == members_[at]; });
    members_.erase(members_.begin() + static_cast<std::ptrdiff_t>(at));
  }
  void deliver() {
    const auto member = group_.next_member(anybody);
    if (!member) return;
    const auto again = group_.next_redelivery();
    if (!again && !group_.may_open()) return;
    const Position position = again ? *again : Position{number(group_.scan()) + 1 + roll(3)};
    const auto attempt = group_.open(position, *member, 10, now_.steady);
    auto& last = unsettled_[number(position)];
    ASSERT_GT(attempt, last) << "an attempt was issued twice";
    ASSERT_TRUE(again || attempt == 1);
    ASSERT_FALSE(flying_.contains(number(position))) << "delivered while in flight";
    last = attempt;
    flying_[number(position)] = {*member, attempt};
  }
  void settle_one(std::uint64_t position, bool ack) {
    const Flight flight = flying_.at(position);
    if (ack) {
      ASSERT_EQ(group_.ack(flight.member, Position{position}, flight.attempt), Code::ok);
      unsettled_.erase(position);
    } else {
      ASSERT_EQ(group_.nack(flight.member, Position{position}, flight.attempt, 1s * roll(3), now_), Code::ok);
    }
    flying_.erase(position);
  }
  void settle(bool ack) {
    if (flying_.empty()) return;
    settle_one(std::next(flying_.begin(), static_cast<std::ptrdiff_t>(roll(flying_.size())))->first, ack);
  }
  // A settlement that names another attempt, member or position changes nothing.
  void invent() {
    const auto before = group_.snapshot();
    const MemberId nobody{999'999, 1};
    const std::uint64_t position = roll(50);
    ASSERT_NE(group_.ack(nobody, Position{position}, 1), Code::ok);
    if (!flying_.empty()) {
      const auto& [at, flight] = *flying_.begin();
      ASSERT_EQ(group_.ack(flight.member, Position{at}, flight.attempt + 1), Code::stale_ack);
      ASSERT_EQ(group_.nack(flight.member, Position{at}, flight.attempt - 1, 0s, now_), Code::stale_ack);
    }
    ASSERT_EQ(group_.snapshot(), before);
  }
  void pass_time() {
    const Duration passed = std::chrono::milliseconds(roll(4000));
    now_.steady += passed;
    now_.wall += passed;
    const auto due = group_.tick(now_.steady);
    ASSERT_TRUE(!due || *due > now_.steady);
    forget_lost();
  }
  // What the group has taken back is no longer in flight.
  void forget_lost() {
    std::erase_if(flying_, [&](const auto& item) {
      return group_.extend(item.second.member, Position{item.first}, item.second.attempt, now_.steady) != Code::ok;
    });
  }
  void skip() { group_.advance(group_.scan() + roll(3)); }
  void seek() {
    group_.seek(Position{roll(number(group_.scan()) + 1)});
    unsettled_.clear();
    flying_.clear();
    commit();  // the core commits a seek at once
  }
  void commit() {
    journals_.push_back(group_.take_journal());
    durable_unsettled_ = unsettled_;
    if (roll(10) == 0) save();
  }
  void save() {
    if (group_.changed_since_journal()) journals_.push_back(group_.take_journal());
    row_ = group_.snapshot();
    journals_.clear();
    durable_unsettled_ = unsettled_;
  }
  // The next broker has the row and the journals; attempts begin again only for what was never journaled, and carry
  // another epoch.
  void crash() {
    auto restored = ConsumerGroup::restore(limits_, row_, now_);
    ASSERT_TRUE(restored.has_value());
    for (const auto& journal : journals_) ASSERT_TRUE(restored->apply_journal(journal, now_));
    restored->recovered();
    group_ = std::move(*restored);
    members_.clear();
    flying_.clear();
    unsettled_ = durable_unsettled_;
    ASSERT_EQ(group_.open_count(), unsettled_.size());
    save();
  }

  std::mt19937_64 random_;
  GroupLimits limits_{2s, 16};
  ConsumerGroup group_;
  Now now_{wall_time(1'000'000'000), SteadyTime{}};
  std::uint64_t next_session_ = 1;
  std::vector<MemberId> members_;
  std::map<std::uint64_t, std::uint32_t> unsettled_, durable_unsettled_;  // position, last attempt
  std::map<std::uint64_t, Flight> flying_;
  std::string row_;
  std::vector<std::string> journals_;
};

TEST(ConsumerGroupModel, NeverLosesOrDoublesAnAttempt) {
  for (std::uint64_t seed = 1; seed <= 2000; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    Model model(seed);
    for (int step = 0; step < 200; ++step) {
      model.step();
      model.check();
      if (::testing::Test::HasFatalFailure()) return;
    }
    model.drain();
    if (::testing::Test::HasFailure()) return;
  }
}

}  // namespace
}  // namespace bus::broker
