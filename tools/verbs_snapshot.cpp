// snapshot ls|show|save|erase: states of keys, as services have folded them.
#include <memory>

#include "bus/transaction.hpp"
#include "tools/cli.hpp"
#include "tools/position.hpp"
#include "tools/schemas.hpp"

namespace bus::tools {

namespace {

struct SnapshotVerb {
  std::string key, type, state;
  std::uint64_t version = 0;
  std::uint32_t keep = 2;
};

Exit nothing(const SnapshotVerb& options) {
  warn("key '" + printable(options.key) + "' has no snapshot" + (options.version == 0 ? "" : " up to version " + std::to_string(options.version)));
  return Exit::not_found;
}

Exit list(const Globals& globals, const SnapshotVerb& options) {
  auto client = connect(globals);
  std::vector<Json> rows;
  for (std::uint64_t up_to = 0; rows.empty() || up_to != 0;) {
    wire::SnapshotGetT get;
    get.key = options.key;
    get.version = up_to;
    get.brief = true;
    wire::AskUnion question;
    question.Set(std::move(get));
    const auto answer = client.request(std::move(question));
    if (!answer && answer.error().code == Code::not_found) break;
    const auto* reply = answer.value().reply->answer.AsSnapshotReply();
    if (reply == nullptr) fail(Code::malformed, "the broker's answer is of another kind");
    rows.push_back({{"version", reply->version}, {"saved_at", time_or_null(reply->saved_at)}, {"type", reply->type}, {"bytes", reply->bytes}});
    up_to = reply->version - 1;
  }
  print_list(globals.format, {{"VERSION", "version"}, {"SAVED AT", "saved_at"}, {"TYPE", "type"}, {"BYTES", "bytes"}}, rows);
  return rows.empty() ? nothing(options) : Exit::ok;
}

Exit show(const Globals& globals, const SnapshotVerb& options) {
  auto client = connect(globals);
  Schemas schemas(client);
  const auto found = client.snapshot(options.key, options.version != 0 ? options.version : Client::latest).value();
  if (!found) return nothing(options);
  print_object(globals.format == Format::text ? Format::json : globals.format,
               {{"key", options.key}, {"version", found->version()}, {"saved_at", show_time(found->committed_at())}, {"type", found->type()},
                {"state", Json::parse(schemas.text_of(*found))}});
  return Exit::ok;
}

Exit save(const Globals& globals, const SnapshotVerb& options) {
  auto client = connect(globals);
  Schemas schemas(client);
  NewSnapshot snapshot{options.key, options.version, schemas.full_name(options.type).value(), {}, options.keep};
  if (snapshot.version == 0) snapshot.version = client.key_head(options.key).value().version;
  if (snapshot.version == 0) fail(Code::conflict, "key '" + options.key + "' has no event, so it has no state");
  snapshot.state = schemas.of(snapshot.type).value().encode(options.state).value();
  const auto version = snapshot.version;
  auto saved = client.transact(Transaction().snapshot(std::move(snapshot)));
  if (saved.wait_for(globals.patience()) != std::future_status::ready) fail(Code::timed_out, "no answer in time: whether it was saved is not known");
  saved.get().value();
  print_object(globals.format, {{"key", options.key}, {"version", version}});
  return Exit::ok;
}

Exit erase(const Globals& globals, const SnapshotVerb& options) {
  auto client = connect(globals);
  const auto erased = client.erase_snapshots(options.key).value();
  if (erased == 0) return nothing(options);
  print_object(globals.format, {{"key", options.key}, {"erased", erased}});
  return Exit::ok;
}

CLI::App& add_snapshot_verb(CLI::App& parent, Cli& cli, const std::string& name, const std::string& purpose, const std::string& example,
                            const std::shared_ptr<SnapshotVerb>& options, Exit (*run)(const Globals&, const SnapshotVerb&)) {
  auto& verb = add_verb(parent, name, purpose, example);
  verb.add_option("KEY", options->key, "the key")->required();
  verb.callback([options, run, &cli] { cli.run = [options, run, &cli] { return run(cli.globals, *options); }; });
  return verb;
}

}  // namespace

void define_snapshot(CLI::App& app, Cli& cli) {
  auto& parent = add_verb(app, "snapshot", "states of keys, as services have folded and saved them", "bus-cli snapshot ls user-7");
  parent.require_subcommand(1);
  add_snapshot_verb(parent, cli, "ls", "the snapshots of a key, the newest first", "bus-cli snapshot ls user-7", std::make_shared<SnapshotVerb>(), list);
  const auto shown = std::make_shared<SnapshotVerb>();
  auto& show_verb = add_snapshot_verb(parent, cli, "show", "print the newest snapshot of a key", "bus-cli snapshot show user-7 --at 40", shown, show);
  add_number(show_verb, "--at", shown->version, "the newest up to this version");
  const auto saved = std::make_shared<SnapshotVerb>();
  auto& save_verb = add_snapshot_verb(parent, cli, "save", "save the state of a key, as a service would",
                                      "bus-cli snapshot save user-7 '{\"user_id\":\"7\"}' --type UserProfile --version 40", saved, save);
  save_verb.add_option("STATE", saved->state, "JSON of the state")->required();
  save_verb.add_option("--type", saved->type, "full or unique last name of the state's type")->required();
  add_number(save_verb, "--version", saved->version, "of the key's last event in the state; left out: the last one there is");
  add_number(save_verb, "--keep", saved->keep, "so many of the key's snapshots are kept: 1 to 64; 2 if left out");
  add_snapshot_verb(parent, cli, "erase", "erase all snapshots of a key, as after a mistake in the fold; the events stay", "bus-cli snapshot erase user-7",
                    std::make_shared<SnapshotVerb>(), erase);
}

}  // namespace bus::tools
