#include "tools/schema_transfer.hpp"

#include <algorithm>
#include <deque>
#include <optional>

#include "tools/cli.hpp"

namespace bus::tools {

namespace {

using SchemaKey = std::pair<std::int64_t, std::vector<std::uint8_t>>;

std::vector<std::uint8_t> fetch_version(Client& client, const std::string& type, std::uint32_t version) {
  wire::SchemasRequestT question;
  question.name = type;
  question.with_schema = true;
  question.version = version;
  return std::move(ask<wire::SchemasReplyT>(client, std::move(question)).schemas.at(0)->bfbs);
}

std::vector<std::pair<std::uint32_t, std::int64_t>> fetch_history(Client& client, const wire::SchemaInfoT& type) {
  if (type.version == 0) return {{0, 0}};
  wire::SchemaHistoryT question;
  question.type = type.type;
  std::vector<std::pair<std::uint32_t, std::int64_t>> versions;
  ask_all<wire::SchemaHistoryReplyT>(client, question, [&](const auto& reply) {
    for (const auto& version : reply.versions) versions.emplace_back(version->version, version->added_at);
  });
  return versions;
}

// As they were added: the oldest first of those that are the next ones of all their types, since the clock may have been set back.
void in_order(std::map<SchemaKey, ExportedSchema> schemas, std::map<std::string, std::deque<SchemaKey>> histories, std::vector<ExportedSchema>& out) {
  while (!schemas.empty()) {
    const auto is_next = [&](const auto& one) {
      return std::all_of(one.second.types.begin(), one.second.types.end(), [&](const auto& type) { return histories.at(type.first).front() == one.first; });
    };
    auto next = std::find_if(schemas.begin(), schemas.end(), is_next);
    if (next == schemas.end()) next = schemas.begin();
    for (const auto& [type, version] : next->second.types) std::erase(histories.at(type), next->first);
    out.push_back(std::move(next->second));
    schemas.erase(next);
  }
}

bool is_same(const ExportedSchema* one, const ExportedSchema* other) { return one->bfbs == other->bfbs; }

}  // namespace

const ExportedType* ExportedRegistry::find(std::string_view type) const {
  const auto found = std::find_if(types.begin(), types.end(), [&](const auto& one) { return one.name == type; });
  return found == types.end() ? nullptr : &*found;
}

std::map<std::string, std::vector<const ExportedSchema*>, std::less<>> ExportedRegistry::versions() const {
  std::map<std::string, std::vector<const ExportedSchema*>, std::less<>> all;
  for (const auto& schema : schemas) {
    for (const auto& [type, version] : schema.types) all[type].push_back(&schema);
  }
  return all;
}

ExportedRegistry fetch_registry(Client& client) {
  std::vector<wire::SchemaInfoT> infos;
  ask_all<wire::SchemasReplyT>(client, wire::SchemasRequestT{}, [&](const auto& reply) {
    for (const auto& info : reply.schemas) infos.push_back(*info);
  });
  ExportedRegistry registry;
  std::map<SchemaKey, ExportedSchema> schemas;
  std::map<std::string, std::deque<SchemaKey>> histories;
  for (const auto& info : infos) {
    for (const auto& [version, added_at] : fetch_history(client, info)) {
      auto bfbs = fetch_version(client, info.type, version);
      histories[info.type].emplace_back(added_at, bfbs);
      auto& schema = schemas[{added_at, bfbs}];
      schema.types[info.type] = version;
      schema.added_at = added_at;
      schema.bfbs = std::move(bfbs);
    }
    if (info.version != 0) registry.types.push_back({info.type, info.compatibility, info.deprecated});
  }
  in_order(std::move(schemas), std::move(histories), registry.schemas);
  return registry;
}

SchemaTransfer::SchemaTransfer(Client& client, const ExportedRegistry& from) : client_(client), from_(from), there_(fetch_registry(client)) {
  const auto there = there_.versions();
  for (auto& [type, versions] : from_.versions()) {
    auto& plan = plans_[type];
    plan.versions = versions;
    const auto at = there.find(type);
    if (at == there.end()) {
      plan.way = Way::follows;
    } else if (there_.find(type) != nullptr) {
      const auto& known = at->second;
      const bool is_begin = known.size() <= versions.size() && std::equal(known.begin(), known.end(), versions.begin(), is_same);
      const bool has_last = std::any_of(known.begin(), known.end(), [&](const auto* one) { return is_same(one, plan.versions.back()); });
      if (is_begin) plan.way = Way::follows, plan.known = known.size();
      else if (!has_last) plan.way = Way::last_only;
    }
  }
}

bool SchemaTransfer::is_wanted() {
  const auto& schema = from_.schemas.at(next_++);
  return std::any_of(schema.types.begin(), schema.types.end(), [&](const auto& one) {
    const auto& plan = plans_.at(one.first);
    const auto ordinal = static_cast<std::size_t>(std::find(plan.versions.begin(), plan.versions.end(), &schema) - plan.versions.begin());
    return plan.way == Way::follows ? ordinal >= plan.known : plan.way == Way::last_only && ordinal + 1 == plan.versions.size();
  });
}

bool SchemaTransfer::all_follow(const ExportedSchema& schema) const {
  return std::all_of(schema.types.begin(), schema.types.end(), [&](const auto& one) { return plans_.at(one.first).way == Way::follows; });
}

void SchemaTransfer::check() {
  const auto& schema = from_.schemas.at(next_ - 1);
  wire::SchemaAddT question;
  question.bfbs = schema.bfbs;
  question.dry_run = true;
  const auto judged = ask<wire::SchemaAddedT>(client_, std::move(question));
  if (all_follow(schema)) return;
  for (const auto& type : judged.types) {
    for (const auto& change : type->changes) {
      if (change->breaks) fail(Code::incompatible_schema, type->type + ": " + change->what + "; " + change->remedy);
    }
  }
}

void SchemaTransfer::add() {
  const auto& schema = from_.schemas.at(next_ - 1);
  wire::SchemaAddT question;
  question.bfbs = schema.bfbs;
  std::optional<wire::SchemaAddedT> added;
  try {
    added = ask<wire::SchemaAddedT>(client_, wire::SchemaAddT(question));
  } catch (const Failed& failed) {
    if (failed.error().code != Code::incompatible_schema || !all_follow(schema)) throw;
    question.compatibility = "none";
    added = ask<wire::SchemaAddedT>(client_, std::move(question));
  }
  for (const auto& one : added->types) settle(*one, schema);
}

// Its mode is what it shall be, also of a type that the schema has besides; and with its last version a type is as it was exported.
void SchemaTransfer::settle(const wire::SchemaOutcomeT& outcome, const ExportedSchema& schema) {
  const auto plan = plans_.find(outcome.type);
  const bool follows = plan != plans_.end() && plan->second.way == Way::follows;
  const auto* wanted = follows ? from_.find(outcome.type) : there_.find(outcome.type);
  if (wanted == nullptr) return;
  const bool deprecates = follows && plan->second.versions.back() == &schema && !wanted->deprecated.empty();
  if (outcome.compatibility == wanted->compatibility && !deprecates) return;
  wire::SchemaEditT question;
  question.type = wanted->name;
  question.compatibility = wanted->compatibility;
  question.set_deprecated = deprecates;
  question.deprecated = deprecates ? wanted->deprecated : "";
  ask<wire::DoneT>(client_, std::move(question));
}

void SchemaTransfer::warn_of_differences() {
  const auto now = fetch_registry(client_);
  for (const auto& type : from_.types) {
    const auto* here = now.find(type.name);
    if (here == nullptr) continue;
    if (here->compatibility != type.compatibility) {
      warn(type.name + " is " + here->compatibility + " here, and was " + type.compatibility + " where it was exported; `bus-cli schema edit` would change it");
    }
    if (here->deprecated != type.deprecated) {
      warn(type.name + " is " + (here->deprecated.empty() ? "not deprecated" : "deprecated") + " here, unlike where it was exported; `bus-cli schema edit` would change it");
    }
  }
}

}  // namespace bus::tools
