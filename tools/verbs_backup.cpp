// backup create|ls|verify: backups of the log in a repository.
#include <memory>

#include "tools/backup_create.hpp"
#include "tools/backup_verify.hpp"
#include "tools/cli.hpp"
#include "tools/position.hpp"

namespace bus::tools {

namespace {

Json row_of(const Backup& backup) {
  return {{"backup", backup.number}, {"made_at", show_time(backup.made_at)}, {"position", number(backup.head.committed)}, {"committed_at", backup.head.committed == Position::none ? Json() : Json(show_time(backup.head.committed_at))},
          {"history", backup.history}, {"records", backup.records}, {"events", backup.events}, {"bytes", backup.record_bytes + backup.tables_bytes + backup.index_bytes}, {"new_bytes", backup.new_bytes + backup.tables_bytes + backup.index_bytes}, {"log_id", show_log_id(backup.log_id)}};
}

Exit create(const Globals& globals, const std::string& repository) {
  auto client = connect(globals);
  print_object(globals.format, row_of(create_backup(client, repository)));
  return Exit::ok;
}

Exit list(const Globals& globals, const std::string& repository) {
  std::vector<Json> rows;
  const auto list = list_backups(repository);
  for (const auto& backup : list.backups) rows.push_back(row_of(backup));
  print_list(globals.format, {{"BACKUP", "backup"}, {"MADE AT", "made_at"}, {"POSITION", "position"}, {"COMMITTED AT", "committed_at"}, {"EVENTS", "events"}, {"BYTES", "bytes"}, {"NEW", "new_bytes"}}, rows);
  for (const auto& bad : list.unreadable) warn(bad.error.detail);
  return Exit::ok;
}

Exit verify(const Globals& globals, const std::string& repository, std::uint64_t number) {
  auto list = list_backups(repository);
  if (number != 0) list = {{find_backup(list, number)}, {}};
  const auto backups = list.backups.size() + list.unreadable.size();
  const auto found = verify_backups(repository, list);
  if (globals.format == Format::text) {
    for (const auto& [backup, what] : found.faults) write("FAULT backup " + std::to_string(backup) + ": " + printable(what) + "\n");
    write(count_of(backups, "backup") + ", " + count_of(found.records, "record") + ", " + std::to_string(found.bytes) + " bytes of them" +
          (found.faults.empty() ? ": no faults\n" : ": " + count_of(found.faults.size(), "fault") + "\n"));
  } else {
    Json faults = Json::array();
    for (const auto& [backup, what] : found.faults) faults.push_back({{"backup", backup}, {"what", what}});
    print_object(globals.format, {{"backups", backups}, {"records", found.records}, {"bytes", found.bytes}, {"faults", faults}});
  }
  return found.faults.empty() ? Exit::ok : Exit::failed;
}

std::shared_ptr<std::string> add_repository(CLI::App& verb) {
  auto repository = std::make_shared<std::string>();
  verb.add_option("REPOSITORY", *repository, "the directory of the backups")->required();
  return repository;
}

}  // namespace

void define_backup(CLI::App& app, Cli& cli) {
  auto& parent = add_verb(app, "backup", "back up the log while the broker works", "bus-cli backup create /backup/bus");
  parent.require_subcommand(1);
  auto& make = add_verb(parent, "create", "add a backup to a repository: only what is new is copied", "bus-cli backup create /backup/bus");
  const auto into = add_repository(make);
  make.callback([into, &cli] { cli.run = [into, &cli] { return create(cli.globals, *into); }; });
  auto& ls = add_verb(parent, "ls", "the backups of a repository", "bus-cli backup ls /backup/bus -o json");
  const auto listed = add_repository(ls);
  ls.callback([listed, &cli] { cli.run = [listed, &cli] { return list(cli.globals, *listed); }; });
  auto& check = add_verb(parent, "verify", "read every byte of the backups again", "bus-cli backup verify /backup/bus");
  const auto checked = add_repository(check);
  const auto number = std::make_shared<std::uint64_t>(0);
  add_number(check, "--backup", *number, "only the backup with this number");
  check.callback([checked, number, &cli] { cli.run = [checked, number, &cli] { return verify(cli.globals, *checked, *number); }; });
}

}  // namespace bus::tools
