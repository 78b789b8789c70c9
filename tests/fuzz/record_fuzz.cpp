// Whatever is stored as a record is refused, or every accessor stays within its bytes; also if the checksum is right.
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
      maker.add({.text = std::to_string(at), .key = key, .publisher = at / 4 % 2, .topic = at % 3});
    }
    for (const auto& record : maker.take().records) all.emplace_back(bus::text_of(record->bytes()));
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
  require(whole.ok() == index.ok(), "an index is judged unlike its record");
  if (whole) read(**whole, true);
  if (index) read(**index, false);
}

// Gives forged bytes the checksum they need to be looked at.
void sign(Buffer& bytes) {
  if (bytes.size() < store::format::header_bytes) return;
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
