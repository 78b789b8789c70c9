// schema add|check|diff|history|edit|decode|ls|show: the event types that the broker verifies, and how they change.
#include <unistd.h>

#include <fstream>
#include <iostream>
#include <iterator>
#include <memory>

#include "tools/cli.hpp"
#include "tools/schema_file.hpp"
#include "tools/schema_text.hpp"
#include "tools/schemas.hpp"

namespace bus::tools {

namespace {

struct SchemaVerb {
  std::string type, file, compatibility;
  std::vector<std::string> files;
  std::uint32_t version = 0, from = 0, to = 0;
  std::string deprecate;
  bool undeprecate = false, dry_run = false;
};

Json number_or_null(std::uint64_t value) { return value == 0 ? Json() : Json(value); }

Json to_json(const wire::SchemaInfoT& schema) {
  return {{"type", schema.type}, {"builtin", schema.builtin}, {"file", text_or_null(schema.file)}, {"version", number_or_null(schema.version)},
          {"compatibility", text_or_null(schema.compatibility)}, {"added_at", time_or_null(schema.added_at)}, {"deprecated", text_or_null(schema.deprecated)},
          {"deprecated_at", time_or_null(schema.deprecated_at)}, {"deprecated_events", schema.deprecated_events}, {"deprecated_by", schema.deprecated_by}};
}

wire::SchemaInfoT fetch(Client& client, const std::string& name, std::uint32_t version) {
  wire::SchemasRequestT request;
  request.name = Schemas(client).full_name(name).value();
  request.with_schema = true;
  request.version = version;
  auto reply = ask<wire::SchemasReplyT>(client, std::move(request));
  return std::move(*reply.schemas.at(0));
}

Exit list(const Globals& globals, const SchemaVerb&) {
  auto client = connect(globals);
  std::vector<Json> rows;
  ask_all<wire::SchemasReplyT>(client, wire::SchemasRequestT{}, [&](const auto& reply) {
    for (const auto& schema : reply.schemas) {
      Json row = to_json(*schema);
      if (globals.format == Format::text) row["from"] = schema->builtin ? "built in" : schema->file.empty() ? "registered" : schema->file;
      rows.push_back(std::move(row));
    }
  });
  print_list(globals.format, {{"TYPE", "type"}, {"FROM", "from"}, {"VERSION", "version"}, {"COMPATIBILITY", "compatibility"}, {"DEPRECATED", "deprecated"}}, rows);
  return Exit::ok;
}

Exit show(const Globals& globals, const SchemaVerb& options) {
  auto client = connect(globals);
  const auto schema = fetch(client, options.type, options.version);
  if (globals.format == Format::text) {
    if (!schema.deprecated.empty()) write("// deprecated: " + printable(schema.deprecated) + "\n");
    write(schema_text(schema.bfbs, schema.type).value());
    flush();
    return Exit::ok;
  }
  Json json = to_json(schema);
  json.update(schema_json(schema.bfbs, schema.type).value());
  print_object(globals.format, json);
  return Exit::ok;
}

// ---- what changes

Json to_json(const wire::SchemaChangeT& change) {
  return {{"rule", change.rule}, {"type", change.type}, {"member", text_or_null(change.member)}, {"since", change.version},
          {"backward", change.backward}, {"forward", change.forward}, {"breaks", change.breaks}, {"what", change.what}, {"remedy", text_or_null(change.remedy)}};
}

// For people: a line, and what to do where it breaks something.
void write_change(const wire::SchemaChangeT& change) {
  write(std::string("  ") + (change.breaks ? "breaks: " : "") + printable(change.what) + " (" + change.rule + ", since version " + std::to_string(change.version) + ")\n");
  if (change.breaks) write("          legally: " + change.remedy + "\n");
}

template <typename Changes>
Json changes_json(const Changes& changes) {
  Json json = Json::array();
  for (const auto& change : changes) json.push_back(to_json(*change));
  return json;
}

// What came, or would come, of one schema for its types. True if something would break.
bool print_outcomes(Items& items, const wire::SchemaAddedT& added, bool dry) {
  bool any = false;
  for (const auto& type : added.types) {
    const bool breaks = std::any_of(type->changes.begin(), type->changes.end(), [](const auto& change) { return change->breaks; });
    any |= breaks;
    const std::string version = "version " + std::to_string(type->version);
    std::string text = type->type + ": ";
    if (breaks) text += "would be refused, as it is " + type->compatibility;
    else if (type->version == type->before) text += "unchanged, " + version;
    else text += (dry ? "would be " : "is now ") + version + ", " + type->compatibility;
    items.add(dump({{"type", type->type}, {"before", number_or_null(type->before)}, {"version", type->version}, {"compatibility", type->compatibility},
                    {"registered", !dry && !breaks}, {"breaks", breaks}, {"changes", changes_json(type->changes)}}), text);
    if (items.wants_json()) continue;
    for (const auto& change : type->changes) write_change(*change);
  }
  return any;
}

// Each file is all or nothing; those before one that is refused stay registered.
Exit add_files(const Globals& globals, const SchemaVerb& options, bool dry) {
  std::vector<wire::SchemaAddT> questions;
  for (const auto& file : options.files) {
    wire::SchemaAddT question;
    question.bfbs = read_schema(file).value();
    question.compatibility = options.compatibility;
    question.dry_run = dry;
    questions.push_back(std::move(question));
  }
  auto client = connect(globals);
  Items items(globals.format);
  bool breaks = false;
  for (const auto& question : questions) breaks |= print_outcomes(items, ask<wire::SchemaAddedT>(client, wire::SchemaAddT(question)), dry);
  items.finish();
  return breaks ? Exit::conflict : Exit::ok;
}

Exit add(const Globals& globals, const SchemaVerb& options) { return add_files(globals, options, false); }
Exit check(const Globals& globals, const SchemaVerb& options) { return add_files(globals, options, true); }

Exit diff(const Globals& globals, const SchemaVerb& options) {
  auto client = connect(globals);
  wire::SchemaDiffT question;
  question.type = Schemas(client).full_name(options.type).value();
  question.from = options.from;
  question.to = options.to;
  if (!options.file.empty()) question.bfbs = read_schema(options.file).value();
  const auto reply = ask<wire::SchemaDiffReplyT>(client, wire::SchemaDiffT(question));
  if (globals.format != Format::text) {
    print_object(globals.format, {{"type", question.type}, {"from", reply.from}, {"to", number_or_null(reply.to)}, {"changes", changes_json(reply.changes)}});
    return Exit::ok;
  }
  write(question.type + ": version " + std::to_string(reply.from) + " to " + (reply.to == 0 ? options.file : "version " + std::to_string(reply.to)) +
        (reply.changes.empty() ? ", no changes" : "") + "\n");
  for (const auto& change : reply.changes) write_change(*change);
  flush();
  return Exit::ok;
}

Exit history(const Globals& globals, const SchemaVerb& options) {
  auto client = connect(globals);
  wire::SchemaHistoryT question;
  question.type = Schemas(client).full_name(options.type).value();
  Items items(globals.format);
  ask_all<wire::SchemaHistoryReplyT>(client, question, [&](const auto& reply) {
    for (const auto& version : reply.versions) {
      const Json json = {{"version", version->version}, {"added_at", time_or_null(version->added_at)}, {"bytes", version->bytes}, {"changes", changes_json(version->changes)}};
      items.add(dump(json), "version " + std::to_string(version->version) + ", " + json["added_at"].template get<std::string>() + ", " + std::to_string(version->bytes) + " bytes");
      if (items.wants_json()) continue;
      for (const auto& change : version->changes) write_change(*change);
    }
  });
  items.finish();
  return Exit::ok;
}

Exit edit(const Globals& globals, const SchemaVerb& options) {
  if (options.compatibility.empty() && options.deprecate.empty() && !options.undeprecate) {
    fail(Code::bad_argument, "nothing to change: give --compatibility, --deprecate or --undeprecate");
  }
  auto client = connect(globals);
  wire::SchemaEditT question;
  question.type = Schemas(client).full_name(options.type).value();
  question.compatibility = options.compatibility;
  question.set_deprecated = options.undeprecate || !options.deprecate.empty();
  question.deprecated = options.deprecate;
  const std::string type = question.type;
  ask<wire::DoneT>(client, std::move(question));
  print_object(globals.format, to_json(fetch(client, type, 0)));
  return Exit::ok;
}

// ---- payloads

std::string read_payload(const std::string& file) {
  if (file == "-") return {std::istreambuf_iterator<char>(std::cin), {}};
  std::ifstream stream(file, std::ios::binary);
  std::string bytes((std::istreambuf_iterator<char>(stream)), {});
  if (!stream) fail(Code::not_found, "cannot read " + file);
  return bytes;
}

Exit decode(const Globals& globals, const SchemaVerb& options) {
  const auto payload = read_payload(options.file);
  auto client = connect(globals);
  const auto schema = fetch(client, options.type, options.version);
  write(PayloadJson::open(schema.bfbs, schema.type).value().decode(bytes_of(payload)).value() + "\n");
  flush();
  return Exit::ok;
}

using SchemaRun = Exit (*)(const Globals&, const SchemaVerb&);

CLI::App& add_schema_verb(CLI::App& parent, Cli& cli, const std::string& name, const std::string& purpose, const std::string& example,
                          const std::shared_ptr<SchemaVerb>& options, SchemaRun run) {
  auto& verb = add_verb(parent, name, purpose, example);
  verb.callback([options, run, &cli] { cli.run = [options, run, &cli] { return run(cli.globals, *options); }; });
  return verb;
}

void add_type(CLI::App& verb, SchemaVerb& options) { verb.add_option("TYPE", options.type, "its full or unique last name")->required(); }

void add_compatibility(CLI::App& verb, SchemaVerb& options, const std::string& help) {
  verb.add_option("--compatibility", options.compatibility, help)->type_name("MODE")->check(CLI::IsMember(std::vector<std::string>{
      "none", "backward", "forward", "full", "backward_transitive", "forward_transitive", "full_transitive"}));
}

void define_files(CLI::App& parent, Cli& cli, const std::string& name, const std::string& purpose, const std::string& example, SchemaRun run) {
  const auto options = std::make_shared<SchemaVerb>();
  auto& verb = add_schema_verb(parent, cli, name, purpose, example, options, run);
  verb.add_option("FILE", options->files, "schemas, .fbs or .bfbs")->required();
  add_compatibility(verb, *options, "how its types may change from now on, see docs/SCHEMAS.md; new types are backward_transitive");
}

}  // namespace

void define_schema(CLI::App& app, Cli& cli) {
  auto& parent = add_verb(app, "schema", "event types: what they are and how they change", "bus-cli schema ls");
  parent.require_subcommand(1);
  define_files(parent, cli, "add", "register the event types of a schema, or a next version of them", "bus-cli schema add visit.fbs", add);
  define_files(parent, cli, "check", "tell what `schema add` would come to, and change nothing; exit code 5: it would be refused", "bus-cli schema check visit.fbs", check);
  const auto compared = std::make_shared<SchemaVerb>();
  auto& diff_verb = add_schema_verb(parent, cli, "diff", "what changed between two versions of a type, or is changed in a file", "bus-cli schema diff clinic.Visit --from 1 --to 3", compared, diff);
  add_type(diff_verb, *compared);
  add_number(diff_verb, "--from", compared->from, "the older version; else the one before the other");
  auto* to = add_number(diff_verb, "--to", compared->to, "the newer version; else the last one");
  diff_verb.add_option("--file", compared->file, "a schema in place of the newer version")->excludes(to);
  const auto told = std::make_shared<SchemaVerb>();
  add_type(add_schema_verb(parent, cli, "history", "the versions of a type, and what each has changed", "bus-cli schema history clinic.Visit", told, history), *told);
  const auto edited = std::make_shared<SchemaVerb>();
  auto& edit_verb = add_schema_verb(parent, cli, "edit", "say how a type may change, or that it is deprecated: it is taken as before, and counted who still publishes it",
                                    "bus-cli schema edit clinic.Visit --deprecate 'clinic.Encounter takes its place'", edited, edit);
  add_type(edit_verb, *edited);
  add_compatibility(edit_verb, *edited, "how it may change from now on, see docs/SCHEMAS.md");
  auto* deprecate = edit_verb.add_option("--deprecate", edited->deprecate, "why, and what takes its place")->type_name("TEXT");
  edit_verb.add_flag("--undeprecate", edited->undeprecate, "it is deprecated no more")->excludes(deprecate);
  const auto decoded = std::make_shared<SchemaVerb>();
  auto& decode_verb = add_schema_verb(parent, cli, "decode", "a payload of a type as JSON", "bus-cli schema decode clinic.Visit payload.bin", decoded, decode);
  add_type(decode_verb, *decoded);
  decode_verb.add_option("FILE", decoded->file, "the payload; `-`: from stdin")->required();
  add_number(decode_verb, "--version", decoded->version, "by this version of the schema; else the last one");
  add_schema_verb(parent, cli, "ls", "list the types that the broker verifies", "bus-cli schema ls -o ndjson", std::make_shared<SchemaVerb>(), list);
  const auto shown = std::make_shared<SchemaVerb>();
  auto& show_verb = add_schema_verb(parent, cli, "show", "the fields of a type and of all that it contains", "bus-cli schema show HealthDataUpdate", shown, show);
  add_type(show_verb, *shown);
  add_number(show_verb, "--version", shown->version, "this version; else the last one");
}

}  // namespace bus::tools
