// What the rows of a broken log say of each other: which numbers and positions they name, and which of them are of no use without
// another one that is lost.
#pragma once

#include <set>

#include "broker/store/figures.hpp"

namespace bus::store {

// The last position that a row of topics, publishers, groups, keys or the journal names as one of the log.
Position last_named(TableId table, std::string_view key, std::string_view value);

// Tells `figures` of the topics, types and publishers that a row of schedule, schedule_ids, dead or the journal names, and of the
// sequences that it shows to be used up.
void note_numbers(TableId table, std::string_view key, std::string_view value, Figures& figures);

// Of `open`, `failures` or `dead`: the rows of groups that are not among these go. How many.
Result<std::uint64_t> drop_without_group(lmdb::Transaction& txn, const Tables& tables, TableId table, const std::set<std::uint32_t>& groups);

// Of `schedule`: the rows of events, by publisher and sequence, that are in the log go. How many.
using Sequences = std::set<std::pair<std::uint32_t, std::uint64_t>>;
Result<std::uint64_t> drop_published(lmdb::Transaction& txn, const Tables& tables, const Sequences& published);

// Snapshots of a version that their key has not reached go: it may come again, of other events. How many.
Result<std::uint64_t> drop_snapshots_ahead(lmdb::Transaction& txn, const Tables& tables);

}  // namespace bus::store
