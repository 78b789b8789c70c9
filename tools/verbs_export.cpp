// export: events of the log, with their schemas, into a file that `import ndjson` reads.
#include <filesystem>
#include <memory>

#include "broker/store/backup_files.hpp"
#include "tools/cli.hpp"
#include "tools/event_export.hpp"
#include "tools/interrupts.hpp"
#include "tools/position.hpp"
#include "tools/range_options.hpp"
#include "tools/schemas.hpp"

namespace bus::tools {

namespace {

namespace fs = std::filesystem;

struct ExportVerb {
  std::string file;
  RangeOptions events;
};

// A file that is there only once it is whole, as far as this process lives.
class NewFile {
 public:
  explicit NewFile(fs::path path) : path_(std::move(path)) {
    if (fs::exists(path_)) fail(Code::bad_argument, path_.string() + " is there already, and is not overwritten: give another FILE");
    writer_.emplace(store::BackupWriter::create(path_).value());
  }
  ~NewFile() {
    std::error_code ignored;
    if (!is_kept_) fs::remove(path_, ignored);
  }
  NewFile(const NewFile&) = delete;
  NewFile& operator=(const NewFile&) = delete;

  void write(std::string_view text) { writer_->write(text).value(); }
  void keep() {
    writer_->finish().value();
    const auto directory = path_.parent_path();
    store::sync_path(directory.empty() ? "." : directory).value();
    is_kept_ = true;
  }

 private:
  fs::path path_;
  std::optional<store::BackupWriter> writer_;
  bool is_kept_ = false;
};

Exit export_events(const Globals& globals, const ExportVerb& options) {
  auto client = connect(globals);
  Schemas schemas(client);
  const auto range = options.events.range(schemas, client.server().committed);
  const GracefulEnd graceful;
  if (options.file == "-") {
    warn_of_trimmed(EventExport(client, write).run(range, options.events.count).trimmed);
    flush();
    return Exit::ok;
  }
  NewFile file(options.file);
  const auto summary = EventExport(client, [&](std::string_view text) { file.write(text); }).run(range, options.events.count);
  file.keep();
  warn_of_trimmed(summary.trimmed);
  const auto position_or_null = [](Position position) { return position == Position::none ? Json() : Json(number(position)); };
  print_object(globals.format, {{"file", options.file}, {"events", summary.events}, {"first", position_or_null(summary.first)}, {"last", position_or_null(summary.last)},
                                {"schemas", summary.schemas}});
  return Exit::ok;
}

}  // namespace

void define_export(CLI::App& app, Cli& cli) {
  auto& verb = add_verb(app, "export", "write events of the log, up to the head at the start, and all schemas to a file, for `import ndjson` and for other programs",
                        "bus-cli export events.ndjson --topic 'health.>'\n"
                        "  bus-cli export - | zstd > events.ndjson.zst");
  auto options = std::make_shared<ExportVerb>();
  verb.add_option("FILE", options->file, "a new file; -: standard output")->required();
  add_range(verb, options->events);
  verb.callback([options, &cli] { cli.run = [options, &cli] { return export_events(cli.globals, *options); }; });
}

}  // namespace bus::tools
