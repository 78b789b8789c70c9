// PayloadJson turns the payloads of one type into JSON and back, by the type's reflection schema.
//
// Both directions speak the same shape, that of flatc: fields by name, enums by the name of their value (a number if
// the schema has none for it), a union's type in the field NAME_type. It is strict JSON on one line. Scalar fields
// are written out even at their default; absent strings, tables, vectors and optional scalars are left out, and null
// means absent when read. Integers are exact to 64 bits; reals have the shortest form that reads back as the same
// number, nan, inf and -inf being strings. Bytes in a string that are no UTF-8 are written as U+FFFD.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.hpp"
#include "bus/result.hpp"

namespace bus::tools {

class PayloadSchema;

inline constexpr std::size_t json_bytes_max = 16u << 20;  // JSON text of one payload: an event of 1 MiB, in numbers
inline constexpr int json_depth_max = 64;                 // tables and vectors take turns, tables are 16 deep at most

// A value; copies share the schema. Thread-safe.
class PayloadJson {
 public:
  // `bfbs` is a reflection schema, `type` the full name of one of its tables. Errors: bad_format, unknown_type.
  static Result<PayloadJson> open(Bytes bfbs, std::string_view type);

  // A FlatBuffer with the type as its root, which the broker's verifier accepts. Errors: bad_payload, with line and
  // column of a fault of syntax, or with the path of a field that does not fit and what would; event_too_large.
  Result<std::vector<std::uint8_t>> encode(std::string_view json) const;

  // One line of JSON. `payload` may have any alignment. Errors: bad_payload (it does not verify as the type),
  // event_too_large (its text is longer than json_bytes_max).
  Result<std::string> decode(Bytes payload) const;

 private:
  explicit PayloadJson(std::shared_ptr<const PayloadSchema> schema) : schema_(std::move(schema)) {}
  std::shared_ptr<const PayloadSchema> schema_;
};

}  // namespace bus::tools
