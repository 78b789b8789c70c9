// schedule: events that are not due yet: seen, cancelled, run before their time.
#include <charconv>
#include <set>
#include <memory>

#include "tools/cli.hpp"
#include "tools/event_json.hpp"
#include "tools/position.hpp"
#include "tools/schemas.hpp"

namespace bus::tools {

namespace {

constexpr std::size_t cancelled_at_once = 256;

struct ScheduleVerb {
  std::vector<std::string> ids;
  std::vector<std::string> patterns, types, keys;
  std::string publisher;
  std::uint64_t limit = 0;
  bool yes = false;
};

// "PUBLISHER/SEQUENCE", as a receipt has it.
Result<wire::ScheduleIdT> parse_id(const std::string& text) {
  const auto slash = text.rfind('/');
  wire::ScheduleIdT id;
  if (slash != std::string::npos && slash > 0) {
    const auto* end = text.data() + text.size();
    const auto [after, error] = std::from_chars(text.data() + slash + 1, end, id.sequence);
    id.publisher = text.substr(0, slash);
    if (error == std::errc{} && after == end && id.sequence > 0) return id;
  }
  return Error{Code::bad_argument, "'" + text + "' is no schedule id, which is PUBLISHER/SEQUENCE, as `schedule ls` prints it"};
}

std::string show_id(const wire::ScheduleIdT& id) { return id.publisher + "/" + std::to_string(id.sequence); }

Json to_json(const wire::ScheduledEventT& event) {
  const auto left = std::chrono::duration_cast<std::chrono::seconds>(wall_time(event.due_at) - wall_now());
  return {{"id", show_id(*event.id)}, {"due_at", time_or_null(event.due_at)}, {"due_in", show_duration(std::max(left, std::chrono::seconds(0)))},
          {"topic", event.topic}, {"type", event.type}, {"key", event.key.empty() ? Json() : Json(event.key)}, {"publisher", event.id->publisher},
          {"sequence", event.id->sequence}, {"event_id", event.event_id}, {"bytes", event.bytes}, {"scheduled_at", time_or_null(event.scheduled_at)}};
}

Exit list(const Globals& globals, const ScheduleVerb& options) {
  auto client = connect(globals);
  Schemas schemas(client);
  Filter filter{options.patterns, {}, options.keys, {}, {}};
  for (const auto& type : options.types) filter.types.push_back(schemas.full_name(type).value());
  wire::ScheduleRequestT request;
  request.filter = to_wire(filter);
  request.publisher = options.publisher;
  std::vector<Json> rows;
  for (bool more = true; more;) {
    if (options.limit != 0) request.limit = static_cast<std::uint32_t>(std::min<std::uint64_t>(options.limit - rows.size(), 4096));
    const auto reply = ask<wire::ScheduleReplyT>(client, wire::ScheduleRequestT(request));
    for (const auto& event : reply.events) rows.push_back(to_json(*event));
    request.after = reply.more;
    more = !reply.more.empty() && (options.limit == 0 || rows.size() < options.limit);
  }
  print_list(globals.format, {{"ID", "id"}, {"DUE AT", "due_at"}, {"DUE IN", "due_in"}, {"TOPIC", "topic"}, {"KEY", "key"}, {"BYTES", "bytes"}}, rows);
  return Exit::ok;
}

Exit show(const Globals& globals, const ScheduleVerb& options) {
  auto client = connect(globals);
  wire::ScheduleGetT get;
  get.id = std::make_unique<wire::ScheduleIdT>(parse_id(options.ids.at(0)).value());
  wire::AskUnion question;
  question.Set(std::move(get));
  const auto answer = std::make_shared<Client::Answer>(client.request(std::move(question)).value());
  const auto* reply = answer->reply->answer.AsScheduleGetReply();
  if (reply == nullptr) fail(Code::malformed, "the broker's answer is of another kind");
  Json json = {{"id", options.ids.at(0)}, {"state", wire::EnumNameScheduleFate(reply->fate)}};
  if (reply->fate == wire::ScheduleFate::published) json["position"] = reply->position;
  if (reply->event) {
    json.update(to_json(*reply->event));
    Schemas schemas(client);
    Event::Place place;
    place.sequence = reply->event->id->sequence;
    place.publisher = reply->event->id->publisher;
    const Event event(place, answer, answer->body);
    auto whole = Json::parse(event_to_json(event, schemas.text_of(event)));
    for (const char* later : {"position", "version", "committed_at"}) whole[later] = nullptr;  // they come when it is due
    json["event"] = whole;
  }
  print_object(globals.format, json);
  return Exit::ok;
}

Exit cancel(const Globals& globals, const ScheduleVerb& options) {
  std::vector<wire::ScheduleIdT> ids;
  std::set<std::string> seen;  // each once
  for (const auto& text : options.ids) {
    auto id = parse_id(text).value();
    if (seen.insert(show_id(id)).second) ids.push_back(std::move(id));
  }
  auto client = connect(globals);
  if (!confirmed("Cancel " + count_of(ids.size(), "scheduled event") + " for good?", options.yes)) return Exit::failed;
  std::uint64_t done = 0, late = 0, unknown = 0;
  for (std::size_t next = 0; next < ids.size();) {
    wire::ScheduleCancelT request;
    const auto begun = next;
    for (; next < ids.size() && next - begun < cancelled_at_once; ++next) request.ids.push_back(std::make_unique<wire::ScheduleIdT>(ids[next]));
    const auto codes = ask<wire::ScheduleCancelledT>(client, std::move(request)).codes;
    if (codes.size() != next - begun) fail(Code::malformed, "the broker's answer does not fit the request");
    for (std::size_t at = 0; at < codes.size(); ++at) {
      done += codes[at] == Code::ok;
      late += codes[at] == Code::conflict;
      unknown += codes[at] == Code::not_found;
      const std::string why = codes[at] == Code::conflict ? ": does not wait any more; `schedule show` says what became of it" : ": is not in the schedule";
      if (codes[at] != Code::ok) warn(show_id(ids[begun + at]) + why);
    }
  }
  print_object(globals.format, {{"cancelled", done}, {"not_waiting", late}, {"unknown", unknown}});
  if (late + unknown == 0) return Exit::ok;
  return done > 0 ? Exit::partial : exit_for(late > 0 ? Code::conflict : Code::not_found);
}

Exit run_now(const Globals& globals, const ScheduleVerb& options) {
  auto client = connect(globals);
  wire::ScheduleRunT run;
  run.id = std::make_unique<wire::ScheduleIdT>(parse_id(options.ids.at(0)).value());
  const auto reply = ask<wire::ScheduleRunReplyT>(client, std::move(run));
  print_object(globals.format, {{"id", options.ids.at(0)}, {"position", reply.position}, {"version", reply.version}});
  return Exit::ok;
}

void add_id(CLI::App& verb, ScheduleVerb& options) {
  verb.add_option("ID", options.ids, "PUBLISHER/SEQUENCE, as the receipt had it")->required()->expected(1);
}

}  // namespace

void define_schedule(CLI::App& app, Cli& cli) {
  auto& parent = add_verb(app, "schedule", "events that are not due yet", "bus-cli schedule ls --topic 'reminders.>'");
  parent.require_subcommand(1);
  auto options = std::make_shared<ScheduleVerb>();

  auto& ls = add_verb(parent, "ls", "list what is not due yet, in the order of its times", "bus-cli schedule ls --limit 20");
  add_index_filter(ls, &options->patterns, options->types, options->keys);
  ls.add_option("--publisher", options->publisher, "only of this publisher");
  add_number(ls, "--limit", options->limit, "so many at most, those that are due next");
  ls.callback([options, &cli] { cli.run = [options, &cli] { return list(cli.globals, *options); }; });

  auto& one = add_verb(parent, "show", "one scheduled event, or what became of it", "bus-cli schedule show reminders/17");
  add_id(one, *options);
  one.callback([options, &cli] { cli.run = [options, &cli] { return show(cli.globals, *options); }; });

  auto& end = add_verb(parent, "cancel", "take events out of the schedule for good", "bus-cli schedule cancel reminders/17 reminders/18 --yes");
  end.add_option("ID", options->ids, "PUBLISHER/SEQUENCE, as the receipt had it")->required();
  end.add_flag("--yes", options->yes, "do not ask at a terminal");
  end.callback([options, &cli] { cli.run = [options, &cli] { return cancel(cli.globals, *options); }; });

  auto& now = add_verb(parent, "run-now", "publish a scheduled event before its time", "bus-cli schedule run-now reminders/17");
  add_id(now, *options);
  now.callback([options, &cli] { cli.run = [options, &cli] { return run_now(cli.globals, *options); }; });
}

}  // namespace bus::tools
