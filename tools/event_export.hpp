// EventExport writes events of the log with their schemas as NDJSON, from which `import ndjson` makes them again: bus-cli(1), "An
// export".
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <set>
#include <string>

#include "bus/client.hpp"
#include "tools/file_hash.hpp"
#include "tools/schema_transfer.hpp"

namespace bus::tools {

class EventExport {
 public:
  struct Summary {
    std::uint64_t events = 0, schemas = 0;
    Position first = Position::none, last = Position::none;
    Trimmed trimmed;                     // what retention had removed of the range
  };

  // `write` gets each line with its end. Asks the broker for all schemas. Throws Failed.
  EventExport(Client& client, std::function<void(std::string_view)> write);

  // Once. `count` 0: all events of the range. Throws Failed: also if interrupted, what was written has no end then.
  Summary run(const ReplayOptions& range, std::uint64_t count);

 private:
  void write_line(std::string line);
  void write_schema();
  void write_schemas_before(const Event& event);
  void write_events(const ReplayOptions& range, std::uint64_t count);
  void write_event(const Event& event);

  Client& client_;
  std::function<void(std::string_view)> write_;
  RunningHash hash_;
  ExportedRegistry registry_;
  std::size_t next_ = 0;                                               // of its schemas to be written
  std::map<std::string, Result<PayloadJson>, std::less<>> payloads_;   // by the last version that was written of each type
  std::set<std::string, std::less<>> waiting_;                         // types of which no schema has been written
  Summary summary_;
};

}  // namespace bus::tools
