// pub: JSON in, receipts out.
#include <unistd.h>

#include <charconv>
#include <fstream>
#include <iterator>
#include <memory>

#include "tools/cli.hpp"
#include "tools/interrupts.hpp"
#include "tools/line_reader.hpp"
#include "tools/position.hpp"
#include "tools/receipts.hpp"
#include "tools/schemas.hpp"

namespace bus::tools {

namespace {

struct PubOptions {
  std::string topic, payload, type, key, key_field, id, source, subject, correlation_id, causation_id, traceparent, publisher;
  std::optional<WallTime> time, at, expires_at;
  std::optional<Duration> after, expires_after;
  Priority priority = Priority::medium;
  std::vector<std::pair<std::string, std::string>> attributes;
  std::vector<Condition> conditions;
  bool events = false, unique_id = false;
};

Error bad_payload(std::string why) { return {Code::bad_payload, std::move(why)}; }

// The key at the end of a path such as "value.device" in the payload.
Result<std::string> key_in(const std::string& payload, const std::string& path) {
  auto at = Json::parse(payload, nullptr, false);
  if (at.is_discarded()) return bad_payload("not JSON");
  for (std::size_t begin = 0; begin <= path.size();) {
    const auto end = std::min(path.find('.', begin), path.size());
    const auto name = path.substr(begin, end - begin);
    if (!at.is_object() || !at.contains(name)) return bad_payload("it has no field '" + path + "' for the key");
    at = Json(at[name]);
    begin = end + 1;
  }
  if (at.is_string()) return at.get<std::string>();
  if (at.is_number_integer()) return dump(at);
  return bad_payload("the field '" + path + "' is neither text nor an integer, so it is no key");
}

// Publisher of one command line: what all its events have in common, and how each line becomes one.
class Publishing {
 public:
  Publishing(const PubOptions& options, Client& client) : options_(options), schemas_(client), client_(client) {
    if (options.events) return;
    common_.topic = options.topic;
    common_.type = schemas_.full_name(options.type.empty() ? last_type(options.topic) : options.type).value();
    common_.key = options.key;
    common_.id = options.id;
    common_.source = options.source;
    common_.subject = options.subject;
    common_.time = options.time;
    common_.priority = options.priority;
    common_.correlation_id = options.correlation_id;
    common_.causation_id = options.causation_id;
    common_.traceparent = options.traceparent;
    common_.attributes = options.attributes;
    const auto now = wall_now();
    common_.deliver_at = options.after ? now + *options.after : options.at;
    common_.expires_at = options.expires_after ? common_.deliver_at.value_or(now) + *options.expires_after : options.expires_at;
  }

  void publish(const std::string& text, const std::string& where, Receipts& receipts) {
    auto event = options_.events ? full_event(text) : from_payload(text);
    if (!event) return receipts.refuse(where, event.error());
    event->conditions = options_.conditions;
    Receipts::Sent sent{where, event->topic, event->key, {}, event->payload.size()};
    receipts.wait_for_room();
    if (receipts.over()) return;
    sent.receipt = client_.publish(*event);
    receipts.add(std::move(sent));
  }

 private:
  // What the topic's last event was is what its next one most likely is.
  std::string last_type(const std::string& topic) {
    try {
      wire::TopicsRequestT request;
      request.name = topic;
      wire::EventGetT get;
      get.position = ask<wire::TopicsReplyT>(client_, std::move(request)).topics.at(0)->last;
      wire::AskUnion question;
      question.Set(std::move(get));
      const auto answer = client_.request(std::move(question)).value();
      return flatbuffers::GetSizePrefixedRoot<wire::Event>(answer.body.data())->type()->str();
    } catch (const Failed& failed) {
      if (failed.error().code != Code::not_found) throw;
    }
    fail(Code::bad_argument, "the topic '" + topic + "' has no events yet, so say which --type; `bus-cli schema ls` lists them");
  }

  Result<NewEvent> from_payload(const std::string& text) {
    auto event = common_;
    if (!options_.key_field.empty()) {
      auto key = key_in(text, options_.key_field);
      if (!key) return key.error();
      event.key = std::move(*key);
    }
    return with_payload(std::move(event), text);
  }

  Result<NewEvent> full_event(const std::string& text) {
    auto event = schemas_.event_of(text);
    if (event && !options_.topic.empty()) event->topic = options_.topic;
    return event;
  }

  Result<NewEvent> with_payload(NewEvent event, const std::string& text) {
    const auto schema = schemas_.of(event.type);
    if (!schema) return schema.error();
    auto payload = schema->encode(text);
    if (!payload) return payload.error();
    event.payload = std::move(*payload);
    return event;
  }

  const PubOptions& options_;
  Schemas schemas_;
  Client& client_;
  NewEvent common_;
};

std::string read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::string text{std::istreambuf_iterator<char>(file), {}};
  if (!file) fail(Code::not_found, path + ": cannot be read");
  return text;
}

void publish_lines(int fd, Publishing& publishing, Receipts& receipts) {
  LineReader lines(fd);
  while (!receipts.over()) {
    const auto line = lines.next().value();
    if (!line) return;
    if (line->find_first_not_of(" \t") != line->npos) publishing.publish(*line, "line " + std::to_string(lines.line()), receipts);
  }
}

// A file of full events has one per line; a payload in a file may be laid out over several.
void publish_all(const PubOptions& options, Publishing& publishing, Receipts& receipts) {
  if (options.payload == "-") return publish_lines(STDIN_FILENO, publishing, receipts);
  if (!options.payload.starts_with('@')) return publishing.publish(options.payload, "", receipts);
  const auto path = options.payload.substr(1);
  if (!options.events) return publishing.publish(read_file(path), "", receipts);
  const std::unique_ptr<FILE, int (*)(FILE*)> file(std::fopen(path.c_str(), "re"), std::fclose);
  if (!file) fail(Code::not_found, path + ": cannot be read");
  publish_lines(fileno(file.get()), publishing, receipts);
}

Exit exit_of(const Receipts::Summary& summary) {
  if (summary.unknown != Code::ok) return exit_for(summary.unknown);
  if (summary.refused == 0) return Exit::ok;
  return summary.stored > 0 ? Exit::partial : exit_for(summary.worst);
}

void check(PubOptions& options) {
  if (options.events && options.payload.empty() && (options.topic == "-" || options.topic.starts_with('@'))) {
    std::swap(options.topic, options.payload);
  }
  if (options.payload.empty()) {
    if (is_terminal(STDIN_FILENO)) fail(Code::bad_argument, "what shall be published? PAYLOAD, @FILE, or - for standard input");
    options.payload = "-";
  }
  if (options.at && options.after) fail(Code::bad_argument, "--at and --after exclude each other");
  if (options.expires_at && options.expires_after) fail(Code::bad_argument, "--expires-at and --expires-after exclude each other");
  if (options.events && (options.at || options.after || options.expires_at || options.expires_after)) {
    fail(Code::bad_argument, "full events say themselves when they are due and when they expire: 'deliver_at' and 'expires_at'");
  }
  if (options.events) return;
  if (options.topic.empty()) fail(Code::bad_argument, "pub needs a TOPIC");
  if (options.unique_id && options.id.empty()) fail(Code::bad_argument, "--unique-id needs the --id that no other event is to have");
  if (!options.key.empty() && !options.key_field.empty()) fail(Code::bad_argument, "--key and --key-field exclude each other");
}

Exit publish(const Globals& globals, PubOptions options) {
  check(options);
  if (options.unique_id) options.conditions.push_back(Condition::unique_id());
  auto client = connect(globals, options.publisher);
  Publishing publishing(options, client);
  const bool single = options.payload != "-" && !options.events;
  const GracefulEnd graceful;
  Receipts receipts(globals.format, single, globals.patience());
  publish_all(options, publishing, receipts);
  const auto summary = receipts.finish();
  const bool unknown = summary.unknown != Code::ok;
  const auto left = client.close(unknown ? Duration(0) : globals.patience());
  if (left.reason.code != Code::ok) complain(left.reason);
  if (summary.stored + summary.refused == 0) warn("nothing was published: the input is empty");
  if (summary.refused > 0 && !single) {
    warn(std::to_string(summary.stored) + " stored, " + std::to_string(summary.refused) + (unknown ? " refused or unknown" : " refused"));
  }
  return exit_of(summary);
}

Result<std::vector<std::pair<std::string, std::string>>> parse_attributes(const std::vector<std::string>& texts) {
  std::vector<std::pair<std::string, std::string>> attributes;
  for (const auto& text : texts) {
    const auto at = text.find('=');
    if (at == 0 || at == text.npos) return Error{Code::bad_argument, "'" + text + "' is not NAME=VALUE"};
    attributes.emplace_back(text.substr(0, at), text.substr(at + 1));
  }
  return attributes;
}

// "7", "exists" or "absent", of the event's own key; or the same after KEY=.
Result<Condition> parse_condition(const std::string& text) {
  const auto at = text.rfind('=');
  const auto key = at == text.npos ? "" : text.substr(0, at);
  const auto expected = at == text.npos ? text : text.substr(at + 1);
  if (at == 0) return Error{Code::bad_argument, "'" + text + "' has no key before the '='"};
  if (expected == "exists") return Condition::exists(key);
  if (expected == "absent") return Condition::absent(key);
  std::uint64_t version = 0;
  const auto [after, error] = std::from_chars(expected.data(), expected.data() + expected.size(), version);
  if (error == std::errc{} && after == expected.data() + expected.size()) return Condition::at(version, key);
  return Error{Code::bad_argument, "'" + text + "' is not [KEY=]VERSION, [KEY=]exists or [KEY=]absent"};
}

void define_conditions(CLI::App& verb, PubOptions& options) {
  const auto take = [&options](const std::vector<std::string>& texts) {
    for (const auto& text : texts) {
      auto condition = parse_condition(text);
      if (!condition) throw CLI::ValidationError("--expect", condition.error().detail);
      options.conditions.push_back(std::move(*condition));
    }
  };
  verb.add_option_function<std::vector<std::string>>("--expect", take,
      "only if the key, or another one, is at this version, has events, or has none; else exit 5. May be given several times")
      ->type_name("[KEY=]VERSION|exists|absent")->allow_extra_args(false)->take_all();
}

void define_envelope(CLI::App& verb, PubOptions& options) {
  verb.add_option("--type", options.type, "full or unique last name of the payload's type; left out: that of the topic's last event");
  verb.add_option("--key", options.key, "the aggregate the event belongs to");
  verb.add_option("--key-field", options.key_field, "take the key from this field of the payload, such as user_id");
  const auto take_attributes = [&options](const std::vector<std::string>& texts) {
    auto parsed = parse_attributes(texts);
    if (!parsed) throw CLI::ValidationError("--attr", parsed.error().detail);
    options.attributes = std::move(*parsed);
  };
  verb.add_option_function<std::vector<std::string>>("--attr", take_attributes, "an attribute; may be given several times")
      ->type_name("NAME=VALUE")->allow_extra_args(false)->take_all();
  verb.add_option("--id", options.id, "left out: one that is new");
  verb.add_option("--source", options.source, "the service that made the event; left out: the publisher");
  verb.add_option("--subject", options.subject, "the person the event is about");
  add_time(verb, "--time", options.time, "when it happened; left out: now");
  add_time(verb, "--at", options.at, "schedule it: not in the log before then");
  add_duration(verb, "--after", options.after, "the same, counted from now");
  add_time(verb, "--expires-at", options.expires_at, "no group delivers it from then on");
  add_duration(verb, "--expires-after", options.expires_after, "the same, counted from now, or from when it is due");
  add_choice<Priority>(verb, "--priority", options.priority,
                       {{"low", Priority::low}, {"medium", Priority::medium}, {"high", Priority::high}}, "groups deliver high before medium before low");
  verb.add_option("--correlation-id", options.correlation_id, "common to the events of one conversation");
  verb.add_option("--causation-id", options.causation_id, "id of the event that caused this one");
  verb.add_option("--traceparent", options.traceparent, "W3C trace context");
}

}  // namespace

void define_pub(CLI::App& app, Cli& cli) {
  auto& verb = add_verb(app, "pub", "publish events; prints a receipt for each",
                        "bus-cli pub alerts.new '{\"notification_id\":\"n-1\",\"title\":\"Hello\"}' --type SystemNotification\n"
                        "  bus-cli replay -o ndjson | bus-cli -s tcp://127.0.0.1:7000 pub --events -");
  auto options = std::make_shared<PubOptions>();
  verb.add_option("TOPIC", options->topic, "dotted name; with --events it replaces the events' own");
  verb.add_option("PAYLOAD", options->payload, "JSON; @FILE: JSON in a file; -: standard input, one JSON per line");
  define_envelope(verb, *options);
  define_conditions(verb, *options);
  verb.add_flag("--unique-id", options->unique_id, "store an event only if none has its source and id; else the receipt is that of the one that has");
  verb.add_flag("--events", options->events, "the input is full events, as `replay -o ndjson` prints them");
  verb.add_option("--publisher", options->publisher, "publish under this name, which keeps its sequence; left out: a transient one");
  verb.callback([options, &cli] { cli.run = [options, &cli] { return publish(cli.globals, *options); }; });
}

}  // namespace bus::tools
