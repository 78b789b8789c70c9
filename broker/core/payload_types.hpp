// PayloadTypes knows every payload type and verifies payloads: compiled verifiers for the built-in types, reflection for all others.
// Those of .bfbs files are added before the broker starts; those that are registered come and change while it runs. A value.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "broker/core/event_schema.hpp"

namespace flatbuffers {
class Verifier;
}

namespace bus::broker {

class PayloadTypes {
 public:
  // Who still publishes a deprecated type.
  struct Usage {
    std::uint64_t events = 0;             // since start
    std::vector<std::string> publishers;  // the first few
  };
  struct Type {
    bool (*compiled)(flatbuffers::Verifier&) = nullptr;  // built-in types
    std::string_view builtin_bfbs;
    std::shared_ptr<const EventSchema> schema;           // all others: their schema, and
    const EventSchema::EventType* event_type = nullptr;  // what they are in it
    std::string file;                                    // where it was loaded from; empty for built-in and registered types
    bool registered = false;
    std::shared_ptr<Usage> deprecated = nullptr;         // null: it is not

    bool builtin() const { return compiled != nullptr; }
    Bytes bfbs() const { return builtin() ? bytes_of(builtin_bfbs) : schema->bytes(); }
  };

  // With the built-in types of schemas/suoke_*.fbs.
  PayloadTypes();

  // Adds the event types of a reflection schema. Errors: bad_format, as EventSchema::open(); conflict (a type of that name is there
  // already). `file` is named in every error.
  Result<void> add(std::string_view bfbs, const std::string& file);
  // A registered type, or a new version of it, which takes the place of the last one. The schema has an event type of this name.
  void put(const std::string& name, std::shared_ptr<const EventSchema> schema);
  // The type is there, and counts anew.
  void set_deprecated(std::string_view name, bool deprecated);

  const Type* find(std::string_view name) const;
  // The type of this full name, or of this last part of one. Errors: unknown_type; bad_argument: several have it.
  Result<std::string> full_name(std::string_view name) const;
  // Errors: unknown_type, bad_payload. `payload` may have any alignment.
  Result<void> verify(std::string_view type, Bytes payload) const;
  static bool verify(const Type& type, Bytes payload);
  static Error bad_payload(std::string_view type);
  static Error unknown(std::string_view type);
  // Types stay where they are for life; what is in them may change.
  const std::map<std::string, Type, std::less<>>& all() const { return types_; }

 private:
  std::map<std::string, Type, std::less<>> types_;
};

}  // namespace bus::broker
