#include "broker/core/schema_requests.hpp"

#include <algorithm>

#include "base/limits.hpp"

namespace bus::broker {

namespace {

constexpr std::size_t told_max = 8;        // breaches that a refusal names
constexpr std::size_t text_max = 384;      // bytes of one text

std::string cut(std::string_view text) {
  std::string part(text.substr(0, text_max));
  if (part.size() < text.size()) part += "…";
  return part;
}

// Null: absent.
Result<std::optional<Compatibility>> mode_of(const flatbuffers::String* text) {
  if (text == nullptr || text->size() == 0) return std::optional<Compatibility>();
  const auto mode = compatibility_named(text->string_view());
  if (!mode) return Error{Code::bad_settings, "there is no compatibility '" + text->str().substr(0, 64) + "'; see docs/SCHEMAS.md for the modes"};
  return mode;
}

Bytes given_bytes(const flatbuffers::Vector<std::uint8_t>* bytes) { return bytes == nullptr ? Bytes() : Bytes(bytes->data(), bytes->size()); }

Result<std::shared_ptr<const EventSchema>> open_given(const flatbuffers::Vector<std::uint8_t>* bfbs) {
  const Bytes bytes = given_bytes(bfbs);
  if (bytes.size() > limits::schema_bytes_max) {
    return Error{Code::bad_settings, "the schema has " + std::to_string(bytes.size()) + " bytes, and at most " + std::to_string(limits::schema_bytes_max)};
  }
  return EventSchema::open(bytes, "the schema");
}

std::unique_ptr<wire::SchemaChangeT> to_wire(const SchemaChange& change, std::uint32_t version, bool breaks) {
  auto wire = std::make_unique<wire::SchemaChangeT>();
  wire->version = version;
  wire->rule = name_of(change.rule);
  wire->type = cut(change.type);
  wire->member = cut(change.member);
  wire->backward = name_of(change.harms.backward);
  wire->forward = name_of(change.harms.forward);
  wire->breaks = breaks;
  wire->what = cut(change.what);
  wire->remedy = change.remedy;
  return wire;
}

using WireChanges = std::vector<std::unique_ptr<wire::SchemaChangeT>>;

WireChanges to_wire(const std::vector<SchemaChange>& changes, std::uint32_t version, Compatibility mode) {
  WireChanges wire;
  for (const auto& change : changes) {
    if (wire.size() == limits::schema_changes_max) break;
    wire.push_back(to_wire(change, version, breaks(change, mode)));
  }
  return wire;
}

// What breaks goes first, of all types: it is what is asked for where there is too much.
wire::SchemaAddedT to_wire(const std::vector<SchemaOutcome>& outcomes) {
  wire::SchemaAddedT added;
  std::size_t told = 0;
  const auto tell = [&](std::size_t at, const SchemaChange& change, std::uint32_t version, bool breaks) {
    if (told++ < limits::schema_changes_max) added.types[at]->changes.push_back(to_wire(change, version, breaks));
  };
  for (const auto& outcome : outcomes) {
    auto& wire = *added.types.emplace_back(std::make_unique<wire::SchemaOutcomeT>());
    wire.type = outcome.type;
    wire.before = outcome.before;
    wire.version = outcome.version;
    wire.compatibility = name_of(outcome.compatibility);
  }
  for (std::size_t at = 0; at < outcomes.size(); ++at) {
    if (!outcomes[at].breaches.empty()) tell(at, outcomes[at].breaches[0].change, static_cast<std::uint32_t>(outcomes[at].breaches[0].version), true);
  }
  for (std::size_t at = 0; at < outcomes.size(); ++at) {
    for (std::size_t next = 1; next < outcomes[at].breaches.size(); ++next) {
      tell(at, outcomes[at].breaches[next].change, static_cast<std::uint32_t>(outcomes[at].breaches[next].version), true);
    }
  }
  for (std::size_t at = 0; at < outcomes.size(); ++at) {
    for (const auto& change : outcomes[at].changes) {
      if (!breaks(change, outcomes[at].compatibility)) tell(at, change, outcomes[at].before, false);
    }
  }
  return added;
}

std::size_t rows_bytes(const EventSchema& schema, const std::vector<SchemaOutcome>& outcomes) {
  std::size_t bytes = 0;
  for (const auto& outcome : outcomes) bytes += outcome.version == outcome.before ? limits::description_bytes_max : schema.bytes().size() + limits::description_bytes_max;
  return bytes;
}

// Which table, field and rule, and how to make the change legally.
Error refusal_of(const std::vector<SchemaOutcome>& outcomes) {
  std::string text;
  std::size_t told = 0, all = 0;
  for (const auto& outcome : outcomes) {
    for (const auto& breach : outcome.breaches) {
      if (all++ == 0) text = "the schema breaks what its types promise, and nothing of it is registered:";
      if (told == told_max) continue;
      ++told;
      text += "\n  " + outcome.type + " is " + std::string(name_of(outcome.compatibility)) + ", and against version " + std::to_string(breach.version) + " " + cut(breach.change.what) +
              " (" + std::string(name_of(breach.change.rule)) + "); legally: " + breach.change.remedy;
    }
  }
  if (all > told) text += "\n  and " + std::to_string(all - told) + " more";
  return {Code::incompatible_schema, text};
}

}  // namespace

bool SchemaRequests::receive(Asker to, const wire::Request& message, WallTime now) {
  switch (message.ask_type()) {
    case wire::Ask::SchemasRequest: list(to, *message.ask_as_SchemasRequest()); break;
    case wire::Ask::SchemaAdd: add(to, *message.ask_as_SchemaAdd(), now); break;
    case wire::Ask::SchemaEdit: edit(to, *message.ask_as_SchemaEdit(), now); break;
    case wire::Ask::SchemaDiff: diff(to, *message.ask_as_SchemaDiff()); break;
    case wire::Ask::SchemaHistory: history(to, *message.ask_as_SchemaHistory()); break;
    default: return false;
  }
  return true;
}

Result<const RegisteredType*> SchemaRequests::registered(const flatbuffers::String* type) const {
  const std::string name = flatbuffers::GetString(type);
  if (const auto* found = registry_.find(name)) return found;
  const auto* other = types_.find(name);
  if (other == nullptr) return Error{Code::not_found, "there is no type '" + name.substr(0, 128) + "'"};
  return Error{Code::not_found, "type " + name + " is " + (other->builtin() ? std::string("built in") : "from " + other->file) + ", and not registered: it has no history, and changes with busd"};
}

void SchemaRequests::put(store::Row row) {
  if (row.value) staging_.add_bytes(row.value->size());
  staging_.put_row(std::move(row));
}

// ---- which there are

std::unique_ptr<wire::SchemaInfoT> SchemaRequests::info_of(const std::string& name, const PayloadTypes::Type& type, const SchemaVersion* version) const {
  auto info = std::make_unique<wire::SchemaInfoT>();
  info->type = name;
  info->builtin = type.builtin();
  info->file = type.file;
  const auto* registered = registry_.find(name);
  if (registered == nullptr) return info;
  info->version = version->number;
  info->added_at = nanoseconds(version->added_at);
  info->compatibility = name_of(registered->compatibility);
  if (type.deprecated == nullptr) return info;
  info->deprecated = registered->deprecated;
  info->deprecated_at = nanoseconds(registered->deprecated_at);
  info->deprecated_events = type.deprecated->events;
  info->deprecated_by = type.deprecated->publishers;
  return info;
}

void SchemaRequests::list(Asker to, const wire::SchemasRequest& ask) {
  wire::SchemasReplyT reply;
  std::size_t bytes = 0;
  for (auto it = types_.all().upper_bound(flatbuffers::GetString(ask.after())); it != types_.all().end(); ++it) {
    const auto& [name, type] = *it;
    if (ask.name() != nullptr && ask.name()->string_view() != name) continue;
    if (bytes > limits::reply_bytes_target) {
      reply.more = reply.schemas.back()->type;
      break;
    }
    const auto* registered = registry_.find(name);
    const auto* version = registered != nullptr ? registered->version(ask.name() != nullptr ? ask.version() : 0) : nullptr;
    if (ask.name() != nullptr && ask.version() != 0 && version == nullptr) {
      return answers_.refuse(to, {Code::not_found, "type " + name + " has no version " + std::to_string(ask.version())});
    }
    auto info = info_of(name, type, version);
    const Bytes bfbs = version != nullptr ? version->schema->bytes() : type.bfbs();
    if (ask.with_schema()) info->bfbs.assign(bfbs.begin(), bfbs.end());
    bytes += name.size() + info->file.size() + info->deprecated.size() + 64 + info->bfbs.size();
    for (const auto& publisher : info->deprecated_by) bytes += publisher.size();
    reply.schemas.push_back(std::move(info));
  }
  if (ask.name() != nullptr && reply.schemas.empty()) {
    return answers_.refuse(to, {Code::not_found, "there is no type '" + ask.name()->str().substr(0, limits::text_bytes_max) + "'"});
  }
  answers_.answer(to, std::move(reply));
}

// ---- a next version

void SchemaRequests::add(Asker to, const wire::SchemaAdd& ask, WallTime now) {
  const auto mode = mode_of(ask.compatibility());
  if (!mode) return answers_.refuse(to, mode.error());
  auto schema = open_given(ask.bfbs());
  if (!schema) return answers_.refuse(to, schema.error());
  auto outcomes = registry_.judge(**schema, *mode);
  if (!outcomes) return answers_.refuse(to, outcomes.error());
  auto added = to_wire(*outcomes);
  if (ask.dry_run()) return answers_.answer(to, std::move(added));
  if (auto refusal = refusal_of(*outcomes); !refusal.detail.empty()) return answers_.refuse(to, refusal);
  if (auto room = intake_.admit_rows(rows_bytes(**schema, *outcomes)); !room) return answers_.refuse(to, room.error());
  for (auto& row : registry_.add(std::move(*schema), *outcomes, now)) put(std::move(row));
  answers_.answer(to, std::move(added));
}

void SchemaRequests::edit(Asker to, const wire::SchemaEdit& ask, WallTime now) {
  const auto type = registered(ask.type());
  if (!type) return answers_.refuse(to, type.error());
  const auto mode = mode_of(ask.compatibility());
  if (!mode) return answers_.refuse(to, mode.error());
  std::optional<std::string> deprecated;
  if (ask.set_deprecated()) deprecated = flatbuffers::GetString(ask.deprecated());
  if (deprecated && deprecated->size() > limits::description_bytes_max) {
    return answers_.refuse(to, {Code::bad_settings, "why a type is deprecated has at most " + std::to_string(limits::description_bytes_max) + " bytes"});
  }
  if (auto room = intake_.admit_rows(limits::description_bytes_max); !room) return answers_.refuse(to, room.error());
  put(registry_.edit(ask.type()->str(), *mode, deprecated, now));
  answers_.answer(to, wire::DoneT());
}

// ---- what has changed

void SchemaRequests::diff(Asker to, const wire::SchemaDiff& ask) {
  const auto type = registered(ask.type());
  if (!type) return answers_.refuse(to, type.error());
  std::shared_ptr<const EventSchema> given;
  if (ask.bfbs() != nullptr) {
    auto schema = open_given(ask.bfbs());
    if (!schema) return answers_.refuse(to, schema.error());
    given = std::move(*schema);
  }
  const SchemaVersion* last = (*type)->version(given == nullptr ? ask.to() : 0);
  const auto missing = [&](std::uint32_t version) {
    answers_.refuse(to, {Code::not_found, "type " + ask.type()->str() + " has no version " + std::to_string(version)});
  };
  if (last == nullptr) return missing(ask.to());
  const SchemaVersion* first = (*type)->version(ask.from());
  if (ask.from() == 0) first = given != nullptr ? last : last == (*type)->versions.data() ? nullptr : last - 1;
  if (first == nullptr) return missing(ask.from());
  const auto changes = diff_schemas(first->schema->schema(), given != nullptr ? given->schema() : last->schema->schema(), ask.type()->string_view());
  if (!changes) return answers_.refuse(to, changes.error());
  wire::SchemaDiffReplyT reply;
  reply.from = first->number;
  reply.to = given != nullptr ? 0 : last->number;
  reply.changes = to_wire(*changes, first->number, (*type)->compatibility);
  answers_.answer(to, std::move(reply));
}

void SchemaRequests::history(Asker to, const wire::SchemaHistory& ask) {
  const auto type = registered(ask.type());
  if (!type) return answers_.refuse(to, type.error());
  wire::SchemaHistoryReplyT reply;
  std::size_t changes = 0, left = limits::schema_comparisons_max;
  const SchemaVersion* before = nullptr;
  for (const auto& version : (*type)->versions) {
    const SchemaVersion* last = std::exchange(before, &version);
    if (version.number <= ask.after()) continue;
    if (changes > limits::schema_changes_max) {
      reply.more = reply.versions.back()->version;
      break;
    }
    auto info = std::make_unique<wire::SchemaVersionT>();
    info->version = version.number;
    info->added_at = nanoseconds(version.added_at);
    info->bytes = static_cast<std::uint32_t>(version.schema->bytes().size());
    if (last != nullptr) {
      auto changed = diff_schemas(last->schema->schema(), version.schema->schema(), ask.type()->string_view(), left);
      if (!changed && !reply.versions.empty()) {  // more than one request may compare: the next one begins here
        reply.more = reply.versions.back()->version;
        break;
      }
      if (changed) info->changes = to_wire(*changed, last->number, (*type)->compatibility);
    }
    changes += 1 + info->changes.size();
    reply.versions.push_back(std::move(info));
  }
  answers_.answer(to, std::move(reply));
}

}  // namespace bus::broker
