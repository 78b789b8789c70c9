// Building a record. append() is on the path of every event: one copy of the body, a row of the index, and at
// most two lookups in small tables; nothing is allocated but when a table or the buffer grows, and tables are used again.
#include <algorithm>

#include "base/check.hpp"
#include "broker/store/record.hpp"

namespace bus::store {

using namespace format;

namespace {

constexpr std::size_t first_buffer_bytes = 4 * limits::KiB;
static_assert(limits::record_events_max <= count_max);

std::uint64_t hash_of(const KindRow& kind) {
  const std::uint64_t mixed = (std::uint64_t{kind.topic} << 32 | kind.type) ^ std::uint64_t{kind.priority} << 24;
  return (mixed * 0x9e3779b97f4a7c15u) >> 32;
}

template <typename Row>
std::uint8_t* write_rows(std::uint8_t* to, const std::vector<Row>& rows) {
  std::memcpy(to, rows.data(), rows.size() * sizeof(Row));
  return to + rows.size() * sizeof(Row);
}

}  // namespace

// Grows fourfold: a full record is copied a third of once, a record of one event does not hold 256 KiB.
[[gnu::noinline]] void RecordBuilder::reserve(std::size_t bytes) {
  const std::size_t grown = std::min(std::max(first_buffer_bytes, bytes_.size() * 4), limits::record_bytes_target);
  Buffer larger(std::max(bytes, grown));
  if (!bytes_.empty()) std::memcpy(larger.data(), bytes_.data(), used_);
  bytes_ = std::move(larger);
}

// Flat: four small steps for each event, and their calls would cost as much as they do.
[[gnu::flatten]] void RecordBuilder::append(const Entry& entry, Bytes body) {
  BUS_CHECK(body.size() != 4 && body.size() % 8 == 0 && body.size() <= limits::batch_bytes_max);
  BUS_CHECK(count() < limits::record_events_max);
  if (used_ + body.size() + index_growth_max > bytes_.size()) reserve(used_ + body.size() + index_growth_max);
  has_removed_ |= body.empty();
  if (!body.empty()) std::memcpy(bytes_.data() + used_, body.data(), body.size());
  used_ += body.size();

  EntryRow row;
  row.body_end = static_cast<std::uint32_t>(used_ - header_bytes);
  row.kind = kind_of(entry);
  row.checksum = entry.checksum;
  row.run = run_of(entry);
  if (entry.key) link_key(*entry.key, row);
  if (entry.unique_id) add_unique_id(*entry.unique_id, row);
  entries_.push_back(row);
  ++count_;
  index_bytes_ += sizeof row;
}

bool RecordBuilder::has_topic(std::uint32_t topic) const {
  return std::any_of(kinds_.begin(), kinds_.end(), [&](const KindRow& kind) { return kind.topic == topic; });
}

std::uint16_t RecordBuilder::kind_of(const Entry& entry) {
  const KindRow kind{entry.topic, entry.type, entry.priority, entry.flags, 0};
  const auto next = static_cast<std::uint16_t>(kinds_.size());
  const auto found = kind_ordinals_.find_or_add(
      hash_of(kind), next, [&](std::uint16_t at) { return kinds_.data()[at] == kind; },
      [&](std::uint16_t at) { return hash_of(kinds_[at]); });
  if (found != next) return found;
  kinds_.push_back(kind);
  index_bytes_ += sizeof kind;
  return found;
}

std::uint16_t RecordBuilder::run_of(const Entry& entry) {
  if (!runs_.empty()) {
    RunRow& last = runs_.back();
    const auto is_scheduled = [](std::uint8_t flags) { return (flags & format::scheduled) != 0; };
    const bool is_alike = is_scheduled(kinds_[entries_[count() - 1].kind].flags) == is_scheduled(entry.flags);
    if (is_alike && last.publisher == entry.publisher && last.first_sequence + last.count == entry.sequence) {
      ++last.count;
      return static_cast<std::uint16_t>(runs_.size() - 1);
    }
  }
  index_bytes_ += sizeof(RunRow);
  runs_.push_back({entry.publisher, static_cast<std::uint16_t>(count()), 1, entry.sequence,
                   number(entry.publisher_previous)});
  return static_cast<std::uint16_t>(runs_.size() - 1);
}

void RecordBuilder::link_key(const KeyLink& link, EntryRow& entry) {
  const auto index = static_cast<std::uint16_t>(count());
  const auto next = static_cast<std::uint16_t>(keys_.size());
  entry.key = key_ordinals_.find_or_add(
      link.hash.low, next,
      [&](std::uint16_t at) {
        const KeyRow& row = keys_.data()[at].row;
        return row.low == link.hash.low && row.high == link.hash.high;
      },
      [&](std::uint16_t at) { return keys_[at].row.low; });
  if (entry.key == next) {
    index_bytes_ += sizeof(KeyRow);
    keys_.push_back({{link.hash.high, link.hash.low, link.version, number(link.previous)}, 1, index});
    return;
  }
  KeyState& key = keys_[entry.key];
  BUS_CHECK(link.version == key.row.base_version + key.events);
  entry.key_ordinal = key.events++;
  entry.key_back = static_cast<std::uint16_t>(index - std::exchange(key.last_index, index));
}

// The caller knows that no other event has it. Nobody looks for it among the keys.
void RecordBuilder::add_unique_id(const Hash128& id, EntryRow& entry) {
  keys_.push_back({{id.high, id.low, 0, 0}});
  entry.unique_id = static_cast<std::uint16_t>(keys_.size());
  index_bytes_ += sizeof(KeyRow);
  has_unique_ids_ = true;
}

void RecordBuilder::write_index(std::uint8_t* to) const {
  for (const KeyState& key : keys_) {
    std::memcpy(to, &key.row, sizeof key.row);
    to += sizeof key.row;
  }
  to = write_rows(to, runs_);
  to = write_rows(to, entries_);
  write_rows(to, kinds_);
}

Header RecordBuilder::header(const Seal& seal) const {
  Header header;
  if (has_unique_ids_) header.version = record_version_with_ids;
  if (has_removed_) header.version = record_version_with_removed;
  std::memcpy(header.log_id, seal.log_id.data(), seal.log_id.size());
  header.first_position = number(seal.first);
  header.count = count();
  header.record_bytes = static_cast<std::uint32_t>(bytes());
  header.index_offset = static_cast<std::uint32_t>(used_);
  header.commit_time = nanoseconds(seal.committed_at);
  header.chain_before = header.chain_after = seal.chain_before;
  for (std::uint32_t at = 0; at < count(); ++at) {
    header.chain_after = chain_fold(header.chain_after, header.first_position + at, entries_[at].checksum);
  }
  header.batch = seal.batch;
  header.keys = static_cast<std::uint16_t>(keys_.size());
  header.runs = static_cast<std::uint16_t>(runs_.size());
  header.kinds = static_cast<std::uint16_t>(kinds_.size());
  return header;
}

void RecordBuilder::clear() {
  bytes_ = {};
  used_ = header_bytes;
  index_bytes_ = 0;
  count_ = 0;
  has_unique_ids_ = has_removed_ = false;
  entries_.clear();
  keys_.clear();
  runs_.clear();
  kinds_.clear();
  key_ordinals_.clear();
  kind_ordinals_.clear();
}

RecordPtr RecordBuilder::seal(const Seal& seal) {
  BUS_CHECK(!empty() && seal.first != Position::none);
  Header sealed = header(seal);
  const std::size_t total = sealed.record_bytes;
  // Kept for live delivery and accounted by its size, so a mostly empty buffer is exchanged for a tight one.
  if (total > bytes_.size() || total < bytes_.size() / 2) {
    Buffer tight(total);
    std::memcpy(tight.data() + header_bytes, bytes_.data() + header_bytes, used_ - header_bytes);
    bytes_ = std::move(tight);
  }
  bytes_.resize(total);
  write_index(bytes_.data() + used_);
  write_header(bytes_, sealed);
  RecordPtr record(new Record(sealed, std::move(bytes_), true));
  clear();
  return record;
}

}  // namespace bus::store
