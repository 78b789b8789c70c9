#include "tools/ndjson_import.hpp"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>

#include "tools/cli.hpp"
#include "tools/file_hash.hpp"
#include "tools/progress.hpp"

namespace bus::tools {

namespace {

namespace fs = std::filesystem;

std::string at_line(std::uint64_t line) { return "line " + std::to_string(line) + ": "; }

bool is_blank(const std::string& text) { return text.find_first_not_of(" \t") == text.npos; }

// No need to look into events, of which there are many.
bool begins_as_event(const std::string& text) { return text.starts_with("{\"position\":"); }

// Reads a file from its first to its last line for what is no event, and compares it with what its end says.
class OutlineReader {
 public:
  explicit OutlineReader(bool edited) : edited_(edited) {}

  void take(const std::string& text) {
    if (end_) fail(Code::bad_format, "nothing comes after the end");
    if (begins_as_event(text)) {
      ++outline_.events;
    } else if (!is_blank(text)) {
      take_other(parsed_line(text).value());
    }
    if (!has_head_ && !edited_) fail(Code::bad_format, "it does not begin as what `bus-cli export` writes; `bus-cli pub --events` publishes plain events");
    if (!end_) lines_.add(text + "\n");
    all_.add(text + "\n");
  }

  ExportOutline finish() {
    if (!edited_) check_end();
    outline_.name = all_.digits();
    return std::move(outline_);
  }

 private:
  void take_other(const Json& json) {
    if (json.contains("topic")) return void(++outline_.events);
    has_head_ = is_export_head(json).value() || has_head_;
    if (auto schema = exported_schema(json).value()) outline_.registry.schemas.push_back(std::move(*schema));
    if (auto type = exported_type(json).value()) outline_.registry.types.push_back(std::move(*type));
    end_ = export_end(json).value();
  }

  void check_end() const {
    const std::string anyway = "; --edited imports what is there";
    if (!end_) fail(Code::bad_format, "it was cut off: there is no end behind " + count_of(outline_.events, "event") + anyway);
    if (end_->hash != lines_.digits() || end_->events != outline_.events || end_->schemas != outline_.registry.schemas.size()) {
      fail(Code::bad_format, "it was changed since it was exported, or is damaged: its end does not fit what is before it" + anyway);
    }
  }

  bool edited_, has_head_ = false;
  ExportOutline outline_;
  std::optional<ExportEnd> end_;
  RunningHash lines_, all_;
};

// Calls take(text, number) for each line, until it says false, an end or a signal.
template <typename Take>
void each_line(const fs::path& file, const std::string& doing, Take take) {
  std::error_code failed;
  if (fs::exists(file, failed) && !fs::is_regular_file(file, failed)) fail(Code::bad_argument, file.string() + " is no file that can be read twice; write it to one first");
  const std::unique_ptr<FILE, int (*)(FILE*)> opened(std::fopen(file.c_str(), "re"), std::fclose);
  if (!opened) fail(Code::not_found, file.string() + ": " + std::strerror(errno));
  const auto size = fs::file_size(file, failed);
  Progress progress(doing, failed ? 0 : size);
  LineReader lines(fileno(opened.get()));
  std::uint64_t bytes = 0;
  while (const auto text = lines.next().value()) {
    if (!take(*text, lines.line())) return;
    bytes += text->size() + 1;
    progress.update(bytes, lines.line());
  }
}

}  // namespace

ExportOutline read_outline(const fs::path& file, bool edited) {
  OutlineReader reader(edited);
  std::uint64_t last = 0;
  try {
    each_line(file, "checked lines", [&](const std::string& text, std::uint64_t line) {
      last = line;
      reader.take(text);
      return true;
    });
    if (interrupted() != 0) fail(Code::closed, "interrupted: nothing was imported");
    return reader.finish();
  } catch (const Failed& failed) {
    if (failed.error().code != Code::bad_format) throw;
    fail(Code::bad_format, file.string() + ": " + (last > 0 ? at_line(last) : "") + failed.error().detail);
  }
}

NdjsonImport::NdjsonImport(NdjsonImportOptions options, const ExportOutline& outline, Client& client)
    : options_(std::move(options)), outline_(outline), schemas_(client), transfer_(client, outline.registry),
      publisher_(client, options_.patience, {"line", "; an earlier import gave this event up: put these lines into a file of their own, and import it with --edited"}) {}

const PayloadJson* NdjsonImport::payload_of(const Json& json) {
  if (!json.contains("type") || !json["type"].is_string()) return nullptr;
  const auto type = json["type"].get<std::string>();
  auto at = payloads_.find(type);
  if (at == payloads_.end()) at = payloads_.emplace(type, schemas_.of(type)).first;
  return at->second ? &*at->second : nullptr;
}

void NdjsonImport::take_event(const Json& json, std::uint64_t line) {
  const auto sequence = ++summary_.events;
  const auto* schema = payload_of(json);
  auto event = exported_event(json, schema);
  if (event && schema == nullptr && options_.dry_run) event = Error{Code::unknown_type, "neither the file nor the broker has the schema of " + event->type};
  if (!event) return reject(event.error(), line);
  if (options_.unique_id) event->conditions.push_back(Condition::unique_id());
  if (!options_.dry_run) publisher_.publish(sequence, line, *event);
}

void NdjsonImport::reject(const Error& why, std::uint64_t line) {
  ++summary_.bad;
  warn(at_line(line) + describe(why));
}

void NdjsonImport::take_schema(const ExportedSchema& schema) {
  for (const auto& [type, version] : schema.types) payloads_.insert_or_assign(type, PayloadJson::open(schema.bfbs, type));
  if (options_.without_schemas || !transfer_.is_wanted()) return;
  if (options_.dry_run) {
    transfer_.check();
  } else {
    publisher_.drain();                  // what comes before it is verified without it
    transfer_.add();
  }
  ++summary_.schemas;
}

void NdjsonImport::take(const std::string& text, std::uint64_t line) {
  if (is_blank(text)) return;
  const auto json = parsed_line(text);
  if (!json && begins_as_event(text)) return ++summary_.events, reject(json.error(), line);
  if (begins_as_event(text) || json.value().contains("topic")) return take_event(*json, line);
  const auto schema = exported_schema(*json).value();
  if (!schema) return;
  try {
    take_schema(*schema);
  } catch (const Failed& failed) {
    fail(failed.error().code, at_line(line) + failed.error().detail + "; --without-schemas imports events only, and the broker's own schemas decide");
  }
}

NdjsonImport::Summary NdjsonImport::run() {
  bool is_whole = true;
  Error refused;
  try {
    each_line(options_.file, "imported lines", [&](const std::string& text, std::uint64_t line) {
      take(text, line);
      return is_whole = !publisher_.over();
    });
    is_whole = is_whole && interrupted() == 0;
    if (is_whole && summary_.events != outline_.events) fail(Code::bad_format, "the file was changed while it was imported");
    if (is_whole && !options_.dry_run && !options_.without_schemas) transfer_.warn_of_differences();
  } catch (const Failed& failed) {
    refused = failed.error();
  } catch (const std::exception& error) {  // no receipt may come once this is gone
    refused = {Code::bad_format, error.what()};
  }
  if (options_.dry_run) return summary_.trouble = refused, summary_;
  const auto stored = publisher_.finish();
  summary_.published = stored.published;
  summary_.duplicates = stored.duplicates;
  summary_.bad += stored.refused;
  summary_.unknown = stored.unknown;
  summary_.trouble = refused.code != Code::ok ? refused : stored.trouble;
  return summary_;
}

}  // namespace bus::tools
