// import csv: the rows of a file as events; import ndjson: what `export` wrote.
#include <memory>

#include "tools/cli.hpp"
#include "tools/csv_import.hpp"
#include "tools/file_hash.hpp"
#include "tools/interrupts.hpp"
#include "tools/ndjson_import.hpp"
#include "tools/schemas.hpp"

namespace bus::tools {

namespace {

struct ImportVerb {
  std::string file, map, publisher;
  double rate = 0;
  bool dry_run = false;
  bool unique_id = false, without_schemas = false, edited = false;
};

// What CsvImport and NdjsonImport tell of themselves.
template <typename Summary>
Exit exit_after(const Summary& summary, std::uint64_t done, const std::string& what) {
  if (summary.trouble.code != Code::ok) warn("stopped after " + count_of(done, what) + ": " + describe(summary.trouble));
  if (summary.unknown > 0) warn(count_of(summary.unknown, what) + " got no receipt; run the import again, what is stored is not stored twice");
  if (summary.trouble.code != Code::ok) return exit_for(summary.trouble.code);
  if (summary.unknown > 0) return Exit::unavailable;
  return summary.bad > 0 ? Exit::partial : Exit::ok;
}

Exit import_csv(const Globals& globals, const ImportVerb& options) {
  auto map = CsvMap::load(options.map).value();
  const auto name = file_hash(options.file).value();
  const auto publisher = options.publisher.empty() ? "csv-" + name : options.publisher;
  auto client = connect(globals, options.dry_run ? "" : publisher);
  auto schema = Schemas(client).of(map.type()).value();
  ImportOptions run{options.file, name, options.rate, options.dry_run, globals.timeout_or(std::chrono::seconds(30))};
  const GracefulEnd graceful;
  CsvImport rows(std::move(run), std::move(map), std::move(schema), client);
  const auto summary = rows.run();
  // No receipt comes any more after this, which `rows` would have to be there for.
  client.close(summary.unknown > 0 ? Duration(0) : globals.patience());
  const Json json = {{"rows", summary.rows}, {"published", summary.published}, {"duplicates", summary.duplicates}, {"bad", summary.bad}};
  write(dump(json) + "\n");
  flush();
  return exit_after(summary, summary.rows, "row");
}

Exit import_ndjson(const Globals& globals, const ImportVerb& options) {
  const GracefulEnd graceful;
  const auto outline = read_outline(options.file, options.edited);
  auto client = connect(globals, options.dry_run ? "" : "export-" + outline.name);
  NdjsonImport events({options.file, options.dry_run, options.unique_id, options.without_schemas, globals.timeout_or(std::chrono::seconds(30))}, outline, client);
  const auto summary = events.run();
  // No receipt comes any more after this, which `events` would have to be there for.
  client.close(summary.unknown > 0 ? Duration(0) : globals.patience());
  write(dump({{"events", summary.events}, {"published", summary.published}, {"duplicates", summary.duplicates}, {"bad", summary.bad}, {"schemas", summary.schemas}}) + "\n");
  flush();
  return exit_after(summary, summary.events, "event");
}

void define_csv(CLI::App& parent, Cli& cli) {
  auto& verb = add_verb(parent, "csv", "publish each row of a CSV file as an event, as a map says; see bus-import-map(5)",
                        "bus-cli import csv steps.csv --map hourly_steps.toml");
  auto options = std::make_shared<ImportVerb>();
  verb.add_option("FILE", options->file, "the CSV file")->required();
  verb.add_option("--map", options->map, "how rows become events; see bus-import-map(5)")->type_name("MAP.toml")->required();
  add_number(verb, "--rate", options->rate, "rows a second at most");
  verb.add_flag("--dry-run", options->dry_run, "check every row against the map and the broker's schema; publish nothing");
  verb.add_option("--publisher", options->publisher, "publish under this name; left out: the hash of the file, so that rows are stored once")
      ->type_name("NAME");
  verb.callback([options, &cli] { cli.run = [options, &cli] { return import_csv(cli.globals, *options); }; });
}

void define_ndjson(CLI::App& parent, Cli& cli) {
  auto& verb = add_verb(parent, "ndjson", "register the schemas and publish the events of a file that `export` wrote", "bus-cli import ndjson events.ndjson");
  auto options = std::make_shared<ImportVerb>();
  verb.add_option("FILE", options->file, "the export")->required();
  verb.add_flag("--dry-run", options->dry_run, "check the file, and every event against its schema; register and publish nothing");
  verb.add_flag("--unique-id", options->unique_id, "store an event only if none that was published so has its source and id: of exports that overlap, import all with it");
  verb.add_flag("--without-schemas", options->without_schemas, "register nothing: the schemas that the broker has decide");
  verb.add_flag("--edited", options->edited, "the file was changed on purpose: it need not be whole, and its checksum is not looked at");
  verb.callback([options, &cli] { cli.run = [options, &cli] { return import_ndjson(cli.globals, *options); }; });
}

}  // namespace

void define_import(CLI::App& app, Cli& cli) {
  auto& parent = add_verb(app, "import", "publish what is in a file", "bus-cli import csv steps.csv --map hourly_steps.toml");
  parent.require_subcommand(1);
  define_csv(parent, cli);
  define_ndjson(parent, cli);
}

}  // namespace bus::tools
