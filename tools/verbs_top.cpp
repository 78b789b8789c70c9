// top: topics and groups, with their rates and lag, as they change.
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>

#include "tools/cli.hpp"
#include "tools/group_options.hpp"
#include "tools/interrupts.hpp"
#include "tools/position.hpp"

namespace bus::tools {

namespace {

constexpr std::size_t topics_max = 20'000;  // looked at; more would take longer than people want to wait

struct TopVerb {
  Duration interval = std::chrono::seconds(2);
  std::uint64_t count = 0;
  std::size_t lines = 0;
};

// What the broker said at one moment.
struct Sample {
  SteadyTime at;
  wire::StatusReplyT status;
  std::map<std::string, wire::GroupInfoT> groups;
  std::map<std::string, wire::TopicInfoT> topics;
};

Sample take_sample(Client& client) {
  Sample sample;
  sample.at = steady_now();
  sample.status = ask<wire::StatusReplyT>(client, wire::StatusRequestT{});
  ask_all<wire::GroupsReplyT>(client, wire::GroupsRequestT{}, [&](const auto& reply) {
    for (const auto& group : reply.groups) sample.groups.emplace(group->name, *group);
  });
  wire::TopicsRequestT question;
  wire::TopicsReplyT reply;
  do {
    reply = ask<wire::TopicsReplyT>(client, wire::TopicsRequestT(question));
    for (const auto& topic : reply.topics) sample.topics.emplace(topic->name, *topic);
  } while (go_on(question, reply) && sample.topics.size() < topics_max);
  return sample;
}

// Of two counts of the same; a broker that was started again counts from 0.
std::uint64_t rate(std::uint64_t before, std::uint64_t now, double seconds) {
  if (now <= before) return 0;
  return static_cast<std::uint64_t>(static_cast<double>(now - before) / seconds + 0.5);
}

template <typename Map, typename Field>
std::uint64_t before_of(const Map& before, const std::string& name, Field field, std::uint64_t now) {
  const auto found = before.find(name);
  return found == before.end() ? now : found->second.*field;
}

// Commit time of the oldest event that is not settled; 0: there is none, or the group is gone by now.
std::int64_t oldest_of(Client& client, const std::string& group) try {
  wire::GroupsRequestT question;
  question.name = group;
  question.without_keys = true;
  const auto reply = ask<wire::GroupsReplyT>(client, std::move(question));
  return reply.groups.empty() ? 0 : reply.groups[0]->oldest_at;
} catch (const Failed& failed) {
  if (failed.error().code == Code::unknown_group) return 0;
  throw;
}

// Those that are furthest behind first.
std::vector<Json> group_rows(Client& client, const Sample& before, const Sample& now, double seconds, std::size_t most) {
  std::vector<const wire::GroupInfoT*> groups;
  for (const auto& [name, group] : now.groups) groups.push_back(&group);
  std::stable_sort(groups.begin(), groups.end(), [](const auto* a, const auto* b) { return a->lag > b->lag; });
  std::vector<Json> rows;
  for (const auto* group : groups) {
    if (rows.size() == most) break;
    std::int64_t lag_seconds = 0;
    if (group->lag > 0) {  // the age of the oldest is looked up only if somebody names the group
      const auto oldest = oldest_of(client, group->name);
      if (oldest != 0) lag_seconds = std::max<std::int64_t>((wall_now() - wall_time(oldest)) / std::chrono::seconds(1), 0);
    }
    rows.push_back({{"group", group->name}, {"lag", group->lag}, {"lag_seconds", lag_seconds},
                    {"acked_per_second", rate(before_of(before.groups, group->name, &wire::GroupInfoT::acked, group->acked), group->acked, seconds)},
                    {"open", group->open}, {"in_flight", group->in_flight}, {"members", group->members}, {"dead_letters", group->dead_letters}, {"paused", is_paused(*group)}});
  }
  return rows;
}

// Those with the most events just now first.
std::vector<Json> topic_rows(const Sample& before, const Sample& now, double seconds, std::size_t most) {
  std::vector<Json> rows;
  for (const auto& [name, topic] : now.topics) {
    const auto was = before.topics.contains(name) ? before.topics.at(name) : wire::TopicInfoT();
    rows.push_back({{"topic", name}, {"events_per_second", rate(was.events, topic.events, seconds)},
                    {"bytes_per_second", rate(was.bytes, topic.bytes, seconds)}, {"events", topic.events}, {"last_at", time_or_null(topic.last_at)}});
  }
  std::stable_sort(rows.begin(), rows.end(), [](const Json& a, const Json& b) { return a["events_per_second"] > b["events_per_second"]; });
  rows.resize(std::min(rows.size(), most));
  return rows;
}

bool can_redraw() {
  const char* term = std::getenv("TERM");
  return is_terminal(STDOUT_FILENO) && term != nullptr && std::strcmp(term, "dumb") != 0;
}

// How many lines of groups, and of topics, there is room for.
std::size_t lines_each(const TopVerb& options) {
  if (options.lines != 0) return options.lines;
  winsize size{};
  const bool known = is_terminal(STDOUT_FILENO) && ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_row > 12;
  return known ? (size.ws_row - 8) / 2 : 20;
}

void show(const Globals& globals, const TopVerb& options, Client& client, const Sample& before, const Sample& now) {
  const auto seconds = std::chrono::duration<double>(now.at - before.at).count();
  const auto most = lines_each(options);
  const auto groups = group_rows(client, before, now, seconds, most);
  const auto topics = topic_rows(before, now, seconds, most);
  const Json view = {{"at", show_time(wall_now())}, {"committed", now.status.committed},
                     {"events_per_second", rate(before.status.events, now.status.events, seconds)},
                     {"delivered_per_second", rate(before.status.delivered, now.status.delivered, seconds)}, {"sessions", now.status.sessions},
                     {"scheduled", now.status.scheduled}, {"dead_letters", now.status.dead_letters}, {"log_full", now.status.log_full},
                     {"groups", groups}, {"topics", topics}};
  if (globals.format != Format::text) return write(dump(view) + "\n");
  if (can_redraw()) write("\033[H\033[J");
  write(show_time(wall_now()) + "  position " + std::to_string(now.status.committed) + "  in " + dump(view["events_per_second"]) + "/s  out " +
        dump(view["delivered_per_second"]) + "/s  sessions " + std::to_string(now.status.sessions) + "  scheduled " +
        std::to_string(now.status.scheduled) + "  dead " + std::to_string(now.status.dead_letters) + (now.status.log_full ? "  LOG FULL" : "") + "\n\n");
  print_list(Format::text, {{"GROUP", "group"}, {"LAG", "lag"}, {"SECONDS", "lag_seconds"}, {"ACKED/S", "acked_per_second"}, {"OPEN", "open"},
                            {"IN FLIGHT", "in_flight"}, {"MEMBERS", "members"}, {"DEAD", "dead_letters"}}, groups);
  write("\n");
  print_list(Format::text, {{"TOPIC", "topic"}, {"EVENTS/S", "events_per_second"}, {"BYTES/S", "bytes_per_second"}, {"EVENTS", "events"},
                            {"LAST", "last_at"}}, topics);
  if (!can_redraw()) write("\n");
}

Exit watch(const Globals& globals, const TopVerb& options) {
  auto client = connect(globals);
  const GracefulEnd graceful;
  auto before = take_sample(client);
  for (std::uint64_t shown = 0; interrupted() == 0 && (options.count == 0 || shown < options.count);) {
    pause_until(before.at + options.interval);
    if (interrupted() != 0) break;
    auto now = take_sample(client);
    show(globals, options, client, before, now);
    flush();
    before = std::move(now);
    ++shown;
  }
  return Exit::ok;
}

}  // namespace

void define_top(CLI::App& app, Cli& cli) {
  auto& verb = add_verb(app, "top", "topics and groups, with their rates and lag, as they change", "bus-cli top --interval 1s");
  auto options = std::make_shared<TopVerb>();
  const auto parse = [](const std::string& text) -> Result<Duration> {
    auto duration = parse_duration(text);
    if (duration && *duration < std::chrono::milliseconds(100)) return Error{Code::bad_argument, "the interval is 100ms at least"};
    return duration;
  };
  add_parsed(verb, "--interval", options->interval, parse, "between two views; 2s if left out", "DURATION");
  add_number(verb, "--count", options->count, "end after so many views; left out: at Ctrl-C");
  add_number(verb, "--lines", options->lines, "so many groups, and topics, at most; left out: what the terminal has room for, or 20");
  verb.callback([options, &cli] { cli.run = [options, &cli] { return watch(cli.globals, *options); }; });
}

}  // namespace bus::tools
