// event get: one event of the log. event lineage: what caused it, and what it caused.
#include <unistd.h>

#include <algorithm>
#include <memory>
#include <set>

#include "tools/cli.hpp"
#include "tools/lineage.hpp"
#include "tools/position.hpp"
#include "tools/progress.hpp"
#include "tools/schemas.hpp"

namespace bus::tools {

namespace {

Position position_of(const At& at, Position head) {
  const auto value = static_cast<std::uint64_t>(at.value);
  switch (at.kind) {
    case wire::Start::start: return Position{1};
    case wire::Start::position: return Position{value};
    case wire::Start::last: return value > number(head) ? Position{1} : head - (value - 1);
    case wire::Start::end: return head;
    default: fail(Code::bad_argument, "it needs the position of one event: N, -N, start or end");
  }
}

Exit get_event(const Globals& globals, const At& at) {
  auto client = connect(globals);
  Schemas schemas(client);
  const auto event = fetch_event(client, position_of(at, client.server().committed));
  // One event is one object, in JSON too.
  Items items(globals.format == Format::json ? Format::ndjson : globals.format);
  schemas.print(items, event);
  items.finish();
  return Exit::ok;
}

// ---- lineage

// By which a publisher's clock may be ahead, and so the id of an event later than its place in the log.
constexpr auto clock_slack = std::chrono::minutes(1);
// Lines further below stay at this level, and say at which they are.
constexpr std::size_t level_max = 32;

struct LineageVerb {
  std::string event;                       // its position, or its id
  std::optional<At> from, to;
  std::uint64_t count = Conversation::Limits().events;
};

class Lineage {
 public:
  Lineage(const Globals& globals, const LineageVerb& options)
      : options_(options), client_(connect(globals)), head_(client_.server().committed), to_(end_of(options.to, head_)) {
    limits_.events = options.count;
    begin_ = first_event(options.from.value_or(At::start()));
  }

  // Throws Failed: not_found, and whatever prevents reading.
  std::vector<Node> events() {
    auto conversation = gather();
    named_ = conversation.named();
    std::vector<Node> nodes;
    for (const auto position : conversation.events()) nodes.push_back(node_of(fetch_event(client_, position)));
    if (conversation.is_full()) {
      is_cut_off_ = true;
      warn(conversation.has_too_many_links()
               ? "cut off: more than " + std::to_string(limits_.links) + " events of the log have a cause; look at a part of it with --from and --to"
               : "cut off: more than " + count_of(limits_.events, "event") + " belong to it; --count shows more of them");
    } else {
      find_other_causes(nodes);
    }
    return nodes;
  }

  Position named() const { return named_; }
  bool is_cut_off() const { return is_cut_off_; }
  // Where a cause is not that is missing.
  std::string searched() const {
    if (is_cut_off_) return "among the events shown";
    if (!options_.from && !options_.to) return "in the log";
    return "in the part of the log that was searched";
  }

 private:
  static Ties ties_of(const Event& event) { return {event.id(), event.causation_id(), event.correlation_id(), event.position()}; }

  static Node node_of(const Event& event) {
    return {event.position(), event.time(), std::string(event.id()), std::string(event.causation_id()), std::string(event.correlation_id()),
            std::string(event.topic()), std::string(event.type()), std::string(event.key())};
  }

  // Hands events over until `take` returns false. Throws Failed.
  template <typename Take>
  void read(Position from, const At& to, Take take) {
    ReplayOptions range;
    range.from = At::position(from);
    range.to = to;
    Progress progress("looked at", std::max(number(head_), number(from)) - number(from) + 1);
    auto events = client_.replay(range);
    for (std::uint64_t count = 1;; ++count) {
      const auto event = events.read().value();
      if (!event || !take(*event)) break;
      progress.update(count, count);
    }
    events.close();
  }

  // From there to the end of the range; none, if there is none.
  Position first_event(const At& from) {
    ReplayOptions range;
    range.from = from;
    range.to = to_;
    range.credit_events = 1;
    auto events = client_.replay(range);
    const auto event = events.read().value();
    events.close();
    return event ? event->position() : Position::none;
  }

  // An event with this id is in the log from here on, if clocks are right.
  Position likely_begin(std::string_view id) {
    const auto made = time_in_id(id);
    const bool is_usable = made && *made - clock_slack < wall_now();  // the broker refuses to read from a time to come
    if (!is_usable || begin_ == Position::none) return begin_;
    const auto likely = first_event(At::time(*made - clock_slack));
    return likely == Position::none ? begin_ : std::max(begin_, likely);
  }

  void gather(Conversation& conversation, Position from, const At& to) {
    read(from, to, [&conversation](const Event& event) {
      conversation.take(ties_of(event));
      return !conversation.is_full();
    });
  }

  // From where the event is likely to be to the end, and then what is before: one pass in two parts.
  void gather_from(Conversation& conversation, Position likely) {
    if (begin_ == Position::none) return;
    gather(conversation, likely, to_);
    if (likely != begin_ && !conversation.is_full()) gather(conversation, begin_, At::position(likely - 1));
  }

  Conversation gather() {
    if (const auto at = parse_position(options_.event, wall_now())) {
      const auto event = fetch_event(client_, position_of(*at, head_));
      Conversation conversation(ties_of(event), limits_);
      gather_from(conversation, begin_);
      return conversation;
    }
    Conversation conversation(options_.event, limits_);
    gather_from(conversation, likely_begin(options_.event));
    if (conversation.named() == Position::none) {
      fail(Code::not_found, "no event has the id '" + options_.event + "' " + searched() + ", from position " +
                                (begin_ == Position::none ? "none" : std::to_string(number(begin_))) + " to " + std::to_string(number(head_)));
    }
    if (conversation.has_missed()) {
      conversation.forget();
      gather_from(conversation, begin_);
    }
    return conversation;
  }

  // Causes that say nothing of the conversation themselves: events of others, or the very first one.
  void find_other_causes(std::vector<Node>& nodes) {
    std::set<std::string, std::less<>> ids, wanted;
    for (const auto& node : nodes) ids.insert(node.id);
    for (const auto& node : nodes) {
      if (!node.cause.empty() && !ids.contains(node.cause)) wanted.insert(node.cause);
    }
    const bool by_correlation = std::any_of(nodes.begin(), nodes.end(), [this](const Node& node) { return node.position == named_ && !node.correlation.empty(); });
    const auto find = [&](Position from, const At& to) {
      read(from, to, [&](const Event& event) {
        if (wanted.erase(std::string(event.id())) != 0) nodes.push_back(node_of(event)), nodes.back().is_outside = by_correlation;
        return !wanted.empty();
      });
    };
    if (wanted.empty() || begin_ == Position::none) return;
    auto likely = head_;
    for (const auto& id : wanted) likely = std::min(likely, likely_begin(id));
    find(likely, to_);
    if (!wanted.empty() && likely > begin_) find(begin_, At::position(likely - 1));
  }

  const LineageVerb& options_;
  Client client_;
  Position head_;
  At to_;
  Position begin_ = Position::none;        // of the range
  Position named_ = Position::none;
  Conversation::Limits limits_;
  bool is_cut_off_ = false;
};

const char* name_of(TreeLine::Cause cause) {
  switch (cause) {
    case TreeLine::Cause::parent: return "parent";
    case TreeLine::Cause::missing: return "missing";
    case TreeLine::Cause::cycle: return "cycle";
    case TreeLine::Cause::not_followed: return "not_followed";
    default: return "none";
  }
}

Json to_json(const TreeLine& line, Position named) {
  const Node& node = *line.node;
  const auto or_null = [](const std::string& text) { return text.empty() ? Json() : Json(text); };
  return {{"position", number(node.position)}, {"depth", line.depth}, {"parent", line.parent != nullptr ? Json(number(line.parent->position)) : Json()},
          {"cause", name_of(line.cause)}, {"named", node.position == named}, {"id", node.id}, {"topic", node.topic}, {"type", node.type},
          {"key", or_null(node.key)}, {"time", show_time(node.time)}, {"correlation_id", or_null(node.correlation)},
          {"causation_id", or_null(node.cause)}};
}

std::string to_text(const TreeLine& line, const Lineage& lineage) {
  if (line.node == nullptr) return "(cause " + printable(line.missing) + " is not " + lineage.searched() + ")";
  const Node& node = *line.node;
  std::vector<std::string> cells = {std::to_string(number(node.position)), show_time(node.time), node.topic, node.key.empty() ? "-" : printable(node.key),
                                    node.type.substr(node.type.rfind('.') + 1), printable(node.id)};
  if (node.position == lineage.named()) cells.push_back("(named)");
  if (node.is_outside) cells.push_back("(of another conversation)");
  if (line.cause == TreeLine::Cause::cycle) cells.push_back("(caused by one of its effects)");
  return columns(cells);
}

// Draws what stands before the lines.
class Branches {
 public:
  std::string before(const TreeLine& line) {
    is_last_.resize(line.depth + 1);
    is_last_[line.depth] = line.is_last;
    const auto levels = std::min(line.depth, level_max);
    std::string text;
    for (std::size_t level = 1; level <= levels; ++level) {
      const bool is_own = level == line.depth;
      if (!is_drawn_) text += "  ";
      else if (is_own) text += line.is_last ? "└── " : "├── ";
      else text += is_last_[level] ? "    " : "│   ";
    }
    return line.depth > level_max ? text + "[level " + std::to_string(line.depth) + "] " : text;
  }

 private:
  bool is_drawn_ = is_terminal(STDOUT_FILENO);
  std::vector<bool> is_last_;              // at each level above
};

Exit show_lineage(const Globals& globals, const LineageVerb& options) {
  Lineage lineage(globals, options);
  auto nodes = lineage.events();
  Items items(globals.format);
  Branches branches;
  const bool bold = has_colours(STDOUT_FILENO);
  for (const auto& line : tree_of(nodes)) {
    if (items.wants_json()) {
      if (line.node != nullptr) items.add(dump(to_json(line, lineage.named())), "");
      continue;
    }
    const bool is_named = bold && line.node != nullptr && line.node->position == lineage.named();
    const auto text = to_text(line, lineage);
    items.add("", branches.before(line) + (is_named ? "\033[1m" + text + "\033[0m" : text));
  }
  items.finish();
  return lineage.is_cut_off() ? Exit::partial : Exit::ok;
}

}  // namespace

void define_event(CLI::App& app, Cli& cli) {
  auto& parent = add_verb(app, "event", "look at one event", "bus-cli event get 42");
  parent.require_subcommand(1);
  auto& verb = add_verb(parent, "get", "print the event at a position", "bus-cli event get 42 -o json");
  auto at = std::make_shared<At>();
  add_parsed(verb, "POSITION", *at, [](const std::string& text) { return parse_position(text, wall_now()); }, "N, -N, start or end", "")->required();
  verb.callback([at, &cli] { cli.run = [at, &cli] { return get_event(cli.globals, *at); }; });

  auto& lineage = add_verb(parent, "lineage", "print the conversation of an event as a tree of causes and effects",
                           "bus-cli event lineage 42\n  bus-cli event lineage 01944c1e-8a4b-7c1e-9d2f-3a5b6c7d8e9f --from @-1h -o ndjson");
  auto options = std::make_shared<LineageVerb>();
  lineage.add_option("EVENT", options->event, "its id; or its position: N, -N, start or end")->required();
  add_position(lineage, "--from", options->from, "look at this part of the log only: its first position, as of replay");
  add_position(lineage, "--to", options->to, "last position, inclusive");
  add_number(lineage, "--count", options->count, "show so many events at most; 10000 unless given");
  lineage.callback([options, &cli] { cli.run = [options, &cli] { return show_lineage(cli.globals, *options); }; });
}

}  // namespace bus::tools
