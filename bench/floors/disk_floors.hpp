// What the disk does without a bus: fdatasync alone, and raw LMDB with durable commits.
//
// Each function makes a directory of its own in `dir`, writes bytes that do not compress, and takes the directory away.
// They throw std::system_error or bus::Failed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>

#include "bench/latencies.hpp"

namespace bus::bench {

// How the file takes what is written: growing with it, or over space that zeros were written to before, untimed.
enum class Space { growing, zero_filled };

struct Timed {
  double seconds = 0;
  Latencies latencies;                 // of each write with its sync
};

// `count` times: write `bytes` after those before, and fdatasync.
Timed sync_each(const std::filesystem::path& dir, std::size_t bytes, std::uint64_t count, Space space);

struct Records {
  std::uint64_t count = 0;
  std::size_t bytes = 0;               // of pages that one takes, on average
  std::uint64_t commits = 1;           // which share the records evenly
};

// Seconds to append them to a table by rising keys.
double append(const std::filesystem::path& dir, const Records& records, Space space);

// `count` times: append one record of `bytes`, and commit.
Timed commit_each(const std::filesystem::path& dir, std::size_t bytes, std::uint64_t count, Space space);

}  // namespace bus::bench
