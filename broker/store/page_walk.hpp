// Goes through the trees of a data file page by page, past LMDB, which trusts what it reads: a flipped bit in a page of a tree can
// end a process that follows it, or hide rows. Every page is checked before anything in it is used, and must have one place: in one
// tree, in one value, or in the list of free pages.
#pragma once

#include <array>
#include <functional>
#include <vector>

#include "broker/store/page_file.hpp"
#include "broker/store/store.hpp"
#include "broker/store/tables.hpp"

namespace bus::store {

struct PageFindings {
  std::vector<Fault> faults;                    // each names table and page, and of the log the position
  std::array<bool, table_ids> is_whole{};       // every page of the table was read
  std::vector<bool> placed;                     // pages that have their place, by number
  std::vector<bool> values;                     // of these, pages of large values
  std::uint64_t transaction = 0;                // as of which the trees are
  bool is_latest = true;                        // false: a later one may have been committed, since a meta page is damaged
};

// A row that could be reached. The value is as it is stored, with its checksum; of table `log` it is empty unless values are wanted.
struct PageRow {
  TableId table;
  std::string_view key;
  Bytes value;
  std::uint64_t at = 0, bytes = 0;              // where the value lies in the file
};
using PageRowVisitor = std::function<void(const PageRow&)>;
enum class LogValues { skip, read };
enum class CutOff { refuse, allow };            // of a file that ends before its last page; allowed, each missing page is a fault

// Visits in the order of keys within a table; of a table `log` that is not whole, too.
// Errors: bad_format (no LMDB file, or no meta page can be read), damaged (the file is cut off).
Result<PageFindings> walk_pages(const PageFile& file, LogValues values, const PageRowVisitor& visit, CutOff cut_off = CutOff::refuse);

// The rows of a page that is, by its own word, leaf `number`, whatever leads there. Values on pages of their own are left out.
void visit_leaf(std::span<const std::uint8_t> bytes, std::uint64_t number, const std::function<void(std::string_view key, Bytes value)>& visit);

}  // namespace bus::store
