// Whatever a peer sends as a header frame is refused or can be read to its last field.
#include "tests/fuzz/target.hpp"
#include "tests/support/samples.hpp"

namespace bus::fuzz {

std::vector<std::string> seeds() {
  std::vector<std::string> all;
  for (const auto& sample : testing::Samples::all()) all.push_back(text_of(sample.frame));
  return all;
}

}  // namespace bus::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t bytes) {
  const bus::Buffer frame = bus::fuzz::buffer_of(data, bytes);
  const auto message = bus::wire::parse(frame);
  if (!message) return 0;
  (void)std::unique_ptr<bus::wire::MessageT>((*message)->UnPack());
  return 0;
}
