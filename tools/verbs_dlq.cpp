// dlq: the dead letters of a group: seen, counted by reason, delivered again, dropped, exported.
#include <algorithm>
#include <cctype>
#include <map>
#include <memory>

#include "tools/cli.hpp"
#include "tools/event_json.hpp"
#include "tools/interrupts.hpp"
#include "tools/position.hpp"
#include "tools/progress.hpp"
#include "tools/schemas.hpp"

namespace bus::tools {

namespace {

constexpr std::size_t settled_at_once = 256;

struct DlqVerb {
  std::string group;
  std::vector<std::uint64_t> positions;
  std::vector<std::string> patterns, types, keys;
  std::string reason;
  std::optional<wire::DeadCause> cause;
  std::optional<Duration> older, newer;
  std::uint64_t limit = 0;
  double rate = 0;
  bool again = false, dry_run = false, yes = false;
};

Json to_json(const wire::DeadLetterT& letter) {
  return {{"position", letter.position}, {"died_at", time_or_null(letter.died_at)}, {"cause", wire::EnumNameDeadCause(letter.cause)},
          {"reason", letter.reason}, {"topic", letter.topic}, {"type", letter.type}, {"key", letter.key.empty() ? Json() : Json(letter.key)},
          {"id", letter.id.empty() ? Json() : Json(letter.id)}, {"stopped", letter.stopped}, {"attempt", letter.attempt},
          {"failures", letter.failures}, {"returns", letter.returns}, {"redrives", letter.redrives},
          {"committed_at", time_or_null(letter.committed_at)}};
}

wire::DeadLettersRequestT request_of(Client& client, const DlqVerb& options, bool brief) {
  Schemas schemas(client);
  wire::DeadLettersRequestT request;
  request.group = options.group;
  Filter filter{options.patterns, {}, options.keys, {}, {}};
  for (const auto& type : options.types) filter.types.push_back(schemas.full_name(type).value());
  request.filter = to_wire(filter);
  request.cause = options.cause;
  request.reason = options.reason;
  const auto now = wall_now();
  if (options.newer) request.died_from = nanoseconds(now - *options.newer);
  if (options.older) request.died_to = nanoseconds(now - *options.older);
  request.brief = brief;
  return request;
}

// take(letter) for each that matches, in the order of positions, until `limit` of them (0: all) were taken, which it says by true.
template <typename Take>
void each_letter(Client& client, const DlqVerb& options, bool brief, Take take) {
  auto request = request_of(client, options, brief);
  Progress progress("dead letters", 0);
  std::uint64_t seen = 0, taken = 0;
  for (;;) {
    if (options.limit != 0) request.limit = static_cast<std::uint32_t>(std::clamp<std::uint64_t>(options.limit - taken, 256, 4096));
    const auto reply = ask<wire::DeadLettersReplyT>(client, wire::DeadLettersRequestT(request));
    for (const auto& letter : reply.letters) {
      if (options.limit == 0 || taken < options.limit) taken += take(*letter) ? 1 : 0;
    }
    progress.update(seen += reply.seen, taken);
    if (reply.more == 0 || (options.limit != 0 && taken >= options.limit)) return;
    if (interrupted() != 0) return;
    request.after = reply.more;
  }
}

Exit list(const Globals& globals, const DlqVerb& options) {
  auto client = connect(globals);
  std::vector<Json> rows;
  each_letter(client, options, false, [&](const wire::DeadLetterT& letter) {
    rows.push_back(to_json(letter));
    return true;
  });
  print_list(globals.format, {{"POSITION", "position"}, {"DIED AT", "died_at"}, {"CAUSE", "cause"}, {"FAILURES", "failures"}, {"REDRIVES", "redrives"},
                              {"TOPIC", "topic"}, {"KEY", "key"}, {"REASON", "reason"}}, rows);
  return Exit::ok;
}

// Errors that differ in numbers only are one reason.
std::string kind_of(const std::string& reason) {
  std::string kind;
  for (const char letter : reason) {
    const bool digit = std::isdigit(static_cast<unsigned char>(letter)) != 0;
    if (digit && !kind.empty() && kind.back() == '#') continue;
    kind += digit ? '#' : letter;
  }
  return kind;
}

// Why events died: each reason with how many, the most frequent first.
std::vector<Json> reasons(const std::vector<wire::DeadLetterT>& letters) {
  struct Reason { std::uint64_t count = 0, first = 0; std::int64_t oldest = 0, newest = 0; };
  std::map<std::pair<std::string, wire::DeadCause>, Reason> found;
  for (const auto& letter : letters) {
    auto& reason = found[{kind_of(letter.reason), letter.cause}];
    if (reason.count++ == 0) reason.first = letter.position;
    reason.oldest = reason.oldest == 0 ? letter.died_at : std::min(reason.oldest, letter.died_at);
    reason.newest = std::max(reason.newest, letter.died_at);
  }
  std::vector<Json> rows;
  for (const auto& [what, reason] : found) {
    rows.push_back({{"count", reason.count}, {"cause", wire::EnumNameDeadCause(what.second)}, {"reason", what.first}, {"position", reason.first},
                    {"oldest_at", time_or_null(reason.oldest)}, {"newest_at", time_or_null(reason.newest)}});
  }
  std::stable_sort(rows.begin(), rows.end(), [](const Json& a, const Json& b) { return a["count"] > b["count"]; });
  return rows;
}

// What the verb is about: the positions given, or all that match; and apart from them those that have come back before, where these
// are to be left.
struct Chosen {
  std::vector<wire::DeadLetterT> letters;
  std::uint64_t returned = 0;
};
Chosen chosen(Client& client, const DlqVerb& options, bool leave_returned = false) {
  Chosen all;
  const auto take = [&](const wire::DeadLetterT& letter) {
    const bool is_left = leave_returned && letter.redrives > 0;
    if (!is_left) all.letters.push_back(letter);
    all.returned += letter.redrives > 0;
    return !is_left;
  };
  if (options.positions.empty()) each_letter(client, options, true, take);
  auto positions = options.positions;
  std::sort(positions.begin(), positions.end());
  positions.erase(std::unique(positions.begin(), positions.end()), positions.end());
  for (const auto position : positions) {
    wire::DeadLetterGetT get;
    get.group = options.group;
    get.position = position;
    take(*ask<wire::DeadLetterReplyT>(client, std::move(get)).letter);
  }
  if (all.letters.empty() && all.returned == 0) fail(Code::not_found, "group '" + options.group + "' has no dead letter that matches");
  return all;
}

Exit show_reasons(const Globals& globals, const DlqVerb& options) {
  auto client = connect(globals);
  std::vector<wire::DeadLetterT> letters;
  each_letter(client, options, true, [&](const wire::DeadLetterT& letter) { return letters.push_back(letter), true; });
  print_list(globals.format, {{"COUNT", "count"}, {"CAUSE", "cause"}, {"REASON", "reason"}, {"FIRST", "position"}, {"OLDEST", "oldest_at"},
                              {"NEWEST", "newest_at"}}, reasons(letters));
  return Exit::ok;
}

Json failures_to_json(const wire::DeadLetterReplyT& reply) {
  Json failures = Json::array();
  for (const auto& failure : reply.failures) {
    failures.push_back({{"failure", failure->failure}, {"attempt", failure->attempt}, {"at", time_or_null(failure->at)},
                        {"cause", wire::EnumNameDeadCause(failure->cause)}, {"member", failure->member.empty() ? Json() : Json(failure->member)},
                        {"error", failure->error}});
  }
  return failures;
}

Json whole_letter(Client& client, Schemas& schemas, const std::string& group, std::uint64_t position) {
  wire::DeadLetterGetT get;
  get.group = group;
  get.position = position;
  const auto reply = ask<wire::DeadLetterReplyT>(client, std::move(get));
  auto json = to_json(*reply.letter);
  json["failures_kept"] = failures_to_json(reply);
  const auto event = fetch_event(client, Position{position});
  json["event"] = Json::parse(event_to_json(event, schemas.text_of(event)));
  return json;
}

Exit show(const Globals& globals, const DlqVerb& options) {
  auto client = connect(globals);
  Schemas schemas(client);
  const auto json = whole_letter(client, schemas, options.group, options.positions.at(0));
  print_object(globals.format, json);
  return Exit::ok;
}

Exit export_letters(const Globals& globals, const DlqVerb& options) {
  auto client = connect(globals);
  Schemas schemas(client);
  const auto letters = chosen(client, options).letters;
  Progress progress("exported", letters.size());
  Items items(Format::ndjson);
  std::uint64_t done = 0;
  for (const auto& letter : letters) {
    if (interrupted() != 0) return Exit::partial;
    items.add(dump(whole_letter(client, schemas, options.group, letter.position)), "");
    ++done;
    progress.update(done, done);
  }
  items.finish();
  return Exit::ok;
}

// ---- redrive and drop

struct Outcome {
  std::uint64_t done = 0, came_back = 0, gone = 0, busy = 0;
};

void settle(Client& client, const DlqVerb& options, wire::DeadAction action, std::vector<std::uint64_t> positions, Outcome& outcome) {
  wire::DeadLettersSettleT request;
  request.group = options.group;
  request.positions = std::move(positions);
  request.action = action;
  request.again = options.again;
  const auto reply = ask<wire::DeadLettersSettledT>(client, std::move(request));
  outcome.done += reply.done;
  for (const auto& refused : reply.refused) {
    if (refused.code() == Code::conflict) ++outcome.came_back;
    if (refused.code() == Code::not_found) ++outcome.gone;
    if (refused.code() == Code::group_busy) ++outcome.busy;
  }
}

// A few at a time, so that it can be stopped and begun again: what is done is no dead letter any more.
Exit act(const Globals& globals, const DlqVerb& options, wire::DeadAction action) {
  auto client = connect(globals);
  const bool redrives = action == wire::DeadAction::redrive;
  const bool leaves_returned = redrives && !options.again;
  const auto [letters, returned] = chosen(client, options, leaves_returned);
  const auto stay = leaves_returned ? returned : 0;
  if (options.dry_run) {
    print_object(globals.format, {{"group", options.group}, {"matching", letters.size() + stay}, {"came_back", returned}, {"would_do", letters.size()},
                                  {"reasons", reasons(letters)}});
    return Exit::ok;
  }
  const std::string verb = redrives ? "Redrive " : "Drop ", end = redrives ? "?" : " for good?";
  const std::string guard = stay > 0 ? " (" + std::to_string(stay) + " more came back before, and stay: --again)" : "";
  if (!letters.empty() && !confirmed(verb + count_of(letters.size(), "dead letter") + " of group '" + options.group + "'" + guard + end, options.yes)) return Exit::failed;

  const GracefulEnd graceful;
  Progress progress(redrives ? "redriven" : "dropped", letters.size());
  const auto at_once = options.rate > 0 ? std::clamp<std::size_t>(static_cast<std::size_t>(options.rate / 10), 1, settled_at_once) : settled_at_once;
  const auto begun = steady_now();
  Outcome outcome;
  outcome.came_back = stay;
  for (std::size_t next = 0; next < letters.size() && interrupted() == 0;) {
    if (options.rate > 0) pause_until(begun + std::chrono::duration_cast<Duration>(std::chrono::duration<double>(static_cast<double>(next) / options.rate)));
    if (interrupted() != 0) break;
    std::vector<std::uint64_t> positions;
    for (; next < letters.size() && positions.size() < at_once; ++next) positions.push_back(letters[next].position);
    settle(client, options, action, std::move(positions), outcome);
    progress.update(next, outcome.done);
  }
  progress.clear();
  const auto left = letters.size() + stay - outcome.done - outcome.gone;
  Json json = {{"group", options.group}, {redrives ? "redriven" : "dropped", outcome.done}};
  if (redrives) json["came_back"] = outcome.came_back;
  json.update({{"gone", outcome.gone}, {"busy", outcome.busy}, {"left", left}});
  print_object(globals.format, json);
  if (outcome.came_back > 0 && redrives) warn(std::to_string(outcome.came_back) + " came back before and stay dead letters; --again redrives them, too");
  if (interrupted() != 0) warn("stopped; the same command goes on with the " + std::to_string(left) + " that are left");
  if (outcome.busy > 0) warn("as much is open in the group as may be, or what follows them is being looked for; the same command goes on later");
  return left == 0 ? Exit::ok : Exit::partial;
}

// ---- options

void add_group(CLI::App& verb, DlqVerb& options) { verb.add_option("GROUP", options.group, "whose dead letters")->required(); }

void add_filter(CLI::App& verb, DlqVerb& options) {
  add_index_filter(verb, &options.patterns, options.types, options.keys);
  verb.add_option("--reason", options.reason, "only those whose last error contains this")->type_name("TEXT");
  const std::vector<std::pair<std::string, std::optional<wire::DeadCause>>> causes = {
      {"nack", wire::DeadCause::nack}, {"ack_wait", wire::DeadCause::ack_wait}, {"reject", wire::DeadCause::reject}};
  add_choice(verb, "--cause", options.cause, causes, "only those whose last failure was this");
  add_duration(verb, "--older", options.older, "only those that died longer ago");
  add_duration(verb, "--newer", options.newer, "only those that died since");
  add_number(verb, "--limit", options.limit, "so many at most, the oldest positions first");
}

void add_acting(CLI::App& verb, DlqVerb& options) {
  add_group(verb, options);
  verb.add_option("POSITION", options.positions, "these; all that match if left out");
  add_filter(verb, options);
  add_number(verb, "--rate", options.rate, "so many a second at most");
  verb.add_flag("--dry-run", options.dry_run, "count them by reason, and change nothing");
  verb.add_flag("--yes", options.yes, "do not ask at a terminal");
}

void check(const DlqVerb& options) {
  const bool filtered = !options.patterns.empty() || !options.types.empty() || !options.keys.empty() || !options.reason.empty() || options.cause ||
                        options.older || options.newer || options.limit != 0;
  if (!options.positions.empty() && filtered) fail(Code::bad_argument, "name positions or a filter, not both");
}

}  // namespace

void define_dlq(CLI::App& app, Cli& cli) {
  auto& parent = add_verb(app, "dlq", "dead letters: events that a group has given up on", "bus-cli dlq reasons billing");
  parent.require_subcommand(1);
  auto options = std::make_shared<DlqVerb>();

  auto& ls = add_verb(parent, "ls", "list dead letters", "bus-cli dlq ls billing --reason timeout --limit 20");
  add_group(ls, *options);
  add_filter(ls, *options);
  ls.callback([options, &cli] { cli.run = [options, &cli] { return list(cli.globals, *options); }; });

  auto& why = add_verb(parent, "reasons", "count dead letters by why they died", "bus-cli dlq reasons billing --newer 1h");
  add_group(why, *options);
  add_filter(why, *options);
  why.callback([options, &cli] { cli.run = [options, &cli] { return show_reasons(cli.globals, *options); }; });

  auto& one = add_verb(parent, "show", "one dead letter: the event, and every failure that is kept", "bus-cli dlq show billing 4711");
  add_group(one, *options);
  one.add_option("POSITION", options->positions, "of the event")->required()->expected(1);
  one.callback([options, &cli] { cli.run = [options, &cli] { return show(cli.globals, *options); }; });

  auto& redrive = add_verb(parent, "redrive", "deliver dead letters again; those that came back before only with --again",
                           "bus-cli dlq redrive billing --reason timeout --rate 100 --dry-run");
  add_acting(redrive, *options);
  redrive.add_flag("--again", options->again, "also those that were redriven before and died again");
  redrive.callback([options, &cli] { cli.run = [options, &cli] { return check(*options), act(cli.globals, *options, wire::DeadAction::redrive); }; });

  auto& drop = add_verb(parent, "drop", "give dead letters up for good; the events stay in the log", "bus-cli dlq drop billing --older 30d --yes");
  add_acting(drop, *options);
  drop.callback([options, &cli] { cli.run = [options, &cli] { return check(*options), act(cli.globals, *options, wire::DeadAction::drop); }; });

  auto& out = add_verb(parent, "export", "dead letters with their events and failures, as NDJSON", "bus-cli dlq export billing > letters.ndjson");
  add_group(out, *options);
  out.add_option("POSITION", options->positions, "these; all that match if left out");
  add_filter(out, *options);
  out.callback([options, &cli] { cli.run = [options, &cli] { return check(*options), export_letters(cli.globals, *options); }; });
}

}  // namespace bus::tools
