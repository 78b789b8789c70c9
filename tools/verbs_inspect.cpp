// status: who the broker is and how it stands.
#include <cstdio>
#include <memory>

#include "tools/cli.hpp"
#include "tools/position.hpp"

namespace bus::tools {

namespace {

Exit show_status(const Globals& globals, bool wait) {
  auto patient = globals;
  if (wait) patient.timeout = globals.timeout_or(std::chrono::seconds(30));
  auto client = connect(patient);
  const auto status = ask<wire::StatusReplyT>(client, wire::StatusRequestT{});
  print_object(globals.format,
               {{"version", status.version}, {"log_id", hexadecimal(status.log_id)}, {"history", status.history}, {"epoch", status.epoch},
                {"committed", status.committed}, {"uptime_ms", status.uptime_ms}, {"sessions", status.sessions},
                {"subscriptions", status.subscriptions}, {"topics", status.topics}, {"auto_create_topics", status.auto_create_topics}, {"types", status.types}, {"groups", status.groups},
                {"publishers", status.publishers}, {"commits", status.commits}, {"events", status.events},
                {"duplicates", status.duplicates}, {"refused", status.refused}, {"delivered", status.delivered},
                {"redeliveries", status.redeliveries}, {"stale_acks", status.stale_acks}, {"staged_bytes", status.staged_bytes},
                {"keys_resident", status.keys_resident}, {"dead_letters", status.dead_letters},
                {"scheduled", status.scheduled}, {"schedule_trouble", status.schedule_trouble.empty() ? Json() : Json(status.schedule_trouble)},
                {"lagging_group", status.lagging_group.empty() ? Json() : Json(status.lagging_group)}, {"lag", status.lag},
                {"oldest_at", time_or_null(status.oldest_at)}, {"log_full", status.log_full}, {"data_dir", status.data_dir},
                {"endpoints", status.endpoints}});
  return Exit::ok;
}

}  // namespace

void define_status(CLI::App& app, Cli& cli) {
  auto& verb = add_verb(app, "status", "who the broker is and how it stands", "bus-cli status --wait --timeout 1m");
  auto wait = std::make_shared<bool>(false);
  verb.add_flag("--wait", *wait, "wait for the broker to come up, 30s or --timeout");
  verb.callback([wait, &cli] { cli.run = [wait, &cli] { return show_status(cli.globals, *wait); }; });
}

}  // namespace bus::tools
