#include "bus/event.hpp"

namespace bus {

std::vector<std::pair<std::string_view, std::string_view>> Event::attributes() const {
  std::vector<std::pair<std::string_view, std::string_view>> all;
  if (envelope_->attributes() == nullptr) return all;
  for (const auto* attribute : *envelope_->attributes()) {
    all.emplace_back(attribute->name()->string_view(), text(attribute->value()));
  }
  return all;
}

}  // namespace bus
