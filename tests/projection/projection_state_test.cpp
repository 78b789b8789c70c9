// Goal: a group of events is due at its limits and not before, a state says whose it is, and filters have one text each.
// Method: StateFile and Group on files in memory, without a broker; events are made by hand.
#include <gtest/gtest.h>

#include "base/limits.hpp"
#include "libbus/projection/files.hpp"
#include "libbus/projection/filter_text.hpp"
#include "libbus/projection/group.hpp"
#include "tests/support/events.hpp"
#include "tests/support/results.hpp"
#include "tests/support/temp_dir.hpp"

namespace bus::projection {
namespace {

using testing::fails;
using testing::is_ok;

Event event_at(std::uint64_t position, std::size_t filler = 0) {
  auto event = test::event();
  event.payload.resize(event.payload.size() + filler);
  auto bytes = std::make_shared<const Buffer>(test::encode(event));
  return Event({.position = Position{position}}, bytes, *bytes);
}

class StateFileTest : public ::testing::Test {
 protected:
  static constexpr Bounds bounds{limits::projection_map_bytes_max, std::chrono::seconds(5)};
  static Identity identity() { return {"p", {1, 2, 3}, 4, 5, "everything"}; }
  std::shared_ptr<StateFile> create() { return StateFile::create(path, identity(), bounds).value(); }

  test::TempDir dir;
  std::filesystem::path path = dir.path() / "p.state";
};

TEST_F(StateFileTest, SaysWhoseItIs) {
  create();
  const auto file = StateFile::open(path, bounds).value();
  EXPECT_EQ(file->identity(), identity());
  EXPECT_EQ(file->position(), Position::none);
}

TEST_F(StateFileTest, KeepsRowsAndPositionOfACommitAndNothingOfWhatWasUndone) {
  {
    const auto file = create();
    ASSERT_TRUE(is_ok(file->begin()));
    ASSERT_TRUE(is_ok(file->rows().put("k", "kept")));
    ASSERT_TRUE(is_ok(file->commit(Position{7})));
    ASSERT_TRUE(is_ok(file->begin()));
    ASSERT_TRUE(is_ok(file->rows().put("k", "undone")));
    file->undo();
  }
  const auto file = StateFile::open(path, bounds).value();
  const auto reader = file->read().value();
  EXPECT_EQ(reader->position(), Position{7});
  EXPECT_EQ(reader->get("k").value(), "kept");
}

TEST_F(StateFileTest, OfAnotherFormatIsRefused) {
  {
    auto env = lmdb::Environment::open(path, limits::projection_map_bytes, 8).value();
    auto transaction = env.begin(lmdb::Access::write).value();
    const auto meta = transaction.open_table("meta", true).value();
    ASSERT_TRUE(is_ok(transaction.open_table("state", true)));
    ASSERT_TRUE(is_ok(transaction.put(meta, "identity", sealed("identity", std::string("\2\0\0\0", 4)))));
    ASSERT_TRUE(is_ok(transaction.commit()));
  }
  EXPECT_TRUE(fails(StateFile::open(path, bounds), Code::bad_format, "it has format 2"));
}

TEST_F(StateFileTest, OfLmdbButNotOursIsRefused) {
  { lmdb::Environment::open(path, limits::projection_map_bytes, 8).value(); }
  EXPECT_TRUE(fails(StateFile::open(path, bounds), Code::bad_format, "no table meta"));
}

TEST_F(StateFileTest, IsPutInPlaceWhileItIsOpenAndHalfBuiltOnesAreRemoved) {
  const auto file = StateFile::create(new_path(path), identity(), bounds).value();
  ASSERT_TRUE(is_ok(put_in_place(path)));
  EXPECT_TRUE(std::filesystem::exists(path));
  EXPECT_FALSE(std::filesystem::exists(new_path(path)));
  ASSERT_TRUE(is_ok(file->begin()));
  ASSERT_TRUE(is_ok(file->commit(Position{3})));
  { const auto half_built = StateFile::create(new_path(path), identity(), bounds).value(); }
  ASSERT_TRUE(is_ok(remove_new(path)));
  ASSERT_TRUE(is_ok(remove_new(path))) << "nothing is there";
  EXPECT_FALSE(std::filesystem::exists(new_path(path)));
  file->close();
  EXPECT_EQ(StateFile::open(path, bounds).value()->position(), Position{3});
}

// ---- Group

class GroupTest : public StateFileTest {
 protected:
  bool is_due() const { return group.is_due(SteadyTime::min()); }  // for another reason than time
  void fold(std::uint64_t events, std::size_t filler = 0) {
    for (std::uint64_t at = 0; at < events; ++at) ASSERT_TRUE(is_ok(group.fold(event_at(++last, filler))));
  }

  std::uint64_t last = 0;
  std::uint64_t rows_per_event = 0;
  std::size_t value_bytes = 0;
  Projection::Fold how = [this](const Event&, Projection::State& state) {
    for (std::uint64_t row = 0; row < rows_per_event; ++row) state.put(std::to_string(row), std::string(value_bytes, 'v'));
  };
  std::shared_ptr<StateFile> file = create();
  Group group{*file, how};
};

TEST_F(GroupTest, IsDueWithSoManyEvents) {
  fold(limits::projection_group_events - 1);
  EXPECT_FALSE(is_due());
  fold(1);
  EXPECT_TRUE(is_due());
  ASSERT_TRUE(is_ok(group.commit(Position{last})));
  EXPECT_FALSE(is_due());
  EXPECT_EQ(file->position(), Position{limits::projection_group_events});
}

TEST_F(GroupTest, IsDueWithSoManyBytesOfEvents) {
  const auto size = event_at(1, 100'000).bytes().size();
  const auto fits = (limits::projection_group_bytes - 1) / size;
  fold(fits, 100'000);
  EXPECT_FALSE(is_due());
  fold(1, 100'000);
  EXPECT_TRUE(is_due());
}

TEST_F(GroupTest, IsDueWithSoManyChangedRowsOrBytes) {
  rows_per_event = limits::projection_group_changes - 1;
  fold(1);
  EXPECT_FALSE(is_due());
  rows_per_event = 1;
  fold(1);
  EXPECT_TRUE(is_due());
  ASSERT_TRUE(is_ok(group.commit(Position{last})));
  value_bytes = 1024 * 1024 - 1;         // and a key of one byte
  fold(15);
  EXPECT_FALSE(is_due());
  fold(1);
  EXPECT_TRUE(is_due());
}

TEST_F(GroupTest, IsDueAfterItsTime) {
  EXPECT_FALSE(group.is_due(SteadyTime::max())) << "it is empty";
  fold(1);
  EXPECT_FALSE(group.is_due(group.due() - Duration(1)));
  EXPECT_TRUE(group.is_due(group.due()));
}

// ---- the filter

TEST(FilterText, IsTheSameForTheSameFilter) {
  EXPECT_EQ(describe(Filter{}), "everything");
  const Filter one{.patterns = {"b.>", "a.*"}, .types = {"t"}, .keys = {}, .since = {}, .until = {}};
  const Filter same{.patterns = {"a.*", "b.>", "a.*"}, .types = {"t"}, .keys = {}, .since = {}, .until = {}};
  EXPECT_EQ(describe(one), "patterns \"a.*\" \"b.>\"; types \"t\"");
  EXPECT_EQ(describe(one), describe(same));
}

TEST(FilterText, IsAnotherForAnother) {
  std::vector<Filter> filters(12);
  filters[1].patterns = {"a", "b"};
  filters[2].patterns = {"a\" \"b"};
  filters[3].types = {"a", "b"};
  filters[4].keys = {"a", "b"};
  filters[5].since = wall_time(1);
  filters[6].until = wall_time(1);
  filters[7].priorities = {Priority::high};
  filters[8].attributes = {{"a", {"b"}}};
  filters[9].attributes = {{"a", {}}, {"b", {}}};
  filters[10].attributes = {{"a", {}}};
  filters[11].priorities = {Priority::low, Priority::high};
  std::set<std::string> texts;
  for (const Filter& filter : filters) EXPECT_TRUE(texts.insert(describe(filter)).second) << describe(filter);
}

}  // namespace
}  // namespace bus::projection
