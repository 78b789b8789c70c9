// log stat|verify|compact|repair|salvage: the log as a whole.
#include <algorithm>
#include <memory>

#include "tools/cli.hpp"
#include "tools/interrupts.hpp"
#include "tools/log_compact.hpp"
#include "tools/log_repair.hpp"
#include "tools/log_salvage.hpp"
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
  if (found.removed > 0) write(count_of(found.removed, "event") + " of these removed by retention, of which the chain proves the checksums\n");
  if (found.trimmed_to != Position::none) write("no records up to position " + std::to_string(number(found.trimmed_to)) + ": removed by retention\n");
  write("head " + show_head(found.head) + "\n");
  if (!proof) return;
  write((proof->why_not.empty() ? "extends " : "DOES NOT EXTEND ") + show_head(proof->from) + (proof->why_not.empty() ? "" : ": " + proof->why_not) + "\n");
}

void print_json(Format format, const LogFindings& found, const std::optional<Proof>& proof) {
  Json json = {{"records", found.records}, {"events", found.events}, {"removed", found.removed}, {"trimmed_to", found.trimmed_to == Position::none ? Json() : Json(number(found.trimmed_to))}, {"last", number(found.head.position)}, {"head", show_head(found.head)}};
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

// A log is there in any case; 3 says that something of the old one is not in it.
Exit salvage_log(const Globals& globals, const std::string& from, const std::string& to) {
  const auto found = salvage(std::filesystem::path(from), std::filesystem::path(to));
  const bool is_all = found.lost.empty() && found.notes.empty();
  if (globals.format == Format::text) {
    for (const auto& fault : found.faults) write("FOUND " + printable(fault) + "\n");
    for (const auto& lost : found.lost) write(text_of(lost));
    for (const auto& note : found.notes) write("NOTE " + printable(note) + "\n");
    write(count_of(found.events, "event") + " in " + count_of(found.records, "record") + " salvaged, up to position " + std::to_string(number(found.head.position)) +
          (is_all ? ": nothing is lost\n" : "\n") + "head " + show_head(found.head) + "\n");
  } else {
    print_object(globals.format, {{"records", found.records}, {"events", found.events}, {"last", number(found.head.position)}, {"head", show_head(found.head)},
                                  {"lost", json_of(found.lost)}, {"notes", found.notes}, {"faults", found.faults}});
  }
  return is_all ? Exit::ok : Exit::partial;
}

void print_text(const Repaired& found, const RepairPlan& plan) {
  std::uint64_t kept = 0;
  for (const auto& place : found.places) {
    kept += place.kept;
    write("FOUND positions " + std::to_string(number(place.first)) + " to " + std::to_string(number(place.last)) + ": " + printable(place.what) + "\n");
    for (const auto& topic : place.topics) write("  topic " + printable(topic) + "\n");
    if (!place.file.empty()) write("  bytes " + (plan.aside / place.file).string() + "\n");
    for (const auto& lost : place.lost) write("  " + text_of(lost));
  }
  for (const auto& note : found.notes) write("NOTE " + printable(note) + "\n");
  for (const auto& fault : found.left) write(text_of(fault));
  const std::string done = found.places.empty() ? ": nothing to repair" : plan.dry_run ? " would be repaired, with " : " repaired, with ";
  write((found.places.empty() ? "up to position " + std::to_string(number(found.last)) : count_of(found.places.size(), "place")) + done +
        (found.places.empty() ? "" : count_of(kept, "event") + " kept of them") + "\n");
}

void print_json(Format format, const Repaired& found, const RepairPlan& plan) {
  Json json = {{"last", number(found.last)}, {"dry_run", plan.dry_run}, {"aside", plan.aside.string()}, {"notes", found.notes}};
  json["repaired"] = Json::array();
  for (const auto& place : found.places) {
    json["repaired"].push_back({{"first", number(place.first)}, {"last", number(place.last)}, {"kept", place.kept}, {"lost", json_of(place.lost)},
                                {"topics", place.topics}, {"what", place.what}, {"file", place.file.empty() ? Json() : Json(place.file)}});
  }
  json["faults"] = Json::array();
  for (const auto& fault : found.left) json["faults"].push_back({{"position", number(fault.position)}, {"what", fault.what}});
  print_object(format, json);
}

// 3 says that events are lost, or would be.
Exit repair_log(const Globals& globals, RepairPlan plan) {
  if (plan.aside.empty()) plan.aside = plan.dir / "aside";
  const auto found = repair(plan);
  globals.format == Format::text ? print_text(found, plan) : print_json(globals.format, found, plan);
  if (!found.left.empty()) return Exit::failed;
  const auto loses = [](const RepairedPlace& place) { return !place.lost.empty(); };
  return std::any_of(found.places.begin(), found.places.end(), loses) ? Exit::partial : Exit::ok;
}

Exit compact_log(const Globals& globals, const std::string& dir, bool discard) {
  if (discard) {
    const bool was_there = discard_compacted(dir);
    if (globals.format == Format::text) write(was_there ? "the copy is removed\n" : "there is no copy\n");
    if (globals.format != Format::text) print_object(globals.format, {{"discarded", was_there}});
    return Exit::ok;
  }
  const auto done = compact(dir);
  if (globals.format == Format::text) {
    write("the copy has " + count_of(done.bytes, "byte") + ", the log uses " + std::to_string(done.log_bytes) + ": busd takes the copy at its next start\n");
  } else {
    print_object(globals.format, {{"bytes", done.bytes}, {"log_bytes", done.log_bytes}});
  }
  return Exit::ok;
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
  auto& pack = add_verb(parent, "compact", "copy the log without its free pages; the broker takes the copy at its next start",
                        "bus-cli log compact --data /var/lib/busd\n  systemctl restart busd");
  auto data = std::make_shared<std::string>();
  auto discard = std::make_shared<bool>(false);
  pack.add_option("--data", *data, "the data directory; a broker may run on it")->type_name("DIR")->required();
  pack.add_flag("--discard", *discard, "remove a copy that was made and not taken yet");
  pack.callback([data, discard, &cli] { cli.run = [data, discard, &cli] { return compact_log(cli.globals, *data, *discard); }; });
  auto& mend = add_verb(parent, "repair", "keep what is intact of damaged records, in place, and let the log go on without the rest",
                        "bus-cli log repair --data /var/lib/busd --dry-run\n  bus-cli log repair --data /var/lib/busd --aside /root/busd.damaged");
  auto plan = std::make_shared<RepairPlan>();
  mend.add_option("--data", plan->dir, "the data directory, while no broker runs on it")->type_name("DIR")->required();
  mend.add_flag("--dry-run", plan->dry_run, "find and tell, change nothing");
  mend.add_option("--aside", plan->aside, "where the bytes of damaged records and the report go (default: aside, in the data directory)")->type_name("DIR");
  mend.callback([plan, &cli] { cli.run = [plan, &cli] { return repair_log(cli.globals, *plan); }; });
  auto& rebuild = add_verb(parent, "salvage", "rebuild a log, in a new directory, from what is left of a broken one",
                           "bus-cli log salvage /var/lib/busd /var/lib/busd.salvaged");
  auto from = std::make_shared<std::string>(), to = std::make_shared<std::string>();
  rebuild.add_option("FROM", *from, "the data directory, while no broker runs on it, or its data.mdb")->required();
  rebuild.add_option("NEW_DIR", *to, "the new data directory: absent or empty")->required();
  rebuild.callback([from, to, &cli] { cli.run = [from, to, &cli] { return salvage_log(cli.globals, *from, *to); }; });
  check.callback([options, &cli] { cli.run = [options, &cli] { return verify(cli.globals, *options); }; });
}

}  // namespace bus::tools
