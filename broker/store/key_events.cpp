// Reading the events of a key: from the nearest place that is known after them, its head or a page, back along its chain.
#include <algorithm>
#include <deque>

#include "broker/store/disk_reader.hpp"
#include "broker/store/key_leaves.hpp"
#include "broker/store/key_pages.hpp"

namespace bus::store {

std::string key_page_key(const Hash128& key, std::uint64_t version) { return leaf_key(key).append(NumberKey(version)); }

namespace {

// The page at or after this version, if it is before `start`; else `start`.
Result<KeyHead> find_start(const lmdb::Transaction& txn, const Tables& tables, const KeyHead& start, std::uint64_t version) {
  auto cursor = txn.cursor(tables[TableId::key_pages]);
  if (!cursor) return cursor.error();
  const auto key = key_page_key(start.key, version);
  const auto found = cursor->seek(key);
  if (!found) return found.error();
  if (!*found || cursor->key().substr(0, 16) != std::string_view(key).substr(0, 16)) return start;
  // A row only saves work: one that is damaged is for `log verify` to tell of.
  const auto value = verified(TableId::key_pages, cursor->key(), cursor->value());
  const auto at = NumberKey::read(cursor->key().substr(16));
  if (!value || !at || value->size() != sizeof(Position)) return start;
  return *at < start.version ? KeyHead{start.key, load<Position>(bytes_of(*value).data()), *at} : start;
}

// KeyWalk goes back along the chain of a key, from event to event.
class KeyWalk {
 public:
  KeyWalk(LogCursor& cursor, const Hash128& key, std::size_t records_max) : cursor_(cursor), key_(key), records_left_(records_max) {}

  enum class Step { found, spent, trimmed };
  // To the event of this version, at this position, of which link() and take() tell then.
  Result<Step> to(const KeyHead& event) {
    const Position position = event.position;
    if (record_ == nullptr || !record_->holds(position)) {
      if (records_left_-- == 0) return Step::spent;
      const auto found = cursor_.seek(position);
      if (!found) return found.error();
      if (!*found || cursor_.position() > position) return Step::trimmed;
      auto loaded = cursor_.load_for_events();
      if (!loaded) return loaded.error();
      record_ = std::move(*loaded);
    }
    at_ = static_cast<std::uint32_t>(position - record_->first());
    if (record_->holds(position)) entry_ = record_->entry(at_);
    const bool is_linked = record_->holds(position) && entry_.key && entry_.key->hash == key_ && entry_.key->version == event.version && entry_.key->previous < position;
    if (is_linked) return Step::found;
    return Error{Code::damaged, "position " + std::to_string(number(position)) + " is not in the chain of its key"};
  }
  const KeyLink& link() const { return *entry_.key; }
  bool is_removed() const { return record_->is_removed(at_); }
  Result<KeyEvent> take() const {
    auto body = cursor_.body(*record_, at_);
    if (!body) return body.error();
    return KeyEvent{record_->first() + at_, entry_.key->version, record_->committed_at(), entry_.publisher, entry_.sequence, std::move(*body)};
  }

 private:
  LogCursor& cursor_;
  Hash128 key_;
  std::size_t records_left_;
  RecordPtr record_;
  std::uint32_t at_ = 0;
  Entry entry_;
};

// Those of a range as they are met, from the newest to the oldest; of a range forwards the oldest that fit are kept.
class Gathered {
 public:
  explicit Gathered(const KeyRange& range) : range_(range) {}
  bool wants_more() const { return !range_.backwards || events_.size() < range_.events_max; }
  void remove(std::uint64_t version) { removed_.push_back(version); }
  // False: it does not fit.
  bool add(KeyEvent event) {
    bytes_ += event.body.size();
    if (range_.backwards && !events_.empty() && bytes_ > range_.bytes_max) return false;
    events_.push_back(std::move(event));
    while (events_.size() > 1 && (events_.size() > range_.events_max || bytes_ > range_.bytes_max)) {
      bytes_ -= events_.front().body.size();
      events_.pop_front();
      is_cut_ = true;
    }
    return true;
  }
  // The highest version that was removed; where later events did not fit, before the last one that did.
  std::uint64_t removed() const {
    for (const auto version : removed_) {
      if (!is_cut_ || events_.empty() || version < events_.front().version) return version;
    }
    return 0;
  }
  std::vector<KeyEvent> take() {
    if (!range_.backwards) std::reverse(events_.begin(), events_.end());
    return {std::make_move_iterator(events_.begin()), std::make_move_iterator(events_.end())};
  }

 private:
  const KeyRange& range_;
  std::deque<KeyEvent> events_;
  std::vector<std::uint64_t> removed_;   // of those that were asked for, the highest first
  bool is_cut_ = false;                  // events were met that did not fit
  std::size_t bytes_ = 0;
};

}  // namespace

Result<KeyEvents> DiskReader::key_events(const KeyRange& range) {
  KeyEvents found;
  if (range.start.position == Position::none || (!range.backwards && range.from > range.start.version)) return found;
  const auto txn = env_.begin(lmdb::Access::read);
  if (!txn) return txn.error();
  // Forwards the last version of a first page is enough.
  const auto start = find_start(*txn, tables_, range.start, range.from);
  if (!start) return start.error();
  auto cursor = LogCursor::open(*txn, tables_);
  if (!cursor) return cursor.error();
  KeyWalk walk(*cursor, range.start.key, range.records_max);
  Gathered gathered(range);
  found.next = *start;
  while (found.next.position != Position::none && gathered.wants_more()) {
    const auto step = walk.to(found.next);
    if (!step) return step.error();
    if (*step == KeyWalk::Step::spent && !range.backwards) return found;
    if (*step == KeyWalk::Step::spent) break;
    if (*step == KeyWalk::Step::trimmed) {  // and with it all before it
      gathered.remove(range.backwards ? std::min(found.next.version, range.from) : found.next.version);
      found.next = {};
      break;
    }
    const KeyLink link = walk.link();
    const bool is_wanted = range.backwards ? link.version <= range.from : link.version >= range.from;
    if (is_wanted && walk.is_removed()) gathered.remove(link.version);
    if (is_wanted && !walk.is_removed()) {
      auto event = walk.take();
      if (!event) return event.error();
      if (!gathered.add(std::move(*event))) break;
    }
    found.next = {range.start.key, link.previous, link.version - 1};
    if (!range.backwards && link.version <= range.from) break;
  }
  if (!range.backwards) found.next = {};
  found.trimmed = gathered.removed();
  found.events = gathered.take();
  return found;
}

}  // namespace bus::store
