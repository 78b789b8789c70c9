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

constexpr std::size_t open_bytes_max = 8u << 20;
constexpr std::size_t open_rows_max = 16384;

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

void CsvImport::give_up(const Error& why) {
  const std::lock_guard lock(mutex_);
  if (!over_.exchange(true)) trouble_ = why;
  bell_.ring();
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

void CsvImport::take(std::uint64_t line, const Result<Receipt>& receipt) {
  ++answers_;
  if (receipt) {
    ++(receipt->duplicate ? duplicates_ : published_);
    return;
  }
  const auto code = receipt.error().code;
  if (!is_refusal(code) || code == Code::busy) {
    ++unknown_;
    return give_up(receipt.error());
  }
  const auto* hint = code == Code::refused_before
                         ? "; an earlier import gave this row up, and --publisher NAME would import the file anew" : "";
  reject(line_text(line) + describe(receipt.error()) + hint);
}

// Stays below the client's window, so that publishing itself never waits for a broker that is gone. False if no answer
// came for too long, or interrupted().
bool CsvImport::wait_for_room() {
  const auto is_full = [this] { return open_bytes_ >= open_bytes_max || open_rows_ >= open_rows_max; };
  waiting_ = true;
  auto answers = answers_.load();
  for (auto deadline = steady_now() + options_.patience; is_full() && !over();) {
    bell_.wait(deadline - steady_now());
    if (answers_ == answers && steady_now() >= deadline) break;
    if (answers_ != answers) deadline = steady_now() + options_.patience;
    answers = answers_;
  }
  waiting_ = false;
  return !is_full();
}

void CsvImport::publish(std::uint64_t line, std::uint64_t number, const NewEvent& event) {
  const auto bytes = event.payload.size();
  open_bytes_ += bytes;
  ++open_rows_;
  client_.publish_at(number, event, [this, line, bytes](const Result<Receipt>& receipt) {
    take(line, receipt);
    open_bytes_ -= bytes;
    --open_rows_;
    if (waiting_) bell_.ring();
  });
}

void CsvImport::keep_pace(std::uint64_t rows) {
  if (options_.rate <= 0) return;
  const std::chrono::duration<double> due(static_cast<double>(rows) / options_.rate);
  pause_until(begun_ + std::chrono::duration_cast<Duration>(due));
}

void CsvImport::take_rows(CsvReader& reader, std::istream& in) {
  Progress progress("imported", size_of(options_.file));
  for (; !over(); ++rows_) {
    keep_pace(rows_);
    const auto row = reader.read();
    if (row && !*row) return;
    const auto number = rows_ + 1;
    auto event = row ? event_of(**row, number) : Result<NewEvent>(row.error());
    if (event) {
      if (!options_.dry_run && !wait_for_room()) return;
      if (!options_.dry_run) publish((*row)->line, number, *event);
    } else {
      progress.clear();
      // The reader names the line itself.
      reject(row ? line_text((*row)->line) + event.error().detail : event.error().detail);
    }
    if (rows_ % 64 == 0) progress.update(static_cast<std::uint64_t>(std::max<std::streamoff>(0, in.tellg())), rows_);
  }
}

// Waits as long as answers keep coming; the broker may be restarting.
std::uint64_t CsvImport::settle() {
  for (;;) {
    const auto before = answers_.load();
    const auto unknown = client_.flush(interrupted() != 0 ? Duration(std::chrono::seconds(1)) : options_.patience);
    if (unknown.events > 0 && !over() && answers_ != before) continue;
    if (unknown.events > 0 && unknown.reason.code != Code::ok) give_up(unknown.reason);
    return unknown.events;
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
  if (!options_.dry_run) summary.unknown = settle();
  summary.unknown += unknown_;
  summary.rows = rows_;
  summary.published = published_;
  summary.duplicates = duplicates_;
  summary.bad = bad_;
  const std::lock_guard lock(mutex_);
  summary.trouble = trouble_;
  return summary;
}

}  // namespace bus::tools
