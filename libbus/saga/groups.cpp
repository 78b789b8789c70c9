#include "libbus/saga/facts.hpp"
#include "libbus/saga/registration.hpp"

namespace bus::saga {

namespace {

wire::GroupCreateT group_of(const std::string& name, const Definition& definition, std::vector<std::string> types, wire::Sharing sharing) {
  wire::GroupCreateT create;
  create.name = name;
  create.from = wire::Start::end;        // of what is not registered there are no instances
  create.filter = std::make_unique<wire::FilterT>();
  create.filter->patterns = {"saga." + definition.name() + ".*"};
  create.filter->types = std::move(types);
  auto& attribute = create.filter->attributes.emplace_back(std::make_unique<wire::AttributeFilterT>());
  attribute->name = hash_attribute;
  attribute->values = {definition.hash()};
  create.settings = std::make_unique<wire::GroupSettingsT>();
  create.settings->sharing = sharing;
  create.settings->attempts_max = ~std::uint32_t{0};  // its errors are the broker's and the network's
  return create;
}

}  // namespace

std::string decisions_group(const Definition& definition) { return "saga." + definition.name() + "." + definition.hash().substr(0, 8); }
std::string actions_group(const Definition& definition) { return decisions_group(definition) + ".actions"; }

wire::GroupCreateT decisions_group_of(const Definition& definition) {
  return group_of(decisions_group(definition), definition, decided_types(), wire::Sharing::key_ordered);
}
wire::GroupCreateT actions_group_of(const Definition& definition) {
  return group_of(actions_group(definition), definition, done_types(), wire::Sharing::round_robin);
}

}  // namespace bus::saga
