// Goal: conditions hold whoever publishes what at the same time, and whenever busd is killed: all that clients were told has one
// explanation, the log.
// Method: 16 clients publish to a few keys, each event on condition of what the client last knew of its key, some of another key as
// well, a few on the way at a time, and ask for heads in between. Each notes when it asked what, when it was answered, and what.
// ConditionalHistory then holds it all against the log as it is read back, by a replay and key by key. BUS_LONG: ten times as many.
#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <random>
#include <thread>

#include "tests/libbus/conditional_history.hpp"
#include "tests/support/broker_process.hpp"
#include "tests/support/connected.hpp"

namespace bus::test {
namespace {

constexpr std::uint32_t key_count = 8, clients = 16;

std::string key_name(std::uint32_t key) { return "key-" + std::to_string(key); }

std::int64_t clock_now() { return std::chrono::steady_clock::now().time_since_epoch().count(); }

Condition condition_of(const Need& need, std::uint32_t own_key) {
  const auto key = need.key == own_key ? "" : key_name(need.key);
  switch (need.wanted) {
    case Wanted::version: return Condition::at(need.version, key);
    case Wanted::exists: return Condition::exists(key);
    case Wanted::absent: break;
  }
  return Condition::absent(key);
}

// The key that a conflict is about, which its text names: key 'key-3' is at version 7, …
std::uint32_t conflict_key(const std::string& detail) {
  const std::string before = "key 'key-";
  return detail.starts_with(before) ? static_cast<std::uint32_t>(std::strtoul(detail.c_str() + before.size(), nullptr, 10)) : ~0u;
}

// Rounds that clients have behind them, for whoever waits to kill.
class Progress {
 public:
  void add(std::uint64_t operations) {
    done_ += operations;
    done_.notify_all();
  }
  void wait_for(std::uint64_t operations) const {
    for (auto seen = done_.load(); seen < operations; seen = done_) done_.wait(seen);
  }

 private:
  std::atomic<std::uint64_t> done_{0};
};

// Publisher is one client with what it knows of the keys, and what it was told. Its own thread; answers come on its connection's.
class Publisher {
 public:
  Publisher(const std::string& endpoint, std::uint32_t number, std::uint64_t seed)
      : number_(number), random_(seed + number), template_(note("conditions.test", "")), client_(connect(endpoint, "client-" + std::to_string(number))) {}

  void run(std::uint64_t operations, Progress& progress) {
    notes_.resize(operations);
    for (std::uint64_t at = 0; at < operations;) {
      const auto count = std::min<std::uint64_t>(1 + at_most(3), operations - at);
      if (count == 1 && at_most(3) == 0) ask_head(notes_[at]);
      else publish(at, count);
      at += count;
      progress.add(count);
    }
  }
  const std::vector<Operation>& notes() const { return notes_; }

 private:
  std::uint64_t at_most(std::uint64_t most) { return std::uniform_int_distribution<std::uint64_t>(0, most)(random_); }
  std::uint32_t any_key() { return static_cast<std::uint32_t>(at_most(key_count - 1)); }

  void begin(Operation& note, std::uint32_t key) {
    note.id = ++made_ * clients + number_;
    note.key = key;
    note.called = clock_now();
  }

  void ask_head(Operation& note) {
    begin(note, any_key());
    const auto head = client_.key_head(key_name(note.key));
    note.answered = clock_now();
    note.outcome = head ? Outcome::seen : Outcome::unknown;
    if (!head) return;
    note.version = head->version;
    known_[note.key] = head->version;
  }

  // Several at a time, of which each on the same key builds on the one before, as if that would be stored.
  void publish(std::uint64_t first, std::uint64_t count) {
    waiting_ = count;
    auto hoped = known_;
    auto key = any_key();
    for (auto at = first; at < first + count; ++at) {
      begin(notes_[at], key);
      notes_[at].needs = needs(key, hoped);
      ++hoped[key];
      send(notes_[at]);
      if (at_most(1) == 0) key = any_key();
    }
    for (auto left = waiting_.load(); left > 0; left = waiting_) waiting_.wait(left);
    for (auto at = first; at < first + count; ++at) learn(notes_[at]);
  }

  std::vector<Need> needs(std::uint32_t key, const std::array<std::uint64_t, key_count>& hoped) {
    std::vector<Need> needs;
    const auto dice = at_most(15);
    if (dice == 0) needs.push_back({key, hoped[key] == 0 ? Wanted::absent : Wanted::exists});
    else needs.push_back({key, Wanted::version, hoped[key]});
    if (dice < 12) return needs;
    const auto other = (key + 1 + static_cast<std::uint32_t>(at_most(key_count - 2))) % key_count;
    needs.push_back({other, dice == 12 ? Wanted::exists : Wanted::version, hoped[other]});
    if (dice == 13) std::swap(needs[0], needs[1]);
    return needs;
  }

  void send(Operation& note) {
    template_.key = key_name(note.key);
    template_.id = std::to_string(note.id);
    template_.conditions.clear();
    for (const Need& need : note.needs) template_.conditions.push_back(condition_of(need, note.key));
    note.called = clock_now();
    client_.publish(template_, [this, &note](const Result<Receipt>& receipt) {
      note.answered = clock_now();
      if (receipt) note.outcome = Outcome::stored, note.version = receipt->version, note.position = number(receipt->position);
      else refused(note, receipt.error());
      waiting_ -= 1;
      waiting_.notify_all();
    });
  }

  static void refused(Operation& note, const Error& error) {
    note.outcome = error.code == Code::conflict ? Outcome::conflict : error.code == Code::refused_before ? Outcome::refused : Outcome::unknown;
    EXPECT_NE(note.outcome, Outcome::unknown) << describe(error);
    if (note.outcome != Outcome::conflict) return;
    note.version = error.version;
    note.conflict_key = conflict_key(error.detail);
  }

  void learn(const Operation& note) {
    if (note.outcome == Outcome::stored) known_[note.key] = note.version;
    if (note.outcome == Outcome::conflict && note.conflict_key < key_count) known_[note.conflict_key] = note.version;
  }

  std::uint32_t number_;
  std::mt19937_64 random_;
  NewEvent template_;
  std::uint64_t made_ = 0;
  std::array<std::uint64_t, key_count> known_{};
  std::vector<Operation> notes_;
  std::atomic<std::uint64_t> waiting_{0};
  Client client_;                      // last: it ends before what its answers write to
};

// ---- what the log has

Logged logged(const Event& event) {
  const std::string key(event.key());
  return {std::strtoull(std::string(event.id()).c_str(), nullptr, 10), number(event.position()), conflict_key("key '" + key), event.version()};
}

bool same(const Logged& one, const Logged& other) {
  return one.id == other.id && one.position == other.position && one.key == other.key && one.version == other.version;
}

class Conditions : public ::testing::Test {
 protected:
  Conditions() {
    const char* given = std::getenv("BUS_SEED");
    seed = given != nullptr ? std::strtoull(given, nullptr, 10) : std::random_device()();
    std::printf("seed %llu\n", static_cast<unsigned long long>(seed));
  }

  void publish(std::uint64_t operations, std::uint64_t kills) {
    const auto each = operations / clients;
    std::vector<std::unique_ptr<Publisher>> publishers;
    for (std::uint32_t at = 0; at < clients; ++at) publishers.push_back(std::make_unique<Publisher>(broker.endpoint(), at, seed));
    Progress progress;
    std::vector<std::thread> threads;
    for (auto& publisher : publishers) threads.emplace_back([&] { publisher->run(each, progress); });
    for (std::uint64_t kill = 1; kill <= kills; ++kill) {
      progress.wait_for(kill * operations / (kills + 1));
      broker.kill();
      broker.start();
    }
    for (auto& thread : threads) thread.join();
    for (const auto& publisher : publishers) notes.insert(notes.end(), publisher->notes().begin(), publisher->notes().end());
  }

  void read_back() {
    auto client = connect(broker.endpoint());
    for (const Event& event : client.replay()) log.push_back(logged(event));
    for (std::uint32_t key = 0; key < key_count; ++key) {
      std::vector<Logged> of_key;
      std::copy_if(log.begin(), log.end(), std::back_inserter(of_key), [key](const Logged& one) { return one.key == key; });
      expect_key(client, of_key, key);
    }
  }
  static void expect_key(Client& client, const std::vector<Logged>& wanted, std::uint32_t key) {
    std::vector<Logged> forwards, backwards;
    const auto head = client.fold_key(key_name(key), [&](const Event& event) { forwards.push_back(logged(event)); }).value();
    EXPECT_EQ(head.version, wanted.size());
    KeyRange range{key_name(key), 0, true};
    do {
      const auto part = client.read_key(range).value();
      for (const Event& event : part.events) backwards.push_back(logged(event));
      range.from = part.more;
    } while (range.from != 0);
    EXPECT_TRUE(std::equal(wanted.begin(), wanted.end(), forwards.begin(), forwards.end(), same)) << key_name(key) << " read forwards is not what the replay has";
    EXPECT_TRUE(std::equal(wanted.rbegin(), wanted.rend(), backwards.begin(), backwards.end(), same)) << key_name(key) << " read backwards is not what the replay has";
  }

  std::uint64_t count(Outcome outcome) const {
    return static_cast<std::uint64_t>(std::count_if(notes.begin(), notes.end(), [outcome](const Operation& note) { return note.outcome == outcome; }));
  }
  // Both answers are common, or little was tried.
  void expect_one_explanation() {
    read_back();
    std::printf("%zu operations: %llu stored, %llu conflicts, %llu refused before, %llu heads\n", notes.size(), static_cast<unsigned long long>(count(Outcome::stored)),
                static_cast<unsigned long long>(count(Outcome::conflict)), static_cast<unsigned long long>(count(Outcome::refused)),
                static_cast<unsigned long long>(count(Outcome::seen)));
    EXPECT_GT(count(Outcome::stored), notes.size() / 20);
    EXPECT_GT(count(Outcome::conflict), notes.size() / 20);
    EXPECT_GT(count(Outcome::seen), notes.size() / 100);
    for (const auto& fault : ConditionalHistory(std::move(notes), std::move(log)).faults()) ADD_FAILURE() << fault << "; seed " << seed;
  }

  static std::uint64_t times(std::uint64_t one, std::uint64_t with_long) { return std::getenv("BUS_LONG") != nullptr ? with_long : one; }

  BrokerProcess broker;
  std::uint64_t seed = 0;
  std::vector<Operation> notes;
  std::vector<Logged> log;
};

TEST_F(Conditions, AllAnswersHaveOneExplanation) {
  publish(times(100'000, 1'000'000), 0);
  EXPECT_EQ(count(Outcome::refused), 0u);
  expect_one_explanation();
}

// What had no answer is sent again by libbus, so that nothing stays unknown.
TEST_F(Conditions, AllAnswersHaveOneExplanationAlsoWhenBusdIsKilled) {
  publish(times(40'000, 1'000'000), times(4, 20));
  expect_one_explanation();
}

}  // namespace
}  // namespace bus::test
