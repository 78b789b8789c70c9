// Finds records in a data file by their first bytes, whatever LMDB's trees say. Pages that were freed hold older copies, whole or half
// overwritten, so what is found is verified; and it has to lie where LMDB puts a value, not inside of one: bodies are bytes that
// somebody has published.
#pragma once

#include <functional>

#include "broker/store/page_file.hpp"
#include "broker/store/record.hpp"

namespace bus::store {

struct FoundRecord {
  std::uint64_t at = 0;               // of its stored bytes
  std::uint32_t bytes = 0;
  RecordPtr record;
};

// The record whose stored bytes begin at `at` in the file, header and index verified, bodies unpacked and not verified; nothing if there is none.
std::optional<FoundRecord> record_at(const PageFile& file, std::uint64_t at);
bool is_whole(const Record& record);

// Every record that begins from `from` up to before `to`; what lies inside of a whole one is passed over. `visit` also gets how far it is.
using FoundVisitor = std::function<void(FoundRecord found)>;
using ScanProgress = std::function<void(std::uint64_t at)>;
void scan_records(const PageFile& file, std::uint64_t from, std::uint64_t to, const FoundVisitor& visit, const ScanProgress& progress = {});

}  // namespace bus::store
