// Goal: each thing that can go wrong with a projection ends in its code, says where and what to do, and leaves nothing half folded.
// Method: bring it about, on a busd of the test's own: foreign and damaged files, folds that fail, disks and maps that are full,
// logs that are not the one before.
#include <sys/mount.h>

#include <fstream>

#include "tests/projection/projection_case.hpp"

namespace bus::test {
namespace {

using testing::fails;
using testing::is_ok;

std::string bytes_of(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

class ProjectionErrors : public ProjectionCase {
 protected:
  // Opened with these it fails so, and the file is as before.
  void refuses(const Projection::Options& asked, Code code, const std::string& part) {
    const auto before = bytes_of(file());
    EXPECT_TRUE(fails(Projection::open(client, asked, fold_chain), code, part));
    EXPECT_EQ(bytes_of(file()), before);
  }
  void make_state(std::uint64_t events = 100) {
    publish(client, events);
    auto projection = open().value();
    ASSERT_TRUE(is_ok(projection.catch_up(patience)));
    ASSERT_TRUE(is_ok(projection.close()));
  }
  std::filesystem::path data() const { return std::filesystem::path(broker.endpoint().substr(6)).parent_path() / "data"; }
};

TEST_F(ProjectionErrors, AnothersFileIsRefused) {
  make_state();
  refuses(options("q"), Code::projection_mismatch, "holds the state of projection 'p'");
  auto filtered = options();
  filtered.filter.patterns = {"a.*"};
  refuses(filtered, Code::projection_mismatch, "patterns \"a.*\"");
  auto changed = options();
  changed.version = 2;
  refuses(changed, Code::fold_changed, "version 1 of the fold, and this is 2");
  EXPECT_TRUE(is_ok(open()));
}

TEST_F(ProjectionErrors, AStateOfAnotherLogIsRefused) {
  make_state();
  BrokerProcess other;
  auto elsewhere = connect(other.endpoint());
  const auto before = bytes_of(file());
  EXPECT_TRUE(fails(Projection::open(elsewhere, options(), fold_chain), Code::log_changed, "remove the file"));
  EXPECT_EQ(bytes_of(file()), before);
}

// An earlier copy of the log put back, as after a restore that did not say so.
TEST_F(ProjectionErrors, ALogThatEndsBeforeTheStateIsRefused) {
  publish(client, 10);
  ASSERT_EQ(broker.stop(), 0);
  std::filesystem::copy(data(), dir.path() / "copy", std::filesystem::copy_options::recursive);
  broker.start();
  auto projection = open().value();
  ASSERT_TRUE(is_ok(projection.wait_until(publish(client, 10), patience)));
  ASSERT_EQ(broker.stop(), 0);
  std::filesystem::remove_all(data());
  std::filesystem::copy(dir.path() / "copy", data(), std::filesystem::copy_options::recursive);
  broker.start();
  EXPECT_TRUE(fails(projection.wait(), Code::log_changed, "projection 'p' ended at position 20"));
  EXPECT_TRUE(fails(projection.close(), Code::log_changed));
  client = connect(broker.endpoint());
  refuses(options(), Code::log_changed, "position 20, but the log ends earlier");
}

// A state that lacks events is not what the fold says, unless it is meant to be made of what is left.
TEST_F(ProjectionErrors, WhatRetentionHasRemovedIsNotPassedOver) {
  auto projection = open().value();
  ASSERT_TRUE(is_ok(projection.wait_until(publish(client, 10), patience)));
  ASSERT_TRUE(is_ok(projection.close()));
  publish(client, 20);
  keep_newest(client, "a.b", 5);
  // Retention is met while it opens or after, as the notice comes: either way the state is let go.
  const auto ended = [this]() -> Result<void> {
    auto again = open();
    return again ? again->wait() : Result<void>(again.error());
  }();
  EXPECT_TRUE(fails(ended, Code::trimmed, "up to position 25"));
  auto wanted = options();
  wanted.skip_trimmed = true;
  auto rest = Projection::open(client, wanted, fold_chain).value();
  ASSERT_TRUE(is_ok(rest.catch_up(patience)));
  std::uint64_t count = 0;
  for (const auto& [key, chain] : chains_of(rest.read().value())) count += chain.count;
  EXPECT_EQ(count, 15u);
}

TEST_F(ProjectionErrors, OneStateHasOneProjection) {
  auto first = open().value();
  EXPECT_TRUE(fails(open(), Code::locked, "open already"));
  auto by_another_path = options();
  std::filesystem::create_symlink(dir.path(), dir.path() / "link");
  by_another_path.file = dir.path() / "link" / "p.state";
  EXPECT_TRUE(fails(Projection::open(client, by_another_path, fold_chain), Code::locked));
  ASSERT_TRUE(is_ok(first.close()));
  EXPECT_TRUE(is_ok(open()));
}

TEST_F(ProjectionErrors, WhatIsNoStateIsRefused) {
  std::ofstream(file()) << std::string(10'000, 'x');
  refuses(options(), Code::bad_format, "p.state");
  std::filesystem::remove(file());
  auto nowhere = options();
  nowhere.file = dir.path() / "none" / "p.state";
  EXPECT_TRUE(fails(Projection::open(client, nowhere, fold_chain), Code::disk_error, "none"));
}

TEST_F(ProjectionErrors, ATruncatedFileIsDamaged) {
  make_state();
  std::filesystem::resize_file(file(), 2 * 4096 + 100);
  EXPECT_TRUE(fails(open(), Code::damaged, "p.state"));
}

// Each byte that belongs to a value is found to be wrong by whoever reads it.
TEST_F(ProjectionErrors, ADamagedRowIsNeverGivenOutAsGood) {
  publish(client, 1);
  const auto fold = [](const Event&, Projection::State& state) {
    if (state.get("row")) return;
    state.put("row", "a value that is easy to find");
  };
  ASSERT_TRUE(is_ok(Projection::open(client, options(), fold).value().catch_up(patience)));
  auto bytes = bytes_of(file());
  const auto at = bytes.find("easy to find");
  ASSERT_NE(at, std::string::npos);
  for (auto found = at; found != std::string::npos; found = bytes.find("easy to find", found + 1)) bytes[found] = 'E';
  std::ofstream(file(), std::ios::binary) << bytes;
  auto projection = Projection::open(client, options(), fold).value();
  EXPECT_TRUE(fails(projection.read().value().get("row"), Code::damaged, "'row'"));
  EXPECT_TRUE(fails(projection.read().value().scan("", [](auto, auto) { return true; }), Code::damaged, "'row'"));
  publish(client, 1);
  EXPECT_TRUE(fails(projection.wait(), Code::damaged, "folding position 2"));
  EXPECT_TRUE(is_ok(projection.read())) << "others may still look";
}

TEST_F(ProjectionErrors, AFoldThatThrowsEndsItWithNothingHalfFolded) {
  make_state(100);
  const auto before = chains_of(open().value().read().value());
  publish(client, 100);
  const auto careless = [](const Event& event, Projection::State& state) {
    fold_chain(event, state);
    if (event.position() == Position{150}) throw std::runtime_error("no such unit");
  };
  {
    auto projection = Projection::open(client, options(), careless).value();
    EXPECT_TRUE(fails(projection.wait(), Code::fold_failed, "folding position 150: no such unit"));
    EXPECT_TRUE(fails(projection.wait_until(Position{150}, patience), Code::fold_failed));
    EXPECT_TRUE(fails(projection.rebuild(), Code::fold_failed));
    EXPECT_LT(projection.position(), Position{150});
    const auto snapshot = projection.read().value();
    EXPECT_EQ(chains_of(snapshot), chains_of(client, snapshot.position()));
  }
  auto mended = open().value();
  ASSERT_TRUE(is_ok(mended.catch_up(patience)));
  EXPECT_EQ(chains_of(mended.read().value()), chains_of(client, Position{200}));
}

TEST_F(ProjectionErrors, AFoldThatThrowsInARebuildLeavesTheOldState) {
  make_state(100);
  bool fails_now = false;
  auto projection = Projection::open(client, options(), [&](const Event& event, Projection::State& state) {
    if (fails_now && event.position() == Position{60}) throw 42;
    fold_chain(event, state);
  }).value();
  ASSERT_TRUE(is_ok(projection.catch_up(patience)));
  fails_now = true;
  EXPECT_TRUE(fails(projection.rebuild(), Code::fold_failed, "folding position 60"));
  EXPECT_EQ(chains_of(projection.read().value()), chains_of(client, Position{100}));
  ASSERT_TRUE(fails(projection.close(), Code::fold_failed));
  EXPECT_FALSE(std::filesystem::exists(file_new()));
  EXPECT_EQ(open().value().position(), Position{100});
}

TEST_F(ProjectionErrors, AClientThatIsClosedEndsIt) {
  auto projection = open().value();
  const auto last = publish(client, 10);
  ASSERT_TRUE(is_ok(projection.wait_until(last, patience)));
  client.close();
  EXPECT_TRUE(fails(projection.wait(), Code::closed, "ended at position 10"));
}

TEST_F(ProjectionErrors, WhatTheBrokerRefusesLeavesNoFile) {
  auto bad = options();
  bad.filter.patterns = {"a.>.b"};
  EXPECT_TRUE(fails(Projection::open(client, bad, fold_chain), Code::bad_pattern));
  EXPECT_FALSE(std::filesystem::exists(file()));
  EXPECT_TRUE(is_ok(open()));
}

// ---- limits

TEST_F(ProjectionErrors, OptionsHaveTheirLimits) {
  const auto refused = [&](auto change, const std::string& part) {
    auto asked = options();
    change(asked);
    EXPECT_TRUE(fails(Projection::open(client, asked, fold_chain), Code::bad_argument, part));
  };
  refused([](auto& asked) { asked.name = ""; }, "1 to 128 bytes");
  refused([](auto& asked) { asked.name = std::string(129, 'n'); }, "1 to 128 bytes, not 129");
  refused([](auto& asked) { asked.file = ""; }, "no file");
  refused([](auto& asked) { asked.snapshot_life = Duration(0); }, "snapshot_life");
  refused([](auto& asked) { asked.snapshot_life = std::chrono::minutes(1) + Duration(1); }, "snapshot_life");
  refused([](auto& asked) { asked.file_bytes_max = (64u << 20) - 1; }, "file_bytes_max");
  refused([](auto& asked) { asked.file_bytes_max = (std::uint64_t{1} << 40) + 1; }, "file_bytes_max");
  EXPECT_TRUE(fails(Projection::open(client, options(), nullptr), Code::bad_argument, "fold"));
  auto most = options(std::string(128, 'n'));
  most.snapshot_life = std::chrono::minutes(1);
  most.file_bytes_max = 64u << 20;
  EXPECT_TRUE(is_ok(Projection::open(client, most, fold_chain)));
}

class ProjectionLimits : public ProjectionErrors {
 protected:
  // The end of a projection whose only event is folded so; ok: the event was folded.
  Result<void> end_of(const std::function<void(Projection::State&)>& fold) {
    std::filesystem::remove(file());
    auto projection = Projection::open(client, options(), [&](const Event&, Projection::State& state) { fold(state); }).value();
    const auto caught_up = projection.catch_up(patience);
    return caught_up ? projection.close() : projection.wait();
  }
  void SetUp() override { publish(client, 1); }
};

TEST_F(ProjectionLimits, OfKeysAndValues) {
  EXPECT_TRUE(is_ok(end_of([](auto& state) { state.put(std::string(500, 'k'), "v"); })));
  EXPECT_TRUE(fails(end_of([](auto& state) { state.put(std::string(501, 'k'), "v"); }), Code::bad_argument, "a key of 501 bytes"));
  EXPECT_TRUE(fails(end_of([](auto& state) { state.put("", "v"); }), Code::bad_argument, "a key of 0 bytes"));
  EXPECT_TRUE(fails(end_of([](auto& state) { state.get(""); }), Code::bad_argument, "a key of 0 bytes"));
  EXPECT_TRUE(is_ok(end_of([](auto& state) { state.put("k", ""); if (state.get("k") != "") throw 1; })));
  const std::string largest(1 << 20, 'v');
  EXPECT_TRUE(is_ok(end_of([&](auto& state) { state.put("k", largest); if (state.get("k") != largest) throw 1; })));
  EXPECT_TRUE(fails(end_of([&](auto& state) { state.put("k", largest + "v"); }), Code::bad_argument, "a value of 1048577 bytes for 'k'"));
}

TEST_F(ProjectionLimits, OfWhatOneEventChanges) {
  const auto put = [](int rows) {
    return [rows](Projection::State& state) {
      for (int row = 0; row < rows; ++row) state.put(std::to_string(row), "");
    };
  };
  EXPECT_TRUE(is_ok(end_of(put(16 * 1024))));
  EXPECT_TRUE(fails(end_of(put(16 * 1024 + 1)), Code::bad_argument, "more than 16384 rows"));
  const auto put_bytes = [](std::size_t last) {
    return [last](Projection::State& state) {
      for (int row = 0; row < 15; ++row) state.put("k", std::string((1 << 20) - 1, 'v'));
      state.put("k", std::string(last, 'v'));
    };
  };
  EXPECT_TRUE(is_ok(end_of(put_bytes((1 << 20) - 1))));
  EXPECT_TRUE(fails(end_of(put_bytes(1 << 20)), Code::bad_argument, "16777216 bytes"));
}

// Whatever the fold does once the state has failed under it: that is the reason, and not what it throws then.
TEST_F(ProjectionLimits, TheFirstFailureOfTheStateIsTheReason) {
  EXPECT_TRUE(fails(end_of([](auto& state) {
                      state.put("", "v");
                      state.put("fine", "v");
                      throw std::runtime_error(state.get("fine") ? "there" : "not there");
                    }),
                    Code::bad_argument, "a key of 0 bytes"));
  EXPECT_TRUE(fails(end_of([](auto& state) { state.put("n", "abc"), state.template add<int>("n", 1); }), Code::bad_argument, "has 3 bytes, not the 4"));
}

TEST_F(ProjectionLimits, OfSnapshots) {
  auto projection = open().value();
  std::vector<Projection::Snapshot> snapshots;
  for (int at = 0; at < 64; ++at) snapshots.push_back(projection.read().value());
  EXPECT_TRUE(fails(projection.read(), Code::busy, "let go of some"));
  snapshots.pop_back();
  EXPECT_TRUE(is_ok(projection.read()));
}

// ---- space

// Each event takes a MiB: after 60 or so the first map is full.
void fold_large(const Event& event, Projection::State& state) {
  state.put(std::to_string(number(event.position())), std::string(1 << 20, 'v'));
  state.add<std::uint64_t>("count", 1);
}

TEST_F(ProjectionErrors, TheMapGrowsByItself) {
  publish(client, 300);
  auto wanted = options();
  wanted.snapshot_life = std::chrono::milliseconds(200);
  auto projection = Projection::open(client, wanted, fold_large).value();
  Result<Projection::Snapshot> held = projection.read();
  while (projection.wait_until(Position{300}, Duration(0)).error().code == Code::timed_out) {
    if (auto again = projection.read()) held = std::move(again);
  }
  const auto snapshot = projection.read().value();
  EXPECT_EQ(snapshot.position(), Position{300});
  EXPECT_EQ(snapshot.load<std::uint64_t>("count").value(), 300u) << "what was folded again counts once";
  EXPECT_GT(std::filesystem::file_size(file()), 256u << 20);
  EXPECT_EQ(snapshot.get("300").value()->size(), std::size_t{1} << 20);
  ASSERT_TRUE(is_ok(projection.close()));
  EXPECT_EQ(Projection::open(client, wanted, fold_large).value().read().value().load<std::uint64_t>("count").value(), 300u);
}

TEST_F(ProjectionErrors, AMapThatMayNotGrowEndsIt) {
  publish(client, 100);
  auto narrow = options();
  narrow.file_bytes_max = 64u << 20;
  {
    auto projection = Projection::open(client, narrow, fold_large).value();
    EXPECT_TRUE(fails(projection.wait(), Code::log_full, "file_bytes_max"));
    const auto snapshot = projection.read().value();
    EXPECT_EQ(snapshot.load<std::uint64_t>("count").value().value_or(0), number(snapshot.position()));
    EXPECT_GT(snapshot.position(), Position::none);
  }
  auto wider = Projection::open(client, options(), fold_large).value();
  ASSERT_TRUE(is_ok(wider.catch_up(patience)));
  EXPECT_EQ(wider.read().value().load<std::uint64_t>("count").value(), 100u);
}

// A file system of its own, so that it can be filled.
TEST_F(ProjectionErrors, AFullDiskEndsItAndTheStateIsThatOfACheckpoint) {
  const auto disk = dir.path() / "disk";
  std::filesystem::create_directory(disk);
  if (::mount("tmpfs", disk.c_str(), "tmpfs", 0, "size=24m") != 0) GTEST_SKIP() << "mounting takes root";
  const std::unique_ptr<const char, void (*)(const char*)> mounted(disk.c_str(), [](const char* path) { ::umount2(path, MNT_DETACH); });
  publish(client, 100);
  auto wanted = options();
  wanted.file = disk / "p.state";
  {
    auto projection = Projection::open(client, wanted, fold_large).value();
    EXPECT_TRUE(fails(projection.wait(), Code::log_full, "lmdb cannot"));
  }
  std::filesystem::copy_file(wanted.file, file());
  wanted.file = file();
  auto moved = Projection::open(client, wanted, fold_large).value();
  EXPECT_LT(moved.position(), Position{30});
  ASSERT_TRUE(is_ok(moved.catch_up(patience)));
  EXPECT_EQ(moved.read().value().load<std::uint64_t>("count").value(), 100u);
}

}  // namespace
}  // namespace bus::test
