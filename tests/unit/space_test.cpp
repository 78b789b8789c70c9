// Goal: space counted as free is allocated on disk, zeros are written only beyond what is used, and the end of the map
// is never passed.
// Method: FileSpace on plain files in memory.
#include <gtest/gtest.h>

#include <fcntl.h>
#include <sys/stat.h>

#include "broker/store/file.hpp"
#include "broker/store/space.hpp"
#include "tests/support/results.hpp"
#include "tests/support/store_dir.hpp"

namespace bus::store {
namespace {

using limits::KiB;
using limits::MiB;
using testing::is_ok;

class FileSpaceTest : public ::testing::Test {
 protected:
  // A file whose first `used` bytes belong to somebody else.
  FileSpace start(std::uint64_t used, FileSpace::Bounds bounds) {
    testing::write_file(path_, std::string(used, 'u'));
    return restart(used, bounds);
  }
  FileSpace restart(std::uint64_t used, FileSpace::Bounds bounds) {
    file_ = File::open(path_, O_RDWR).value();
    FileSpace space(file_.descriptor(), bounds);
    space.start(used).value();
    return space;
  }
  std::uint64_t allocated_bytes() const {
    struct stat info {};
    ::stat(path_.c_str(), &info);
    return static_cast<std::uint64_t>(info.st_blocks) * 512;
  }
  static void fill_all(FileSpace& space) {
    while (space.fill().value()) {
    }
  }

  testing::StoreDir dir_;
  std::filesystem::path path_ = dir_.path() / "file";
  File file_;
};

TEST_F(FileSpaceTest, GrowsToTheReserveAndWhatIsFilledAhead) {
  auto space = start(64 * KiB, {64 * MiB, 10 * MiB, 3 * MiB});
  EXPECT_TRUE(space.is_short());
  ASSERT_TRUE(is_ok(space.grow()));
  EXPECT_FALSE(space.is_short());
  EXPECT_EQ(space.figures().free_bytes, 13 * MiB);
  EXPECT_EQ(std::filesystem::file_size(path_), 13 * MiB + 64 * KiB);
  EXPECT_GE(allocated_bytes(), 13 * MiB + 64 * KiB);
  EXPECT_TRUE(space.covers(13 * MiB));
  EXPECT_FALSE(space.covers(13 * MiB + 1));
}

// With nothing beyond the reserve no publish would ever be admitted, on however empty a disk.
TEST_F(FileSpaceTest, LeavesRoomForACommitAlsoWhereNothingIsFilledAhead) {
  auto space = start(64 * KiB, {64 * MiB, 0, 1 * MiB});
  ASSERT_TRUE(is_ok(space.grow()));
  EXPECT_GE(space.figures().free_bytes, 1 * MiB + limits::commit_bytes_max);
  EXPECT_FALSE(space.fill().value());
  space.set_used(64 * KiB + 5 * MiB);
  EXPECT_TRUE(space.is_short());
  ASSERT_TRUE(is_ok(space.grow()));
  EXPECT_GE(space.figures().free_bytes, 1 * MiB + limits::commit_bytes_max);
}

TEST_F(FileSpaceTest, FillsOneSliceAtATimeAndLeavesWhatIsUsedAlone) {
  auto space = start(64 * KiB, {64 * MiB, 2 * MiB, 3 * MiB});
  ASSERT_TRUE(is_ok(space.grow()));
  EXPECT_TRUE(space.fill().value());
  EXPECT_TRUE(space.fill().value());
  EXPECT_FALSE(space.fill().value());
  const auto bytes = testing::read_file(path_);
  EXPECT_EQ(bytes.substr(0, 64 * KiB), std::string(64 * KiB, 'u'));
  EXPECT_EQ(bytes.find_first_not_of('\0', 64 * KiB), std::string::npos);
}

TEST_F(FileSpaceTest, UsingSpaceMakesRoomForMoreFilling) {
  auto space = start(64 * KiB, {64 * MiB, 10 * MiB, 3 * MiB});
  fill_all(space);
  space.set_used(64 * KiB + 6 * MiB);
  EXPECT_EQ(space.figures().free_bytes, 7 * MiB);
  EXPECT_TRUE(space.is_short());
  fill_all(space);
  EXPECT_EQ(space.figures().free_bytes, 13 * MiB);
}

TEST_F(FileSpaceTest, TheEndOfTheMapIsTheEnd) {
  auto space = start(64 * KiB, {10 * MiB, 2 * MiB, 3 * MiB});
  ASSERT_TRUE(is_ok(space.grow()));
  EXPECT_EQ(std::filesystem::file_size(path_), 10 * MiB);
  EXPECT_FALSE(space.figures().full);
  space.set_used(4 * MiB);
  ASSERT_TRUE(is_ok(space.grow()));
  EXPECT_TRUE(space.figures().full);
  EXPECT_EQ(space.figures().free_bytes, 6 * MiB);
  EXPECT_EQ(std::filesystem::file_size(path_), 10 * MiB);
}

TEST_F(FileSpaceTest, WhatAnEarlierLifeFilledNeedNotBeFilledAgain) {
  constexpr FileSpace::Bounds bounds{64 * MiB, 10 * MiB, 3 * MiB};
  {
    auto space = start(64 * KiB, bounds);
    fill_all(space);
  }
  auto space = restart(64 * KiB, bounds);
  EXPECT_EQ(space.figures().free_bytes, 13 * MiB);
  EXPECT_FALSE(space.fill().value());
}

TEST_F(FileSpaceTest, HolesOfACopiedFileAreGivenTheirSpace) {
  testing::write_file(path_, std::string(64 * KiB, 'u'));
  std::filesystem::resize_file(path_, 4 * MiB);
  ASSERT_LT(allocated_bytes(), 1 * MiB);
  const auto space = restart(64 * KiB, {64 * MiB, 2 * MiB, 3 * MiB});
  EXPECT_GE(allocated_bytes(), 4 * MiB);
  EXPECT_EQ(space.figures().free_bytes, 4 * MiB - 64 * KiB);
}

}  // namespace
}  // namespace bus::store
