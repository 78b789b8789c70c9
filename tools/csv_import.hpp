// CsvImport publishes the rows of a CSV file. The sequence of an event is the number of its data row, so that
// importing a file again stores nothing twice; a row that cannot be published gives its sequence up.
#pragma once

#include <filesystem>
#include <string>

#include "bus/client.hpp"
#include "tools/csv_map.hpp"
#include "tools/csv_reader.hpp"
#include "tools/output.hpp"
#include "tools/payload_json.hpp"
#include "tools/source_publisher.hpp"

namespace bus::tools {

struct ImportOptions {
  std::filesystem::path file;
  std::string name;                    // of the file's contents; ids of events begin with it
  double rate = 0;                     // rows a second; 0: as fast as it goes
  bool dry_run = false;
  Duration patience;                   // without an answer, before it is given up
};

class CsvImport {
 public:
  struct Summary {
    std::uint64_t rows = 0, published = 0, duplicates = 0, bad = 0;
    std::uint64_t unknown = 0;         // got no answer, or one that leaves open whether they are stored
    Error trouble;                     // why it ended before the end of the file; ok: it did not
  };

  // `client` publishes under the name of the file and lives longer.
  CsvImport(ImportOptions options, CsvMap map, PayloadJson schema, Client& client)
      : options_(std::move(options)), map_(std::move(map)), schema_(std::move(schema)),
        publisher_(client, options_.patience,
                   {"line", "; an earlier import gave this row up, and --publisher NAME would import the file anew"}) {}

  // Reads the file once. Returns early if interrupted, or once the broker takes no more. Throws Failed if the file or its header cannot be read.
  Summary run();

 private:
  void read_header(CsvReader& reader);
  void take_rows(CsvReader& reader, std::istream& in);
  Result<NewEvent> event_of(const CsvRow& row, std::uint64_t number) const;
  void reject(const std::string& why);
  void keep_pace(std::uint64_t rows);

  ImportOptions options_;
  CsvMap map_;
  PayloadJson schema_;
  SourcePublisher publisher_;
  SteadyTime begun_;
  std::uint64_t rows_ = 0, bad_ = 0;
};

}  // namespace bus::tools
