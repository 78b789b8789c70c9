// Reading a record. Everything that is used as an offset or an ordinal is bounded once, in parse(), so that the
// accessors can trust it: even a record forged with a right checksum never makes them read out of bounds.
#include "broker/store/record.hpp"

#include <algorithm>
#include <string>

#include "base/check.hpp"
#include "broker/store/compression.hpp"

namespace bus::store {

using namespace format;

namespace {

// More than a record ever has: what splits records, or one event. The few bytes of a forged one may claim gigabytes.
constexpr std::size_t packed_bodies_max = std::max(limits::record_bytes_target, limits::batch_bytes_max);
constexpr const char* wrong_size = "its size is not the one in its header";

Error fault(Code code, Position first, const std::string& what) {
  return {code, "record at position " + std::to_string(number(first)) + ": " + what};
}

// A record where it lies, with nothing copied but its header. A packed one has `bodies` compressed, and behind the index.
struct StoredParts {
  Header header;
  Bytes index, bodies;
  Compression compression = Compression::none;
};

// What is wrong with a header, whatever else is stored, or nothing.
const char* header_fault(const Header& header) {
  if (header.header_bytes != header_bytes) return "the header has an impossible size";
  if (header.count == 0 || header.count > count_max) return "the number of events is impossible";
  if (header.index_offset < header_bytes || header.index_offset % 8 != 0) return "the index is misplaced";
  if (header.index_offset + index_layout(header).bytes != header.record_bytes) return "the index does not fill the record";
  if (header.first_position == 0 || header.first_position + header.count < header.count) {
    return "its positions are impossible";
  }
  return nullptr;
}

// Takes the prefix of a packed record off `stored`. The size in it comes first: bytes beyond it may not even be there.
Result<Compression> take_prefix(Bytes& stored, Position first) {
  if (stored.size() < sizeof(PackedPrefix) || load<std::uint32_t>(stored.data()) != packed_magic) return Compression::none;
  const auto prefix = load<PackedPrefix>(stored.data());
  if (prefix.stored_bytes != stored.size()) return fault(Code::damaged, first, wrong_size);
  if (prefix.compression == 0 || prefix.zero != 0) return fault(Code::damaged, first, "what says how it is packed is impossible");
  if (prefix.version != record_version || prefix.compression > static_cast<std::uint16_t>(Compression::zstd)) {
    return fault(Code::bad_format, first, "it is packed in a way that is not known here: version " + std::to_string(prefix.version) +
                                              ", method " + std::to_string(prefix.compression));
  }
  stored = stored.subspan(sizeof prefix);
  return static_cast<Compression>(prefix.compression);
}

// Finds the parts of a stored record, and checks all that can be checked without the rows of the index. Before that many
// bytes of the map are touched, some of which may lie beyond the end of the file, the record itself must agree to its size.
Result<StoredParts> find_parts(Bytes stored, Position first) {
  const auto compression = take_prefix(stored, first);
  if (!compression) return compression.error();
  if (stored.size() < header_bytes) return fault(Code::damaged, first, "it is shorter than a header");
  StoredParts parts{load<Header>(stored.data()), {}, {}, *compression};
  const Header& header = parts.header;
  if (header.magic != record_magic) return fault(Code::damaged, first, "it does not begin as a record");
  if (header.version < record_version || header.version > record_version_with_removed) {
    return fault(Code::bad_format, first, "format version " + std::to_string(header.version) + " is not known here");
  }
  const bool is_packed = *compression != Compression::none;
  if (!is_packed && header.record_bytes != stored.size()) return fault(Code::damaged, first, wrong_size);
  if (const char* what = header_fault(header)) return fault(Code::damaged, first, what);
  const std::size_t index_bytes = index_layout(header).bytes;
  if (is_packed && index_bytes > stored.size() - header_bytes) return fault(Code::damaged, first, wrong_size);
  if (is_packed && header.index_offset > header_bytes + packed_bodies_max) return fault(Code::damaged, first, "it would unpack to too much");
  parts.index = stored.subspan(is_packed ? header_bytes : header.index_offset, index_bytes);
  parts.bodies = is_packed ? stored.subspan(header_bytes + index_bytes) : stored.subspan(header_bytes, header.index_offset - header_bytes);
  const auto sum = checksum(parts.index, checksum(stored.first(offsetof(Header, checksum))));
  if (sum != header.checksum) return fault(Code::damaged, first, "header and index do not match their checksum");
  if (header.first_position != number(first)) {
    return fault(Code::damaged, first, "its header names position " + std::to_string(header.first_position));
  }
  if (header.flags != 0) return fault(Code::bad_format, first, "it has flags that are not known here");
  return parts;
}

}  // namespace

Record::Record(const Header& header, Buffer bytes, bool has_bodies)
    : bytes_(std::move(bytes)),
      has_bodies_(has_bodies),
      has_unique_ids_(header.version >= record_version_with_ids),
      has_removed_(header.version >= record_version_with_removed),
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

Result<RecordPtr> Record::parse(Bytes stored, Position first) {
  const auto parts = find_parts(stored, first);
  if (!parts) return parts.error();
  Buffer bytes(parts->header.record_bytes);
  const std::span<std::uint8_t> all(bytes);
  std::memcpy(bytes.data(), &parts->header, header_bytes);
  if (!decompress(parts->compression, parts->bodies, all.subspan(header_bytes, parts->header.index_offset - header_bytes))) {
    return fault(Code::damaged, first, "its bodies cannot be unpacked");
  }
  std::memcpy(bytes.data() + parts->header.index_offset, parts->index.data(), parts->index.size());
  RecordPtr record(new Record(parts->header, std::move(bytes), true));
  if (const char* what = record->index_fault()) return fault(Code::damaged, first, what);
  return record;
}

Result<RecordPtr> Record::parse_index(Bytes stored, Position first) {
  const auto parts = find_parts(stored, first);
  if (!parts) return parts.error();
  Buffer bytes(header_bytes + parts->index.size());
  std::memcpy(bytes.data(), &parts->header, header_bytes);
  std::memcpy(bytes.data() + header_bytes, parts->index.data(), parts->index.size());
  RecordPtr record(new Record(parts->header, std::move(bytes), false));
  if (const char* what = record->index_fault()) return fault(Code::damaged, first, what);
  return record;
}

bool Record::is_packed(Bytes stored) {
  return stored.size() >= sizeof(PackedPrefix) + header_bytes && load<std::uint32_t>(stored.data()) == packed_magic;
}

std::size_t Record::unpacked_bytes(Bytes stored) {
  if (!is_packed(stored)) return stored.size();
  return load<Header>(stored.data() + sizeof(PackedPrefix)).record_bytes;
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
    const bool is_gone = has_removed_ && entry.body_end == body_end;
    if ((!is_gone && entry.body_end < body_end + 8) || entry.body_end > bodies_bytes_) return "a body is misplaced";
    if (entry.body_end % 8 != 0) return "a body is not padded";
    body_end = entry.body_end;
    if (has_unique_ids_ && entry.unique_id > keys_) return "an entry names an id that is not there";
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
              run_row.first_sequence + (at - run_row.first_index), Position{run_row.previous}, std::nullopt, std::nullopt};
  if (has_unique_ids_ && entry_row.unique_id != 0) {
    const KeyRow id_row = key(entry_row.unique_id - 1u);
    entry.unique_id = Hash128{id_row.high, id_row.low};
  }
  if (entry_row.key == no_key) return entry;
  const KeyRow key_row = key(entry_row.key);
  const Position previous = entry_row.key_back == 0 ? Position{key_row.previous} : first_ + at - entry_row.key_back;
  entry.key = KeyLink{{key_row.high, key_row.low}, key_row.base_version + entry_row.key_ordinal, previous};
  return entry;
}

bool Record::body_intact(std::uint32_t at) const { return is_removed(at) || checksum(body(at)) == event_checksum(at); }

RecordPtr Record::without(std::span<const std::uint32_t> at) const {
  BUS_CHECK(has_bodies_ && std::is_sorted(at.begin(), at.end()) && (at.empty() || at.back() < count_));
  auto header = load<Header>(bytes_.data());
  const Bytes index = Bytes(bytes_).subspan(header.index_offset);
  Buffer bytes(bytes_.size());
  std::size_t end = header_bytes;
  std::vector<std::uint32_t> ends(count_);
  for (std::uint32_t event = 0; event < count_; ++event) {
    const bool goes = !at.empty() && at.front() == event;
    if (goes) at = at.subspan(1);
    const Bytes kept = goes ? Bytes() : body(event);
    if (!kept.empty()) std::memcpy(bytes.data() + end, kept.data(), kept.size());
    end += kept.size();
    ends[event] = static_cast<std::uint32_t>(end - header_bytes);
  }
  bytes.resize(end + index.size());
  std::memcpy(bytes.data() + end, index.data(), index.size());
  for (std::uint32_t event = 0; event < count_; ++event) {
    std::memcpy(bytes.data() + end + index_layout(header).entries + event * sizeof(EntryRow) + offsetof(EntryRow, body_end), &ends[event], sizeof ends[event]);
  }
  header.version = record_version_with_removed;
  header.index_offset = static_cast<std::uint32_t>(end);
  header.record_bytes = static_cast<std::uint32_t>(bytes.size());
  write_header(bytes, header);
  header = load<Header>(bytes.data());
  return RecordPtr(new Record(header, std::move(bytes), true));
}

Bytes Record::bytes() const {
  BUS_CHECK(has_bodies_);
  return bytes_;
}

}  // namespace bus::store
