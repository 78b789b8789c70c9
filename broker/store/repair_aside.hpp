// The directory to which a repair puts what it takes out of a log: the bytes of each damaged record, and what was found, for people in
// report.txt and for programs in report.ndjson. All of it is synced before the log is changed.
#pragma once

#include "broker/store/repair.hpp"

namespace bus::store {

class Aside {
 public:
  explicit Aside(std::filesystem::path dir) : dir_(std::move(dir)) {}

  // The name of the file that has the bytes now: one of an earlier run is never overwritten.
  Result<std::string> keep(Position first, Bytes stored) const;
  Result<void> report(const Damage& damage) const;

 private:
  std::filesystem::path dir_;
};

// One line without its end.
std::string line_of(const Damage& damage);
std::string json_of(const Damage& damage);

}  // namespace bus::store
