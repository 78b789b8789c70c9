// What all verbs of bus-cli share: the options before the verb, the connection, and requests.
#pragma once

#include <CLI/CLI.hpp>

#include <charconv>
#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <utility>

#include "bus/client.hpp"
#include "tools/exit_code.hpp"
#include "tools/output.hpp"

namespace bus::tools {

struct Globals {
  std::string server;
  std::optional<Duration> timeout;     // as given
  Format format = Format::text;

  Duration timeout_or(Duration otherwise) const { return timeout.value_or(otherwise); }
  Duration patience() const { return timeout_or(std::chrono::seconds(5)); }
};

// What the command line asked for. Parsing fills it, main runs it. Verbs report failures by throwing Failed; they are
// the outermost layer, and main turns it into a message and an exit code.
struct Cli {
  Globals globals;
  std::function<Exit()> run;
};

// Connects within the time-out. Throws Failed.
Client connect(const Globals& globals, const std::string& publisher = "");
Client connect(const Globals& globals, ClientOptions options);

// What a verb has sent without an answer yet: less than the client's window, so that publishing itself never waits for a
// broker that is gone.
inline constexpr std::size_t open_bytes_max = 8u << 20;
inline constexpr std::size_t open_events_max = 16384;

WallTime wall_now();
inline SteadyTime steady_now() { return std::chrono::steady_clock::now(); }

[[noreturn]] inline void fail(Code code, std::string detail) { throw Failed({code, std::move(detail)}); }

// One request of the protocol and its answer. Throws Failed.
template <typename Reply, typename Question>
Reply ask(Client& client, Question question) {
  wire::AskUnion union_of;
  union_of.Set(std::move(question));
  auto answer = client.request(std::move(union_of)).value();
  auto& reply = answer.reply->answer;
  if (reply.type != wire::AnswerTraits<typename Reply::TableType>::enum_value) fail(Code::malformed, "the broker's answer is of another kind");
  return std::move(*static_cast<Reply*>(reply.value));
}

// Has the question ask for what comes after the reply. False: that was all.
template <typename Question, typename Reply>
bool go_on(Question& question, const Reply& reply) {
  question.after = reply.more;
  return reply.more != decltype(reply.more){};
}
inline bool go_on(wire::TopicsRequestT& question, const wire::TopicsReplyT& reply) {
  question.after = reply.more;
  question.after_name = reply.more_name;
  return reply.more != 0 || !reply.more_name.empty();
}

// All parts of a list: `take` gets each reply.
template <typename Reply, typename Question, typename Take>
void ask_all(Client& client, Question question, Take take) {
  Reply reply;
  do {
    reply = ask<Reply>(client, Question(question));
    take(reply);
  } while (go_on(question, reply));
}

// A verb with its one-line purpose and an example, which every help text has.
CLI::App& add_verb(CLI::App& parent, const std::string& name, const std::string& purpose, const std::string& example);

// An option whose text goes through parse(text), a Result.
template <typename T, typename Parse>
CLI::Option* add_parsed(CLI::App& verb, const std::string& name, T& into, Parse parse, const std::string& help, const std::string& value) {
  const auto take = [&into, parse, name](const std::string& text) {
    auto parsed = parse(text);
    if (!parsed) throw CLI::ValidationError(name, parsed.error().detail);
    into = std::move(*parsed);
  };
  return verb.add_option_function<std::string>(name, take, help)->type_name(value);
}

// An option that takes one of a few words.
template <typename T>
CLI::Option* add_choice(CLI::App& verb, const std::string& name, T& into, const std::vector<std::pair<std::string, T>>& choices,
                        const std::string& help) {
  std::string all;
  for (const auto& [word, value] : choices) all += (all.empty() ? "" : "|") + word;
  const auto parse = [choices, all](const std::string& text) -> Result<T> {
    for (const auto& [word, value] : choices) {
      if (word == text) return value;
    }
    return Error{Code::bad_argument, "'" + text + "' is not one of " + all};
  };
  return add_parsed(verb, name, into, parse, help, all);
}

CLI::Option* add_position(CLI::App& verb, const std::string& name, std::optional<At>& into, const std::string& help);
CLI::Option* add_time(CLI::App& verb, const std::string& name, std::optional<WallTime>& into, const std::string& help);
CLI::Option* add_duration(CLI::App& verb, const std::string& name, std::optional<Duration>& into, const std::string& help);
// Whole numbers from 1, and real ones above 0.
template <typename T>
CLI::Option* add_number(CLI::App& verb, const std::string& name, T& into, const std::string& help) {
  const auto parse = [](const std::string& text) -> Result<T> {
    T value{};
    const auto [after, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error == std::errc{} && after == text.data() + text.size() && value > 0 && value <= std::numeric_limits<T>::max()) return value;
    return Error{Code::bad_argument, "'" + text + "' is not a number above 0" + (error == std::errc::result_out_of_range ? " that fits" : "")};
  };
  return add_parsed(verb, name, into, parse, help, "N");
}

// An option that may be given several times, each with one value.
CLI::Option* add_list(CLI::App& verb, const std::string& name, std::vector<std::string>& into, const std::string& help, const std::string& value);

// --topic (unless the verb has its patterns from elsewhere: null), --type and --key.
void add_index_filter(CLI::App& verb, std::vector<std::string>* patterns, std::vector<std::string>& types, std::vector<std::string>& keys);
// What of the envelope a filter may ask for besides topic, type and key: --priority and --attribute.
void add_envelope_filter(CLI::App& verb, std::vector<Priority>& priorities, std::vector<AttributeFilter>& attributes);
// The name of what the verb is about; needed.
std::shared_ptr<std::string> add_name(CLI::App& verb, const std::string& placeholder, const std::string& help);
// Asks at a terminal only: a script cannot answer, and must not hang.
bool confirmed(const std::string& question, bool yes);
// "1 dead letter", "2 dead letters".
inline std::string count_of(std::uint64_t count, const std::string& what) { return std::to_string(count) + " " + what + (count == 1 ? "" : "s"); }
// To stderr, if retention was faster than the reader.
void warn_of_trimmed(const Trimmed& trimmed);
// Times that are not known are null.
Json time_or_null(std::int64_t time);
inline Json text_or_null(const std::string& text) { return text.empty() ? Json() : Json(text); }
// A read ends at the head it saw at its start, so a later end means that head.
At end_of(const std::optional<At>& to, Position head);
// One event of the log. Throws Failed.
Event fetch_event(Client& client, Position position);

// Each defines its verbs; options live as long as the app.
void define_pub(CLI::App& app, Cli& cli);
void define_sub(CLI::App& app, Cli& cli);
void define_replay(CLI::App& app, Cli& cli);
void define_import(CLI::App& app, Cli& cli);
void define_export(CLI::App& app, Cli& cli);
void define_topic(CLI::App& app, Cli& cli);
void define_group(CLI::App& app, Cli& cli);
void define_dlq(CLI::App& app, Cli& cli);
void define_schedule(CLI::App& app, Cli& cli);
void define_event(CLI::App& app, Cli& cli);
void define_key(CLI::App& app, Cli& cli);
void define_snapshot(CLI::App& app, Cli& cli);
void define_saga(CLI::App& app, Cli& cli);
void define_retention(CLI::App& app, Cli& cli);
void define_schema(CLI::App& app, Cli& cli);
void define_status(CLI::App& app, Cli& cli);
void define_top(CLI::App& app, Cli& cli);
void define_log(CLI::App& app, Cli& cli);
void define_backup(CLI::App& app, Cli& cli);
void define_restore(CLI::App& app, Cli& cli);
void define_bench(CLI::App& app, Cli& cli);

}  // namespace bus::tools
