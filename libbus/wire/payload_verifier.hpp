// PayloadVerifier tells whether bytes are a sound payload of a type of which only the reflection schema is there. It is the schema,
// arranged for that: each table's fields in the order of their places. Immutable; any thread.
//
// flatbuffers::Verify() is meant for the same and is not used: in 2.0.8, and in later ones, it follows the offset of a table or
// union before it has looked whether that offset is in the payload, so that one damaged byte of a vtable makes it read up to
// 64 KiB behind the end; and it does not miss required strings, vectors and unions.
#pragma once

#include <cstdint>
#include <vector>

#include "base/bytes.hpp"
#include "base/limits.hpp"
#include "bus/result.hpp"

namespace reflection {
struct Schema;
}

namespace bus::wire {

class PayloadVerifier {
 public:
  // So many offsets of vectors are followed: as many as the largest event has room for. More can only be where tables share a
  // vector, which would keep us busy for seconds.
  static constexpr std::size_t offsets_max = limits::event_bytes_max / 4;

  // What a union may hold. A type alone without a value, or with one of a later schema, is what readers that flatc generates
  // pass over, and must: its value has not been looked at.
  enum class Members : bool { known, any };

  // `schema` has been verified as a FlatBuffer; what its numbers lead to is looked at here. Error bad_format: it is not as flatc
  // writes it, or has vectors of unions; the detail names the field.
  static Result<PayloadVerifier> compile(const reflection::Schema& schema);

  // Whether `payload`, aligned to 8, has the table with this number among the schema's objects as its root, within the limits of
  // depth and number of tables. After that every field can be read without further checks.
  bool verify(std::size_t table, Bytes payload, Members members = Members::known) const;

 private:
  PayloadVerifier() = default;

  // `inlined`: a scalar or a struct. The last three: vectors of those.
  enum class Kind : std::uint8_t { none, inlined, string, table, one_of, inlines, strings, tables };
  struct Value {
    Kind kind = Kind::none;
    std::uint16_t align_mask = 0;          // the alignment, a power of two, less one
    std::uint32_t bytes = 0;               // of what is inlined
    std::uint32_t index = 0;               // in tables_ or unions_
  };
  struct Field {
    Value value;
    std::uint16_t slot = 0;                // where the vtable says where it is
    bool is_required = false;
  };
  struct Range {
    std::uint32_t begin = 0, end = 0;
  };
  class Compiler;
  class Pass;

  std::vector<Field> fields_;
  std::vector<Range> tables_;              // their fields, by the number of the object; of structs none
  std::vector<Value> members_;
  std::vector<Range> unions_;              // their members, by the number of the enum; the first one is none
};

}  // namespace bus::wire
