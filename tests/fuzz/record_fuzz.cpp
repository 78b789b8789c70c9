// Whatever is stored as a record is refused, or every accessor stays within its bytes; also if the checksum is right.
#include "broker/store/compression.hpp"
#include "broker/store/record.hpp"
#include "tests/fuzz/target.hpp"
#include "tests/support/batch_maker.hpp"

namespace bus::fuzz {

constexpr Position first{100};

std::vector<std::string> seeds() {
  std::vector<std::string> all;
  store::Head head;
  head.committed = first - 1;
  for (const std::uint32_t events : {1, 3, 20}) {
    testing::BatchMaker maker(store::Identity(), head);
    for (std::uint32_t at = 0; at < events; ++at) {
      const std::string key = at % 3 == 0 ? "" : std::to_string(at % 4);
      maker.add({.text = "what all of the events have in common " + std::to_string(at), .key = key, .publisher = at / 4 % 2, .topic = at % 3});
    }
    const auto record = maker.take().records.at(0);
    all.emplace_back(bus::text_of(record->bytes()));
    for (const auto compression : {store::Compression::lz4, store::Compression::zstd}) {
      store::Packer packer(compression);
      const Bytes stored = packer.pack(*record);
      require(events < 20 || load<std::uint32_t>(stored.data()) == store::format::packed_magic, "a seed is not packed");
      all.emplace_back(bus::text_of(stored));
    }
  }
  return all;
}

void read(const store::Record& record, bool has_bodies) {
  require(record.count() > 0 && record.first() == first, "a record of nothing, or of another place");
  (void)record.topics();
  for (std::uint32_t at = 0; at < record.count(); ++at) {
    const auto run = record.run_of(at);
    require(run.first_index <= at && at < run.first_index + run.count, "an event outside its run");
    (void)record.entry(at);
    (void)record.event_checksum(at);
    require(record.body_bytes(at) >= 8, "a body without its size");
    if (has_bodies) (void)record.body_intact(at);
  }
}

void try_both(const Buffer& bytes) {
  const auto whole = store::Record::parse(bytes, first);
  const auto index = store::Record::parse_index(bytes, first);
  const bool is_packed = bytes.size() >= sizeof(std::uint32_t) && load<std::uint32_t>(bytes.data()) == store::format::packed_magic;
  require(whole.ok() == index.ok() || (is_packed && index.ok()), "an index is judged unlike its record");
  if (whole) read(**whole, true);
  if (index) read(**index, false);
}

// The same for a packed record, whose size is in its prefix, and whose index has its place after the header.
void sign_packed(Buffer& bytes) {
  using store::format::Header;
  constexpr std::size_t header_at = sizeof(store::format::PackedPrefix), index_at = header_at + store::format::header_bytes;
  if (bytes.size() < index_at) return;
  auto prefix = load<store::format::PackedPrefix>(bytes.data());
  prefix.stored_bytes = static_cast<std::uint32_t>(bytes.size());
  std::memcpy(bytes.data(), &prefix, sizeof prefix);
  auto header = load<Header>(bytes.data() + header_at);
  const auto index_bytes = store::format::index_layout(header).bytes;
  if (index_bytes > bytes.size() - index_at) return;
  header.record_bytes = static_cast<std::uint32_t>(header.index_offset + index_bytes);
  header.first_position = number(first);
  std::memcpy(bytes.data() + header_at, &header, sizeof header);
  const Bytes all = bytes;
  header.checksum = checksum(all.subspan(index_at, index_bytes), checksum(all.subspan(header_at, offsetof(Header, checksum))));
  std::memcpy(bytes.data() + header_at, &header, sizeof header);
}

// Gives forged bytes the checksum they need to be looked at.
void sign(Buffer& bytes) {
  if (bytes.size() < store::format::header_bytes) return;
  if (load<std::uint32_t>(bytes.data()) == store::format::packed_magic) return sign_packed(bytes);
  auto header = load<store::format::Header>(bytes.data());
  header.record_bytes = static_cast<std::uint32_t>(bytes.size());
  header.first_position = number(first);
  if (header.index_offset > bytes.size()) return;
  std::memcpy(bytes.data(), &header, sizeof header);
  const Bytes all = bytes;
  header.checksum = checksum(all.subspan(header.index_offset),
                             checksum(all.first(offsetof(store::format::Header, checksum))));
  std::memcpy(bytes.data(), &header, sizeof header);
}

}  // namespace bus::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t bytes) {
  bus::Buffer record = bus::fuzz::buffer_of(data, bytes);
  bus::fuzz::try_both(record);
  bus::fuzz::sign(record);
  bus::fuzz::try_both(record);
  return 0;
}
