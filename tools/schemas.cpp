#include "tools/schemas.hpp"

#include "tools/cli.hpp"
#include "tools/event_json.hpp"

namespace bus::tools {

namespace {

std::string_view last_name(std::string_view type) { return type.substr(type.rfind('.') + 1); }

std::string joined(const std::vector<std::string>& names) {
  std::string text;
  for (const auto& name : names) text += (text.empty() ? "" : ", ") + name;
  return text;
}

}  // namespace

Result<std::string> Schemas::full_name(const std::string& type) try {
  std::vector<std::string> named, all;
  bool exact = false;
  ask_all<wire::SchemasReplyT>(client_, wire::SchemasRequestT{}, [&](const auto& reply) {
    for (const auto& schema : reply.schemas) {
      exact = exact || schema->type == type;
      if (last_name(schema->type) == type) named.push_back(schema->type);
      all.emplace_back(last_name(schema->type));
    }
  });
  if (exact) return type;
  if (named.size() == 1) return named.front();
  if (named.empty()) return Error{Code::unknown_type, "the broker knows no type '" + type + "'; it knows " + joined(all)};
  return Error{Code::bad_argument, "several types are called '" + type + "': " + joined(named)};
} catch (const Failed& failed) {
  return failed.error();
}

Result<PayloadJson> Schemas::of(const std::string& type) {
  if (const auto it = known_.find(type); it != known_.end()) return it->second;
  auto fetched = fetch(type);
  // A broker that did not answer may do so the next time.
  if (fetched || fetched.error().code == Code::unknown_type) known_.emplace(type, fetched);
  return fetched;
}

Result<PayloadJson> Schemas::fetch(const std::string& type) try {
  wire::SchemasRequestT request;
  request.name = type;
  request.with_schema = true;
  const auto reply = ask<wire::SchemasReplyT>(client_, std::move(request));
  if (reply.schemas.empty()) return Error{Code::unknown_type, "the broker knows no type '" + type + "'"};
  return PayloadJson::open(reply.schemas.front()->bfbs, type);
} catch (const Failed& failed) {
  if (failed.error().code == Code::not_found) return Error{Code::unknown_type, failed.error().detail};
  return failed.error();
}

Result<NewEvent> Schemas::event_of(std::string_view json) {
  auto read = event_from_json(json);
  if (!read) return read.error();
  const auto schema = of(read->event.type);
  if (!schema) return schema.error();
  auto payload = schema->encode(read->payload);
  if (!payload) return payload.error();
  read->event.payload = std::move(*payload);
  return std::move(read->event);
}

std::string Schemas::text_of(const Event& event) {
  const std::string type(event.type());
  const bool first = !known_.contains(type);
  const auto schema = of(type);
  if (schema) {
    if (auto text = schema->decode(event.payload())) return std::move(*text);
    warn("the payload at position " + std::to_string(number(event.position())) + " does not fit the schema of " + type);
  } else if (schema.error().code != Code::unknown_type) {
    throw Failed(schema.error());  // before the event is acknowledged
  } else if (first) {
    warn("payloads of " + type + " are shown as null: " + describe(schema.error()));
  }
  return "null";
}

void Schemas::print(Items& items, const Event& event) {
  const auto payload = text_of(event);
  items.add(items.wants_json() ? event_to_json(event, payload) : "", items.wants_json() ? "" : event_to_text(event, payload));
}

}  // namespace bus::tools
