// Disk is a model of what a disk holds while operations arrive: what is durable, and what is on its way and may be lost
// in any combination. Harsher than file systems are: nothing but a sync makes anything durable, an entry of a directory
// needs a sync of that directory, and writes reach the disk in any order.
#pragma once

#include <filesystem>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "tests/power/operation.hpp"

namespace bus::power {

// What a power cut leaves of that which is not durable.
enum class Kept { nothing, everything, some, torn };
inline constexpr Kept all_kept[] = {Kept::nothing, Kept::everything, Kept::some, Kept::torn};

class Disk {
 public:
  explicit Disk(Inode root) : root_(root) {}

  // An operation is on its way from begin() to finish(); only then is what it promises durable. It must outlive the disk.
  void begin(const Operation& operation);
  void finish(const Operation& operation);
  bool has_pending() const { return !pending_.empty(); }

  // The files as they are found after a power cut now. `torn`: one write goes half, cut at a sector, the others by lot.
  void write_image(const std::filesystem::path& dir, Kept kept, std::mt19937_64& random) const;

 private:
  struct Content {
    std::string bytes;        // up to the last byte written
    std::uint64_t size = 0;   // zeros from there on
  };
  // An operation that reached the disk, and which part of its data.
  struct Survivor {
    const Operation* operation = nullptr;
    std::size_t begin = 0, end = 0;
  };
  using Entries = std::map<std::string, Inode>;
  using Directories = std::map<Inode, Entries>;

  static bool concerns(const Operation& operation, Inode synced);
  static bool overlaps(const Operation& a, const Operation& b);
  template <typename Chosen>
  void settle(const Chosen& chosen);
  static void apply(const Operation& operation, Directories& directories);
  void make_durable(const Operation& operation);
  std::vector<Survivor> survivors(Kept kept, std::mt19937_64& random) const;
  static Survivor half_of(const Operation& operation, std::mt19937_64& random);
  void write_directory(const std::filesystem::path& path, Inode inode, const Directories& directories,
                       const std::vector<Survivor>& survivors) const;
  void write_file(const std::filesystem::path& path, Inode inode, const std::vector<Survivor>& survivors) const;

  Inode root_;
  std::map<Inode, Content> files_;
  Directories directories_;
  std::vector<const Operation*> pending_;  // in the order they were asked for
};

}  // namespace bus::power
