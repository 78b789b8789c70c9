#include "tools/cli.hpp"

#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "tools/position.hpp"

namespace bus::tools {

Client connect(const Globals& globals, ClientOptions options) {
  options.server = globals.server;
  options.name = "bus-cli";
  options.connect_timeout = options.request_timeout = globals.patience();
  return Client::connect(std::move(options)).value();
}

Client connect(const Globals& globals, const std::string& publisher) {
  ClientOptions options;
  options.publisher = publisher;
  return connect(globals, std::move(options));
}

WallTime wall_now() { return std::chrono::time_point_cast<Duration>(std::chrono::system_clock::now()); }

CLI::App& add_verb(CLI::App& parent, const std::string& name, const std::string& purpose, const std::string& example) {
  auto* verb = parent.add_subcommand(name, purpose);
  verb->fallthrough();
  verb->footer("Example:\n  " + example);
  return *verb;
}

CLI::Option* add_position(CLI::App& verb, const std::string& name, std::optional<At>& into, const std::string& help) {
  return add_parsed(verb, name, into, [](const std::string& text) { return parse_position(text, wall_now()); }, help, "POS");
}

CLI::Option* add_time(CLI::App& verb, const std::string& name, std::optional<WallTime>& into, const std::string& help) {
  return add_parsed(verb, name, into, [](const std::string& text) { return parse_time(text, wall_now()); }, help, "TIME");
}

CLI::Option* add_duration(CLI::App& verb, const std::string& name, std::optional<Duration>& into, const std::string& help) {
  return add_parsed(verb, name, into, [](const std::string& text) { return parse_duration(text); }, help, "DURATION");
}

CLI::Option* add_list(CLI::App& verb, const std::string& name, std::vector<std::string>& into, const std::string& help, const std::string& value) {
  return verb.add_option(name, into, help)->type_name(value)->allow_extra_args(false)->take_all();
}

void add_index_filter(CLI::App& verb, std::vector<std::string>* patterns, std::vector<std::string>& types, std::vector<std::string>& keys) {
  if (patterns != nullptr) add_list(verb, "--topic", *patterns, "only topics of this pattern; may be given several times", "PATTERN");
  add_list(verb, "--type", types, "only this type, by its full or unique last name; several times", "TYPE");
  add_list(verb, "--key", keys, "only this key; may be given several times", "KEY");
}

void add_envelope_filter(CLI::App& verb, std::vector<Priority>& priorities, std::vector<AttributeFilter>& attributes) {
  const auto take_priorities = [&priorities](const std::vector<std::string>& words) {
    for (const auto& word : words) {
      if (word != "high" && word != "medium" && word != "low") throw CLI::ValidationError("--priority", "'" + word + "' is not one of high|medium|low");
      priorities.push_back(word == "high" ? Priority::high : word == "low" ? Priority::low : Priority::medium);
    }
  };
  verb.add_option_function<std::vector<std::string>>("--priority", take_priorities, "only this priority; may be given several times")
      ->type_name("high|medium|low")->allow_extra_args(false)->take_all();
  // The same name several times: one of the values.
  const auto take_attributes = [&attributes](const std::vector<std::string>& texts) {
    for (const auto& text : texts) {
      const auto equals = text.find('=');
      const auto name = text.substr(0, equals);
      auto one = std::find_if(attributes.begin(), attributes.end(), [&](const auto& known) { return known.name == name; });
      if (one == attributes.end()) one = attributes.insert(one, {name, {}});
      if (equals != std::string::npos) one->values.push_back(text.substr(equals + 1));
    }
  };
  verb.add_option_function<std::vector<std::string>>("--attribute", take_attributes,
                                                     "only events with this attribute, or with this value of it; given with several values, with one of them; all names that are given must match")
      ->type_name("NAME[=VALUE]")->allow_extra_args(false)->take_all();
}

std::shared_ptr<std::string> add_name(CLI::App& verb, const std::string& placeholder, const std::string& help) {
  auto name = std::make_shared<std::string>();
  verb.add_option(placeholder, *name, help)->required();
  return name;
}

bool confirmed(const std::string& question, bool yes) {
  if (yes || !is_terminal(STDIN_FILENO) || !is_terminal(STDERR_FILENO)) return true;
  std::fprintf(stderr, "%s [y/N] ", question.c_str());
  const int answer = std::getchar();
  return answer == 'y' || answer == 'Y';
}

void warn_of_trimmed(const Trimmed& trimmed) {
  if (trimmed.to == Position::none) return;
  const auto counted = trimmed.events == 0 ? "events" : count_of(trimmed.events, "event") + " or more";
  warn("not shown: " + counted + " up to position " + std::to_string(number(trimmed.to)) + ", which retention has removed");
}

Json time_or_null(std::int64_t time) { return time == 0 ? Json() : Json(show_time(wall_time(time))); }

At end_of(const std::optional<At>& to, Position head) {
  if (!to) return At::end();
  const bool beyond = to->kind == wire::Start::position && static_cast<std::uint64_t>(to->value) > number(head);
  return beyond ? At::end() : *to;
}

Event fetch_event(Client& client, Position position) {
  wire::EventGetT get;
  get.position = number(position);
  wire::AskUnion question;
  question.Set(get);
  auto answer = std::make_shared<Client::Answer>(client.request(std::move(question)).value());
  const auto* reply = answer->reply->answer.AsEventReply();
  if (reply == nullptr || !reply->delivery) fail(Code::malformed, "the broker's answer is of another kind");
  Event::Place place;
  place.position = Position{reply->delivery->position()};
  place.version = reply->delivery->version();
  place.committed_at = wall_time(reply->delivery->committed_at());
  place.sequence = reply->delivery->sequence();
  place.publisher = reply->publisher;
  return Event(place, answer, answer->body);
}

}  // namespace bus::tools
