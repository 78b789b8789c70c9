// EventSchema is a reflection schema (.bfbs) that can be trusted: its numbers were looked at, and what cannot be verified safely is
// not in it. Immutable; any thread.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.hpp"
#include "bus/result.hpp"
#include "wire/payload_verifier.hpp"

namespace bus::broker {

class EventSchema {
 public:
  struct EventType {
    std::string_view name;               // in the schema
    std::size_t table = 0;               // its number among the schema's objects
  };

  // Error bad_format: not a .bfbs, or one with vectors of unions or nested_flatbuffer, which cannot be verified safely.
  // `file` is named in every error.
  static Result<std::shared_ptr<const EventSchema>> open(Bytes bfbs, const std::string& file);

  Bytes bytes() const { return bytes_; }
  const reflection::Schema& schema() const { return *schema_; }
  // The tables that are event types: its root table, and every table that no other table of it contains.
  const std::vector<EventType>& event_types() const { return event_types_; }
  // Null: it has none of this full name.
  const EventType* event_type(std::string_view name) const;
  // The payload is aligned to 8 bytes; the type is one of this schema.
  bool verify(const EventType& type, Bytes payload) const { return verifier_->verify(type.table, payload); }

 private:
  explicit EventSchema(Buffer bytes) : bytes_(std::move(bytes)) {}

  Buffer bytes_;
  const reflection::Schema* schema_ = nullptr;  // in bytes_, as are its types
  std::vector<EventType> event_types_;
  std::optional<wire::PayloadVerifier> verifier_;
};

}  // namespace bus::broker
