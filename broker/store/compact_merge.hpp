// Makes a compacted copy of a log the same as the log. The copy may be the last good one, so what is to replace something of it is verified first.
#pragma once

#include <cstdint>
#include <functional>

#include "broker/store/lmdb.hpp"

namespace bus::store {

// In rows; told before the first one, and now and then.
using MergeProgress = std::function<void(std::uint64_t done, std::uint64_t most)>;

// Makes all tables in the copy; one that the log does not have is empty. The rows that were put or erased; nobody writes to either meanwhile.
// Error damaged: the log differs where it is damaged, or lacks a record that it should have, or the copy is damaged, and both are as they were.
Result<std::uint64_t> merge_into_copy(const lmdb::Environment& log, const lmdb::Environment& copy, const MergeProgress& progress);

}  // namespace bus::store
