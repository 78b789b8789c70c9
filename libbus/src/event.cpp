#include "bus/event.hpp"

namespace bus {

Event::Event(Place place, std::shared_ptr<const void> buffer, std::span<const std::uint8_t> bytes)
    : place_(std::move(place)),
      buffer_(std::move(buffer)),
      bytes_(bytes),
      envelope_(flatbuffers::GetSizePrefixedRoot<wire::Event>(bytes.data())) {}

std::vector<std::pair<std::string_view, std::string_view>> Event::attributes() const {
  std::vector<std::pair<std::string_view, std::string_view>> all;
  if (envelope_->attributes() == nullptr) return all;
  for (const auto* attribute : *envelope_->attributes()) {
    all.emplace_back(attribute->name()->string_view(), text(attribute->value()));
  }
  return all;
}

}  // namespace bus
