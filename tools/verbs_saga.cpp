// saga: what runs, how far it is, and changes by hand.
#include <pwd.h>
#include <unistd.h>

#include <algorithm>
#include <memory>
#include <tuple>

#include "bus/saga_control.hpp"
#include "tools/cli.hpp"
#include "tools/position.hpp"
#include "tools/saga_diagram.hpp"
#include "tools/saga_history.hpp"
#include "tools/saga_index.hpp"
#include "tools/saga_list.hpp"
#include "tools/saga_report.hpp"
#include "tools/saga_values.hpp"

namespace bus::tools {

namespace {

using saga::Control;

struct SagaVerb {
  std::string id, step, signal, definition, business_id, value, type, user;
  saga::ByHand why;
  DiagramFormat diagram = DiagramFormat::mermaid;
  bool all = false;
};

std::string user_name() {
  const auto* entry = getpwuid(geteuid());
  return entry != nullptr ? entry->pw_name : "uid " + std::to_string(geteuid());
}

// ---- looking

Exit show_saga(const Globals& globals, const SagaVerb& options) {
  auto client = connect(globals);
  Schemas schemas(client);
  print_report(globals.format, schemas, Control(client).report(options.id).value());
  return Exit::ok;
}

// A change by hand says who asked for it, and why.
std::string what_for_people(const Json& line) {
  auto text = line["what"].get<std::string>();
  if (!line["by"].is_null()) text += ", by " + line["by"].get<std::string>();
  if (!line["reason"].is_null()) text += ": " + line["reason"].get<std::string>();
  return text;
}

Exit show_history(const Globals& globals, const SagaVerb& options) {
  auto client = connect(globals);
  Schemas schemas(client);
  SagaTimeline timeline;
  std::vector<Json> rows;
  const auto head = client.fold_key(options.id, [&](const Event& event) {
    auto line = timeline.line(event, Json::parse(schemas.text_of(event)));
    if (globals.format == Format::text) line["what"] = what_for_people(line);
    rows.push_back(std::move(line));
  }).value();
  if (head.version == 0) fail(Code::not_found, "there is no saga '" + options.id + "'; its id is DEFINITION/BUSINESS_ID");
  print_list(globals.format, {{"VERSION", "version"}, {"TIME", "time"}, {"SINCE START", "since_start"}, {"STEP", "step"}, {"TOOK", "took"}, {"WHAT", "what"}}, rows);
  return Exit::ok;
}

Exit print_diagram(Format format, const std::string& diagram) {
  if (format == Format::text) write(diagram);
  else print_object(format, {{"diagram", diagram}});
  return Exit::ok;
}

// What has a slash is an instance.
Exit draw(const Globals& globals, const SagaVerb& options) {
  auto client = connect(globals);
  Control control(client, globals.patience());
  if (options.id.find('/') == options.id.npos) return print_diagram(globals.format, saga_diagram(options.diagram, *control.definition(options.id).value().definition, nullptr));
  const auto report = control.report(options.id).value();
  if (!report.definition) fail(Code::not_found, "the definition of saga '" + options.id + "' is not in the log any more");
  return print_diagram(globals.format, saga_diagram(options.diagram, *report.definition, &report));
}

Exit list_definitions(const Globals& globals, const SagaVerb& options) {
  auto client = connect(globals);
  Control control(client, globals.patience());
  if (!options.definition.empty() && !options.all) {
    print_definition(globals.format, control.definition(options.definition).value());
    return Exit::ok;
  }
  std::vector<Json> rows;
  const auto latest = options.definition.empty() ? control.definitions().value() : control.versions(options.definition).value();
  for (const auto& one : latest) {
    const bool has_older = options.all && options.definition.empty();
    for (const auto& each : has_older ? control.versions(one.definition->name).value() : std::vector{one}) rows.push_back(globals.format == Format::text ? definition_row(each) : definition_json(each));
  }
  print_list(globals.format, {{"DEFINITION", "definition"}, {"HASH", "definition_hash"}, {"SINCE", "since"}, {"INPUT", "input_type"}, {"STEPS", "steps"}}, rows);
  return Exit::ok;
}

// ---- changing

Exit start_saga(const Globals& globals, const SagaVerb& options) {
  auto client = connect(globals);
  Schemas schemas(client);
  Control control(client, globals.patience());
  const auto known = control.definition(options.definition).value();
  const auto input = saga_value(schemas, options.value, options.type.empty() ? known.definition->input_type : options.type);
  const auto started = control.start(options.definition, options.business_id, input, options.user).value();
  if (!started.is_new) warn("there is a saga '" + started.saga_id + "' already, and it stays as it is; `saga show` says how far it is");
  print_object(globals.format, {{"saga_id", started.saga_id}, {"new", started.is_new}});
  return Exit::ok;
}

Exit print_change(const Globals& globals, const SagaVerb& options, const Result<Receipt>& done) {
  const auto& receipt = done.value();
  print_object(globals.format, {{"saga_id", options.id}, {"position", number(receipt.position)}, {"version", receipt.version}});
  return Exit::ok;
}

using Change = Result<Receipt> (Control::*)(const std::string&, const saga::ByHand&);
Exit change_saga(const Globals& globals, const SagaVerb& options, Change call) {
  auto client = connect(globals);
  Control control(client, globals.patience());
  return print_change(globals, options, (control.*call)(options.id, options.why));
}

Exit retry_step(const Globals& globals, const SagaVerb& options) {
  auto client = connect(globals);
  return print_change(globals, options, Control(client, globals.patience()).retry_step(options.id, options.step, options.why));
}

// The type of what the step makes, unless another one is given.
template <typename IsIt>
saga::Value result_for(Client& client, const SagaVerb& options, IsIt is_it) {
  if (options.value.empty()) return {};
  Schemas schemas(client);
  auto type = options.type;
  const auto report = Control(client).report(options.id).value();
  if (type.empty() && report.definition) {
    for (const auto& step : report.definition->steps) {
      if (is_it(*step)) type = step->result_type;
    }
  }
  return saga_value(schemas, options.value, type);
}

Exit skip_step(const Globals& globals, const SagaVerb& options) {
  auto client = connect(globals);
  const auto value = result_for(client, options, [&](const auto& step) { return step.name == options.step; });
  return print_change(globals, options, Control(client, globals.patience()).skip_step(options.id, options.step, options.why, value));
}

Exit send_signal(const Globals& globals, const SagaVerb& options) {
  auto client = connect(globals);
  const auto value = result_for(client, options, [&](const auto& step) { return step.signal == options.signal; });
  return print_change(globals, options, Control(client, globals.patience()).signal(options.id, options.signal, value, options.why));
}

// ---- the command line

using Options = std::shared_ptr<SagaVerb>;

void run_with(CLI::App& verb, const Options& options, Cli& cli, std::function<Exit(const Globals&, const SagaVerb&)> run) {
  verb.callback([options, &cli, run] { cli.run = [options, &cli, run] { return run(cli.globals, *options); }; });
}

void add_saga_id(CLI::App& verb, SagaVerb& options) { verb.add_option("ID", options.id, "the saga: DEFINITION/BUSINESS_ID")->required(); }

void add_by(CLI::App& verb, SagaVerb& options, bool needs_reason) {
  verb.add_option("--reason", options.why.reason, "why; it stays in the saga's history")->required(needs_reason);
  verb.add_option("--by", options.why.by, "who wants it; left out: you");
  verb.parse_complete_callback([&options] {
    if (options.why.by.empty()) options.why.by = user_name();
  });
}

void add_value(CLI::App& verb, const std::string& name, SagaVerb& options, const std::string& what, const std::string& its_type) {
  verb.add_option(name, options.value, what + ": JSON, or @FILE; plain text if it has no type");
  verb.add_option("--type", options.type, "full or unique last name of its type; left out: " + its_type);
}

void define_looks(CLI::App& parent, const Options& options, Cli& cli) {
  auto& show_verb = add_verb(parent, "show", "how far a saga is, and what it waits for", "bus-cli saga show order/17");
  add_saga_id(show_verb, *options);
  run_with(show_verb, options, cli, show_saga);
  auto& history_verb = add_verb(parent, "history", "what has happened to a saga, event by event", "bus-cli saga history order/17");
  add_saga_id(history_verb, *options);
  run_with(history_verb, options, cli, show_history);
  auto& diagram_verb = add_verb(parent, "diagram", "a picture of a saga or definition, as text for Mermaid or Graphviz", "bus-cli saga diagram order/17 --format dot | dot -Tsvg >order.svg");
  diagram_verb.add_option("ID", options->id, "a saga, DEFINITION/BUSINESS_ID, as it is now; or a DEFINITION")->required();
  add_choice<DiagramFormat>(diagram_verb, "--format", options->diagram, {{"mermaid", DiagramFormat::mermaid}, {"dot", DiagramFormat::dot}}, "left out: mermaid");
  run_with(diagram_verb, options, cli, draw);
  auto& definitions_verb = add_verb(parent, "definitions", "what sagas there are, as their workers have registered them", "bus-cli saga definitions order");
  definitions_verb.add_option("NAME", options->definition, "this one, in full");
  definitions_verb.add_flag("--all", options->all, "also those that were registered before under the same name");
  run_with(definitions_verb, options, cli, list_definitions);
}

void define_changes(CLI::App& parent, const Options& options, Cli& cli) {
  auto& start_verb = add_verb(parent, "start", "start a saga, or find the one of that id", "bus-cli saga start order 17 '{\"record_id\":\"r-1\",\"user_id\":\"user-7\"}' --user user-7");
  start_verb.add_option("DEFINITION", options->definition, "what to start")->required();
  start_verb.add_option("BUSINESS_ID", options->business_id, "1 to 150 bytes; there is one saga for each")->required();
  add_value(start_verb, "INPUT", *options, "what it begins with", "that of the definition's input");
  start_verb.add_option("--user", options->user, "the person it is about");
  run_with(start_verb, options, cli, start_saga);
  auto& signal_verb = add_verb(parent, "signal", "send what a step waits for", "bus-cli saga signal order/17 approval '{\"notification_id\":\"n-1\",\"title\":\"yes\"}'");
  add_saga_id(signal_verb, *options);
  signal_verb.add_option("SIGNAL", options->signal, "its name")->required();
  add_value(signal_verb, "VALUE", *options, "what comes with it", "that of the step's result");
  add_by(signal_verb, *options, false);
  run_with(signal_verb, options, cli, send_signal);
  const std::tuple<const char*, const char*, const char*, Change> changes[] = {
      {"pause", "begin nothing new, until it is resumed", "bus-cli saga pause order/17 --reason 'the bank is down'", &Control::pause},
      {"resume", "go on with a saga that was paused", "bus-cli saga resume order/17 --reason 'the bank is back'", &Control::resume},
      {"cancel", "end a saga before its pivot: what was done is undone", "bus-cli saga cancel order/17 --reason 'the customer called'", &Control::cancel},
      {"compensate", "undo a saga that is parked, also after its pivot", "bus-cli saga compensate order/17 --reason 'out of stock for good'", &Control::compensate}};
  for (const auto& [name, purpose, example, call] : changes) {
    auto& verb = add_verb(parent, name, purpose, example);
    add_saga_id(verb, *options);
    add_by(verb, *options, true);
    run_with(verb, options, cli, [call = call](const Globals& globals, const SagaVerb& given) { return change_saga(globals, given, call); });
  }
  auto& retry_verb = add_verb(parent, "retry-step", "try a step again that is parked", "bus-cli saga retry-step order/17 ship --reason 'the carrier is back'");
  add_saga_id(retry_verb, *options);
  retry_verb.add_option("STEP", options->step, "the step")->required();
  add_by(retry_verb, *options, true);
  run_with(retry_verb, options, cli, retry_step);
  auto& skip_verb = add_verb(parent, "skip-step", "have a step count as done, or in compensation as undone", "bus-cli saga skip-step order/17 ship --reason 'sent by hand'");
  add_saga_id(skip_verb, *options);
  skip_verb.add_option("STEP", options->step, "the step")->required();
  add_value(skip_verb, "VALUE", *options, "what it would have made", "that of the step's result");
  add_by(skip_verb, *options, true);
  run_with(skip_verb, options, cli, skip_step);
}

void add_states(CLI::App& verb, SagaListVerb& options) {
  std::vector<std::string> words(std::begin(saga_states), std::end(saga_states));
  words.insert(words.end(), {"open", "ended"});
  add_list(verb, "--state", options.states, "only sagas that are this: one of them, open (has not ended) or ended; may be given several times", "STATE")->check(CLI::IsMember(words));
}

void define_lists(CLI::App& parent, Cli& cli) {
  auto options = std::make_shared<SagaListVerb>();
  auto& ls = add_verb(parent, "ls", "list sagas, the last that was started first", "bus-cli saga ls --state running --step charge --older-than 1h");
  ls.add_option("--definition", options->definition, "only of this definition");
  add_states(ls, *options);
  ls.add_option("--step", options->step, "only sagas of which this step has begun and not ended");
  add_duration(ls, "--older-than", options->older_than, "only sagas that were started so long ago or longer");
  ls.add_option("--user", options->user, "only sagas about this person");
  add_number(ls, "--limit", options->limit, "so many at most; left out: 1000");
  ls.add_option("--state-file", options->state_file, "where bus-cli keeps what it has read; left out: below ~/.cache/bus");
  ls.callback([options, &cli] { cli.run = [options, &cli] { return list_sagas(cli.globals, *options); }; });
  auto& stuck = add_verb(parent, "stuck", "list sagas that stand still for too long, with why and what to do", "bus-cli saga stuck --longer-than 10m");
  stuck.add_option("--definition", options->definition, "only of this definition");
  add_duration(stuck, "--longer-than", options->longer_than, "how long is too long where the definition does not say; left out: 1h");
  stuck.add_option("--state-file", options->state_file, "as of saga ls");
  stuck.callback([options, &cli] { cli.run = [options, &cli] { return list_stuck_sagas(cli.globals, *options); }; });
}

}  // namespace

void define_saga(CLI::App& app, Cli& cli) {
  auto& parent = add_verb(app, "saga", "transactions over several services: look at them, and step in", "bus-cli saga show order/17");
  parent.require_subcommand(1);
  auto options = std::make_shared<SagaVerb>();
  define_lists(parent, cli);
  define_looks(parent, options, cli);
  define_changes(parent, options, cli);
}

}  // namespace bus::tools
