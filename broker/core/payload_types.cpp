#include "broker/core/payload_types.hpp"

#include <flatbuffers/flatbuffers.h>

#include "base/check.hpp"
#include "base/limits.hpp"
#include "broker/core/builtin_types.hpp"

namespace bus::broker {

namespace {

flatbuffers::Verifier::Options tight() {
  flatbuffers::Verifier::Options options;
  options.max_depth = limits::verifier_depth_max;
  options.max_tables = limits::verifier_tables_max;
  return options;
}

bool verify_aligned(const PayloadTypes::Type& type, Bytes payload) {
  if (!type.builtin()) return type.schema->verify(*type.event_type, payload);
  flatbuffers::Verifier verifier(payload.data(), payload.size(), tight());
  return type.compiled(verifier);
}

}  // namespace

PayloadTypes::PayloadTypes() {
  for (const BuiltinType& builtin : builtin_types()) {
    Type type;
    type.compiled = builtin.verify;
    type.builtin_bfbs = builtin.bfbs;
    types_.emplace(builtin.name, std::move(type));
  }
}

Result<void> PayloadTypes::add(std::string_view bfbs, const std::string& file) {
  const auto schema = EventSchema::open(bytes_of(bfbs), file);
  if (!schema) return schema.error();
  for (const auto& event_type : (*schema)->event_types()) {
    if (const Type* known = find(event_type.name)) {
      return Error{Code::conflict, file + ": type " + std::string(event_type.name) + " is there already, " +
                                       (known->builtin() ? std::string("built in") : "from " + known->file)};
    }
  }
  for (const auto& event_type : (*schema)->event_types()) {
    Type type;
    type.file = file;
    type.schema = *schema;
    type.event_type = &event_type;
    types_.emplace(event_type.name, std::move(type));
  }
  return {};
}

void PayloadTypes::put(const std::string& name, std::shared_ptr<const EventSchema> schema) {
  Type& type = types_[name];
  type.event_type = schema->event_type(name);
  BUS_CHECK(type.event_type != nullptr);
  type.compiled = nullptr;
  type.schema = std::move(schema);
  type.registered = true;
}

void PayloadTypes::set_deprecated(std::string_view name, bool deprecated) {
  const auto it = types_.find(name);
  BUS_CHECK(it != types_.end());
  it->second.deprecated = deprecated ? std::make_shared<Usage>() : nullptr;
}

const PayloadTypes::Type* PayloadTypes::find(std::string_view name) const {
  const auto it = types_.find(name);
  return it == types_.end() ? nullptr : &it->second;
}

Result<std::string> PayloadTypes::full_name(std::string_view name) const {
  if (find(name) != nullptr) return std::string(name);
  std::vector<std::string> named;
  for (const auto& [full, type] : types_) {
    if (full.size() > name.size() && full.ends_with(name) && full[full.size() - name.size() - 1] == '.') named.push_back(full);
  }
  if (named.size() == 1) return named.front();
  if (named.empty()) return Error{Code::unknown_type, "there is no type '" + std::string(name) + "'"};
  return Error{Code::bad_argument, "several types are called '" + std::string(name) + "', such as " + named[0] + " and " + named[1]};
}

bool PayloadTypes::verify(const Type& type, Bytes payload) {
  if (payload.size() < 8) return false;
  if (reinterpret_cast<std::uintptr_t>(payload.data()) % 8 == 0) return verify_aligned(type, payload);
  return verify_aligned(type, copy_of(payload));
}

Result<void> PayloadTypes::verify(std::string_view name, Bytes payload) const {
  const Type* type = find(name);
  if (type == nullptr) return unknown(name);
  return verify(*type, payload) ? Result<void>() : bad_payload(name);
}

Error PayloadTypes::bad_payload(std::string_view type) {
  return {Code::bad_payload, "the payload does not verify as " + std::string(type)};
}

Error PayloadTypes::unknown(std::string_view type) {
  return {Code::unknown_type, "no schema of type '" + std::string(type.substr(0, 128)) + "' is there; register one with bus-cli schema add"};
}

}  // namespace bus::broker
