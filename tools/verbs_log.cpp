// log stat|verify: the log as a whole.
#include <memory>

#include "tools/cli.hpp"
#include "tools/interrupts.hpp"
#include "tools/log_verify.hpp"
#include "tools/position.hpp"

namespace bus::tools {

namespace {

Exit show_stat(const Globals& globals) {
  auto client = connect(globals);
  const auto stat = ask<wire::LogStatReplyT>(client, wire::LogStatRequestT{});
  const auto time = [](std::int64_t at) { return at == 0 ? Json() : Json(show_time(wall_time(at))); };
  print_object(globals.format, {{"first", stat.first}, {"last", stat.last}, {"first_at", time(stat.first_at)}, {"last_at", time(stat.last_at)},
                                {"event_bytes", stat.event_bytes}, {"records", stat.records},
                                {"record_bytes", stat.record_bytes}, {"file_bytes", stat.file_bytes}, {"used_bytes", stat.used_bytes}, {"map_bytes", stat.map_bytes}, {"journal_entries", stat.journal_entries},
                                {"replay_from", stat.replay_from}, {"chain", show_chain(stat.chain)}, {"chain_at", stat.chain_at}});
  return Exit::ok;
}

std::string text_of(const LogFault& fault) {
  const auto where = fault.position == Position::none ? "" : "position " + std::to_string(number(fault.position)) + ": ";
  return "FAULT " + where + printable(fault.what) + "\n";
}

std::string text_of(const std::pair<Position, Position>& lost) {
  return "LOST positions " + std::to_string(number(lost.first)) + " to " + std::to_string(number(lost.second)) + "\n";
}

Json json_of(const std::vector<std::pair<Position, Position>>& lost) {
  Json json = Json::array();
  for (const auto& [first, last] : lost) json.push_back({{"first", number(first)}, {"last", number(last)}});
  return json;
}

struct Proof {
  LogHead from;
  std::string why_not;  // empty: proven
};

void print_text(const LogFindings& found, const std::optional<Proof>& proof) {
  for (const auto& fault : found.faults) write(text_of(fault));
  for (const auto& lost : found.lost) write(text_of(lost));
  write(std::to_string(found.events) + " events in " + std::to_string(found.records) + " records, up to position " +
        std::to_string(number(found.head.position)) + (found.faults.empty() ? ": no faults\n" : ": " + std::to_string(found.faults.size()) + " faults\n"));
  write("head " + show_head(found.head) + "\n");
  if (!proof) return;
  write((proof->why_not.empty() ? "extends " : "DOES NOT EXTEND ") + show_head(proof->from) + (proof->why_not.empty() ? "" : ": " + proof->why_not) + "\n");
}

void print_json(Format format, const LogFindings& found, const std::optional<Proof>& proof) {
  Json json = {{"records", found.records}, {"events", found.events}, {"last", number(found.head.position)}, {"head", show_head(found.head)}};
  if (proof) json["from_head"] = {{"head", show_head(proof->from)}, {"extended", proof->why_not.empty()}, {"why_not", proof->why_not.empty() ? Json() : Json(proof->why_not)}};
  json["faults"] = Json::array();
  for (const auto& fault : found.faults) {
    const bool in_record = fault.position != Position::none;
    json["faults"].push_back({{"position", in_record ? Json(number(fault.position)) : Json()}, {"what", fault.what}});
  }
  json["lost"] = json_of(found.lost);
  print_object(format, json);
}

struct VerifyOptions {
  std::string dir;
  std::optional<LogHead> from_head;
};

Exit verify(const Globals& globals, const VerifyOptions& options) {
  std::optional<Client> client;
  if (options.dir.empty()) client = connect(globals);
  const auto verifier = options.dir.empty() ? verify_online(*client) : verify_offline(options.dir);
  const auto found = verify_all(verifier);
  std::optional<Proof> proof;
  if (options.from_head) proof = Proof{*options.from_head, why_not_from(*options.from_head, found, verifier)};
  globals.format == Format::text ? print_text(found, proof) : print_json(globals.format, found, proof);
  return found.faults.empty() && (!proof || proof->why_not.empty()) ? Exit::ok : Exit::failed;
}

}  // namespace

void define_log(CLI::App& app, Cli& cli) {
  auto& parent = add_verb(app, "log", "look at the log as a whole", "bus-cli log stat");
  parent.require_subcommand(1);
  add_verb(parent, "stat", "positions, bytes and the chain", "bus-cli log stat -o json")
      .callback([&cli] { cli.run = [&cli] { return show_stat(cli.globals); }; });
  auto& check = add_verb(parent, "verify", "read every record and checksum; name the position of each fault",
                         "bus-cli log verify\n  bus-cli log verify --data /var/lib/busd --from-head 42:00f1a2b3c4d5e6f7");
  auto options = std::make_shared<VerifyOptions>();
  check.add_option("--data", options->dir, "verify this directory, while no broker runs on it")->type_name("DIR");
  add_parsed(check, "--from-head", options->from_head, parse_head, "prove that the log extends one that had this head", "POSITION:CHAIN");
  check.callback([options, &cli] { cli.run = [options, &cli] { return verify(cli.globals, *options); }; });
}

}  // namespace bus::tools
