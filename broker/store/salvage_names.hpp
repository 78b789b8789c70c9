// SalvageNames gives each topic, type and publisher of a salvaged log its name: that of its row, else what an event says, else one
// that is made up. No two have the same, or busd could not tell them apart.
#pragma once

#include <functional>
#include <map>
#include <set>
#include <string>
#include <unordered_set>
#include <vector>

#include "broker/store/figures.hpp"
#include "broker/store/salvage.hpp"
#include "broker/store/salvage_source.hpp"

namespace bus::store {

class SalvageNames {
 public:
  SalvageNames(SalvageSource& source, const std::function<EventNames(Bytes body)>& names_of) : source_(source), names_of_(names_of) {}

  // An event of the new log.
  void take(const Record& record, std::uint32_t at);
  // A row for each number up to the last one that `figures` or a row names. What is lost or made up goes to `notes`.
  Result<void> write(lmdb::Transaction& txn, const Tables& tables, const Figures& figures, std::vector<std::string>& notes);

 private:
  using Names = std::map<std::uint32_t, std::string>;
  Names row_names(TableId table, bool raw);
  Names choose(TableId table, std::uint32_t last, std::vector<std::string>& notes);
  bool needs_name(TableId table, std::uint32_t number);
  void name(TableId table, std::uint32_t number, const std::string& name);

  SalvageSource& source_;
  const std::function<EventNames(Bytes body)>& names_of_;
  std::map<TableId, Names> of_events_;
  std::unordered_set<std::uint32_t> named_topics_, named_types_;  // those of which nothing more is asked
};

}  // namespace bus::store
