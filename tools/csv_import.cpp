#include "tools/csv_import.hpp"

#include <cerrno>
#include <chrono>
#include <cstring>
#include <fstream>

#include "tools/cli.hpp"
#include "tools/interrupts.hpp"
#include "tools/progress.hpp"

namespace bus::tools {

namespace {

std::string line_text(std::uint64_t line) { return "line " + std::to_string(line) + ": "; }

std::uint64_t size_of(const std::filesystem::path& file) {
  std::error_code failed;
  const auto size = std::filesystem::file_size(file, failed);
  return failed ? 0 : size;
}

}  // namespace

void CsvImport::reject(const std::string& why) {
  ++bad_;
  warn(why);
}

void CsvImport::read_header(CsvReader& reader) {
  if (!map_.layout().columns.empty()) return map_.bind(map_.layout().columns).value();
  const auto header = reader.read().value();
  if (!header) fail(Code::bad_argument, options_.file.string() + " is empty: it has no header row");
  map_.bind(header->cells).value();
}

Result<NewEvent> CsvImport::event_of(const CsvRow& row, std::uint64_t number) const {
  auto mapped = map_.row(row.cells, row.line);
  if (!mapped) return mapped.error();
  auto payload = schema_.encode(mapped->payload_json);
  if (!payload) return payload.error();
  NewEvent event;
  event.topic = std::move(mapped->topic);
  event.type = std::move(mapped->type);
  event.key = std::move(mapped->key);
  event.id = mapped->id.empty() ? options_.name + "-" + std::to_string(number) : std::move(mapped->id);
  event.source = std::move(mapped->source);
  event.subject = std::move(mapped->subject);
  if (mapped->time_ns) event.time = wall_time(*mapped->time_ns);
  event.attributes = std::move(mapped->attributes);
  event.payload = std::move(*payload);
  return event;
}

void CsvImport::keep_pace(std::uint64_t rows) {
  if (options_.rate <= 0) return;
  const std::chrono::duration<double> due(static_cast<double>(rows) / options_.rate);
  pause_until(begun_ + std::chrono::duration_cast<Duration>(due));
}

void CsvImport::take_rows(CsvReader& reader, std::istream& in) {
  Progress progress("imported", size_of(options_.file));
  for (; !publisher_.over(); ++rows_) {
    keep_pace(rows_);
    const auto row = reader.read();
    if (row && !*row) return;
    const auto number = rows_ + 1;
    auto event = row ? event_of(**row, number) : Result<NewEvent>(row.error());
    if (event) {
      if (!options_.dry_run && !publisher_.publish(number, (*row)->line, *event)) return;
    } else {
      progress.clear();
      // The reader names the line itself.
      reject(row ? line_text((*row)->line) + event.error().detail : event.error().detail);
    }
    if (rows_ % 64 == 0) progress.update(static_cast<std::uint64_t>(std::max<std::streamoff>(0, in.tellg())), rows_);
  }
}

CsvImport::Summary CsvImport::run() {
  std::ifstream in(options_.file, std::ios::binary);
  if (!in) fail(Code::not_found, options_.file.string() + ": " + std::strerror(errno));
  CsvReader reader(in, map_.layout().delimiter, map_.layout().skip_lines);
  read_header(reader);
  begun_ = steady_now();
  take_rows(reader, in);
  Summary summary;
  summary.rows = rows_;
  summary.bad = bad_;
  if (options_.dry_run) return summary;
  const auto stored = publisher_.finish();
  summary.published = stored.published;
  summary.duplicates = stored.duplicates;
  summary.bad += stored.refused;
  summary.unknown = stored.unknown;
  summary.trouble = stored.trouble;
  return summary;
}

}  // namespace bus::tools
