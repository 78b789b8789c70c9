// log stat|verify: the log as a whole.
#include <memory>

#include "tools/cli.hpp"
#include "tools/interrupts.hpp"
#include "tools/log_verify.hpp"
#include "tools/position.hpp"
#include "tools/progress.hpp"

namespace bus::tools {

namespace {

Exit show_stat(const Globals& globals) {
  auto client = connect(globals);
  const auto stat = ask<wire::LogStatReplyT>(client, wire::LogStatRequestT{});
  const auto time = [](std::int64_t at) { return at == 0 ? Json() : Json(show_time(wall_time(at))); };
  const auto hex = [](std::uint64_t value) {
    char text[17];
    std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(value));
    return std::string(text);
  };
  print_object(globals.format, {{"first", stat.first}, {"last", stat.last}, {"first_at", time(stat.first_at)}, {"last_at", time(stat.last_at)},
                                {"event_bytes", stat.event_bytes}, {"records", stat.records},
                                {"record_bytes", stat.record_bytes}, {"file_bytes", stat.file_bytes}, {"used_bytes", stat.used_bytes}, {"map_bytes", stat.map_bytes}, {"journal_entries", stat.journal_entries},
                                {"replay_from", stat.replay_from}, {"chain", hex(stat.chain)}, {"chain_at", stat.chain_at}});
  return Exit::ok;
}

struct Found {
  std::uint64_t records = 0, events = 0;
  Position last = Position::none;
  std::vector<LogFault> faults;
};

Found verify_all(const SliceVerifier& verify) {
  Found found;
  Progress progress("verified", 0);
  LogSlice slice;
  do {
    slice = verify(slice.next, slice.chain);
    found.records += slice.records;
    found.events += slice.events;
    found.last = slice.last;
    found.faults.insert(found.faults.end(), slice.faults.begin(), slice.faults.end());
    progress.update(0, found.events);
  } while (slice.next != Position::none);
  return found;
}

std::string text_of(const LogFault& fault) {
  const auto where = fault.position == Position::none ? "" : "position " + std::to_string(number(fault.position)) + ": ";
  return "FAULT " + where + printable(fault.what) + "\n";
}

void print(Format format, const Found& found) {
  if (format == Format::text) {
    for (const auto& fault : found.faults) write(text_of(fault));
    write(std::to_string(found.events) + " events in " + std::to_string(found.records) + " records, up to position " +
          std::to_string(number(found.last)) + (found.faults.empty() ? ": no faults\n" : ": " + std::to_string(found.faults.size()) + " faults\n"));
    return flush();
  }
  Json json = {{"records", found.records}, {"events", found.events}, {"last", number(found.last)}, {"faults", Json::array()}};
  for (const auto& fault : found.faults) {
    const bool in_record = fault.position != Position::none;
    json["faults"].push_back({{"position", in_record ? Json(number(fault.position)) : Json()}, {"what", fault.what}});
  }
  print_object(format, json);
}

Exit verify(const Globals& globals, const std::string& dir) {
  std::optional<Client> client;
  if (dir.empty()) client = connect(globals);
  const auto found = verify_all(dir.empty() ? verify_online(*client) : verify_offline(dir));
  print(globals.format, found);
  return found.faults.empty() ? Exit::ok : Exit::failed;
}

}  // namespace

void define_log(CLI::App& app, Cli& cli) {
  auto& parent = add_verb(app, "log", "look at the log as a whole", "bus-cli log stat");
  parent.require_subcommand(1);
  add_verb(parent, "stat", "positions, bytes and the chain", "bus-cli log stat -o json")
      .callback([&cli] { cli.run = [&cli] { return show_stat(cli.globals); }; });
  auto& check = add_verb(parent, "verify", "read every record and checksum; name the position of each fault",
                         "bus-cli log verify\n  bus-cli log verify --data /var/lib/busd");
  auto dir = std::make_shared<std::string>();
  check.add_option("--data", *dir, "verify this directory, while no broker runs on it")->type_name("DIR");
  check.callback([dir, &cli] { cli.run = [dir, &cli] { return verify(cli.globals, *dir); }; });
}

}  // namespace bus::tools
