// The lines of an export, as bus-cli(1) has them: schemas, types, events, and an end that tells a whole file from one that was cut
// off. An event's line is for people and programs that read JSON; its `bytes` are the event as it was published, of which
// nothing is lost.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "bus/event.hpp"
#include "bus/result.hpp"
#include "tools/output.hpp"
#include "tools/payload_json.hpp"

namespace bus::tools {

struct ExportHead {
  std::string log_id, busd;                    // of the broker
  WallTime exported_at;
};

// One schema, as it was registered for one or more types at a time.
struct ExportedSchema {
  std::map<std::string, std::uint32_t> types;  // of each the version that it is; 0: the type is built in, or of a file of the broker
  std::int64_t added_at = 0;                   // nanoseconds since 1970; 0 with those
  std::vector<std::uint8_t> bfbs;
};

struct ExportedType {
  std::string name, compatibility;
  std::string deprecated;                      // why; empty: it is not
};

struct ExportEnd {
  std::uint64_t events = 0, schemas = 0;
  std::string hash;                            // file_hash() of all lines before
};

std::string export_head(const ExportHead& head);
std::string export_line(const ExportedSchema& schema);
std::string export_line(const ExportedType& type);
std::string export_line(const ExportEnd& end);
// `payload` is the payload as JSON, or null. Of an event whose texts are too long for a line it has but the bytes.
std::string export_line(const Event& event, std::string_view payload);
// The object of a line. Errors: bad_format.
Result<Json> parsed_line(const std::string& text);

// Is it the first line of an export? Errors: bad_format (it is of a later version).
Result<bool> is_export_head(const Json& line);
// Each is nothing if the line is of another kind. Errors: bad_format.
Result<std::optional<ExportedSchema>> exported_schema(const Json& line);
Result<std::optional<ExportedType>> exported_type(const Json& line);
Result<std::optional<ExportEnd>> export_end(const Json& line);
// The event of a line: its `bytes`, which the other fields must agree with; or without them what the other fields say. The event's
// source is the one that it had in its log. `schema` is that of its type, or null: then its payload is not looked at. Errors: bad_event,
// bad_payload, unknown_type.
Result<NewEvent> exported_event(const Json& line, const PayloadJson* schema);

}  // namespace bus::tools
