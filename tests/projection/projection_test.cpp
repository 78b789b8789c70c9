// Goal: a projection folds each event once and in order, readers see the state of one position, a service reads its own writes,
// and a rebuild leaves the old state to readers until it is done.
// Method: a busd and a client of the test's own; the fold keeps a chain per key that shows what was left out, doubled or
// swapped. Gates hold the fold where a test wants to look. Under TSan, too.
#include <atomic>
#include <latch>
#include <thread>

#include "tests/projection/projection_case.hpp"

namespace bus::test {
namespace {

using std::chrono::milliseconds;
using testing::fails;
using testing::is_ok;

class ProjectionTest : public ProjectionCase {};

TEST_F(ProjectionTest, FoldsWhatIsThereAndWhatComesOnceAndInOrder) {
  publish(client, 1000);
  auto projection = open().value();
  const auto last = publish(client, 1000);
  ASSERT_TRUE(is_ok(projection.wait_until(last, patience)));
  const auto snapshot = projection.read().value();
  EXPECT_EQ(snapshot.position(), Position{2000});
  EXPECT_EQ(chains_of(snapshot), chains_of(client, last));
  EXPECT_EQ(chains_of(snapshot).size(), 7u);
}

TEST_F(ProjectionTest, GoesOnWhereItWasWhenItIsOpenedAgain) {
  publish(client, 500);
  std::atomic<int> folded{0};
  const auto counting = [&](const Event& event, Projection::State& state) {
    ++folded;
    fold_chain(event, state);
  };
  for (std::uint64_t round = 1; round <= 3; ++round) {
    auto projection = Projection::open(client, options(), counting).value();
    EXPECT_GE(projection.position(), Position{500 * round - 500}) << "and it folds on already";
    ASSERT_TRUE(is_ok(projection.catch_up(patience)));
    EXPECT_EQ(chains_of(projection.read().value()), chains_of(client, Position{500 * round}));
    EXPECT_TRUE(is_ok(projection.close()));
    publish(client, 500);
  }
  EXPECT_EQ(folded, 1500);
}

TEST_F(ProjectionTest, ReadsItsOwnWrites) {
  auto projection = open().value();
  for (std::uint64_t at = 1; at <= 50; ++at) {
    const auto receipt = client.publish(note("a.b", "mine")).get().value();
    ASSERT_TRUE(is_ok(projection.wait_until(receipt.position, patience)));
    EXPECT_EQ(projection.read().value().load<Chain>("mine").value()->count, at);
  }
}

// What does not match moves the position, too: otherwise nobody could wait for anything.
TEST_F(ProjectionTest, FoldsWhatItsFilterNamesAndPassesTheRest) {
  auto wanted = options();
  wanted.filter.patterns = {"wanted.>"};
  auto projection = Projection::open(client, wanted, fold_chain).value();
  publish(client, 10, "wanted.a");
  const auto last = publish(client, 25, "other.a");
  ASSERT_TRUE(is_ok(projection.wait_until(last, patience)));
  EXPECT_GE(projection.read().value().position(), last) << "a snapshot is of what was waited for, or later";
  EXPECT_EQ(chains_of(projection.read().value()), chains_of(client, last, wanted.filter));
  ASSERT_TRUE(is_ok(projection.close()));
  auto again = Projection::open(client, wanted, fold_chain).value();
  EXPECT_EQ(again.position(), last) << "closing has written how far it was";
}

TEST_F(ProjectionTest, AnEmptyLogIsCaughtUpWith) {
  auto wanted = options();
  std::promise<Projection::Progress> told;
  wanted.progress = [&](const Projection::Progress& progress) { told.set_value(progress); };
  auto projection = Projection::open(client, wanted, fold_chain).value();
  EXPECT_TRUE(is_ok(projection.catch_up(patience)));
  EXPECT_TRUE(told.get_future().get().done);
  ASSERT_TRUE(is_ok(projection.wait_until(publish(client, 1), patience)));
}

TEST_F(ProjectionTest, AnEmptyLogIsRebuilt) {
  auto projection = open().value();
  EXPECT_TRUE(is_ok(projection.rebuild()));
  ASSERT_TRUE(is_ok(projection.wait_until(publish(client, 1), patience)));
}

TEST_F(ProjectionTest, GoesOnWhenTheBrokerWasKilled) {
  auto projection = open().value();
  publish(client, 100);
  broker.kill();
  EXPECT_TRUE(fails(projection.wait_until(Position{101}, milliseconds(1)), Code::timed_out, "position"));
  broker.start();
  const auto last = publish(client, 100);
  ASSERT_TRUE(is_ok(projection.wait_until(last, patience)));
  EXPECT_EQ(chains_of(projection.read().value()), chains_of(client, last));
}

TEST_F(ProjectionTest, StateIsRowsInOrderThatCanBeScannedAndErased) {
  publish(client, 1);
  std::vector<std::string> seen, after_stop;
  auto projection = Projection::open(client, options(), [&](const Event&, Projection::State& state) {
    for (const char* key : {"b/2", "a/1", "b/1", "c/1", "b/3"}) state.put(key, std::string("value of ") + key);
    state.erase("b/2");
    state.erase("never there");
    EXPECT_EQ(state.get("b/2"), std::nullopt);
    EXPECT_EQ(state.get("b/1"), "value of b/1");
    EXPECT_EQ(state.add<int>("number", 5), 5);
    EXPECT_EQ(state.add<int>("number", -7), -2);
    seen.clear();
    state.scan("b/", [&](std::string_view key, std::string_view value) {
      EXPECT_EQ(value, "value of " + std::string(key));
      seen.emplace_back(key);
      state.erase(key);                  // a scan may change what it goes over
      return true;
    });
    state.scan("", [&](std::string_view key, std::string_view) { return after_stop.emplace_back(key), false; });
  }).value();
  ASSERT_TRUE(is_ok(projection.catch_up(patience)));
  EXPECT_EQ(seen, (std::vector<std::string>{"b/1", "b/3"}));
  EXPECT_EQ(after_stop, std::vector<std::string>{"a/1"});
  const auto snapshot = projection.read().value();
  EXPECT_EQ(snapshot.get("a/1").value(), "value of a/1");
  EXPECT_EQ(snapshot.get("b/1").value(), std::nullopt);
  EXPECT_EQ(snapshot.load<int>("number").value(), -2);
  EXPECT_TRUE(fails(snapshot.load<double>("number"), Code::bad_argument, "has 4 bytes, not the 8"));
}

// A scan copies its rows in parts; here many parts.
TEST_F(ProjectionTest, AScanOfManyRowsGivesEachOnce) {
  publish(client, 1);
  constexpr int rows = 5000;
  const auto key = [](int row) { return "row/" + std::to_string(100'000 + row); };
  auto projection = Projection::open(client, options(), [&](const Event&, Projection::State& state) {
    for (int row = 0; row < rows; ++row) state.put(key(row), std::string(100, 'x'));
  }).value();
  ASSERT_TRUE(is_ok(projection.catch_up(patience)));
  int next = 0;
  EXPECT_TRUE(is_ok(projection.read().value().scan("row/", [&](std::string_view found, std::string_view value) {
    EXPECT_EQ(found, key(next++));
    return value.size() == 100;
  })));
  EXPECT_EQ(next, rows);
}

// ---- reading while it folds

// Every event adds its position to one row and to one of seven: whatever the snapshot, the sums are those of its position.
TEST_F(ProjectionTest, ASnapshotIsOfThePositionItNames) {
  auto projection = Projection::open(client, options(), [](const Event& event, Projection::State& state) {
    state.add("sum", number(event.position()));
    state.add("part/" + std::string(event.key()), number(event.position()));
  }).value();
  std::atomic<bool> over{false};
  std::set<Position> positions;
  std::thread reader([&] {
    while (!over) {
      const auto snapshot = projection.read().value();
      const auto last = number(snapshot.position());
      std::uint64_t parts = 0;
      EXPECT_TRUE(is_ok(snapshot.scan("part/", [&](std::string_view key, std::string_view value) {
        return parts += *Projection::Snapshot::load<std::uint64_t>(key, value).value(), true;
      })));
      EXPECT_EQ(snapshot.load<std::uint64_t>("sum").value().value_or(0), last * (last + 1) / 2);
      EXPECT_EQ(parts, last * (last + 1) / 2);
      positions.insert(snapshot.position());
    }
  });
  Position last{};
  for (int round = 0; round < 40; ++round) last = publish(client, 200);
  EXPECT_TRUE(is_ok(projection.wait_until(last, patience)));
  over = true;
  reader.join();
  EXPECT_GT(positions.size(), 3u) << "it was read while it moved";
}

TEST_F(ProjectionTest, ASnapshotLivesForAWhile) {
  publish(client, 10);
  auto wanted = options();
  wanted.snapshot_life = milliseconds(50);
  auto projection = Projection::open(client, wanted, fold_chain).value();
  ASSERT_TRUE(is_ok(projection.catch_up(patience)));
  const auto snapshot = projection.read().value();
  const auto begun = std::chrono::steady_clock::now();
  Result<std::optional<std::string>> value = snapshot.get("key-0");
  while (value) value = snapshot.get("key-0");
  EXPECT_TRUE(fails(value, Code::timed_out, "take another"));
  EXPECT_GE(std::chrono::steady_clock::now() - begun, milliseconds(40));
  EXPECT_TRUE(fails(snapshot.scan("", [](auto, auto) { return true; }), Code::timed_out));
  EXPECT_TRUE(is_ok(projection.read().value().get("key-0")));
}

TEST_F(ProjectionTest, ClosingEndsSnapshotsAndFreesTheFile) {
  publish(client, 10);
  auto projection = open().value();
  ASSERT_TRUE(is_ok(projection.catch_up(patience)));
  const auto snapshot = projection.read().value();
  EXPECT_TRUE(is_ok(projection.close()));
  EXPECT_TRUE(is_ok(projection.close())) << "again";
  EXPECT_TRUE(is_ok(projection.wait()));
  EXPECT_TRUE(fails(snapshot.get("key-0"), Code::closed));
  EXPECT_TRUE(fails(projection.read(), Code::closed));
  EXPECT_TRUE(fails(projection.rebuild(), Code::closed));
  auto again = open().value();
  EXPECT_EQ(again.position(), Position{10});
  EXPECT_TRUE(is_ok(again.read().value().get("key-0")));
}

// ---- rebuilding

// The fold stops at one position of one pass over the log until it is let go.
struct Gate {
  Position at;
  std::atomic<int> passes_left{0};       // before the one that is held
  std::latch reached{1}, open{1};
  void pass(const Event& event) {
    if (event.position() != at || passes_left-- != 0) return;
    reached.count_down();
    open.wait();
  }
};

TEST_F(ProjectionTest, ARebuildLeavesTheOldStateToReadersUntilItIsDone) {
  publish(client, 1000);
  Gate gate{.at = Position{900}, .passes_left = 1};
  std::atomic<std::uint64_t> factor{1};
  std::vector<Projection::Progress> told;
  auto wanted = options();
  wanted.progress = [&](const Projection::Progress& progress) { told.push_back(progress); };
  auto projection = Projection::open(client, wanted, [&](const Event& event, Projection::State& state) {
    gate.pass(event);
    state.add("count", factor.load());
  }).value();
  ASSERT_TRUE(is_ok(projection.catch_up(patience)));
  factor = 2;
  std::thread rebuilding([&] { EXPECT_TRUE(is_ok(projection.rebuild())); });
  gate.reached.wait();
  EXPECT_TRUE(std::filesystem::exists(file_new()));
  const auto old = projection.read().value();
  EXPECT_EQ(old.position(), Position{1000});
  EXPECT_EQ(old.load<std::uint64_t>("count").value(), 1000u);
  const auto last = publish(client, 500);
  EXPECT_EQ(projection.position(), Position{1000});
  gate.open.count_down();
  rebuilding.join();
  EXPECT_EQ(old.load<std::uint64_t>("count").value(), 1000u) << "a snapshot outlives the file it is of";
  ASSERT_TRUE(is_ok(projection.wait_until(last, patience)));
  EXPECT_EQ(projection.read().value().load<std::uint64_t>("count").value(), 3000u);
  EXPECT_FALSE(std::filesystem::exists(file_new()));
  ASSERT_TRUE(is_ok(projection.close()));
  EXPECT_FALSE(told.front().rebuilding);
  EXPECT_TRUE(told.back().rebuilding && told.back().done);
  EXPECT_EQ(told.back().position, told.back().head);
  EXPECT_EQ(told.back().events, number(told.back().head));
  EXPECT_GT(told.back().events_per_second, 0);
  EXPECT_EQ(told.back().left, Duration(0));
  EXPECT_TRUE(std::any_of(told.begin(), told.end(), [](const auto& one) { return one.rebuilding && !one.done && one.head >= Position{1000}; }));
  auto again = Projection::open(client, options(), fold_chain).value();
  EXPECT_EQ(again.read().value().load<std::uint64_t>("count").value(), 3000u) << "the new file is the one that is opened";
}

TEST_F(ProjectionTest, IsRebuiltAgainAndAgain) {
  const auto last = publish(client, 300);
  auto projection = open().value();
  for (int round = 0; round < 5; ++round) {
    ASSERT_TRUE(is_ok(projection.rebuild()));
    EXPECT_EQ(chains_of(projection.read().value()), chains_of(client, last));
  }
}

TEST_F(ProjectionTest, ClosingDuringARebuildLeavesTheOldState) {
  publish(client, 100);
  Gate gate{.at = Position{50}, .passes_left = 1};
  auto projection = Projection::open(client, options(), [&](const Event& event, Projection::State& state) {
    gate.pass(event);
    fold_chain(event, state);
  }).value();
  ASSERT_TRUE(is_ok(projection.catch_up(patience)));
  std::thread rebuilding([&] { EXPECT_TRUE(fails(projection.rebuild(), Code::closed)); });
  gate.reached.wait();
  std::thread closing([&] { EXPECT_TRUE(is_ok(projection.close())); });
  while (projection.wait_until(Position{1000}, Duration(0)).error().code != Code::closed) std::this_thread::yield();
  gate.open.count_down();
  closing.join();
  rebuilding.join();
  EXPECT_FALSE(std::filesystem::exists(file_new()));
  EXPECT_EQ(open().value().position(), Position{100});
}

TEST_F(ProjectionTest, AnotherVersionIsRebuiltWhereThatIsAllowed) {
  const auto last = publish(client, 100);
  ASSERT_TRUE(is_ok(open().value().catch_up(patience)));
  auto changed = options();
  changed.version = 2;
  EXPECT_TRUE(fails(Projection::open(client, changed, fold_chain), Code::fold_changed, "rebuild_if_changed"));
  changed.rebuild_if_changed = true;
  Gate gate{.at = Position{100}};
  const auto fold = [&](const Event& event, Projection::State& state) {
    gate.pass(event);
    state.add<std::uint64_t>("count", 1);
  };
  auto projection = Projection::open(client, changed, fold).value();
  gate.reached.wait();
  {
    const auto old = projection.read().value();
    EXPECT_EQ(old.version(), 1u);
    EXPECT_EQ(chains_of(old), chains_of(client, last));
  }
  gate.open.count_down();
  const auto next = publish(client, 1);
  ASSERT_TRUE(is_ok(projection.wait_until(next, patience)));
  EXPECT_EQ(projection.read().value().version(), 2u);
  EXPECT_EQ(projection.read().value().load<std::uint64_t>("count").value(), 101u);
}

}  // namespace
}  // namespace bus::test
