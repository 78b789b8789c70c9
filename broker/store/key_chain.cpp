// Finding the events of a key, by walking its chain backwards.
#include <deque>

#include "broker/store/disk_reader.hpp"
#include "broker/store/key_leaves.hpp"

namespace bus::store {

Result<KeySlice> DiskReader::find_key(const Hash128& key, Position from, Position after, std::size_t most,
                                      std::size_t records_max) {
  const auto txn = env_.begin(lmdb::Access::read);
  if (!txn) return txn.error();
  auto cursor = LogCursor::open(*txn, tables_);
  if (!cursor) return cursor.error();
  if (from == Position::none) {
    const auto head = find_head(*txn, tables_, key);
    if (!head) return head.error();
    if (*head) from = (*head)->position;
  }
  KeySlice slice;
  std::deque<Position> met;
  RecordPtr record;
  std::size_t records = 0;
  Position at = from;
  while (at != Position::none && at > after) {
    if (record == nullptr || !record->holds(at)) {
      if (++records > records_max) {
        slice.next = at;
        break;
      }
      const auto found = cursor->seek(at);
      if (!found) return found.error();
      if (!*found || cursor->position() > at) break;  // trimmed
      auto loaded = cursor->load_index();
      if (!loaded) return loaded.error();
      record = std::move(*loaded);
    }
    const auto entry = record->holds(at) ? record->entry(static_cast<std::uint32_t>(at - record->first())) : Entry{};
    if (!entry.key || entry.key->hash != key || entry.key->previous >= at) {
      return Error{Code::damaged, "position " + std::to_string(number(at)) + " is not in the chain of its key"};
    }
    met.push_front(at);
    if (met.size() > most) {
      met.pop_back();
      slice.is_cut = true;
    }
    at = entry.key->previous;
  }
  slice.positions.assign(met.begin(), met.end());
  return slice;
}

}  // namespace bus::store
