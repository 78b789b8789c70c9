// schema ls|show: the event types that the broker verifies.
#include <memory>

#include "tools/cli.hpp"
#include "tools/schema_text.hpp"
#include "tools/schemas.hpp"

namespace bus::tools {

namespace {

Exit list_schemas(const Globals& globals) {
  auto client = connect(globals);
  std::vector<Json> rows;
  ask_all<wire::SchemasReplyT>(client, wire::SchemasRequestT{}, [&](const auto& reply) {
    for (const auto& schema : reply.schemas) {
      rows.push_back({{"type", schema->type}, {"builtin", schema->builtin}, {"file", schema->file.empty() ? Json() : Json(schema->file)}});
    }
  });
  print_list(globals.format, {{"TYPE", "type"}, {"BUILT IN", "builtin"}, {"FILE", "file"}}, rows);
  return Exit::ok;
}

Exit show_schema(const Globals& globals, const std::string& name) {
  auto client = connect(globals);
  wire::SchemasRequestT request;
  request.name = Schemas(client).full_name(name).value();
  request.with_schema = true;
  const auto reply = ask<wire::SchemasReplyT>(client, std::move(request));
  const auto& schema = *reply.schemas.at(0);
  if (globals.format == Format::text) {
    write(schema_text(schema.bfbs, schema.type).value());
    flush();
    return Exit::ok;
  }
  Json json = {{"type", schema.type}, {"builtin", schema.builtin}, {"file", schema.file.empty() ? Json() : Json(schema.file)}};
  json.update(schema_json(schema.bfbs, schema.type).value());
  print_object(globals.format, json);
  return Exit::ok;
}

}  // namespace

void define_schema(CLI::App& app, Cli& cli) {
  auto& parent = add_verb(app, "schema", "look at event types", "bus-cli schema ls");
  parent.require_subcommand(1);
  add_verb(parent, "ls", "list the types that the broker verifies", "bus-cli schema ls -o ndjson")
      .callback([&cli] { cli.run = [&cli] { return list_schemas(cli.globals); }; });
  auto& show = add_verb(parent, "show", "the fields of a type and of all that it contains", "bus-cli schema show HealthDataUpdate");
  auto name = std::make_shared<std::string>();
  show.add_option("TYPE", *name, "its full or unique last name")->required();
  show.callback([name, &cli] { cli.run = [name, &cli] { return show_schema(cli.globals, *name); }; });
}

}  // namespace bus::tools
