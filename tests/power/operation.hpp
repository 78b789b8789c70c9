// What a program asks of the file system, as recorded: one value for each call that changes or syncs something.
#pragma once

#include <cstdint>
#include <string>

namespace bus::power {

using Inode = std::uint64_t;

struct Operation {
  enum class Kind {
    link,    // `inode` appears in the directory `parent` as `name`
    rename,  // `inode` in `parent` is no longer `name` but `to`
    write,   // `data` at `offset` of `inode`
    cut,     // `inode` has `size` bytes
    grow,    // `inode` has at least `size` bytes; those that are new are zeros
    sync,    // all of `inode` is durable
    mark,    // all that the store has acknowledged so far
  };
  Kind kind = Kind::mark;
  Inode inode = 0;
  bool is_directory = false;
  bool is_synced = false;  // a write that is durable when it returns (O_DSYNC)
  Inode parent = 0;
  std::string name, to;
  std::uint64_t offset = 0, size = 0;
  std::string data;
  std::uint64_t batch = 0, epoch = 0;  // of a mark
};

}  // namespace bus::power
