#include "broker/core/schema_registry.hpp"

#include <flatbuffers/reflection.h>

#include <algorithm>

#include "base/limits.hpp"
#include "broker/core/big_endian.hpp"
#include "broker/core/io.hpp"

namespace bus::broker {

namespace {

// The first byte of a row's key: those of types come before those of versions.
constexpr char type_row_kind = 't', version_row_kind = 'v';

constexpr std::size_t event_types_max = 256;  // of one schema: an answer tells of each

std::string version_key(std::string_view type, std::uint32_t version) {
  std::string key(1, version_row_kind);
  key.append(type).push_back('\0');
  put_big(key, version);
  return key;
}

Error too_many(const std::string& what, std::size_t most) { return {Code::bad_settings, "the broker may have " + std::to_string(most) + " " + what}; }

}  // namespace

const SchemaVersion* RegisteredType::version(std::uint32_t number) const {
  if (number == 0) return &versions.back();
  const auto it = std::lower_bound(versions.begin(), versions.end(), number, [](const SchemaVersion& one, std::uint32_t wanted) { return one.number < wanted; });
  return it == versions.end() || it->number != number ? nullptr : &*it;
}

const RegisteredType* SchemaRegistry::find(std::string_view type) const {
  const auto it = registered_.find(type);
  return it == registered_.end() || it->second.versions.empty() ? nullptr : &it->second;
}

// ---- what a schema would mean

Result<SchemaOutcome> SchemaRegistry::judge(const EventSchema& schema, const std::string& type, std::optional<Compatibility> wanted, std::size_t& left) const {
  SchemaOutcome outcome{.type = type, .sets_mode = wanted.has_value()};
  const RegisteredType* known = find(type);
  outcome.compatibility = wanted.value_or(known != nullptr ? known->compatibility : RegisteredType().compatibility);
  if (known == nullptr) {
    if (const auto* other = types_.find(type)) {
      const std::string where = other->builtin() ? "built in" : "from " + other->file + ": take this file out of schema_dir, and start busd again";
      return Error{Code::conflict, "type " + type + " cannot be registered, as it is there already, " + where};
    }
    outcome.version = 1;
    return outcome;
  }
  outcome.before = outcome.version = known->versions.back().number;
  auto changes = diff_schemas(known->versions.back().schema->schema(), schema.schema(), type, left);
  if (!changes) return changes.error();
  if (changes->empty()) return outcome;
  ++outcome.version;
  outcome.changes = std::move(*changes);
  std::vector<const reflection::Schema*> versions;
  for (const auto& version : known->versions) versions.push_back(&version.schema->schema());
  auto breaches = check_compatibility(versions, schema.schema(), type, outcome.compatibility, left);
  if (!breaches) return breaches.error();
  outcome.breaches = std::move(*breaches);
  for (auto& breach : outcome.breaches) breach.version = known->versions[breach.version].number;
  return outcome;
}

Result<void> SchemaRegistry::check_limits(const EventSchema& schema, const std::vector<SchemaOutcome>& outcomes) const {
  std::size_t types = registered_.size(), bytes = 0;
  for (const auto& outcome : outcomes) {
    if (outcome.version == outcome.before) continue;
    bytes += schema.bytes().size();
    if (outcome.before == 0 && ++types > limits::schema_types_max) return too_many("registered types", limits::schema_types_max);
    const RegisteredType* known = find(outcome.type);
    if (known != nullptr && known->versions.size() >= limits::schema_versions_max) return too_many("versions of " + outcome.type, limits::schema_versions_max);
  }
  // Each version has a row with all of the schema.
  if (bytes > limits::batch_bytes_max) {
    return Error{Code::bad_settings, "the schema's bytes times its new versions of types are " + std::to_string(bytes) + ", and at most " +
                                         std::to_string(limits::batch_bytes_max) + " at once: divide it into several files"};
  }
  const bool is_new = bytes > 0 && !schemas_.contains(hash128(schema.bytes(), 0));
  if (is_new && bytes_ + schema.bytes().size() > limits::schemas_bytes_max) return too_many("bytes of registered schemas", limits::schemas_bytes_max);
  return {};
}

Result<std::vector<SchemaOutcome>> SchemaRegistry::judge(const EventSchema& schema, std::optional<Compatibility> wanted) const {
  std::vector<SchemaOutcome> outcomes;
  std::size_t left = limits::schema_comparisons_max;
  if (schema.event_types().size() > event_types_max) {
    return Error{Code::bad_settings, "the schema has more than " + std::to_string(event_types_max) + " event types: divide it into several files"};
  }
  for (const auto& event_type : schema.event_types()) {
    const std::string type(event_type.name);
    if (type.size() > limits::text_bytes_max) {
      return Error{Code::bad_format, "the name of type " + type.substr(0, 64) + "… is longer than " + std::to_string(limits::text_bytes_max) + " bytes"};
    }
    auto outcome = judge(schema, type, wanted, left);
    if (!outcome) return outcome.error();
    outcomes.push_back(std::move(*outcome));
  }
  if (outcomes.empty()) return Error{Code::bad_format, "the schema has no event type: no root table, and none that no other table contains"};
  if (auto fits = check_limits(schema, outcomes); !fits) return fits.error();
  return outcomes;
}

// ---- changes

std::shared_ptr<const EventSchema> SchemaRegistry::shared(std::shared_ptr<const EventSchema> schema) {
  const auto [it, is_new] = schemas_.emplace(hash128(schema->bytes(), 0), schema);
  if (is_new) bytes_ += schema->bytes().size();
  return std::ranges::equal(it->second->bytes(), schema->bytes()) ? it->second : schema;
}

Result<std::shared_ptr<const EventSchema>> SchemaRegistry::open(Bytes bfbs, const std::string& name) {
  const auto it = schemas_.find(hash128(bfbs, 0));
  if (it != schemas_.end() && std::ranges::equal(it->second->bytes(), bfbs)) return it->second;
  auto schema = EventSchema::open(bfbs, name);
  if (!schema) return schema.error();
  return shared(std::move(*schema));
}

store::Row SchemaRegistry::type_row(const std::string& type, const RegisteredType& registered) const {
  Writer writer;
  writer.put(static_cast<std::uint8_t>(registered.compatibility)).put(nanoseconds(registered.deprecated_at)).put_string(registered.deprecated);
  return {store::Table::schemas, std::string(1, type_row_kind) + type, writer.take()};
}

std::vector<store::Row> SchemaRegistry::add(std::shared_ptr<const EventSchema> schema, const std::vector<SchemaOutcome>& outcomes, WallTime now) {
  std::vector<store::Row> rows;
  for (const auto& outcome : outcomes) {
    RegisteredType& type = registered_[outcome.type];
    if (outcome.before == 0) type = {};
    const bool is_changed = outcome.version != outcome.before;
    if (outcome.sets_mode || outcome.before == 0) {
      type.compatibility = outcome.compatibility;
      rows.push_back(type_row(outcome.type, type));
    }
    if (!is_changed) continue;
    schema = shared(std::move(schema));
    type.versions.push_back({outcome.version, now, schema});
    rows.push_back({store::Table::schemas, version_key(outcome.type, outcome.version), Writer().put(nanoseconds(now)).put_bytes(text_of(schema->bytes())).take()});
    types_.put(outcome.type, schema);
  }
  return rows;
}

store::Row SchemaRegistry::edit(const std::string& type, std::optional<Compatibility> mode, const std::optional<std::string>& deprecated, WallTime now) {
  RegisteredType& registered = registered_.at(type);
  if (mode) registered.compatibility = *mode;
  if (deprecated && *deprecated != registered.deprecated) {
    if (registered.deprecated.empty() || deprecated->empty()) types_.set_deprecated(type, !deprecated->empty());
    if (registered.deprecated.empty()) registered.deprecated_at = now;
    if (deprecated->empty()) registered.deprecated_at = {};
    registered.deprecated = *deprecated;
  }
  return type_row(type, registered);
}

// ---- recovery

Result<void> SchemaRegistry::restore_row(std::string_view key, std::string_view value) {
  Reader reader(value);
  if (key.starts_with(type_row_kind)) {
    RegisteredType& type = registered_[std::string(key.substr(1))];
    const auto mode = reader.get<std::uint8_t>();
    type.deprecated_at = wall_time(reader.get<std::int64_t>());
    type.deprecated = reader.get_string();
    if (!reader.done() || mode > static_cast<std::uint8_t>(Compatibility::full_transitive)) return bad_row("schemas");
    type.compatibility = static_cast<Compatibility>(mode);
    return {};
  }
  const auto added_at = reader.get<std::int64_t>();
  if (!reader.ok() || !key.starts_with(version_row_kind) || key.size() < 7) return bad_row("schemas");
  const std::string name(key.substr(1, key.size() - 6));
  const auto version = static_cast<std::uint32_t>(get_big(key.substr(key.size() - 4)));
  const auto schema = open(bytes_of(value.substr(sizeof added_at)), "version " + std::to_string(version) + " of type " + name);
  if (!schema) return schema.error();
  if (version == 0 || (*schema)->event_type(name) == nullptr) return bad_row("schemas");
  const auto* other = types_.find(name);
  if (other != nullptr && !other->file.empty()) {
    return Error{Code::conflict, "type " + name + " is registered in the log, and also in " + other->file + ": take this file out of schema_dir"};
  }
  RegisteredType& type = registered_[name];
  type.versions.push_back({version, wall_time(added_at), *schema});
  types_.put(name, *schema);
  if (!type.deprecated.empty() && types_.find(name)->deprecated == nullptr) types_.set_deprecated(name, true);
  return {};
}

}  // namespace bus::broker
