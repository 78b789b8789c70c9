// Goal: a group never loses, invents or doubles an attempt, keeps the events of a key in line where it is set to, and
// comes back from a crash exactly as it was, whatever its members and operators do.
// Method: random joins, leaves, deliveries, settlements (good, stale and invented), time, changes of settings, dead letters, replays,
// searches answered late and in parts, events taken ahead of the scan, checkpoints in parts, and crashes that bring back exactly what was journaled,
// against a model that keeps one line per position. Prints the seed of a failing run.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <random>
#include <set>

#include "tests/model/group_disk.hpp"

namespace bus::broker {
namespace {

using namespace std::chrono_literals;

class Model {
 public:
  explicit Model(std::uint64_t seed) : random_(seed), group_(settings(), Position::none) {
    settings_ = group_.settings();
    save(true);
  }

  void step() {
    switch (roll(20)) {
      case 0: return join();
      case 1: return leave();
      case 2: case 3: case 4: case 5: case 6: return deliver();
      case 7: case 8: case 9: return settle(true);
      case 10: return settle(false);
      case 11: return pass_time();
      case 12: return commit();
      case 13: return roll(10) == 0 ? crash() : answer_searches(false);
      case 14: return roll(20) == 0 ? seek() : invent();
      case 15: return changes_ && roll(10) == 0 ? change() : answer_searches(false);
      case 16: return save(roll(3) == 0);
      case 17: return roll(2) == 0 ? treat_letter() : replay();
      case 18: return settle_up_to();
      case 19: return roll(8) == 0 ? rush() : answer_searches(true);
    }
  }

  // Every position that was looked at is settled once everybody acks.
  void drain() {
    settings_.paused = false;
    group_.change(settings_);
    if (members_.empty()) join();
    for (int turn = 0; turn < 10'000; ++turn) {
      for (auto& [position, line] : lines_) {
        if (line.place == Line::Place::stopped || line.place == Line::Place::parked) return letter(position, line, false), drain();
      }
      const bool is_open = std::any_of(lines_.begin(), lines_.end(), [](const auto& one) { return one.second.place != Line::Place::parked; });
      if (!is_open && group_.open_count() == 0) break;
      now_.steady += 10min;
      now_.wall += 10min;
      tick();
      answer_searches(true);
      for (const MemberId member : members_) group_.add_credit(member, 100, 100'000);
      deliver_ready();
      while (const auto flying = ::testing::Test::HasFailure() ? 0 : some_flying()) settle_one(flying, true);
      if (::testing::Test::HasFailure()) return;
    }
    EXPECT_EQ(group_.open_count(), 0u);
    EXPECT_TRUE(group_.lanes().empty());
    EXPECT_EQ(group_.floor(), group_.scan());
    check();
  }

  void check() {
    group_.verify();
    std::uint64_t flying = 0, dead = 0, known = 0;
    for (const auto& [position, line] : lines_) {
      flying += line.place == Line::Place::flying;
      dead += line.place == Line::Place::parked || line.place == Line::Place::stopped;
      known += line.attempt > 0 && line.place != Line::Place::parked;
      ASSERT_TRUE(line.place == Line::Place::parked || line.attempt == 0 || position > number(group_.floor()));
    }
    ASSERT_EQ(group_.in_flight(), flying);
    ASSERT_EQ(group_.letters().size(), dead);
    for (const auto& event : all_pending(group_)) {
      if (event.place == PendingEvent::Place::searching) continue;
      const auto it = lines_.find(number(event.position));
      if (it == lines_.end() && !matches(number(event.position))) continue;  // of a search: passed over later
      ASSERT_NE(it, lines_.end()) << "position " << number(event.position) << " was settled";
      const Line& line = it->second;
      ASSERT_EQ(event.attempt, line.attempt);
      ASSERT_EQ(event.failures, line.failures);
      ASSERT_EQ(event.returns, line.returns);
      ASSERT_EQ(event.place == PendingEvent::Place::in_flight, line.place == Line::Place::flying);
      ASSERT_EQ(event.place == PendingEvent::Place::delayed, line.place == Line::Place::delayed);
      ASSERT_EQ(event.place == PendingEvent::Place::stopped, line.place == Line::Place::stopped);
      known -= line.attempt > 0;
    }
    ASSERT_EQ(known, 0u) << "the group has forgotten an event";
  }

 private:
  std::uint64_t roll(std::uint64_t below) { return random_() % below; }

  GroupSettings settings() { return random_settings([this](std::uint64_t below) { return roll(below); }); }
  void change() {
    settings_ = settings();
    group_.change(settings_);
    mixed_ = true;
  }

  void join() {
    if (members_.size() >= 5) return;
    const MemberId member{next_session_++, 1};
    group_.join(member, Credit(static_cast<std::uint32_t>(roll(40)), 100'000));
    members_.push_back(member);
  }
  void leave() {
    if (members_.empty()) return;
    const auto at = roll(members_.size());
    group_.leave(members_[at]);
    return_all(members_[at]);
    members_.erase(members_.begin() + static_cast<std::ptrdiff_t>(at));
  }
  void return_all(MemberId member) {
    for (auto& [position, line] : lines_) {
      if (line.place != Line::Place::flying || line.member != member) continue;
      line.place = Line::Place::ready;
      ++line.returns;
    }
  }

  // ---- delivery
  void deliver() {
    const auto member = group_.next_member([](MemberId) { return true; });
    if (!member) return;
    if (priorities_ && roll(3) == 0) return look_ahead(*member);
    if (const auto ready = some_ready()) return deliver_one(*member, *ready);
    const Position next = group_.scan() + 1;
    if (!matches(number(next))) {
      auto last = next;
      while (roll(50) != 0 && !matches(number(last) + 1)) last = last + 1;
      return group_.advance(last);
    }
    ASSERT_TRUE(group_.is_taken(next) ? taken_.contains(number(next)) || lines_.contains(number(next)) : !taken_.contains(number(next)))
        << "position " << number(next) << (group_.is_taken(next) ? " is" : " is not") << " taken";
    if (group_.is_taken(next)) return group_.advance(next);
    if (key_of(number(next)) != Hash128{} && group_.must_wait(key_of(number(next)))) {
      group_.wait(next, key_of(number(next)), rank_at(number(next)));
      lines_[number(next)];
      return;
    }
    if (group_.may_open()) deliver_one(*member, next);
  }
  // One beyond the scan that was not looked at.
  void look_ahead(MemberId member) {
    const auto position = number(group_.scan()) + 1 + roll(60);
    if (!matches(position) || taken_.contains(position) || lines_.contains(position)) return;
    switch (group_.may_go_ahead(Position{position}, key_of(position), previous_of(position))) {
      case ConsumerGroup::Ahead::no: return;
      case ConsumerGroup::Ahead::wait:
        group_.wait_ahead(Position{position}, key_of(position), rank_at(position));
        lines_[position];
        return;
      case ConsumerGroup::Ahead::open: break;
    }
    if (!group_.may_open()) return;
    deliver_one(member, Position{position}, true);
  }
  std::optional<Position> some_ready() {
    const auto first = roll(ranks);
    for (std::size_t at = 0; at < ranks; ++at) {
      if (const auto ready = group_.next_ready(static_cast<Rank>((first + at) % ranks))) return ready;
    }
    return std::nullopt;
  }
  // So far ahead that not all which wait are kept in mind.
  void rush() {
    if (!rushes_) return;
    for (const MemberId member : members_) group_.add_credit(member, 50, 100'000);
    for (int turn = 0; turn < 500; ++turn) deliver();
  }
  void deliver_ready() {
    while (group_.has_ready() && !::testing::Test::HasFailure()) {
      const auto member = group_.next_member([](MemberId) { return true; });
      if (!member) return;
      deliver_one(*member, *some_ready());
    }
  }
  void deliver_one(MemberId member, Position position, bool ahead = false) {
    if (!matches(number(position))) return group_.pass_over(position);
    const auto before = lines_.find(number(position));
    ASSERT_TRUE(position > group_.scan() || before != lines_.end()) << "position " << number(position) << " was settled";
    check_order(number(position));
    if (before == lines_.end() || before->second.attempt == 0) check_first(number(position));
    if (ahead || group_.is_taken(position)) taken_.insert(number(position));
    check_sharing(member);
    const EventFacts facts{key_of(number(position)), 1, 2};
    const auto rank = rank_at(number(position));
    const auto attempt = ahead ? group_.open_ahead(position, facts, rank, member, 10, now_.steady) : group_.open(position, facts, rank, member, 10, now_.steady);
    Line& line = lines_[number(position)];
    ASSERT_EQ(attempt, line.attempt + 1);
    ASSERT_TRUE(line.place == Line::Place::waits || line.place == Line::Place::ready || line.place == Line::Place::delayed);
    ASSERT_GT(attempt, acked_[number(position)]);
    line.attempt = attempt;
    highest_ = std::max(highest_, attempt);
    line.member = member;
    line.given = ++given_;
    line.place = Line::Place::flying;
  }
  // One of a key at a time, in order; unless it was not so all the time, or an operator has brought one back.
  void check_order(std::uint64_t position) {
    if (!settings_.is_ordered() || key_of(position) == Hash128{}) return;
    for (auto other = number(group_.scan()) + 1; !mixed_ && other < position; ++other) {
      const bool is_before = key_of(other) == key_of(position) && matches(other);
      ASSERT_TRUE(!is_before || taken_.contains(other)) << position << " goes out before " << other << " was looked at";
    }
    for (const auto& [other, line] : lines_) {
      if (other == position || key_of(other) != key_of(position)) continue;
      ASSERT_NE(line.place, Line::Place::flying) << position << " goes out while " << other << " is";
      if (mixed_ || line.place == Line::Place::parked) continue;
      ASSERT_GT(other, position) << position << " goes out before " << other;
    }
  }
  // Those of a key go out in order the first time, whatever is changed.
  void check_first(std::uint64_t position) {
    for (const auto& [other, line] : lines_) {
      if (other >= position || key_of(other) != key_of(position) || key_of(other) == Hash128{}) continue;
      ASSERT_GT(line.attempt, 0u) << position << " goes out before " << other;
    }
  }
  void check_sharing(MemberId member) {
    const auto held = [&](MemberId id) {
      return std::count_if(lines_.begin(), lines_.end(), [&](const auto& one) { return one.second.place == Line::Place::flying && one.second.member == id; });
    };
    ASSERT_FALSE(settings_.paused);
    ASSERT_LT(held(member), settings_.member_in_flight_max);
    ASSERT_TRUE(settings_.sharing != Sharing::exclusive || member == group_.member_ids().front());
  }

  // ---- settlement
  std::uint64_t some_flying() {
    std::vector<std::uint64_t> flying;
    for (const auto& [position, line] : lines_) {
      if (line.place == Line::Place::flying) flying.push_back(position);
    }
    return flying.empty() ? 0 : flying[roll(flying.size())];
  }
  void settle(bool ack) {
    if (const auto position = some_flying()) settle_one(position, ack);
  }
  void settle_one(std::uint64_t position, bool ack) {
    Line& line = lines_.at(position);
    const Position at{position};
    if (ack) {
      ASSERT_EQ(group_.ack(line.member, at, line.attempt), Code::ok);
      acked_[position] = line.attempt;
      lines_.erase(position);
      return;
    }
    switch (roll(4)) {
      case 0:
        ASSERT_EQ(group_.release(line.member, at, line.attempt), Code::ok);
        line.place = Line::Place::ready;
        ++line.returns;
        return;
      case 1: ASSERT_EQ(group_.reject(line.member, at, line.attempt, "no", now_), Code::ok); break;
      default: ASSERT_EQ(group_.nack(line.member, at, line.attempt, 1s * roll(3), "no", now_), Code::ok);
    }
    take_incidents();
  }
  void settle_up_to() {
    const auto position = some_flying();
    if (position == 0) return;
    const Line named = lines_.at(position);
    const auto before = group_.acked();
    ASSERT_NE(group_.ack_up_to(named.member, Position{position}, named.attempt + 1), Code::ok);
    const auto code = group_.ack_up_to(named.member, Position{position}, named.attempt);
    ASSERT_EQ(code, settings_.is_ordered() ? Code::bad_settings : Code::ok);
    if (code != Code::ok) return;
    // What was given later was maybe not seen by then.
    const auto wanted = std::erase_if(lines_, [&](const auto& one) {
      return one.first <= position && one.second.place == Line::Place::flying && one.second.member == named.member && one.second.given <= named.given;
    });
    ASSERT_EQ(group_.acked() - before, wanted);
  }
  // What the group says of failures is what the model knows.
  void take_incidents() {
    using Incident = ConsumerGroup::Incident;
    for (const auto& incident : group_.take_incidents()) {
      Line& line = lines_.at(number(incident.position));
      ASSERT_EQ(line.place, Line::Place::flying);
      ASSERT_EQ(incident.attempt, line.attempt);
      ASSERT_EQ(incident.failure, ++line.failures);
      ASSERT_EQ(incident.member, line.member);
      ASSERT_EQ(incident.returns, line.returns);
      ASSERT_EQ(incident.redrives, line.redrives);
      ASSERT_EQ(incident.event.key, key_of(number(incident.position)));
      ASSERT_EQ(incident.event.type, 2u);
      const bool is_over = line.failures - line.forgiven >= settings_.attempts_max || incident.cause == Incident::Cause::reject;
      ASSERT_EQ(is_over, incident.fate != Incident::Fate::retried);
      line.place = incident.fate == Incident::Fate::stopped ? Line::Place::stopped : incident.fate == Incident::Fate::parked ? Line::Place::parked : Line::Place::delayed;
      if (incident.fate == Incident::Fate::skipped) lines_.erase(number(incident.position));
    }
    group_.take_forgotten();
    see_delays();
  }
  // Which of those that failed are delayed, and which ready at once, is the policy's.
  void see_delays() {
    for (const auto& event : all_pending(group_)) {
      const auto it = lines_.find(number(event.position));
      if (it != lines_.end() && it->second.place == Line::Place::delayed && event.place == PendingEvent::Place::ready) it->second.place = Line::Place::ready;
    }
  }
  // A settlement that names another attempt, member or position changes nothing.
  void invent() {
    const auto before = durable_state(group_);
    const MemberId nobody{999'999, 1};
    ASSERT_NE(group_.ack(nobody, Position{roll(50)}, 1), Code::ok);
    if (const auto position = some_flying()) {
      const Line& line = lines_.at(position);
      ASSERT_EQ(group_.ack(line.member, Position{position}, line.attempt + 1), Code::stale_ack);
      ASSERT_EQ(group_.nack(line.member, Position{position}, line.attempt - 1, 0s, "", now_), Code::stale_ack);
      ASSERT_EQ(group_.reject(nobody, Position{position}, line.attempt, "", now_), Code::stale_ack);
      ASSERT_EQ(group_.extend(nobody, Position{position}, line.attempt, "", now_.steady), Code::stale_ack);
    }
    ASSERT_EQ(durable_state(group_), before);
  }

  // ---- dead letters
  void treat_letter() {
    for (auto& [position, line] : lines_) {
      if (line.place != Line::Place::stopped && line.place != Line::Place::parked) continue;
      if (roll(2) == 0) return letter(position, line, redrives_ && roll(2) == 0);
    }
  }
  void letter(std::uint64_t position, Line& line, bool again) {
    if (!again) {
      ASSERT_EQ(group_.drop(Position{position}), Code::ok);
      lines_.erase(position);
      return;
    }
    ASSERT_EQ(group_.redrive({Position{position + 1'000'000}}), Code::not_found);
    const ConsumerGroup::Letter letter{Position{position}, key_of(position), line.attempt, line.failures, line.returns, line.redrives + 1};
    auto stale = letter;
    --stale.attempt;
    ASSERT_EQ(group_.redrive(stale), Code::conflict);
    const auto code = group_.redrive(letter);
    if (code == Code::group_busy) return;  // what follows it is being searched for
    ASSERT_EQ(code, Code::ok);
    line.place = Line::Place::ready;
    line.forgiven = line.failures;
    ++line.redrives;
    mixed_ = true;
  }

  // ---- replay: of all that was looked at, only what is settled comes back, and no attempt of before settles it
  void replay() {
    const auto position = 1 + roll(number(group_.scan()) + 60);
    if (!replays_ || !matches(position)) return;
    const bool is_seen = position <= number(group_.scan()) || group_.is_taken(Position{position});
    const bool is_busy = is_searching(group_, Position{position});
    const Code code = group_.replay(Position{position}, key_of(position), rank_at(position));
    ASSERT_EQ(code, !is_seen ? Code::not_found : lines_.contains(position) ? Code::conflict : is_busy ? Code::group_busy : Code::ok) << "position " << position;
    if (code != Code::ok) return;
    lines_[position] = {Line::Place::ready, highest_};
    mixed_ = true;
  }

  // ---- time
  void pass_time() {
    const Duration passed = std::chrono::milliseconds(roll(4000));
    now_.steady += passed;
    now_.wall += passed;
    tick();
  }
  void tick() {
    const bool exclusive = settings_.sharing == Sharing::exclusive && members_.size() > 1;
    const auto active = members_.empty() ? MemberId{} : group_.member_ids().front();
    const auto due = group_.tick(now_);
    ASSERT_TRUE(!due || *due > now_.steady);
    take_incidents();
    if (exclusive && group_.member_ids().front() != active) return_all(active);  // it has stalled
    for (auto& [position, line] : lines_) {
      if (line.place == Line::Place::delayed) line.place = Line::Place::ready;
    }
    for (const auto& event : all_pending(group_)) {
      const auto it = lines_.find(number(event.position));
      if (it != lines_.end() && event.place == PendingEvent::Place::delayed) it->second.place = Line::Place::delayed;
    }
  }

  // ---- searches: answered in parts, and not in their order
  void answer_searches(bool all) {
    for (auto& search : group_.take_searches()) searches_.push_back(search);
    while (!searches_.empty()) {
      const auto at = roll(searches_.size());
      const auto search = searches_[at];
      searches_.erase(searches_.begin() + static_cast<std::ptrdiff_t>(at));
      if (roll(10) == 0) {
        group_.search_again(search);
      } else {
        answer(search);
      }
      if (!all) return;
      for (auto& one : group_.take_searches()) searches_.push_back(one);
    }
  }
  void answer(const ConsumerGroup::Search& search) {
    const auto found = find(search, 1 + roll(4));
    group_.found(search, found.positions, found.complete_to);
  }

  void seek() {
    group_.seek(Position{roll(number(group_.scan()) + 1)});
    std::erase_if(lines_, [&](const auto& one) {
      const bool is_dead = one.second.place == Line::Place::parked || one.second.place == Line::Place::stopped;
      return !is_dead || one.first > number(group_.scan());
    });
    for (auto& [position, line] : lines_) line.place = Line::Place::parked;
    taken_.clear();
    acked_.clear();
    mixed_ = true;
    commit();  // the core commits a seek at once
  }

  // ---- durability
  void commit() {
    disk_.commit(group_);
    remember();
  }
  void remember() {
    durable_ = lines_;
    durable_taken_ = taken_;
    durable_settings_ = settings_;
    durable_mixed_ = mixed_;
  }
  void save(bool all) {
    commit();
    disk_.save(group_, all ? ~std::size_t{0} : roll(2));
  }
  // The next broker has the rows and the journals; attempts begin again only for what was never journaled, and carry
  // another epoch.
  void crash() {
    auto restored = disk_.restore(durable_settings_, durable_, now_);
    ASSERT_TRUE(restored.has_value());
    group_ = std::move(*restored);
    members_.clear();
    searches_.clear();
    acked_.clear();
    highest_ = 1;
    settings_ = durable_settings_;
    mixed_ = durable_mixed_;
    lines_ = durable_;
    taken_ = durable_taken_;
    // What waited in line ahead of the scan is looked at again.
    std::erase_if(lines_, [&](const auto& one) {
      return one.second.place == Line::Place::waits && one.first > number(group_.scan()) && !group_.is_taken(Position{one.first});
    });
    for (auto& [position, line] : lines_) {
      if (line.place != Line::Place::flying) continue;
      line.place = Line::Place::ready;
      ++line.returns;
    }
    save(false);
  }

  std::mt19937_64 random_;
  const bool changes_ = roll(2) == 0, redrives_ = roll(2) == 0, replays_ = roll(2) == 0, rushes_ = roll(10) == 0, priorities_ = roll(2) == 0;
  GroupSettings settings_, durable_settings_;
  ConsumerGroup group_;
  Now now_{wall_time(1'000'000'000), SteadyTime{}};
  std::uint64_t next_session_ = 1, given_ = 0;
  std::vector<MemberId> members_;
  Lines lines_, durable_;
  std::set<std::uint64_t> taken_, durable_taken_;        // delivered ahead of the scan
  std::map<std::uint64_t, std::uint32_t> acked_;         // the attempt with which this process acknowledged it last
  std::uint32_t highest_ = 1;                            // attempt of this process
  bool mixed_ = false, durable_mixed_ = false;           // keys were not kept in line all the time
  std::vector<ConsumerGroup::Search> searches_;
  GroupDisk disk_;
};

TEST(ConsumerGroupModel, NeverLosesInventsOrDoublesAnAttempt) {
  const char* only = std::getenv("BUS_SEED");
  const std::uint64_t from = only != nullptr ? std::strtoull(only, nullptr, 10) : 1;
  for (std::uint64_t seed = from; seed <= (only != nullptr ? from : 10'000); ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed) + ": run it alone with BUS_SEED=" + std::to_string(seed));
    Model model(seed);
    for (int step = 0; step < 300; ++step) {
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
