// Goal: a packed record gives back the same bytes, is packed only where that pays, and damage to it is noticed; a log with
// records of every method is one log.
// Method: pack and parse by hand; flip every bit; then logs whose setting changes from one start to the next.
#include <gtest/gtest.h>

#include <random>

#include "broker/store/compression.hpp"
#include "broker/store/lmdb.hpp"
#include "broker/store/record.hpp"
#include "broker/store/tables.hpp"
#include "tests/support/batch_maker.hpp"
#include "tests/support/results.hpp"
#include "tests/support/store_dir.hpp"

namespace bus::store {
namespace {

using limits::KiB;
using limits::MiB;
using testing::BatchMaker;
using testing::fails;
using testing::is_ok;

Buffer copy(Bytes bytes) { return {bytes.begin(), bytes.end()}; }

RecordPtr record_of(const std::vector<std::string>& texts) {
  BatchMaker maker{Identity(), Head()};
  for (const auto& text : texts) maker.add({.text = text, .key = "key"});
  return maker.take().records.at(0);
}

// As events are: alike, and not the same.
RecordPtr usual_record(std::size_t events = 200) {
  std::vector<std::string> texts;
  for (std::size_t at = 0; at < events; ++at) texts.push_back("{\"user\":" + std::to_string(at) + ",\"steps\":" + std::to_string(at * at) + "}");
  return record_of(texts);
}

// `alike` bytes that pack to nothing, then `random` ones that do not pack.
RecordPtr record_with(std::size_t alike, std::size_t random) {
  std::mt19937_64 source(1);
  return record_of({std::string(alike, 'x') + testing::random_text(source, random)});
}

bool is_packed(Bytes stored) { return load<std::uint32_t>(stored.data()) == format::packed_magic; }

class EachMethod : public ::testing::TestWithParam<Compression> {
 protected:
  Packer packer_{GetParam()};
};
INSTANTIATE_TEST_SUITE_P(Compression, EachMethod, ::testing::Values(Compression::lz4, Compression::zstd));

TEST(Packer, WithoutAMethodARecordIsStoredAsItIs) {
  Packer packer(Compression::none);
  const auto record = usual_record();
  EXPECT_EQ(packer.pack(*record).data(), record->bytes().data());
}

TEST_P(EachMethod, GivesBackTheSameBytes) {
  for (const std::size_t events : {20, 200, 2000}) {
    const auto record = usual_record(events);
    const Bytes stored = packer_.pack(*record);
    ASSERT_TRUE(is_packed(stored));
    EXPECT_LT(stored.size(), record->bytes().size() * 7 / 8);
    EXPECT_EQ(Record::unpacked_bytes(stored), record->bytes().size());
    const auto parsed = Record::parse(stored, record->first()).value();
    EXPECT_EQ(text_of(parsed->bytes()), text_of(record->bytes()));
    const auto index = Record::parse_index(stored, record->first()).value();
    EXPECT_EQ(index->count(), events);
    EXPECT_EQ(index->entry(events == 20 ? 19 : 100).checksum, record->entry(events == 20 ? 19 : 100).checksum);
  }
}

TEST_P(EachMethod, WhatDoesNotPackIsStoredAsItIs) {
  for (const std::size_t bytes : {100, 3'000, 200'000}) {
    const auto record = record_with(0, bytes);
    EXPECT_EQ(packer_.pack(*record).data(), record->bytes().data()) << bytes;
  }
}

// Sixteen pages have to become fourteen, and fifteen thirteen: random bytes to just under that, and just over it.
TEST_P(EachMethod, APackedRecordSavesAnEighthOfThePages) {
  for (const std::size_t pages : {15, 16}) {
    std::size_t packed = 0, whole = 0;
    const std::size_t text = pages * lmdb::page_bytes - 400;
    for (std::size_t random = (pages - 3) * lmdb::page_bytes; random <= text; random += 64) {
      const auto record = record_with(text - random, random);
      ASSERT_EQ(lmdb::large_value_pages(record->bytes().size()), pages);
      const Bytes stored = packer_.pack(*record);
      EXPECT_LE(lmdb::large_value_pages(stored.size()), is_packed(stored) ? pages - 2 : pages);
      EXPECT_FALSE(is_packed(stored) && whole > 0) << "one that packs worse is packed";
      is_packed(stored) ? ++packed : ++whole;
    }
    EXPECT_GT(packed, 40u);  // up to about 0.9 pages of random bytes more than the least
    EXPECT_GT(whole, 80u);
  }
}

TEST_P(EachMethod, ASmallRecordIsPackedIfItThenFitsIntoALeaf) {
  EXPECT_FALSE(is_packed(packer_.pack(*record_with(20, 100))));
  EXPECT_TRUE(is_packed(packer_.pack(*record_with(500, 100))));
  EXPECT_TRUE(is_packed(packer_.pack(*record_with(2'000, 500))));   // one page of its own before
  EXPECT_FALSE(is_packed(packer_.pack(*record_with(500, 2'000))));  // one page of its own either way
}

TEST_P(EachMethod, AnyFlippedBitIsNoticed) {
  const auto record = usual_record(20);
  const Buffer stored = copy(packer_.pack(*record));
  constexpr std::size_t method_at = offsetof(format::PackedPrefix, version), size_at = offsetof(format::PackedPrefix, stored_bytes);
  constexpr std::size_t version_at = sizeof(format::PackedPrefix) + offsetof(format::Header, version);
  std::size_t unseen = 0;
  for (std::size_t at = 0; at < stored.size(); ++at) {
    for (int bit = 0; bit < 8; ++bit) {
      Buffer flipped = stored;
      flipped[at] = static_cast<std::uint8_t>(flipped[at] ^ (1 << bit));
      const auto parsed = Record::parse(flipped, record->first());
      // Another version or method is not judged. No method at all is none of any version.
      const bool is_version = (at >= method_at && at < size_at) || at == version_at || at == version_at + 1;
      if (!parsed) {
        EXPECT_TRUE(is_version || parsed.error().code == Code::damaged) << "byte " << at << " bit " << bit;
        continue;
      }
      bool intact = true;
      for (std::uint32_t event = 0; event < 20; ++event) intact = intact && (*parsed)->body_intact(event);
      if (!intact) continue;
      // What is not noticed does no harm: the bytes are the same.
      EXPECT_EQ(text_of((*parsed)->bytes()), text_of(record->bytes())) << "byte " << at << " bit " << bit;
      ++unseen;
    }
  }
  EXPECT_LE(unseen, 64u);  // other ways to say the same, such as an offset to an equal place
}

TEST_P(EachMethod, ACutOffRecordIsDamage) {
  const auto record = usual_record(20);
  const Buffer stored = copy(packer_.pack(*record));
  for (std::size_t size = 0; size < stored.size(); ++size) {
    EXPECT_TRUE(fails(Record::parse(Bytes(stored).first(size), record->first()), Code::damaged)) << size;
    EXPECT_TRUE(fails(Record::parse_index(Bytes(stored).first(size), record->first()), Code::damaged)) << size;
  }
}

// Gives a forged header its checksum. False: it claims an index that is not there.
bool sign(Buffer& packed, format::Header header) {
  constexpr std::size_t header_at = sizeof(format::PackedPrefix), index_at = header_at + format::header_bytes;
  const auto index_bytes = format::index_layout(header).bytes;
  if (index_bytes > packed.size() - index_at) return false;
  header.record_bytes = header.index_offset + static_cast<std::uint32_t>(index_bytes);
  std::memcpy(packed.data() + header_at, &header, sizeof header);
  const Bytes all = packed;
  header.checksum = checksum(all.subspan(index_at, index_bytes), checksum(all.subspan(header_at, offsetof(format::Header, checksum))));
  std::memcpy(packed.data() + header_at, &header, sizeof header);
  return true;
}

format::Header header_of(const Buffer& packed) { return load<format::Header>(packed.data() + sizeof(format::PackedPrefix)); }

// Refused, or read within their bounds.
TEST_P(EachMethod, ForgedRecordsNeverReadOutOfBounds) {
  const auto record = usual_record(20);
  const Buffer good = copy(packer_.pack(*record));
  constexpr std::size_t counts_at = sizeof(format::PackedPrefix) + offsetof(format::Header, count);
  std::mt19937_64 random(3);
  std::size_t accepted = 0;
  for (int round = 0; round < 20'000; ++round) {
    Buffer bytes = good;
    for (auto changes = random() % 3 + 1; changes > 0; --changes) {
      bytes[counts_at + random() % (bytes.size() - counts_at)] = static_cast<std::uint8_t>(random());
    }
    if (!sign(bytes, header_of(bytes))) continue;
    const auto parsed = Record::parse(bytes, record->first());
    if (!parsed) continue;
    ++accepted;
    for (std::uint32_t at = 0; at < (*parsed)->count(); ++at) (void)(*parsed)->body_intact(at);
  }
  EXPECT_GT(accepted, 500u);  // else this has tested nothing but the refusals
}

TEST_P(EachMethod, UnpacksTheLargestBodyAndNoMore) {
  const auto record = record_of({std::string(limits::batch_bytes_max - 4, 'x')});
  Buffer stored = copy(packer_.pack(*record));
  ASSERT_TRUE(is_packed(stored));
  EXPECT_TRUE(is_ok(Record::parse(stored, record->first())));
  auto header = header_of(stored);
  header.index_offset += 8;
  ASSERT_TRUE(sign(stored, header));
  EXPECT_TRUE(fails(Record::parse(stored, record->first()), Code::damaged, "too much"));
}

TEST_P(EachMethod, AMethodOfTheFutureIsAnotherFormat) {
  const auto record = usual_record(20);
  Buffer stored = copy(packer_.pack(*record));
  stored[offsetof(format::PackedPrefix, compression)] = 3;
  EXPECT_TRUE(fails(Record::parse(stored, record->first()), Code::bad_format, "method 3"));
}

// ---- in a log

std::string text_at(std::uint64_t position) { return "the event at position " + std::to_string(position) + ", and more of it."; }

class CompressedLog : public ::testing::Test {
 protected:
  static constexpr std::uint64_t events = 300;

  // Each start has another setting; every record of the log stays readable.
  CompressedLog() {
    for (const auto compression : {Compression::none, Compression::lz4, Compression::zstd, Compression::none}) add(compression);
  }
  std::unique_ptr<Store> open(Compression compression) {
    auto options = dir_.options();
    options.compression = compression;
    return Store::open(options).value();
  }
  void add(Compression compression) {
    const auto store = open(compression);
    BatchMaker maker(*store);
    for (std::uint64_t at = 1; at <= events; ++at) maker.add({.text = text_at(number(store->head().committed) + at)});
    store->commit(maker.take()).value();
  }

  // Flips bits of the compressed bodies of the record that is packed so: the byte `at`, from their end if it is below 0.
  void damage(Compression compression, std::ptrdiff_t at) {
    auto file = testing::read_file(dir_.data_file());
    format::PackedPrefix prefix;
    prefix.compression = static_cast<std::uint16_t>(compression);
    const auto begin = file.find(std::string(reinterpret_cast<const char*>(&prefix), 8));
    ASSERT_NE(begin, file.npos);
    const auto* stored = reinterpret_cast<const std::uint8_t*>(file.data()) + begin;
    const auto index_bytes = format::index_layout(load<format::Header>(stored + sizeof prefix)).bytes;
    const auto from = at < 0 ? load<format::PackedPrefix>(stored).stored_bytes : sizeof prefix + format::header_bytes + index_bytes;
    char& byte = file[begin + from + static_cast<std::size_t>(at)];
    byte = static_cast<char>(byte ^ 0x55);
    testing::write_file(dir_.data_file(), file);
  }

  testing::StoreDir dir_;
};

TEST_F(CompressedLog, GivesBackEveryEventWhateverTheSettingWas) {
  const auto store = open(Compression::none);
  const auto records = store->reader()->records(Position{1}, MiB).value();
  ASSERT_EQ(records.size(), 4u);
  std::uint64_t position = 0;
  for (const auto& record : records) {
    for (std::uint32_t at = 0; at < record->count(); ++at) {
      EXPECT_EQ(text_of(record->body(at)), text_of(Bytes(testing::body_of(text_at(++position)))));
    }
  }
  EXPECT_EQ(position, 4 * events);
  std::uint64_t visited = 0;
  EXPECT_TRUE(is_ok(store->each_record(Position{1}, [&](const Record& record) {
    visited += record.count();
    return Result<void>();
  })));
  EXPECT_EQ(visited, 4 * events);
}

TEST_F(CompressedLog, HasNoFaults) {
  const auto store = Store::open_read_only(dir_.path()).value();
  const auto slice = store->reader()->verify(Position::none, 0, ~std::size_t{0}).value();
  EXPECT_TRUE(slice.faults.empty());
  EXPECT_EQ(slice.events, 4 * events);
}

TEST_F(CompressedLog, ReadsAreBoundedByWhatTheyUnpackTo) {
  const auto store = open(Compression::none);
  const auto one = store->reader()->records(Position{1}, 1).value().at(0)->bytes().size();
  EXPECT_EQ(store->reader()->records(Position{1}, 3 * one + 2 * KiB).value().size(), 3u);
  EXPECT_EQ(store->reader()->records(Position{1}, 3 * one - 2 * KiB).value().size(), 2u);
}

TEST_F(CompressedLog, DamageIsNamedAndTheRestStaysReadable) {
  damage(Compression::lz4, -20);
  const auto store = Store::open_read_only(dir_.path()).value();
  const auto slice = store->reader()->verify(Position::none, 0, ~std::size_t{0}).value();
  ASSERT_GE(slice.faults.size(), 1u);
  EXPECT_GT(slice.faults[0].position, Position{events});
  EXPECT_LE(slice.faults[0].position, Position{2 * events});
  EXPECT_EQ(slice.next, Position::none);
  EXPECT_EQ(store->reader()->records(Position{1}, MiB).value().size(), 1u);
  EXPECT_TRUE(fails(store->reader()->records(Position{events + 1}, MiB), Code::damaged, "position"));
  EXPECT_EQ(store->reader()->records(Position{2 * events + 1}, MiB).value().size(), 2u);
}

// Bodies that cannot be unpacked hide nothing else: verifying goes on behind them as if they were there.
TEST_F(CompressedLog, ALostRecordBehindADamagedOneIsMissed) {
  damage(Compression::zstd, 0);  // the frame's magic number
  {
    const auto env = lmdb::Environment::open(dir_.path() / "log", 64 * MiB, lmdb::Access::write).value();
    auto txn = env.begin(lmdb::Access::write).value();
    const auto tables = Tables::open(txn, false).value();
    ASSERT_TRUE(is_ok(txn.erase(tables[TableId::log], NumberKey(Position{3 * events + 1}))));
    ASSERT_TRUE(is_ok(txn.commit()));
  }
  const auto store = Store::open_read_only(dir_.path()).value();
  const auto slice = store->reader()->verify(Position::none, 0, ~std::size_t{0}).value();
  ASSERT_GE(slice.faults.size(), 2u);
  EXPECT_EQ(slice.faults[0].position, Position{2 * events + 1});
  EXPECT_NE(slice.faults[0].what.find("cannot be unpacked, up to position 900"), std::string::npos) << slice.faults[0].what;
  EXPECT_NE(slice.faults[1].what.find("ends at 900, its head at 1200"), std::string::npos) << slice.faults[1].what;
}

}  // namespace
}  // namespace bus::store
