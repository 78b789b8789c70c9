// Whatever a .bfbs file holds is refused, or its types verify any payload without reading outside of it. The first byte
// of the input says how long the payload is that follows; the rest is the schema.
#include "broker/core/builtin_types.hpp"
#include "broker/core/payload_types.hpp"
#include "broker/core/schema_registry.hpp"
#include "shapes.hpp"
#include "tests/fuzz/target.hpp"
#include "tests/support/samples.hpp"

namespace bus::fuzz {

// The built-in names are taken, so they get others of the same length.
std::string renamed(std::string bfbs) {
  for (auto at = bfbs.find("suoke."); at != std::string::npos; at = bfbs.find("suoke.", at)) bfbs.replace(at, 5, "other");
  return bfbs;
}

std::vector<std::string> seeds() {
  broker::PayloadTypes types;
  require(types.add(std::string(embedded::shapes), "shapes.bfbs").ok(), "a good schema is refused");
  const auto payload = testing::sample_payload("saga-1");
  std::vector<std::string> all = {std::string(2, '\x01') + std::string(embedded::shapes)};
  const std::string head = static_cast<char>(payload.size()) + std::string(payload.begin(), payload.end());
  all.push_back(head + std::string(embedded::shapes));
  std::string_view last;
  for (const auto& builtin : broker::builtin_types()) {
    if (builtin.bfbs.data() == last.data()) continue;
    last = builtin.bfbs;
    all.push_back(head + renamed(std::string(builtin.bfbs)));
  }
  return all;
}

}  // namespace bus::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t bytes) {
  if (bytes == 0) return 0;
  const std::size_t payload_bytes = std::min<std::size_t>(data[0], bytes - 1);
  const bus::Buffer payload = bus::fuzz::buffer_of(data + 1, payload_bytes);
  const bus::Buffer schema = bus::fuzz::buffer_of(data + 1 + payload_bytes, bytes - 1 - payload_bytes);
  // As the registry does with a next version, and with the same again.
  bus::broker::PayloadTypes registered;
  bus::broker::SchemaRegistry registry(registered);
  for (const bus::Bytes version : {bus::Bytes(schema), bus::Bytes(payload)}) {
    const auto opened = bus::broker::EventSchema::open(version, "fuzz.bfbs");
    if (!opened) continue;
    for (int twice = 0; twice < 2; ++twice) {
      const auto outcomes = registry.judge(**opened, bus::broker::Compatibility::none);
      if (outcomes) (void)registry.add(*opened, *outcomes, bus::WallTime());
    }
  }
  bus::broker::PayloadTypes types;
  if (!types.add(bus::fuzz::text_of(schema), "fuzz.bfbs")) return 0;
  for (const auto& [name, type] : types.all()) {
    if (!type.builtin()) (void)types.verify(name, payload);
  }
  return 0;
}
