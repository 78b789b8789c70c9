// Goal: a record gives back what was put into it, keeps its limits, and any damage to header or index is refused; no
// bytes whatever make it read out of bounds.
// Method: build records by hand; flip every bit that the checksum covers; forge indexes under a right checksum.
#include <gtest/gtest.h>

#include <random>

#include "broker/store/record.hpp"
#include "tests/support/batch_maker.hpp"
#include "tests/support/results.hpp"

namespace bus::store {
namespace {

using testing::body_of;
using testing::fails;
using testing::is_ok;

constexpr Position first{100};

RecordBuilder::Seal seal_of(Position position = first) { return {LogId{1, 2, 3}, position, wall_time(5'000), 77, 9}; }

Entry entry_of(Bytes body, std::uint32_t publisher, std::uint64_t sequence) {
  Entry entry;
  entry.topic = 3;
  entry.type = 4;
  entry.checksum = checksum(body);
  entry.publisher = publisher;
  entry.sequence = sequence;
  return entry;
}

Buffer copy(const Record& record) { return {record.bytes().begin(), record.bytes().end()}; }

void append_plain(RecordBuilder& builder, const std::string& text, std::uint64_t sequence) {
  const Buffer body = body_of(text);
  builder.append(entry_of(body, 1, sequence), body);
}

RecordPtr small_record() {
  RecordBuilder builder;
  for (std::uint64_t sequence = 1; sequence <= 3; ++sequence) append_plain(builder, std::string(sequence, 'x'), sequence);
  return builder.seal(seal_of());
}

// Three keys, two publishers taking turns, three kinds: every table of the index has more than one row.
RecordPtr mixed_record() {
  RecordBuilder builder;
  std::uint64_t sequences[2] = {10, 20}, versions[3] = {5, 1, 1};
  Position last[3] = {Position{42}, Position::none, Position::none};
  for (std::uint32_t at = 0; at < 12; ++at) {
    const Buffer body = body_of("event " + std::to_string(at));
    Entry entry = entry_of(body, at / 4 % 2 + 1, sequences[at / 4 % 2]++);
    entry.topic = 3 + at % 3;
    entry.priority = static_cast<std::uint8_t>(at % 3);
    entry.publisher_previous = Position{50};
    if (at % 4 != 3) entry.key = KeyLink{{1, at % 3}, versions[at % 3]++, std::exchange(last[at % 3], first + at)};
    builder.append(entry, body);
  }
  return builder.seal(seal_of());
}

// Reads all there is; a sanitizer, or an assertion of the library, says if something was read that is not there.
std::uint64_t touch_everything(const Record& record, bool bodies) {
  std::uint64_t sum = record.topics().size();
  for (std::uint32_t at = 0; at < record.count(); ++at) {
    const Entry entry = record.entry(at);
    sum += entry.topic + record.type(at) + record.priority(at) + record.run_of(at).count + entry.sequence;
    if (bodies) sum += record.body(at).back() + (record.body_intact(at) ? 1 : 0);
  }
  return sum;
}

TEST(Record, GivesBackWhatWasPutIn) {
  const auto record = Record::parse(copy(*small_record()), first).value();
  EXPECT_EQ(record->first(), first);
  EXPECT_EQ(record->last(), first + 2);
  EXPECT_EQ(record->count(), 3u);
  EXPECT_EQ(record->committed_at(), wall_time(5'000));
  EXPECT_EQ(record->chain_before(), 77u);
  EXPECT_EQ(record->batch(), 9u);
  EXPECT_EQ(record->log_id(), (LogId{1, 2, 3}));
  std::uint64_t chain = 77;
  for (std::uint32_t at = 0; at < 3; ++at) {
    const Buffer body = body_of(std::string(at + 1, 'x'));
    EXPECT_EQ(text_of(record->body(at)), text_of(body));
    EXPECT_EQ(record->body_bytes(at), body.size());
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(record->body(at).data()) % 8, 0u);
    EXPECT_TRUE(record->body_intact(at));
    chain = chain_fold(chain, number(first) + at, checksum(body));
  }
  EXPECT_EQ(record->chain_after(), chain);
}

TEST(Record, ASealedRecordIsTheParsedOne) {
  const auto sealed = mixed_record();
  const auto parsed = Record::parse(copy(*sealed), first).value();
  EXPECT_EQ(text_of(parsed->bytes()), text_of(sealed->bytes()));
  EXPECT_EQ(touch_everything(*parsed, true), touch_everything(*sealed, true));
}

TEST(Record, KnowsWhatPositionsItHolds) {
  const auto record = small_record();
  EXPECT_FALSE(record->holds(first - 1));
  EXPECT_TRUE(record->holds(first));
  EXPECT_TRUE(record->holds(first + 2));
  EXPECT_FALSE(record->holds(first + 3));
}

TEST(Record, LinksTheEventsOfAKey) {
  const auto record = mixed_record();
  std::uint64_t versions[3] = {5, 1, 1};
  Position last[3] = {Position{42}, Position::none, Position::none};
  for (std::uint32_t at = 0; at < record->count(); ++at) {
    const auto key = record->entry(at).key;
    ASSERT_EQ(key.has_value(), at % 4 != 3);
    if (!key) continue;
    EXPECT_EQ(key->hash, (Hash128{1, at % 3}));
    EXPECT_EQ(key->version, versions[at % 3]++);
    EXPECT_EQ(key->previous, std::exchange(last[at % 3], first + at));
  }
}

TEST(Record, KeysWithOneHashHalfInCommonAreKeptApart) {
  RecordBuilder builder;
  for (std::uint64_t high = 0; high < 3; ++high) {
    const Buffer body = body_of("same low half");
    Entry entry = entry_of(body, 1, high + 1);
    entry.key = KeyLink{{high, 7}, 1, Position::none};
    builder.append(entry, body);
  }
  const auto record = builder.seal(seal_of());
  for (std::uint32_t at = 0; at < 3; ++at) EXPECT_EQ(record->entry(at).key->hash, (Hash128{at, 7}));
}

TEST(Record, ARunIsConsecutiveSequencesOfOnePublisher) {
  const auto record = mixed_record();
  for (std::uint32_t at = 0; at < record->count(); ++at) {
    const store::Run run = record->run_of(at);
    EXPECT_EQ(run.publisher, at / 4 % 2 + 1);
    EXPECT_EQ(run.first_index, at / 4 * 4);
    EXPECT_EQ(run.count, 4u);
    EXPECT_EQ(run.previous, Position{50});
    EXPECT_EQ(record->entry(at).sequence, run.first_sequence + at % 4);
  }
  EXPECT_EQ(record->run_of(8).first_sequence, 14u);  // goes on where the publisher's first run ended
}

TEST(Record, AGapInTheSequencesBeginsARun) {
  RecordBuilder builder;
  append_plain(builder, "a", 1);
  append_plain(builder, "b", 3);
  const auto record = builder.seal(seal_of());
  EXPECT_EQ(record->run_of(0).count, 1u);
  EXPECT_EQ(record->run_of(1).first_sequence, 3u);
}

TEST(Record, NamesEachTopicOnce) {
  EXPECT_EQ(mixed_record()->topics(), (std::vector<std::uint32_t>{3, 4, 5}));
  EXPECT_EQ(small_record()->topics(), (std::vector<std::uint32_t>{3}));
}

TEST(Record, AnIndexReadsLikeTheWholeRecord) {
  const auto record = mixed_record();
  const auto index = Record::parse_index(record->bytes(), first).value();
  EXPECT_EQ(touch_everything(*index, false), touch_everything(*record, false));
  for (std::uint32_t at = 0; at < record->count(); ++at) {
    EXPECT_EQ(index->event_checksum(at), record->event_checksum(at));
    EXPECT_EQ(index->body_bytes(at), record->body_bytes(at));
  }
  EXPECT_DEATH((void)index->body(0), "has_bodies_");
}

TEST(Record, HasRoomForRecordEventsMaxAndNotOneMore) {
  RecordBuilder builder;
  for (std::uint64_t sequence = 1; sequence <= limits::record_events_max; ++sequence) {
    ASSERT_TRUE(builder.fits(8));
    append_plain(builder, "", sequence);
  }
  EXPECT_FALSE(builder.fits(8));
  EXPECT_DEATH(append_plain(builder, "", limits::record_events_max + 1), "record_events_max");
  const auto record = builder.seal(seal_of());
  EXPECT_EQ(record->count(), limits::record_events_max);
  EXPECT_TRUE(is_ok(Record::parse(copy(*record), first)));
}

TEST(Record, AFullRecordStaysBelowItsTarget) {
  std::mt19937_64 random(1);
  RecordBuilder builder;
  for (std::uint64_t sequence = 1;; ++sequence) {
    const Buffer body = body_of(std::string(random() % 4000, 'x'));
    if (!builder.fits(body.size())) break;
    Entry entry = entry_of(body, static_cast<std::uint32_t>(random() % 3), sequence);
    entry.topic = static_cast<std::uint32_t>(random());
    entry.key = KeyLink{{random(), random()}, 1, Position::none};
    builder.append(entry, body);
  }
  const auto record = builder.seal(seal_of());
  EXPECT_LE(record->bytes().size(), limits::record_bytes_target - 16);
  EXPECT_GT(record->bytes().size(), limits::record_bytes_target - 16 - 4200);
  EXPECT_TRUE(is_ok(Record::parse(copy(*record), first)));
}

TEST(Record, AnEventLargerThanTheTargetStandsAlone) {
  RecordBuilder builder;
  const std::string text(limits::event_bytes_max, 'x');
  ASSERT_TRUE(builder.fits(text.size() + 8));
  append_plain(builder, text, 1);
  EXPECT_FALSE(builder.fits(8));
  const auto record = Record::parse(copy(*builder.seal(seal_of())), first).value();
  EXPECT_TRUE(record->body_intact(0));

  append_plain(builder, "small", 2);
  EXPECT_FALSE(builder.fits(text.size() + 8));
}

TEST(Record, ABuilderIsEmptyAgainAfterSealing) {
  RecordBuilder builder;
  append_plain(builder, "a", 1);
  (void)builder.seal(seal_of());
  EXPECT_TRUE(builder.empty());
  append_plain(builder, "b", 2);
  const auto record = builder.seal(seal_of(Position{101}));
  EXPECT_EQ(record->count(), 1u);
  EXPECT_EQ(record->entry(0).sequence, 2u);
  EXPECT_TRUE(is_ok(Record::parse(copy(*record), Position{101})));
}

TEST(Record, MemoryOfASmallRecordIsTight) {
  RecordBuilder builder;
  append_plain(builder, "a", 1);
  const std::size_t bytes = builder.bytes();
  EXPECT_EQ(builder.seal(seal_of())->bytes().size(), bytes);
}

TEST(Record, AnyFlippedBitOfHeaderOrIndexIsDamage) {
  const auto record = mixed_record();
  const auto header = load<format::Header>(record->bytes().data());
  Buffer bytes = copy(*record);
  for (std::size_t at = 0; at < bytes.size(); ++at) {
    if (at >= format::header_bytes && at < header.index_offset) continue;
    for (int bit = 0; bit < 8; ++bit) {
      bytes[at] = static_cast<std::uint8_t>(bytes[at] ^ (1 << bit));
      // A record of another version is not judged: it may have another header.
      const bool is_version = at == offsetof(format::Header, version) || at == offsetof(format::Header, version) + 1;
      const auto version = load<std::uint16_t>(bytes.data() + offsetof(format::Header, version));
      const bool is_known = version >= format::record_version && version <= format::record_version_with_removed;
      const Code code = is_version && !is_known ? Code::bad_format : Code::damaged;
      EXPECT_TRUE(fails(Record::parse(bytes, first), code, "position 100")) << "byte " << at << " bit " << bit;
      EXPECT_TRUE(fails(Record::parse_index(bytes, first), code)) << "byte " << at << " bit " << bit;
      bytes[at] = static_cast<std::uint8_t>(bytes[at] ^ (1 << bit));
    }
  }
  EXPECT_TRUE(is_ok(Record::parse(bytes, first)));
}

TEST(Record, AFlippedBitOfABodyIsNoticedByItsEventOnly) {
  Buffer bytes = copy(*small_record());
  bytes[format::header_bytes + 8] ^= 1;  // in the second of three bodies of 8 bytes
  const auto record = Record::parse(bytes, first).value();
  EXPECT_TRUE(record->body_intact(0));
  EXPECT_FALSE(record->body_intact(1));
  EXPECT_TRUE(record->body_intact(2));
}

TEST(Record, ACutOffRecordIsDamage) {
  const Buffer bytes = copy(*mixed_record());
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    const Buffer cut(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(size));
    EXPECT_TRUE(fails(Record::parse(cut, first), Code::damaged)) << size;
    EXPECT_TRUE(fails(Record::parse_index(cut, first), Code::damaged)) << size;
  }
}

TEST(Record, ARecordUnderAnotherPositionIsDamage) {
  EXPECT_TRUE(fails(Record::parse(copy(*small_record()), first + 1), Code::damaged, "names position 100"));
}

void sign(Buffer& bytes) {
  auto header = load<format::Header>(bytes.data());
  if (header.index_offset > bytes.size()) return;
  const Bytes all = bytes;
  header.checksum = checksum(all.subspan(header.index_offset), checksum(all.first(offsetof(format::Header, checksum))));
  std::memcpy(bytes.data(), &header, sizeof header);
}

TEST(Record, UnknownFlagsAreAnotherFormat) {
  Buffer bytes = copy(*small_record());
  bytes[offsetof(format::Header, flags)] = 1;
  sign(bytes);
  EXPECT_TRUE(fails(Record::parse(bytes, first), Code::bad_format, "flags"));
}

TEST(Record, AForgedIndexNeverReadsOutOfBounds) {
  const Buffer good = copy(*mixed_record());
  const auto header = load<format::Header>(good.data());
  std::mt19937_64 random(20);
  std::size_t accepted = 0;
  for (int round = 0; round < 50'000; ++round) {
    Buffer bytes = good;
    for (auto changes = random() % 3 + 1; changes > 0; --changes) {
      // Half of them in the header's counts and offsets, half in the index.
      const std::size_t index_bytes = bytes.size() - header.index_offset;
      const std::size_t at = random() % 2 == 0 ? 32 + random() % 60 : header.index_offset + random() % index_bytes;
      const auto next = static_cast<std::uint8_t>(bytes[at] + 1), any = static_cast<std::uint8_t>(random());
      const std::uint8_t values[] = {0, 1, 0xff, next, any};
      bytes[at] = values[random() % 5];
    }
    sign(bytes);
    const auto record = Record::parse(bytes, first);
    EXPECT_EQ(record.ok(), Record::parse_index(bytes, first).ok());
    if (!record) continue;
    ++accepted;
    touch_everything(**record, true);
  }
  EXPECT_GT(accepted, 1'000u);  // else this has tested nothing but the refusals
}

}  // namespace
}  // namespace bus::store
