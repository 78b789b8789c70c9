// restore: a log from a backup, in a data directory of its own, while no broker runs on that.
#include <memory>

#include "broker/store/backup_restore.hpp"
#include "tools/backup_repository.hpp"
#include "tools/cli.hpp"
#include "tools/log_verify.hpp"
#include "tools/position.hpp"
#include "tools/progress.hpp"

namespace bus::tools {

namespace {

struct RestoreVerb {
  std::string repository, dir;
  std::uint64_t backup = 0;
  store::RestoreGoal goal;
};

// POSITION or @TIME.
Result<store::RestoreGoal> parse_goal(const std::string& text) {
  const auto at = parse_position(text, wall_now());
  if (!at) return at.error();
  store::RestoreGoal goal;
  if (at->kind == wire::Start::position) goal.position = Position{static_cast<std::uint64_t>(at->value)};
  else if (at->kind == wire::Start::time) goal.time = wall_time(at->value);
  else return Error{Code::bad_argument, "'" + text + "' is neither a position nor @TIME"};
  return goal;
}

void print_text(const store::RestoreReport& report) {
  const auto position = [](Position at) { return std::to_string(number(at)); };
  write("backup " + std::to_string(report.backup) + " restored: " + count_of(report.events, "event") + " in " + count_of(report.records, "record") + ", up to position " + position(report.head.committed) +
        (report.head.committed == Position::none ? "" : ", committed at " + show_time(report.head.committed_at)) + "\n");
  if (report.later != 0) {
    write(count_of(report.later_events, "event") + " of these, after position " + position(report.backup_last) + ", are from backup " + std::to_string(report.later) +
          "; groups, schedules, snapshots and policies are as of backup " + std::to_string(report.backup) + "\n");
  }
  write("head " + show_head({report.head.committed, report.head.chain}) + ", history " + std::to_string(report.history) + "\n");
}

Exit restore(const Globals& globals, const RestoreVerb& verb) {
  Progress progress("restored MiB", 1000);
  const auto list = list_backups(verb.repository);
  if (verb.backup != 0) find_backup(list, verb.backup);
  if (list.backups.empty() && !list.unreadable.empty()) throw Failed(list.unreadable.front().error);
  if (list.backups.empty()) fail(Code::not_found, "there are no backups in " + verb.repository);
  for (const auto& bad : list.unreadable) warn("backup " + std::to_string(bad.number) + " is passed over: " + bad.error.detail);
  store::RestoreOptions options{verb.repository, list.backups, verb.dir, verb.goal, {}, wall_now()};
  options.goal.backup = verb.backup;
  options.progress = [&](std::uint64_t done, std::uint64_t total) { progress.update(total == 0 ? 1000 : done * 1000 / total, done >> 20); };
  const auto report = store::restore(options).value();
  progress.clear();
  if (globals.format == Format::text) {
    print_text(report);
    return Exit::ok;
  }
  print_object(globals.format, {{"backup", report.backup}, {"backup_position", number(report.backup_last)}, {"position", number(report.head.committed)},
                                {"committed_at", report.head.committed == Position::none ? Json() : Json(show_time(report.head.committed_at))}, {"head", show_head({report.head.committed, report.head.chain})},
                                {"history", report.history}, {"records", report.records}, {"events", report.events},
                                {"later_backup", report.later == 0 ? Json() : Json(report.later)}, {"later_events", report.later_events}});
  return Exit::ok;
}

}  // namespace

void define_restore(CLI::App& app, Cli& cli) {
  auto& verb = add_verb(app, "restore", "make a log from a backup, in a new data directory",
                        "bus-cli restore /backup/bus --data /var/lib/busd.restored\n  bus-cli restore /backup/bus --data /var/lib/busd.restored --at @2026-03-01T12:00:00Z");
  const auto options = std::make_shared<RestoreVerb>();
  verb.add_option("REPOSITORY", options->repository, "the directory of the backups")->required();
  verb.add_option("--data", options->dir, "the new data directory: absent or empty")->type_name("DIR")->required();
  add_number(verb, "--backup", options->backup, "begin with this backup, not with the newest that will do");
  add_parsed(verb, "--at", options->goal, parse_goal, "up to this position, or the last event committed by this time", "POSITION|@TIME");
  verb.callback([options, &cli] { cli.run = [options, &cli] { return restore(cli.globals, *options); }; });
}

}  // namespace bus::tools
