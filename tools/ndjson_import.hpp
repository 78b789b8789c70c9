// NdjsonImport publishes the events of an export and registers its schemas. The sequence of an event is its number in the file, so
// that importing a file again stores nothing twice; one that cannot be published gives its sequence up.
#pragma once

#include <filesystem>
#include <map>
#include <string>

#include "bus/client.hpp"
#include "tools/line_reader.hpp"
#include "tools/schema_transfer.hpp"
#include "tools/schemas.hpp"
#include "tools/source_publisher.hpp"

namespace bus::tools {

// What was learned of a file before anything of it is published.
struct ExportOutline {
  ExportedRegistry registry;
  std::uint64_t events = 0;
  std::string name;                      // of its contents
};

// Reads it once. `edited`: neither its head nor its end need be there or be right. Throws Failed: not_found; bad_format, naming the line.
ExportOutline read_outline(const std::filesystem::path& file, bool edited);

struct NdjsonImportOptions {
  std::filesystem::path file;
  bool dry_run = false, unique_id = false, without_schemas = false;
  Duration patience;                     // without an answer, before it is given up
};

class NdjsonImport {
 public:
  struct Summary {
    std::uint64_t events = 0, published = 0, duplicates = 0, bad = 0, schemas = 0;
    std::uint64_t unknown = 0;           // got no answer, or one that leaves open whether they are stored
    Error trouble;                       // why it ended before the end of the file; ok: it did not
  };

  // `client` publishes under the name of the file. Both live longer.
  NdjsonImport(NdjsonImportOptions options, const ExportOutline& outline, Client& client);

  // Reads the file once. Returns early if interrupted, or once the broker takes no more events, or a schema not.
  Summary run();

 private:
  void take(const std::string& text, std::uint64_t line);
  void take_event(const Json& json, std::uint64_t line);
  void reject(const Error& why, std::uint64_t line);
  void take_schema(const ExportedSchema& schema);
  const PayloadJson* payload_of(const Json& json);

  NdjsonImportOptions options_;
  const ExportOutline& outline_;
  Schemas schemas_;
  SchemaTransfer transfer_;
  SourcePublisher publisher_;
  std::map<std::string, Result<PayloadJson>, std::less<>> payloads_;  // by the last version that was read of each type
  Summary summary_;
};

}  // namespace bus::tools
