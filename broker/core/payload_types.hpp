// PayloadTypes knows every payload type and verifies payloads: compiled verifiers for the built-in types,
// reflection for those loaded from .bfbs files. Filled before the broker starts, immutable afterwards.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.hpp"
#include "bus/result.hpp"

namespace flatbuffers {
class Verifier;
}
namespace reflection {
struct Object;
}

namespace bus::broker {

class PayloadTypes {
 public:
  struct Type {
    bool (*compiled)(flatbuffers::Verifier&) = nullptr;  // built-in types
    std::shared_ptr<const Buffer> schema;                // all others: their schema, and
    const reflection::Object* object = nullptr;          // their table in it
    std::string bfbs;   // reflection schema
    bool builtin = false;
    std::string file;   // where it was loaded from; empty for built-in types
  };

  // With the built-in types of schemas/suoke_*.fbs.
  PayloadTypes();

  // Adds the types of a reflection schema: its root table, and every table that no other table of it contains.
  // Errors: bad_format (not a .bfbs, or one with vectors of unions or nested_flatbuffer, which cannot be verified
  // safely), conflict (a type of that name is there already). `file` is named in every error.
  Result<void> add(std::string bfbs, const std::string& file);

  const Type* find(std::string_view name) const;
  // The type of this full name, or of this last part of one. Errors: unknown_type; bad_argument: several have it.
  Result<std::string> full_name(std::string_view name) const;
  // Errors: unknown_type, bad_payload. `payload` may have any alignment.
  Result<void> verify(std::string_view type, Bytes payload) const;
  static bool verify(const Type& type, Bytes payload);
  static Error bad_payload(std::string_view type);
  const std::map<std::string, Type, std::less<>>& all() const { return types_; }

 private:
  std::map<std::string, Type, std::less<>> types_;
};

}  // namespace bus::broker
