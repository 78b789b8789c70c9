// Reading a record. Everything that is used as an offset or an ordinal is bounded once, in parse(), so that the
// accessors can trust it: even a record forged with a right checksum never makes them read out of bounds.
#include "broker/store/record.hpp"

#include <algorithm>
#include <string>

#include "base/check.hpp"

namespace bus::store {

using namespace format;

namespace {

Error fault(Code code, Position first, const std::string& what) {
  return {code, "record at position " + std::to_string(number(first)) + ": " + what};
}

// What is wrong with the header of a record of `stored` bytes, or nothing.
const char* header_fault(const Header& header, std::size_t stored) {
  if (header.header_bytes != header_bytes) return "the header has an impossible size";
  if (header.record_bytes != stored) return "its size is not the one in its header";
  if (header.count == 0 || header.count > count_max) return "the number of events is impossible";
  if (header.index_offset < header_bytes || header.index_offset % 8 != 0) return "the index is misplaced";
  if (header.index_offset + index_layout(header).bytes != stored) return "the index does not fill the record";
  if (header.first_position == 0 || header.first_position + header.count < header.count) {
    return "its positions are impossible";
  }
  return nullptr;
}

// Reads the header of stored bytes and checks all that can be checked without the rows of the index.
Result<Header> read_header(Bytes stored, Position first) {
  if (stored.size() < header_bytes) return fault(Code::damaged, first, "it is shorter than a header");
  const auto header = load<Header>(stored.data());
  if (header.magic != record_magic) return fault(Code::damaged, first, "it does not begin as a record");
  if (header.version != record_version) {
    return fault(Code::bad_format, first, "format version " + std::to_string(header.version) + " is not known here");
  }
  if (const char* what = header_fault(header, stored.size())) return fault(Code::damaged, first, what);
  const auto sum = checksum(stored.subspan(header.index_offset), checksum(stored.first(offsetof(Header, checksum))));
  if (sum != header.checksum) return fault(Code::damaged, first, "header and index do not match their checksum");
  if (header.first_position != number(first)) {
    return fault(Code::damaged, first, "its header names position " + std::to_string(header.first_position));
  }
  if (header.flags != 0) return fault(Code::bad_format, first, "it has flags that are not known here");
  return header;
}

}  // namespace

Record::Record(const Header& header, Buffer bytes, bool has_bodies)
    : bytes_(std::move(bytes)),
      has_bodies_(has_bodies),
      keys_(header.keys),
      runs_(header.runs),
      kinds_(header.kinds),
      bodies_bytes_(header.index_offset - static_cast<std::uint32_t>(header_bytes)),
      first_(Position{header.first_position}),
      count_(header.count),
      committed_at_(wall_time(header.commit_time)),
      chain_before_(header.chain_before),
      chain_after_(header.chain_after),
      batch_(header.batch) {
  const IndexLayout layout = index_layout(header);
  const std::size_t index_at = has_bodies ? header.index_offset : header_bytes;
  keys_at_ = index_at + layout.keys;
  runs_at_ = index_at + layout.runs;
  entries_at_ = index_at + layout.entries;
  kinds_at_ = index_at + layout.kinds;
  std::memcpy(log_id_.data(), header.log_id, log_id_.size());
}

Result<RecordPtr> Record::parse(Buffer bytes, Position first) {
  const auto header = read_header(bytes, first);
  if (!header) return header.error();
  RecordPtr record(new Record(*header, std::move(bytes), true));
  if (const char* what = record->index_fault()) return fault(Code::damaged, first, what);
  return record;
}

Result<RecordPtr> Record::parse_index(Bytes stored, Position first) {
  const auto header = read_header(stored, first);
  if (!header) return header.error();
  const Bytes index = stored.subspan(header->index_offset);
  Buffer bytes(header_bytes + index.size());
  std::memcpy(bytes.data(), stored.data(), header_bytes);
  std::memcpy(bytes.data() + header_bytes, index.data(), index.size());
  RecordPtr record(new Record(*header, std::move(bytes), false));
  if (const char* what = record->index_fault()) return fault(Code::damaged, first, what);
  return record;
}

// Runs cover the events without gap or overlap; entries name rows that exist, and bodies fill their part.
const char* Record::index_fault() const {
  std::uint32_t body_end = 0, run_at = 0, run_end = 0;
  for (std::uint32_t at = 0; at < count_; ++at) {
    const EntryRow entry = row(at);
    if (at == run_end) {
      if (at != 0) ++run_at;
      if (run_at >= runs_ || run(run_at).first_index != at || run(run_at).count == 0) return "a run is misplaced";
      run_end += run(run_at).count;
    }
    if (entry.run != run_at) return "an entry names another run than its own";
    if (entry.kind >= kinds_) return "an entry names a kind that is not there";
    if (entry.body_end < body_end + 8 || entry.body_end > bodies_bytes_) return "a body is misplaced";
    if (entry.body_end % 8 != 0) return "a body is not padded";
    body_end = entry.body_end;
    if (entry.key == no_key) continue;
    if (entry.key >= keys_) return "an entry names a key that is not there";
    if (entry.key_back > at || (entry.key_back == 0) != (entry.key_ordinal == 0)) return "a key's events are misplaced";
    if (entry.key_back == 0) continue;
    const EntryRow before = row(at - entry.key_back);
    if (before.key != entry.key || before.key_ordinal + 1 != entry.key_ordinal) return "a key's events are misplaced";
  }
  if (run_at + 1 != runs_ || run_end != count_) return "the runs do not cover the events";
  return body_end == bodies_bytes_ ? nullptr : "the bodies do not fill their part";
}

std::vector<std::uint32_t> Record::topics() const {
  std::vector<std::uint32_t> topics;
  for (std::uint32_t ordinal = 0; ordinal < kinds_; ++ordinal) topics.push_back(kind(ordinal).topic);
  std::sort(topics.begin(), topics.end());
  topics.erase(std::unique(topics.begin(), topics.end()), topics.end());
  return topics;
}

Run Record::run_of(std::uint32_t at) const {
  const RunRow found = run(row(at).run);
  return {found.publisher, found.first_index, found.count, found.first_sequence, Position{found.previous}};
}

Entry Record::entry(std::uint32_t at) const {
  const EntryRow entry_row = row(at);
  const KindRow kind_row = kind(entry_row.kind);
  const RunRow run_row = run(entry_row.run);
  Entry entry{kind_row.topic, kind_row.type, kind_row.priority, kind_row.flags, entry_row.checksum, run_row.publisher,
              run_row.first_sequence + (at - run_row.first_index), Position{run_row.previous}, std::nullopt};
  if (entry_row.key == no_key) return entry;
  const KeyRow key_row = key(entry_row.key);
  const Position previous = entry_row.key_back == 0 ? Position{key_row.previous} : first_ + at - entry_row.key_back;
  entry.key = KeyLink{{key_row.high, key_row.low}, key_row.base_version + entry_row.key_ordinal, previous};
  return entry;
}

bool Record::body_intact(std::uint32_t at) const { return checksum(body(at)) == event_checksum(at); }

Bytes Record::bytes() const {
  BUS_CHECK(has_bodies_);
  return bytes_;
}

}  // namespace bus::store
