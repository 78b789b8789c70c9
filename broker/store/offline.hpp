// Work on a log that no broker serves, and that LMDB may not be able to open: it is read as it lies on disk.
#pragma once

#include <filesystem>

#include "broker/store/store.hpp"

namespace bus::store {

// Checks every page of the data file, so that nothing is trusted that could end a process which follows it. No faults: the Store may
// open the log, and its reader verifies it. Else the one slice has the faults of the pages, and of all rows that are still reached.
// Takes the lock. Errors: not_found, locked, bad_format, damaged (the file is cut off; the last whole record is named), disk_error.
Result<VerifySlice> verify_pages(const std::filesystem::path& dir);

// ", the last whole record in it ends at position N", of a data file that is cut off: looked for from its end.
std::string last_whole_record(const std::filesystem::path& data_file);

}  // namespace bus::store
