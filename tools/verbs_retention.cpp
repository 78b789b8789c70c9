// retention set|ls|rm|holds|hold|release|run|status: how long events are kept.
#include <memory>
#include <thread>

#include "tools/cli.hpp"
#include "tools/position.hpp"
#include "tools/progress.hpp"
#include "tools/retention_options.hpp"

namespace bus::tools {

namespace {

constexpr auto poll = std::chrono::milliseconds(100);

struct RetentionVerb {
  RetentionOptions keeps;
  std::string pattern, key, reason;
  bool dry_run = false, yes = false;
};

// 0: no limit.
Json limit(std::uint64_t value) { return value == 0 ? Json() : Json(value); }

Json to_json(const wire::RetentionPolicyT& policy) {
  return {{"pattern", policy.pattern},
          {"max_age_ms", limit(policy.max_age_ms)},
          {"max_bytes", limit(policy.max_bytes)},
          {"max_events", limit(policy.max_events)},
          {"latest_per_key", policy.latest_per_key},
          {"latest_after_ms", limit(policy.latest_after_ms)},
          {"past_groups", policy.past_groups}};
}

std::string show_age(std::uint64_t ms) {
  constexpr std::uint64_t second = 1000, minute = 60 * second, hour = 60 * minute, day = 24 * hour;
  for (const auto& [unit, letter] : {std::pair{day, "d"}, {hour, "h"}, {minute, "m"}, {second, "s"}}) {
    if (ms % unit == 0) return std::to_string(ms / unit) + letter;
  }
  return std::to_string(ms) + "ms";
}

// What the policy keeps, in a few words.
std::string show_keeps(const wire::RetentionPolicyT& policy) {
  std::string text;
  const auto add = [&](const std::string& what) { text += (text.empty() ? "" : ", ") + what; };
  if (policy.max_age_ms > 0) add(show_age(policy.max_age_ms));
  if (policy.max_bytes > 0) add(std::to_string(policy.max_bytes) + " bytes");
  if (policy.max_events > 0) add(count_of(policy.max_events, "event"));
  if (policy.latest_per_key) add("latest per key" + (policy.latest_after_ms > 0 ? " after " + show_age(policy.latest_after_ms) : ""));
  if (text.empty()) return "all";
  return text + (policy.past_groups ? ", past groups" : "");
}

wire::RetentionReplyT fetch(Client& client) { return ask<wire::RetentionReplyT>(client, wire::RetentionRequestT{}); }

Json to_json(const wire::RetentionRunInfoT& run) {
  Json results = Json::array();
  for (const auto& one : run.results) {
    results.push_back({{"pattern", one->pattern}, {"events", one->events}, {"bytes", one->bytes}, {"kept_for_groups", one->kept_for_groups},
                       {"group", one->group.empty() ? Json() : Json(one->group)}, {"held", one->held}});
  }
  return {{"run", run.number}, {"running", run.running}, {"dry_run", run.dry_run}, {"from", run.from}, {"at", run.at}, {"to", run.to},
          {"began_at", time_or_null(run.began_at)}, {"ended_at", time_or_null(run.ended_at)},
          {"trouble", run.trouble.empty() ? Json() : Json(run.trouble)}, {"results", results}};
}

void print_run(const Globals& globals, const wire::RetentionRunInfoT& run) {
  const Json json = to_json(run);
  if (globals.format != Format::text) return print_object(globals.format, json);
  const std::vector<Json> rows(json["results"].begin(), json["results"].end());
  print_list(globals.format,
             {{"PATTERN", "pattern"}, {run.dry_run ? "WOULD REMOVE" : "REMOVED", "events"}, {"BYTES", "bytes"}, {"KEPT FOR GROUPS", "kept_for_groups"}, {"GROUP", "group"}, {"HELD", "held"}},
             rows);
  if (!run.trouble.empty()) warn(run.trouble);
}

// Until the run that has this number is over.
wire::RetentionReplyT wait_for_run(Client& client, wire::RetentionReplyT reply) {
  const auto number = reply.run->number;
  Progress progress(reply.run->dry_run ? "counted" : "retention", 0);
  while (reply.run->number == number && reply.run->running) {
    std::this_thread::sleep_for(poll);
    reply = fetch(client);
    std::uint64_t events = 0;
    for (const auto& one : reply.run->results) events += one->events;
    progress.update(reply.run->at, events);
  }
  return reply;
}

// One that is under way has to end first.
wire::RetentionReplyT begin(Client& client, const wire::RetentionRunT& question, SteadyTime deadline) {
  while (true) {
    try {
      return ask<wire::RetentionReplyT>(client, wire::RetentionRunT(question));
    } catch (const Failed& failed) {
      if (failed.error().code != Code::busy || steady_now() > deadline) throw;
    }
    std::this_thread::sleep_for(poll);
  }
}

Exit run_now(const Globals& globals, std::unique_ptr<wire::RetentionPolicyT> tried, bool dry) {
  auto client = connect(globals);
  wire::RetentionRunT question;
  question.dry_run = dry;
  question.policy = std::move(tried);
  const auto begun = begin(client, question, steady_now() + globals.patience());
  const auto reply = wait_for_run(client, wire::RetentionReplyT(begun));
  if (reply.run->number != begun.run->number) fail(Code::disconnected, "another run has begun since, or busd was started again: what became of this one is not known");
  print_run(globals, *reply.run);
  return reply.run->trouble.empty() ? Exit::ok : Exit::failed;
}

// ---- policies

Exit set(const Globals& globals, const RetentionVerb& options) {
  if (options.dry_run) return run_now(globals, std::make_unique<wire::RetentionPolicyT>(options.keeps.policy(options.pattern)), true);
  auto client = connect(globals);
  wire::RetentionSetT question;
  question.policy = std::make_unique<wire::RetentionPolicyT>(options.keeps.policy(options.pattern));
  ask<wire::DoneT>(client, std::move(question));
  print_object(globals.format, to_json(options.keeps.policy(options.pattern)));
  return Exit::ok;
}

Exit list(const Globals& globals, const RetentionVerb&) {
  auto client = connect(globals);
  std::vector<Json> rows;
  for (const auto& info : fetch(client).policies) {
    Json row = to_json(*info->policy);
    if (globals.format == Format::text) row["keeps"] = show_keeps(*info->policy);
    row["topics"] = info->topics;
    row["events"] = info->events;
    row["bytes"] = info->bytes;
    row["first"] = info->first == 0 ? Json() : Json(info->first);
    row["removed_events"] = info->removed_events;
    row["removed_bytes"] = info->removed_bytes;
    rows.push_back(std::move(row));
  }
  print_list(globals.format,
             {{"PATTERN", "pattern"}, {"KEEPS", "keeps"}, {"TOPICS", "topics"}, {"EVENTS", "events"}, {"BYTES", "bytes"}, {"FIRST", "first"}, {"REMOVED", "removed_events"}}, rows);
  return Exit::ok;
}

Exit remove(const Globals& globals, const RetentionVerb& options) {
  auto client = connect(globals);
  wire::RetentionRemoveT question;
  question.pattern = options.pattern;
  ask<wire::DoneT>(client, std::move(question));
  print_object(globals.format, {{"pattern", options.pattern}, {"removed", true}});
  return Exit::ok;
}

// ---- legal holds

Exit list_holds(const Globals& globals, const RetentionVerb&) {
  auto client = connect(globals);
  std::vector<Json> rows;
  for (const auto& hold : fetch(client).holds) {
    rows.push_back({{"pattern", hold->pattern}, {"key", hold->key.empty() ? Json() : Json(hold->key)}, {"since", time_or_null(hold->since)}, {"reason", hold->reason}});
  }
  print_list(globals.format, {{"PATTERN", "pattern"}, {"KEY", "key"}, {"SINCE", "since"}, {"REASON", "reason"}}, rows);
  return Exit::ok;
}

Exit hold(const Globals& globals, const RetentionVerb& options) {
  auto client = connect(globals);
  wire::LegalHoldSetT question;
  question.hold = std::make_unique<wire::LegalHoldT>();
  question.hold->pattern = options.pattern;
  question.hold->key = options.key;
  question.hold->reason = options.reason;
  ask<wire::DoneT>(client, std::move(question));
  print_object(globals.format, {{"pattern", options.pattern}, {"key", options.key.empty() ? Json() : Json(options.key)}, {"reason", options.reason}});
  return Exit::ok;
}

Exit release(const Globals& globals, const RetentionVerb& options) {
  if (!confirmed("what the hold on '" + options.pattern + "' has kept may be removed for good. Release it?", options.yes)) return Exit::failed;
  auto client = connect(globals);
  wire::LegalHoldReleaseT question;
  question.pattern = options.pattern;
  question.key = options.key;
  ask<wire::DoneT>(client, std::move(question));
  print_object(globals.format, {{"pattern", options.pattern}, {"key", options.key.empty() ? Json() : Json(options.key)}, {"released", true}});
  return Exit::ok;
}

// ---- runs

Exit run(const Globals& globals, const RetentionVerb& options) { return run_now(globals, nullptr, options.dry_run); }

Exit status(const Globals& globals, const RetentionVerb&) {
  auto client = connect(globals);
  const auto reply = fetch(client);
  if (reply.run->number == 0) {
    warn("no run since busd started");
    return Exit::ok;
  }
  Json json = to_json(*reply.run);
  json["trimmed_to"] = reply.trimmed_to;
  print_object(globals.format == Format::text ? Format::json : globals.format, json);
  return Exit::ok;
}

using Run = Exit (*)(const Globals&, const RetentionVerb&);

CLI::App& add_retention_verb(CLI::App& parent, Cli& cli, const std::string& name, const std::string& purpose, const std::string& example,
                             const std::shared_ptr<RetentionVerb>& options, Run run_verb) {
  auto& verb = add_verb(parent, name, purpose, example);
  verb.callback([options, run_verb, &cli] { cli.run = [options, run_verb, &cli] { return run_verb(cli.globals, *options); }; });
  return verb;
}

void add_pattern(CLI::App& verb, RetentionVerb& options) {
  verb.add_option("PATTERN", options.pattern, "topics: `*` is one token, `>` one or more at the end")->required();
}

void define_set(CLI::App& parent, Cli& cli) {
  const auto options = std::make_shared<RetentionVerb>();
  auto& verb = add_retention_verb(parent, cli, "set", "say how long events of some topics are kept; without a limit: for ever",
                                  "bus-cli retention set 'health.>' --max-age 90d --dry-run", options, set);
  add_pattern(verb, *options);
  add_retention_options(verb, options->keeps);
  verb.add_flag("--dry-run", options->dry_run, "count what it would remove now, and set nothing");
}

}  // namespace

void define_retention(CLI::App& app, Cli& cli) {
  auto& parent = add_verb(app, "retention", "how long events are kept", "bus-cli retention ls");
  parent.require_subcommand(1);
  define_set(parent, cli);
  add_retention_verb(parent, cli, "ls", "the policies, and what they have kept and removed", "bus-cli retention ls", std::make_shared<RetentionVerb>(), list);
  const auto removed = std::make_shared<RetentionVerb>();
  add_pattern(add_retention_verb(parent, cli, "rm", "remove a policy: its topics have the next one that matches, or keep everything",
                                 "bus-cli retention rm 'health.>'", removed, remove), *removed);
  add_retention_verb(parent, cli, "holds", "the legal holds", "bus-cli retention holds", std::make_shared<RetentionVerb>(), list_holds);
  const auto held = std::make_shared<RetentionVerb>();
  auto& hold_verb = add_retention_verb(parent, cli, "hold", "keep events whatever policies say, until the hold is released",
                                       "bus-cli retention hold '>' --key user-7 --reason 'case 4711'", held, hold);
  add_pattern(hold_verb, *held);
  hold_verb.add_option("--key", held->key, "only events that have this key");
  hold_verb.add_option("--reason", held->reason, "why, for whoever looks at it later")->required();
  const auto released = std::make_shared<RetentionVerb>();
  auto& release_verb = add_retention_verb(parent, cli, "release", "end a legal hold", "bus-cli retention release '>' --key user-7 --yes", released, release);
  add_pattern(release_verb, *released);
  release_verb.add_option("--key", released->key, "the key that it names");
  release_verb.add_flag("--yes", released->yes, "do not ask");
  const auto ran = std::make_shared<RetentionVerb>();
  auto& run_verb = add_retention_verb(parent, cli, "run", "remove now what no policy keeps, instead of within minutes", "bus-cli retention run --dry-run", ran, run);
  run_verb.add_flag("--dry-run", ran->dry_run, "count, and remove nothing");
  add_retention_verb(parent, cli, "status", "the run that is under way, or the last one", "bus-cli retention status", std::make_shared<RetentionVerb>(), status);
}

}  // namespace bus::tools
